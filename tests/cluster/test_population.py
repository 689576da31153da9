"""A population in its worker, without Ray: who reports when, who comes and goes, and what breaks one of them or all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.search.decisions import Search
from fersweep.cluster.search.fusing import most_fused
from fersweep.cluster.search.populations import Populations
from fersweep.cluster.worker import population_session
from fersweep.cluster.worker.population_session import PopulationSession
from fersweep.cluster.worker.population_size import EPOCHS, START, PopulationSize
from fersweep.cluster.worker.trial_report import TrialReport
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.common.files import sha256
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables import curve
from fersweep.trainables.curve import Curves
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import make_sweep
from tests.one_trial import OneTrial

RISING = {"top": 0.9, "rate": 0.3, "noise": 0.02}


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset).arrays()


class Worker:
    """A session over `arrays` whose members are told by number."""

    def __init__(self, directory: Path, arrays: TaskArrays, **changes: Any):
        asked = {
            "rungs": (3,),
            "report_s": 0.0,
            "timeout_s": None,
            "max_epochs": 9,
            "gpus": 0,
            "fused": True,
            "most_fused": 8,
        }
        common = {"seed": 1, "metric": "val_macro_f1", "mode": "max", "trainable": "curve"}
        where = {"directory": directory, "storage": Storage(directory)}
        self.settings, self.arrays = TrialSettings(**{**common, **where, **asked, **changes}), arrays
        self.session = PopulationSession(self.settings)

    def join(self, *numbers: int, known: int = 0, **hparams: Any) -> None:
        self.session.exchange((), [assigned(number, known, **hparams) for number in numbers])

    def run(self) -> list[TrialReport]:
        return self.session.run(self.arrays)


def assigned(number: int, known: int = 0, **hparams: Any) -> dict[str, Any]:
    return {"trial": number, "hparams": {**RISING, **hparams}, "known_epochs": known}


@pytest.fixture
def begin(tmp_path: Path, arrays: TaskArrays) -> Callable[..., Worker]:
    return lambda **changes: Worker(tmp_path, arrays, **changes)


def told(reports: Sequence[TrialReport]) -> dict[int, tuple[str, list[int]]]:
    return {each.trial: (each.status, [int(row["epoch"]) for row in each.epochs]) for each in reports}


def test_members_have_the_numbers_and_checkpoints_that_each_has_alone(
    begin: Callable[..., Worker], tmp_path: Path, arrays: TaskArrays
) -> None:
    worker = begin()
    worker.join(0, 1)
    rows: dict[int, list[dict[str, float]]] = {0: [], 1: [], 2: []}
    for epoch in range(4):
        if epoch == 2:
            worker.join(2)
        for report in worker.run():
            rows[report.trial] += report.epochs
            assert report.worker is not None
    assert {number: len(of) for number, of in rows.items()} == {0: 4, 1: 4, 2: 2}
    for number, found in rows.items():
        alone = OneTrial(
            Worker(tmp_path / "alone", arrays, fused=False, most_fused=1).settings, arrays, number, RISING, 0
        )
        expected = [row for _ in found for row in alone.run().epochs]
        assert [without_time(row) for row in found] == [without_time(row) for row in expected]
        assert checkpoints.saved(Storage(tmp_path), number) == checkpoints.saved(Storage(tmp_path / "alone"), number)
    resumed = OneTrial(worker.settings, arrays, 0, RISING, 4)
    assert [row["epoch"] for row in resumed.run().epochs] == [5], "whoever goes on takes what a member saved"


def without_time(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "epoch_s"}


def test_a_rung_ends_the_report_of_those_that_are_there_alone(begin: Callable[..., Worker], tmp_path: Path) -> None:
    worker = begin(report_s=60.0)
    worker.join(0)
    assert told(worker.run()) == {0: ("running", [1, 2, 3])}
    worker.join(1)
    assert told(worker.run()) == {1: ("running", [1, 2, 3])}
    assert told(worker.run()) == {0: ("finished", [4, 5, 6, 7, 8, 9])}
    worker.session.exchange([0], [])
    assert told(worker.run()) == {1: ("finished", [4, 5, 6, 7, 8, 9])}
    model = checkpoints.fetch(Storage(tmp_path), 1, 9, tmp_path)
    assert [row["epoch"] for row in checkpoints.read_epochs(model)] == list(range(1, 10))


def test_a_better_epoch_between_two_reports_has_its_checkpoint(
    begin: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = curve.Curve._metrics
    monkeypatch.setattr(
        curve.Curve, "_metrics", lambda self: real(self) | ({"val_macro_f1": 0.99} if self.epoch == 2 else {})
    )
    worker = begin(report_s=60.0)
    worker.join(0, 1)
    assert told(worker.run()) == {0: ("running", [1, 2, 3]), 1: ("running", [1, 2, 3])}
    for number in (0, 1):
        assert checkpoints.saved(Storage(tmp_path), number) == [2, 3]
        assert len(checkpoints.read_epochs(checkpoints.fetch(Storage(tmp_path), number, 2, tmp_path))) == 2


def test_saving_stretches_the_time_between_reports_of_several(begin: Callable[..., Worker]) -> None:
    worker = begin(report_s=1.0)
    worker.join(0, 1)
    worker.run()
    worker.session._saving_s = 0.5
    assert worker.session._pause_s() == 10.0
    worker.session._saving_s = 500.0
    worker.session.settings = begin(report_s=1.0, timeout_s=60.0).settings
    assert worker.session._pause_s() == 30.0, "it does not seem to hang"
    worker.session.exchange([1], [])
    assert worker.session._pause_s() == 1.0, "one that is alone reports as it is asked to"
    worker.session.settings = begin(report_s=0.0).settings
    worker.join(1)
    worker.run()
    assert worker.session._pause_s() == 0.0, "after each epoch, as it is asked to"


def test_one_that_cannot_begin_or_go_on_fails_alone(
    begin: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, real = begin(), curve.Curve._metrics
    monkeypatch.setattr(
        curve.Curve,
        "_metrics",
        lambda self: real(self) | ({"train_loss": np.nan} if self.hparams.top == 0.5 and self.epoch == 2 else {}),
    )
    worker.join(0)
    worker.join(1, top=0.5)
    worker.join(2, top=7)
    (report,) = worker.run()
    assert (report.trial, report.status) == (2, "failed")
    assert "validation error for Hparams" in str(report.reason)
    worker.session.exchange([2], [])
    assert told(worker.run()) == {0: ("running", [1]), 1: ("running", [1])}
    reports = worker.run()
    assert told(reports) == {0: ("running", [2]), 1: ("failed", [])}
    assert reports[1].reason == "train_loss is nan at epoch 2"
    worker.session.exchange([1], [assigned(3)])
    assert told(worker.run()) == {0: ("running", [3]), 3: ("running", [1])}


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), MemoryError("no more")])
def test_what_breaks_all_is_raised_and_what_breaks_one_is_its_failure(
    begin: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def breaks(self: Curves) -> list[Any]:
        raise error

    worker = begin()
    worker.join(0, 1)
    worker.run()
    monkeypatch.setattr(Curves, "fit", breaks)
    with pytest.raises(type(error)):
        worker.run()
    alone = begin()
    alone.join(5)
    if isinstance(error, MemoryError):
        assert told(alone.run()) == {5: ("failed", [])}
    else:
        with pytest.raises(RuntimeError, match="CUDA error"):  # its process is not to be used again
            alone.run()


def test_who_is_asked_to_reports_at_once(begin: Callable[..., Worker], tmp_path: Path) -> None:
    worker = begin(report_s=60.0)
    worker.join(0)
    worker.run()
    worker.join(1)
    worker.run()  # epochs 1 to 3 of trial 1, and as many more of trial 0, which has not reported them
    worker.session.exchange([1], [assigned(2)], report_now=True)
    assert told(worker.run()) == {2: ("running", []), 0: ("running", [4, 5, 6])}
    assert checkpoints.saved(Storage(tmp_path), 0)[-1] == 6


def test_a_population_grows_while_that_is_faster_and_fits() -> None:
    def grown(seconds: Callable[[int], float], **options: Any) -> int:
        size = PopulationSize(options.pop("most", 64), True)
        for free in options.values():
            size.fit_into(free, 1)
        for _ in range(10 * EPOCHS):
            size.hear([100] * size.now, seconds(size.now))
        return size.now

    assert grown(lambda number: 1.0) == 64
    assert grown(lambda number: number) == START, "no faster: it goes back"
    assert grown(lambda number: max(number, 32) / 32) == 32
    assert grown(lambda number: 1.0, most=12) == 12
    assert grown(lambda number: 1.0, free=20) == 20
    assert grown(lambda number: 1.0, free=3) == 3
    asked = PopulationSize(5, False)
    asked.fit_into(1, 1)
    assert asked.now == 5, "what was asked for"
    waits = PopulationSize(64, True)
    waits.hear([100] * 3, 1.0)
    assert waits.now == START, "nothing is measured before it is full"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_trials": 96}, 4),  # 8 at once, on 2 workers
        ({"num_trials": 96, "sampler": "random"}, 32),
        ({"num_trials": 6}, 1),
        ({"num_trials": 1000}, 32),
        ({"num_trials": 1000, "fuse": 3}, 3),
        ({"num_trials": 1000, "fuse": 1}, 1),
        ({"num_trials": 1000, "max_retries": 0}, 1),
        ({"num_trials": 1000, "fuse": 4, "max_retries": 0}, 1),
        ({"num_trials": 1000, "gpus": 0.5}, 1),
        ({"num_trials": 1000, "fold": "all"}, 1),
    ],
)
def test_how_many_train_at_once(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: int) -> None:
    monkeypatch.setattr(curve, "MOST_FUSED", {"cpu": 32})
    resources = {key: changes[key] for key in ("fuse", "gpus") if key in changes}
    sweep = make_sweep(
        search={"num_trials": changes["num_trials"], "sampler": changes.get("sampler", "tpe")},
        resources=resources,
        failures={"max_retries": changes.get("max_retries", 2)},
        task={"fold": changes.get("fold")},
    )
    assert most_fused(sweep, lambda: 2) == expected


def populations_of(sweep: Sweep, open_journal: OpenJournal, path: Path, most: int, places: int = 2) -> Populations:
    search = Search(sweep, open_journal(path))
    search.fused = most > 1
    return Populations(search, most, lambda: places)


def test_each_worker_gets_a_fair_share(tmp_path: Path, open_journal: OpenJournal) -> None:
    sweep = make_sweep(search={"num_trials": 16, "sampler": "random"})
    populations = populations_of(sweep, open_journal, tmp_path / "j.jsonl", 32)
    assert populations.wanted() == 1
    assert [each.trial for each in populations.begin("a")] == list(range(8))
    assert [each.trial for each in populations.begin("b")] == list(range(8, 16))
    assert populations.wanted() == 0
    populations.search.report(3, [], "finished")
    assert populations.exchange("a", [3], [], 32) == ([3], [])
    assert populations.members == {"a": [0, 1, 2, 4, 5, 6, 7], "b": list(range(8, 16))}


def test_a_last_attempt_is_made_alone_and_others_go_first(tmp_path: Path, open_journal: OpenJournal) -> None:
    sweep = make_sweep(search={"num_trials": 6, "sampler": "random"}, failures={"max_retries": 1})
    populations = populations_of(sweep, open_journal, tmp_path / "j.jsonl", 2, places=1)
    search = populations.search
    assert [each.trial for each in populations.begin("a")] == [0, 1]
    for number in populations.end("a"):
        search.fault(number, "trial", "its process died")
    assert [each.trial for each in populations.begin("b")] == [2, 3]
    for number in (2, 3):
        search.report(number, [], "finished")
    left, joining = populations.exchange("b", [2, 3], [], 2)
    assert (left, [each.trial for each in joining]) == ([2, 3], [4, 5])
    for number in (4, 5):
        search.report(number, [], "finished")
    assert populations.exchange("b", [4, 5], [], 2) == ([4, 5], [])
    assert populations.wanted() == 2
    for number in (0, 1):
        assert [each.trial for each in populations.begin("c")] == [number]
        search.report(number, [], "running")
        assert populations.exchange("c", [], [], 2) == ([], []), "nobody joins it"
        search.report(number, [], "finished")
        assert populations.exchange("c", [number], [], 2) == ([number], [])
        assert populations.end("c") == []
    assert search.done()


def test_under_pbt_all_are_compared_when_all_have_come_to_a_rung(tmp_path: Path, open_journal: OpenJournal) -> None:
    """Those that keep their models stay where they are; the others are built anew."""
    options = {"interval": 2, "perturb": ["top", "rate"]}
    stop = {"scheduler": "pbt", "scheduler_options": options, "max_epochs": 6}
    sweep = make_sweep(search={"num_trials": 8, "sampler": "random"}, stop=stop)
    populations = populations_of(sweep, open_journal, tmp_path / "j.jsonl", 8, places=1)
    search = populations.search
    numbers = [each.trial for each in populations.begin("a")]
    assert numbers == list(range(8))
    for epoch in (1, 2):
        rows = {number: [{"epoch": epoch, "val_macro_f1": 0.1 * number}] for number in numbers}
        left = [number for number in numbers if search.report(number, rows[number], "running")]
        assert left == (numbers if epoch == 2 else [])
    dropped, joining = populations.exchange("a", left, left, 8)
    assert dropped == [each.trial for each in joining] == [0, 1], "the worst quarter"
    assert all(each.adopts is not None and each.adopts.trial >= 6 for each in joining)
    assert sorted(populations.members["a"]) == numbers
    assert sorted(search.active) == numbers


def test_what_saving_takes_is_of_all_that_report(begin: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    worker = begin()
    worker.join(0, 1)
    worker.run()
    assert worker.session._saving_s == sum(trial.stored_s for trial in worker.session.trials) > 0
    assert population_session.SAVING == 20


@pytest.mark.parametrize("forged", ["another epoch", "no epoch"])
def test_a_checkpoint_that_only_looks_sound_is_not_trained_on(
    begin: Callable[..., Worker], tmp_path: Path, arrays: TaskArrays, forged: str
) -> None:
    """Its checksums fit, and its model does not: the one before is taken, with a note."""
    worker = begin()
    worker.join(0)
    told([*worker.run(), *worker.run()])
    newest = max(checkpoints.saved(Storage(tmp_path), 0))
    directory = tmp_path / checkpoints.place(0, newest)
    model = json.loads((directory / "model.json").read_text())
    changed = (
        {**model, "epoch": 10**9} if forged == "another epoch" else {k: v for k, v in model.items() if k != "epoch"}
    )
    (directory / "model.json").write_text(json.dumps(changed))
    sums = json.loads((directory / checkpoints.CHECKSUMS).read_text())
    sums["model.json"] = sha256(directory / "model.json")
    (directory / checkpoints.CHECKSUMS).write_text(json.dumps(sums))
    resumed = OneTrial(worker.settings, arrays, 0, RISING, newest)
    report = resumed.run()
    assert report.status in ("running", "finished")
    assert any(checkpoints.place(0, newest) in note and "goes on from epoch" in note for note in report.notes)
    assert [row["epoch"] for row in report.epochs] == list(range(newest + 1, newest + 1 + len(report.epochs)))
