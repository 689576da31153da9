"""Gates, refusals, rollbacks, two promotions at once, refits: what may become champion, and what that leaves behind."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fersweep import trainables
from fersweep.cli.main import main
from fersweep.common.errors import InputError
from fersweep.common.processes import ROOT
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.champion.champion import champion, moves_of, rollback
from fersweep.results.evaluate import ledger
from fersweep.results.evaluate.model_judgement import judge_model
from fersweep.results.mlflow_store import connection, registry
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.gates import Verdict, before_test, check, read_gates
from fersweep.results.promote.promotion import Refused, promote
from tests.datasets import write_tiny_dataset
from tests.sweeps import FakeDriver, write_sweep_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Three sweeps of one trial: `good`, `poor` and `bad` learned from ever more wrong labels."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home)
    dataset = write_tiny_dataset(home / "data" / "tiny", num_faces=900)
    arrays = Task(dataset).arrays()
    rng = np.random.default_rng(0)
    for name, wrong in (("good", 0.0), ("poor", 0.62), ("bad", 1.0)):
        directory = write_sweep_json(home, dataset, arrays, name)
        y = arrays.train.y.copy()
        rows = rng.permutation(len(y))[: int(wrong * len(y))]
        y[rows] = (y[rows] + 1) % 3
        driver = FakeDriver(directory, dataclasses.replace(arrays, train=dataclasses.replace(arrays.train, y=y)))
        driver.journal.session("started")
        driver.run_trial(0, {"rate": 0.5}, 3, "finished")
        driver.journal.session("finished")
        driver.journal.close()
    return home


def run(*arguments: str) -> int:
    sys.argv = ["fersweep", *arguments]
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_worse_candidate_is_refused_a_better_one_is_not_and_both_can_be_undone(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    sweeps, where = home / "sweeps", ["--home", str(home)]
    assert promote(sweeps / "poor").before is None, "the first one has nobody to beat"
    with pytest.raises(
        Refused, match="version 2 is registered, but not made champion: refused by better_than_champion"
    ):
        promote(sweeps / "bad")
    assert champion(home).version == 1
    (verdict,) = promote(sweeps / "poor").verdicts
    assert (verdict.passed, verdict.found) == (True, "it is the champion"), "nobody has to beat himself"

    promoted = promote(sweeps / "good")
    assert (promoted.version, promoted.before, promoted.forced) == (3, 1, False)
    (verdict,) = promoted.verdicts
    assert verdict.passed
    assert "corrected for 2 models judged since this champion" in verdict.found
    assert "p 4.5e-05 (0.00" in verdict.found, "the smallest that is drawn, and what the gate is held against"
    assert run("promote", "poor", *where) == 1
    said = capsys.readouterr()
    assert "REFUSED" in said.out
    assert "--force promotes it all the same" in said.err
    assert run("promote", "bad", "--force", "--json", *where) == 0
    assert json.loads(capsys.readouterr().out)["forced"] is True
    assert champion(home).version == 2

    assert run("champion", "rollback", *where) == 0
    assert champion(home).version == 3
    assert rollback(home).version == 1
    with pytest.raises(InputError, match="version 1 is the first champion"):
        rollback(home)
    with pytest.raises(InputError, match="version 99; known: champion; versions: 1 to 3"):
        rollback(home, to="99")
    assert rollback(home, to="3").before == 1
    moves = champion(home).moves
    assert [(move.version, move.action) for move in moves] == [
        ("3", "rolled back"),
        ("1", "rolled back"),
        ("3", "rolled back"),
        ("2", "forced"),
        ("3", "promoted"),
        ("1", "promoted"),
    ]
    assert [move.current for move in moves] == [True, *[False] * 5]
    assert moves[3].details["gates"][0]["passed"] is False, "what was forced is on record"
    capsys.readouterr()
    assert run("champion", "history", *where) == 0
    assert "forced" in capsys.readouterr().out
    assert run("evaluate", "champion", "--split", "test", "--json", *where) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["sweep"]) == (3, "good")
    lines = ledger.lines(connection.open_home(home), ledger.faces_of(Task(home / "data" / "tiny")))
    assert (found["asked"], lines[-1].model, lines[-1].verb) == (len(lines), "champion", "evaluate")
    assert [(line.model, line.against) for line in lines[:5]] == [
        ("poor:0", ""),  # the first has nobody to beat; that it has not to beat itself asks nothing
        ("bad:0", "1"),
        ("good:0", "1"),
        ("poor:0", "3"),
        ("bad:0", "3"),
    ]
    assert found["detected"]["macro_f1"] == promoted.figures.detected.macro_f1.as_json()
    assert run("champion", "show", *where) == 0
    card = capsys.readouterr().out
    for part in ("Protocol", "Known limits", "Licence", "fingerprint", "tiny"):
        assert part in card


def test_a_registry_that_is_away_is_not_one_without_a_champion(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("FERSWEEP_TRACKING_URI", "http://127.0.0.1:9")
    assert run("champion", "show", "--home", str(home)) == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9 does not answer" in said
    assert said.count("\n") == 1
    with pytest.raises(Exception, match="API request"):
        registry.holder(registry.open_registry(home), "champion")


def test_each_gate_asks_what_it_says(home: Path) -> None:
    good, bad = open_model("good", home), open_model("bad", home)
    gates = read_gates(["min_accuracy=0.5,max_recall_drop=0.05", "max_latency_ms=1000", "same_fingerprint"])
    data = home / "data" / "tiny"

    def judged(candidate: FaceModel, against: FaceModel) -> dict[str, Verdict]:
        known = before_test(gates, candidate, against, False, [])
        return {one.gate: one for one in check(gates, known, candidate, against, data, "macro_f1")}

    assert [one.passed for one in judged(good, bad).values()] == [True] * 4
    verdicts = judged(bad, good)
    assert [gate for gate, one in verdicts.items() if not one.passed] == ["min_accuracy", "max_recall_drop"]
    task = Task(data)
    test = task.load("test")
    right = int((bad.predict(test.x).argmax(1) == test.y).sum())
    found = right / (len(test.y) + len(task.undetected("test")))
    assert verdicts["min_accuracy"].found == f"{found:.4f}", "over all faces of test, those not detected wrong"

    other = open_model("bad", home)
    other.described.update(fingerprint="f" * 64, groups={"happy": ["happy"], "rest": ["sad", "neutral"]})
    gates = read_gates(["better_than_champion", "same_fingerprint"])
    verdicts = judged(good, other)
    assert not any(one.passed for one in verdicts.values())
    assert "--alias" in verdicts["better_than_champion"].found


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["better_than_champoin"], "did you mean 'better_than_champion'"),
        (["min_macro_f1"], "wants a number"),
        (["min_macro_f1=high"], "wants a number"),
        (["same_fingerprint=1"], "takes no number"),
        (["none", "same_fingerprint"], "goes with no other gate"),
        (["min_macro_f1=0.5", "min_macro_f1=0.9"], "is there twice"),
        (["min_macro_f1=55"], "want a share from 0 to 1"),
        (["max_recall_drop=-0.1"], "want a share from 0 to 1"),
        (["min_accuracy=nan"], "want a share from 0 to 1"),
        (["max_latency_ms=inf"], "want milliseconds"),
        (["max_latency_ms=0"], "want milliseconds"),
    ],
)
def test_what_is_no_gate(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_gates(texts)
    assert read_gates(["none"]) == {}


@pytest.mark.processes
def test_two_promotions_at_once(home: Path) -> None:
    """Whoever comes first, the better one is champion in the end, and the history has no hole."""
    alias = "raced"
    command = [sys.executable, "-m", "fersweep", "promote"]
    both = [
        subprocess.Popen(
            [*command, name, "--alias", alias, "--home", str(home), "--json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("good", "bad")
    ]
    said = [one.communicate(timeout=120) for one in both]
    codes = [one.returncode for one in both]
    moves = moves_of(home, alias)
    good = json.loads(said[0][0])
    assert codes[0] == 0, said[0][1]
    assert champion(home, alias).version == good["version"]
    if codes[1] == 0:  # the bad one came first, to no champion; the good one replaced it
        assert [move.before for move in moves] == [moves[1].version, None]
    else:
        assert codes[1] == 1, said[1][1]
        assert "refused by better_than_champion" in json.loads(said[1][0])["refused"]
        assert [move.before for move in moves] == [None]


def test_a_refit_learns_val_too_and_promotes_the_median_or_all(home: Path) -> None:
    lines: list[str] = []
    found = promote(home / "sweeps" / "good", "refitted", refit=3, gates={}, tell=lines.append)
    assert len(lines) == 3
    refit = found.figures.refit
    assert refit is not None
    assert refit.epochs == 3
    values = [seed.value for seed in refit.seeds]
    assert found.figures.detected.macro_f1.value == sorted(values)[1]
    task = Task(home / "data" / "tiny")
    arrays = task.arrays(with_val=True)
    assert len(arrays.train.y) == len(task.load("train").y) + len(task.load("val").y)
    means = np.load(Path(found.checkpoint) / "state.npz")["means"]
    wanted = np.stack([arrays.train.x[arrays.train.y == i].mean(axis=0) for i in range(3)])
    np.testing.assert_allclose(means, wanted, rtol=1e-5)

    lines.clear()
    both = promote(home / "sweeps" / "good", "refitted", refit=3, ensemble="mean", gates={}, tell=lines.append)
    assert lines == [], "the three models are there"
    assert both.version != found.version
    assert promote(home / "sweeps" / "good", "refitted", refit=3, gates={}).version == found.version
    model, x = open_model(str(both.version), home), task.load("test").x
    members = [trainables.restore(path).predict(x) for path in sorted(Path(both.checkpoint).glob("member-*"))]
    assert len(members) == 3
    np.testing.assert_allclose(model.predict(x), np.mean(members, axis=0), rtol=1e-6)
    for version in (found.version, both.version):
        with pytest.raises(InputError, match=r"learned val of .*take --split test, or another dataset with --data"):
            judge_model(open_model(str(version), home), home)
