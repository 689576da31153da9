"""What is refused before test is touched and anything is written, and what a killed promotion leaves."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.common.processes import ROOT
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.champion.champion import champion
from fersweep.results.evaluate import ledger
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.registry import MODEL
from fersweep.results.models.names import check_alias, check_sweep_name
from fersweep.results.models.open_model import open_model
from fersweep.results.promote import request
from fersweep.results.promote.gates import read_gates
from fersweep.results.promote.model_card import plain
from fersweep.results.promote.promotion import Refused, promote
from fersweep.results.record.drivers import LOCK
from fersweep.results.record.recorded_sweep import load_sweep
from tests.sweeps import NewSweep

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep_dir(new_sweep: NewSweep) -> Path:
    """A sweep of two trials that has ended."""
    directory, driver = new_sweep()
    driver.journal.session("started")
    for number in range(2):
        driver.run_trial(number, {"rate": 0.5 + number / 4}, 2, "finished")
    driver.journal.session("finished")
    return directory


@pytest.fixture
def client(home: Path) -> Any:
    return connection.open_home(home)


@pytest.fixture
def untouched(home: Path, client: Any) -> Iterator[None]:
    """Test was not asked in the test, no version made, and no run of a promotion begun."""

    def state() -> tuple[int, int, list[str]]:
        asked = len(ledger.lines(client, ledger.faces_of(Task(home / "data" / "tiny"))))
        return asked, len(client.search_model_versions(f"name = '{MODEL}'")), promotions(client)

    before = state()
    yield
    assert state() == before
    assert not (home / ".promote").exists()


def promotions(client: Any) -> list[str]:
    """The states of the runs of promotions."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments, "tags.`fersweep.kind` = 'promotion'")]


@pytest.mark.usefixtures("untouched")
def test_a_sweep_that_runs_is_refused(sweep_dir: Path) -> None:
    with (
        lock(sweep_dir / LOCK),
        pytest.raises(InputError, match="is running: promote it when it has ended"),
    ):
        promote(sweep_dir)


@pytest.mark.usefixtures("untouched")
def test_a_sweep_that_mlflow_lacks_is_refused(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recorder lags behind, or another one is at work."""
    monkeypatch.setattr(request, "record", lambda _: False)
    with pytest.raises(RuntimeError, match=r"no run of the sweep yet: `fersweep status .* --sync"):
        promote(sweep_dir)


@pytest.mark.usefixtures("untouched")
def test_an_alias_that_mlflow_refuses_or_reserves(sweep_dir: Path) -> None:
    for alias in ("latest", "Latest", "v3", "V12", "7", "two words", "a/b", "", "ä", "x" * 300, "-\n"):
        with pytest.raises(InputError, match="--alias") as refusal:
            promote(sweep_dir, alias)
        assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("untouched")
def test_a_sweep_and_an_alias_share_no_name(sweep_dir: Path, home: Path) -> None:
    with pytest.raises(InputError, match=r"a sweep under .* has this name"):
        check_alias(sweep_dir.name, home)
    for name in ("champion", "2024"):
        with pytest.raises(InputError, match="is what a registered model is called"):
            check_sweep_name(name, home)


@pytest.mark.usefixtures("untouched")
def test_a_copy_of_a_sweep_and_links_that_lead_out_of_the_home(sweep_dir: Path, home: Path, tmp_path: Path) -> None:
    copy = sweep_dir.with_name(f"{sweep_dir.name}-copy")
    shutil.copytree(sweep_dir, copy)
    with pytest.raises(InputError, match="a copy of a sweep under another name"):
        promote(copy)
    shutil.rmtree(copy)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (sweep_dir / "recorder.json").unlink(missing_ok=True)
    (sweep_dir / "recorder.json").symlink_to(precious)
    with pytest.raises(InputError, match=r"recorder\.json: a link that leads out of the home"):
        promote(sweep_dir)
    assert precious.read_text() == "precious"
    (sweep_dir / "recorder.json").unlink()


def test_the_best_without_its_checkpoint_is_said(sweep_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = load_sweep(sweep_dir)
    best, second = recorded.ranked()
    shutil.rmtree(sweep_dir / "trials" / best.name)
    assert recorded.choose_trial(None)[0] is second
    assert f"{best.name}: better, but without a checkpoint: {second.name} is taken" in capsys.readouterr().err


def test_a_card_shows_names_as_they_are() -> None:
    assert plain("<b>&amp;|`x`") == r"\<b\>\&amp;\|\`x\`"


def test_an_alias_hides_no_sweep(sweep_dir: Path, home: Path, client: Any) -> None:
    version = promote(sweep_dir, "taken", gates={}).version
    with pytest.raises(InputError, match="'taken' is an alias"):
        check_sweep_name("taken", home)
    check_sweep_name("free", home)
    assert open_model("taken", home).origin.version == version
    client.set_registered_model_alias(MODEL, sweep_dir.name, str(version))  # an older home has both
    with pytest.raises(InputError, match=f"want @{sweep_dir.name} for the alias, {sweep_dir.name}:TRIAL"):
        open_model(sweep_dir.name, home)
    assert open_model(f"@{sweep_dir.name}", home).origin.version == version
    assert open_model(f"{sweep_dir.name}:0", home).origin.trial == 0
    client.delete_registered_model_alias(MODEL, sweep_dir.name)


def test_the_standing_champion_passes_its_gates_or_is_said_not_to(sweep_dir: Path, home: Path, client: Any) -> None:
    first = promote(sweep_dir, "standing")
    assert first.figures.asked is not None
    with pytest.raises(
        Refused, match=f"version {first.version} is standing, and stays it, but does not pass min_macro"
    ):
        promote(sweep_dir, "standing", gates=read_gates(["min_macro_f1=1", "better_than_champion"]))
    again = promote(sweep_dir, "standing", gates=read_gates(["min_macro_f1=0", "better_than_champion"]))
    assert [verdict.passed for verdict in again.verdicts] == [True, True]
    assert len(champion(home, "standing").moves) == 1
    lines = ledger.lines(client, ledger.faces_of(Task(home / "data" / "tiny")))
    assert [line.number for line in lines][-3:] == [first.figures.asked + more for more in range(3)]
    assert lines[-1].macro_f1 == again.figures.detected.macro_f1.value


def test_gates_that_need_no_face_of_test_are_asked_first(sweep_dir: Path, client: Any, home: Path) -> None:
    promote(sweep_dir, "fresh", gates={})
    asked = ledger.lines(client, ledger.faces_of(Task(home / "data" / "tiny")))
    with pytest.raises(
        Refused, match="nothing is registered or made fresh, and test was not judged: refused by fresh_test"
    ):
        promote(sweep_dir, "fresh", 0, gates=read_gates(["fresh_test,min_accuracy=0"]))
    with pytest.raises(Refused, match="refused by fresh_test") as refusal:
        promote(sweep_dir, "fresh", 0, refit=2, gates=read_gates(["fresh_test"]))
    assert not (sweep_dir / "refit").exists(), "refused before it trains"
    assert f"asked {len(asked)} time" in refusal.value.verdicts[0].found
    assert ledger.lines(client, asked[0].faces) == asked


def test_each_seed_of_a_refit_asks_test(sweep_dir: Path, client: Any, home: Path) -> None:
    promote(sweep_dir, "seeds", gates={})
    faces = ledger.faces_of(Task(home / "data" / "tiny"))
    before = len(ledger.lines(client, faces))
    (sweep_dir / "refit" / ".0001-epochs-2-seed-0-1a2b").mkdir(parents=True)  # of a refit that was killed
    promote(sweep_dir, "seeds", refit=2, gates={})
    models = [line.model.removeprefix(f"{sweep_dir.name}:") for line in ledger.lines(client, faces)[before:]]
    assert models == [
        *(f"1 (2 seeds, median), seed {seed}" for seed in range(2)),
        "1 (2 seeds, median)",
    ]
    assert len(list((sweep_dir / "refit").glob("0001-epochs-2-seed-*"))) == 2
    assert not list((sweep_dir / "refit").glob(".*"))


@pytest.mark.processes
def test_what_a_killed_promotion_leaves_is_ended_by_the_next(sweep_dir: Path, home: Path, client: Any) -> None:
    code = f"""
import os, signal
from pathlib import Path
from fersweep.results.promote import new_version, promotion
import mlflow.tracking.client as tracking
tracking.MlflowClient.finalize_logged_model = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
promotion.promote(Path({str(sweep_dir)!r}), "killed")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert promotions(client).count("RUNNING") == 1
    assert any((home / ".promote").iterdir())
    told: list[str] = []
    promoted = promote(sweep_dir, "killed", tell=told.append)
    assert told == [f"a promotion of sweep {sweep_dir.name} had broken off: its run is ended, it registered nothing"]
    assert sorted(promotions(client)).count("KILLED") == 1
    assert "RUNNING" not in promotions(client)
    assert not (home / ".promote").exists()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert {str(model.status) for model in client.search_logged_models(experiments)} == {"READY", "FAILED"}
    assert champion(home, "killed").version == promoted.version
