"""Samplers of somebody's own: from a file, from OptunaHub."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fersweep.cluster.driver.stopping import Stopping
from fersweep.cluster.driver.tune_adapters import SearchAdapter
from fersweep.cluster.launch import describe
from fersweep.cluster.new_sweep import new_sweep
from fersweep.cluster.samplers import custom
from fersweep.cluster.search.decisions import Search
from fersweep.cluster.search.populations import Populations
from fersweep.common.errors import InputError
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_samplers import OWN, drive, sweep_with
from tests.cluster.test_search import lines_of


def test_a_sampler_of_somebodys_is_kept_with_the_sweep(
    tmp_path: Path, tiny_dataset: Path, open_journal: OpenJournal, capfd: pytest.CaptureFixture[str]
) -> None:
    """A changed file is no matter to the sweep that was launched with it; a changed copy is refused."""
    mine = tmp_path / "mine.py"
    mine.write_text(Path(OWN.rpartition(":")[0]).read_text())
    sweep = sweep_with(f"{mine}:Stepping", sampler_options={"width": 0.5})
    described, _ = describe(sweep, tiny_dataset, tmp_path)
    assert f"search.sampler: runs the code of {mine} (sha256 " in capfd.readouterr().err
    directory = tmp_path / "sweeps/s"
    with new_sweep(directory) as make:
        make(described, {})
        mine.write_text("raise RuntimeError")
        journal = open_journal(directory / "journal.jsonl")
        drive(Search(sweep, journal), 1)
    whole = Search(sweep_with(OWN), open_journal(tmp_path / "whole.jsonl"))
    drive(whole, 1)
    assert lines_of(directory / "journal.jsonl") == lines_of(tmp_path / "whole.jsonl")
    assert whole.study().user_attrs["ended"][:2] == [0, 1]
    copy = directory / "sampler/mine.py"
    copy.write_text(copy.read_text() + "\n")
    with pytest.raises(InputError, match=rf"{copy} is not the sampler that the sweep was launched with \(sha256 "):
        Search(sweep, journal)
    (directory / "sampler/sha256.json").write_text("{}")
    with pytest.raises(InputError, match=r"sha256\.json does not name mine\.py"):
        Search(sweep, journal)
    shutil.rmtree(directory / "sampler")
    with pytest.raises(InputError, match="is gone, the copy of the sampler"):
        Search(sweep, journal)


def test_a_sampler_of_optunahub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_journal: OpenJournal) -> None:
    """From a registry on this machine, as the network's is out of reach; the sweep's copy needs neither."""
    optunahub = pytest.importorskip("optunahub")
    package = tmp_path / "registry/samplers/stepping"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .steps import Stepping\n__all__ = ['Stepping']\n")
    (package / "steps.py").write_text(Path(OWN.rpartition(":")[0]).read_text())
    local = optunahub.load_local_module
    monkeypatch.setattr(optunahub, "load_module", lambda name: local(name, registry_root=str(tmp_path / "registry")))
    sweep = sweep_with("optunahub:samplers/stepping", sampler_options={"width": 0.5})
    directory = tmp_path / "sweep"
    custom.write(custom.keep(sweep.search.sampler), directory)
    monkeypatch.setattr(optunahub, "load_module", None)
    drive(Search(sweep, open_journal(directory / "journal.jsonl")), 1)
    whole = Search(sweep_with(OWN), open_journal(tmp_path / "whole.jsonl"))
    drive(whole, 1)
    assert lines_of(directory / "journal.jsonl") == lines_of(tmp_path / "whole.jsonl")
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(InputError, match=r"needs the package optunahub: pip install 'fersweep\[hub\]'"):
        custom.load("optunahub:samplers/other")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gone.py:Mine", {}, "search.sampler: gone.py cannot be read: "),
        (OWN.replace("Stepping", "Steping"), {}, r"Steping is no subclass of optuna\.samplers\.BaseSampler in it; it has .*Stepping"),
        (OWN.replace("Stepping", "NoSampler"), {}, "NoSampler is no subclass of"),
        (OWN, {"wide": 3}, "does not take them: TypeError: .*'wide'"),
        (f"{__file__}:Mine", {}, "Mine is no subclass"),
    ],
)  # fmt: skip
def test_somebodys_sampler_that_is_none_is_refused(
    tmp_path: Path, tiny_dataset: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        describe(sweep_with(name, sampler_options=options), tiny_dataset, tmp_path)


BROKEN = """
from tests.doubles.own_sampler import Stepping
class Broken(Stepping):
    def sample_independent(self, study, trial, *rest):
        if trial.number >= FIRST:
            WHAT
        return super().sample_independent(study, trial, *rest)
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise LookupError('no such thing')", "LookupError: no such thing"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("return 1e12", r"ValueError: it suggests top = 1000000000000.0, outside the space's FloatDistribution\(.*\)"),
    ],
)
def test_one_that_fails(tmp_path: Path, tiny_dataset: Path, open_journal: OpenJournal, what: str, message: str) -> None:
    """At once: it is refused before anything is written. Later: it is said what to do, as the copy cannot be mended."""
    mine = tmp_path / "mine.py"
    mine.write_text(BROKEN.replace("WHAT", what).replace("FIRST", "1"))
    with pytest.raises(InputError, match=rf"mine\.py:Broken failed at trial 1: {message}$"):
        describe(sweep_with(f"{mine}:Broken"), tiny_dataset, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == [mine]
    mine.write_text(BROKEN.replace("WHAT", what).replace("FIRST", "2"))
    search = Search(sweep_with(f"{mine}:Broken"), open_journal(tmp_path / "j.jsonl"))
    with pytest.raises(RuntimeError, match=rf"at trial 2: {message}; .* search\.start_from: \{{sweep: \w+\}}"):
        drive(search, 1)
    assert len(Search(sweep_with("random"), open_journal(tmp_path / "j.jsonl")).record.trials) == 2


def test_a_stop_does_not_wait_for_one_that_hangs(tmp_path: Path, open_journal: OpenJournal) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(BROKEN.replace("WHAT", "__import__('time').sleep(600)").replace("FIRST", "1"))
    search = Search(sweep_with(f"{mine}:Broken"), open_journal(tmp_path / "j.jsonl"))
    assert search.next() is not None
    search.report(0, [], "finished")
    stopping = Stopping()
    places = SimpleNamespace(want=lambda *_: None, free=lambda _: 1)
    populations = Populations(search, 1, lambda: 1)
    adapter = SearchAdapter(populations, stopping, cast("Any", places), lambda: None)
    threading.Timer(0.3, stopping.ask).start()
    assert adapter.suggest("2") is None
    assert stopping.asked
    assert len(search.record.trials) == 1


def test_what_is_no_json_is_not_kept(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(sweep_with(OWN.replace("Stepping", "Hoarding")), open_journal(tmp_path / "j.jsonl"))
    with pytest.raises(InputError, match=r"it keeps 'user:rng', which a journal cannot hold: .*Generator is not JSON"):
        drive(search, 1)
    assert [event["event"] for event in lines_of(tmp_path / "j.jsonl")][-1] == "ended"  # nothing half-written


def test_the_seed_is_no_option_of_somebodys_sampler() -> None:
    with pytest.raises(InputError, match=r"sampler_options\.seed: is given by the sweep: search\.seed"):
        sweep_with(OWN, sampler_options={"seed": 3})
