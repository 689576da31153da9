"""Every scheduler of the registry: it decides after any kill as it would have without, whatever happens to trials; and each
rule on curves made by hand, beside Optuna's pruners where they say the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

from fersweep import trainables
from fersweep.cluster.launch import describe
from fersweep.cluster.schedulers.asha import Rung
from fersweep.cluster.schedulers.hyperband import bracket_of, shares
from fersweep.cluster.schedulers.levels import Levels
from fersweep.cluster.schedulers.registry import RULES
from fersweep.cluster.schedulers.wilcoxon import check_folds, p_worse
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.progress import crossed, training_seconds
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.results.record.trial_record import Epochs, TrialRecord, parse_event
from fersweep.search_spaces.sweep_file.consistency import remarks
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep
from fersweep.trainables.curve import Curve, Hparams
from fersweep.trainables.metrics import fold_metric
from tests.cluster.test_search import bring_about, make_sweep
from tests.datasets import write_tiny_dataset

METRIC, FOLDS = "val_macro_f1", 5
SECONDS = {"unit": "seconds", "grace_s": 2.0, "grace_epochs": None, "max_s": 12.0}
CASES: dict[str, dict[str, Any]] = {
    "asha": {"scheduler": "asha"},
    "asha, seconds": {"scheduler": "asha", **SECONDS},
    "hyperband": {"scheduler": "hyperband"},
    "hyperband, seconds": {"scheduler": "hyperband", **SECONDS},
    "median": {"scheduler": "median", "scheduler_options": {"startup_trials": 3}},
    "median, seconds": {"scheduler": "median", "scheduler_options": {"startup_trials": 3, "interval": 1.5}, **SECONDS},
    "percentile": {"scheduler": "percentile", "scheduler_options": {"startup_trials": 3, "against": "values"}},
    "patient": {"scheduler": "patient", "scheduler_options": {"patience": 3, "min_delta": 0.03}},
    "patient median": {
        "scheduler": "patient",
        "scheduler_options": {
            "patience": 2,
            "min_delta": 0.05,
            "inner": "median",
            "inner_options": {"startup_trials": 2},
        },
    },
    "wilcoxon": {"scheduler": "wilcoxon"},
    "none": {"scheduler": "none"},
}
DRAWN = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}'
HISTORY = [  # imported trials, which no rule looks at
    OlderTrial(
        sweep="old",
        params={"rate": 0.1 * number},
        distributions={"rate": DRAWN},
        epochs=[{"epoch": epoch, METRIC: 0.99} for epoch in range(1, 10)],
        state="finished",
    )
    for number in (1, 2)
]


class Memory:
    """A journal that is not on a disk: what is written has gone through JSON."""

    path = Path("journal.jsonl")

    def __init__(self, events: Sequence[dict[str, Any]] = ()):
        self.record, self.events = SweepRecord(), list(events)
        for event in events:
            self.record.apply(event)

    def forget(self) -> None:
        """All that a process knows beside what it can read."""
        self.record = SweepRecord(self.record.trials, unjudged=self.record.unjudged)

    def append(self, event: str, **fields: Any) -> None:
        entry = {"event": event, "time": float(len(self.events)), **fields}
        self.events.append(parse_event(json.dumps(entry).encode()))
        self.record.apply(self.events[-1])


def search_of(sweep: Sweep, events: Sequence[dict[str, Any]] = ()) -> Search:
    return Search(sweep, Memory(events), HISTORY)  # type: ignore[arg-type]


def decided(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key not in ("time", "suggest_s")} for event in events]


def trained(curve: Curve, number: int) -> list[dict[str, float]]:
    """Its next epoch, with times of its own and folds; now and then there is no number."""
    row: dict[str, float] = {**curve.fit(1)[0]}
    row["epoch_s"] = 0.4 + 0.3 * (number % 4)
    rng = np.random.default_rng([number, curve.epoch])
    row |= {fold_metric(METRIC, fold): row[METRIC] + float(rng.normal(0, 0.02)) for fold in range(FOLDS)}
    return [row | {METRIC: math.nan} if number % 5 == 3 and curve.epoch in (2, 3) else row]


def drive_many(search: Search, at_once: int) -> None:
    """Run trials in turns, an epoch a report: every 7th breaks off once, every 9th fails, and in the middle of the search a
    trial that failed and one that finished run once more.
    """
    curves: dict[int, Curve] = {}
    stop, record, reopened = search.sweep.stop, search.record, False
    while True:
        if record.num_ended >= 20 and not reopened:
            reopened = True
            for state in ("failed", "finished"):
                number = next((n for n, trial in record.trials.items() if trial.state == state), None)
                if number is not None:
                    search.journal.append("reopened", trial=number)
        while len(curves) < at_once and (assignment := search.next()) is not None:
            hparams = Hparams(**assignment.hparams)
            curves[assignment.trial] = Curve(hparams, np.zeros((3, 1)), {"seed": assignment.trial})
            curves[assignment.trial].epoch = assignment.known_epochs
        if not curves:
            return
        for number, curve in list(curves.items()):
            if ended := is_over(record.trials[number].epochs, stop):
                search.report(number, [], "finished")
            elif not (ended := search.report(number, trained(curve, number), "running")):
                trial = record.trials[number]
                if curve.epoch == 1 and number % 7 == 6 and not trial.retries:
                    search.fault(number, "trial", "its process died")
                    assert search.next().trial == number  # type: ignore[union-attr]
                elif curve.epoch == 1 and number % 9 == 8 and not trial.reopened:
                    ended = search.report(number, [], "failed", "val_loss is nan at epoch 2")
            if ended:
                del curves[number]


def is_over(epochs: Any, stop: Stop) -> bool:
    seconds = sum(epochs.column("epoch_s"))
    return len(epochs) >= stop.max_epochs or (stop.max_s is not None and seconds >= stop.max_s)


def sweep_of(case: str, **changes: Any) -> Sweep:
    stop = {"grace_epochs": 2, "max_epochs": 9, "reduction": 2, **CASES[case], **changes}
    return make_sweep(search={"sampler": "tpe" if case == "asha" else "random"}, stop=stop)


def test_every_scheduler_has_a_case() -> None:
    assert {case["scheduler"] for case in CASES.values()} >= RULES.keys() - {"pbt"}


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("case", CASES)
def test_killed_after_every_event_it_decides_as_one_that_never_was(case: str, at_once: int) -> None:
    sweep = sweep_of(case)
    whole = search_of(sweep)
    drive_many(whole, at_once)
    events = whole.journal.events  # type: ignore[attr-defined]
    expected = decided(events)
    kinds = [event["event"] for event in events]
    assert whole.done()
    assert kinds.count("sampled") == 30
    assert min(kinds.count("fault"), kinds.count("reopened")) >= 1
    states = whole.record.count()
    assert states["finished"]
    assert states["failed"]
    assert (states["stopped"] >= 3) == (case != "none")
    memory = Memory()
    for k, event in enumerate(expected):
        if len(memory.events) == k:
            memory.forget()
        else:  # the one before also ended its trial: killed between the two
            memory = Memory(events[:k])
        search = Search(sweep, memory, HISTORY)  # type: ignore[arg-type]
        search.settle()
        if event["event"] == "reopened":
            search.journal.append("reopened", trial=event["trial"])
        elif event.get("state") != "stopped":  # which nobody asks for: to settle is to judge the last report
            bring_about(search, event)
        written = decided(memory.events)
        assert len(written) > k
        assert written[k:] == expected[k : len(written)], f"after event {k}"
    assert repr(memory.record.trials) == repr(Memory(memory.events).record.trials)  # NaN is not equal to itself


@pytest.mark.parametrize("case", CASES)
def test_how_many_epochs_a_report_has_changes_no_decision(case: str) -> None:
    """As long as it ends where the scheduler asks: one trial after another, their epochs given before."""
    sweep = sweep_of(case)
    rows = {number: list(curve_rows(number, 9)) for number in range(30)}
    ends = []
    for longest in (1, 9):
        search = search_of(sweep)
        for number, epochs in rows.items():
            assert search.next().trial == number  # type: ignore[union-attr]
            for part in parts(epochs, sweep.stop, longest):
                if search.report(number, part, "running"):
                    break
            else:
                search.report(number, [], "finished")
        ends.append([trial.reason for trial in search.record.trials.values()])
    assert ends[0] == ends[1]
    assert (set(ends[0]) == {None}) == (case == "none")


def curve_rows(number: int, num_epochs: int) -> Iterator[dict[str, float]]:
    rng = np.random.default_rng(number)
    hparams = Hparams(top=float(rng.uniform(0.5, 0.9)), rate=float(rng.uniform(0.1, 0.9)), noise=0.03)
    curve = Curve(hparams, np.zeros((3, 1)), {"seed": number})
    return (row for _ in range(num_epochs) for row in trained(curve, number))


def parts(rows: list[dict[str, float]], stop: Stop, longest: int) -> Iterator[list[dict[str, float]]]:
    """The reports of a worker: up to `longest` epochs, and no further than the next rung."""
    come: Sequence[float] = range(1, len(rows) + 1)
    if stop.unit == "seconds":
        come = training_seconds(row["epoch_s"] for row in rows)
    part: list[dict[str, float]] = []
    for index, row in enumerate(rows):
        part.append(row)
        before = come[index - 1] if index else 0
        if len(part) == longest or any(before < level <= come[index] for level in stop.rungs()):
            yield part
            part = []
    if part:
        yield part


def run(stop: dict[str, Any], curves: Sequence[Sequence[float]], folds: bool = False, **row: float) -> list[str | None]:
    """One trial after another, an epoch a report → why each ended early. `row`: more of each epoch."""
    sweep = make_sweep(search={"sampler": "random", "num_trials": len(curves)}, stop=stop)
    search = search_of(sweep)
    for values in curves:
        number = search.next().trial  # type: ignore[union-attr]
        for epoch, value in enumerate(values, 1):
            if search.report(number, [{"epoch": epoch, sweep.stop.metric: value, **row}], "running"):
                break
        else:
            search.report(number, [], "finished")
    return [trial.reason for trial in search.record.trials.values()]


def test_the_median_rule() -> None:
    """Best value so far against the median of the running averages of those that finished; a stopped trial is none."""
    stop = {"scheduler": "median", "scheduler_options": {"startup_trials": 3}, "grace_epochs": 2, "max_epochs": 5}
    curves = [[0.4, 0.6, 0.6, 0.6], [0.2, 0.4, 0.4, 0.4], [0.6, 0.8, 0.9, 0.9]]  # averages at epoch 2: 0.5, 0.3, 0.7
    curves += [[0.45, 0.2, 0.9, 0.9], [0.51, 0.2, 0.2, 0.2], [0.5, 0.1, 0.9, 0.9], [math.nan] * 4]
    expected = ["below the median, 0.5, at epoch 2", "below the median, 0.55, at epoch 4", None]
    assert run(stop, curves) == [None] * 3 + expected + ["no finite val_macro_f1 at epoch 2"]
    low = {**stop, "metric": "val_loss", "mode": "min"}
    assert run(low, [*curves[:3], [0.45] * 2, [0.51] * 2])[3:] == [None, "above the median, 0.475, at epoch 2"]


def test_the_percentile_rule() -> None:
    options = {"percentile": 25, "startup_trials": 2, "min_trials": 3, "against": "values", "interval": 1}
    stop = {"scheduler": "percentile", "scheduler_options": options, "grace_epochs": 1, "max_epochs": 4}
    finished = [[0.1, 0.1], [0.2, 0.2], [0.3], [0.4], [0.5]]
    for values in finished:
        values.extend([0.9] * (3 - len(values)) if len(values) == 2 else [])
    tried = [[0.39, 0.9, 0.9], [0.4, 0.9, 0.9]]
    # The third has two finished ones before it, fewer than min_trials.
    assert run(stop, [*finished, *tried])[-2:] == ["below the best 25 %, 0.4, at epoch 1", None]


@pytest.mark.parametrize(("mode", "seed"), [("max", 0), ("min", 1)])
@pytest.mark.parametrize(("name", "percentile"), [("median", 50.0), ("percentile", 25.0)])
def test_percentiles_are_optunas_where_values_are_compared(name: str, percentile: float, mode: str, seed: int) -> None:
    options: dict[str, Any] = {"startup_trials": 4, "min_trials": 2, "interval": 2, "against": "values"}
    options |= {"percentile": percentile} if name == "percentile" else {}
    stop = {"scheduler": name, "scheduler_options": options, "grace_epochs": 3, "max_epochs": 10, "mode": mode}
    stop |= {"metric": METRIC if mode == "max" else "val_loss"}
    pruner = optuna.pruners.PercentilePruner(percentile, 4, 3, 2, n_min_trials=2)
    check_against(pruner, stop, mode, np.random.default_rng(seed).normal(size=(60, 9)).cumsum(axis=1))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("inner", [None, "median"])
def test_patience_is_optunas_without_min_delta(inner: str | None) -> None:
    """Whose patience is one epoch longer than it says."""
    options: dict[str, Any] = {"patience": 3, "inner": inner}
    within = None
    if inner is not None:
        options["inner_options"] = {"startup_trials": 4, "interval": 1, "against": "values"}
        within = optuna.pruners.MedianPruner(4, 1, 1)
    stop = {"scheduler": "patient", "scheduler_options": options, "grace_epochs": 1, "max_epochs": 10}
    pruner = optuna.pruners.PatientPruner(within, patience=2)
    check_against(pruner, stop, "max", np.random.default_rng(3).normal(size=(60, 9)).cumsum(axis=1))


def check_against(pruner: optuna.pruners.BasePruner, stop: dict[str, Any], mode: str, curves: np.ndarray) -> None:
    study = optuna.create_study(direction=f"{mode}imize", pruner=pruner)
    ends: list[int | None] = []
    for values in curves.tolist():
        trial = study.ask()
        for epoch, value in enumerate(values, 1):
            trial.report(value, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                ends.append(epoch)
                break
        else:
            study.tell(trial, 0.0)
            ends.append(None)
    reasons = run(stop, curves.tolist())
    assert [reason and int(reason.rpartition(" ")[2]) for reason in reasons] == ends
    assert 10 < sum(end is not None for end in ends) < 55


def test_patience() -> None:
    stop = {"scheduler": "patient", "scheduler_options": {"patience": 2, "min_delta": 0.1}, "grace_epochs": 4}
    curves = [
        [0.1, 0.1, 0.1, 0.1],
        [0.1, 0.3, 0.2, 0.3, 0.35],
        [0.1, 0.2, 0.4, 0.5, 0.7, 0.9],
        [0.1, math.nan, 0.3, 0.35, 0.38],
    ]
    why = "no better by 0.1 in 2 epochs, at epoch"
    assert run(stop, curves) == [f"{why} 4", f"{why} 4", None, f"{why} 5"]
    assert run(stop, [[math.nan] * 5]) == [f"{why} 4"]
    stop["scheduler_options"] |= {"inner": "asha"}
    curves = [[0.9] * 4, [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.4, 0.6]]
    both = "no better by 0.1 in 2 epochs, and below the best 1/3, 0.7667, at epoch 4"
    assert run({**stop, "max_epochs": 9}, curves) == [None, both, None]


def test_hyperbands_brackets_compare_their_own_trials() -> None:
    """Bracket 1 begins a rung later, and a bad trial of its own passes the first rung."""
    stop = {"scheduler": "hyperband", "grace_epochs": 1, "max_epochs": 4, "reduction": 2}
    brackets = [bracket_of(number, 3, 2) for number in range(12)]
    curves = [[0.5 - 0.01 * number] * 3 for number in range(12)]  # each is worse than those before
    ends = [first if first < 2 else None for first in brackets]
    seen: set[int] = set()
    for number, bracket in enumerate(brackets):
        if bracket not in seen:
            ends[number] = None  # the first of its bracket
            seen.add(bracket)
    reasons = run(stop, curves)
    assert [reason and reason.split(" of ")[1].split(",")[0] for reason in reasons] == [
        None if end is None else f"bracket {end}" for end in ends
    ]
    assert {str(reason).rpartition(" at ")[2] for reason in reasons} == {"None", "epoch 1", "epoch 2"}


@pytest.mark.parametrize(("grace", "longest", "reduction"), [(1, 81, 3), (5, 100, 3), (2, 16, 2), (3, 3, 3), (5, 4, 2)])
def test_brackets_have_the_shares_of_the_paper(grace: int, longest: int, reduction: int) -> None:
    stop = Stop.model_validate(
        {"scheduler": "hyperband", "grace_epochs": grace, "max_epochs": longest, "reduction": reduction}
    )
    brackets = stop.scheduler_options["brackets"]
    parts = shares(brackets, reduction)
    if grace <= longest:
        pruner = optuna.pruners.HyperbandPruner(grace, longest, reduction)
        study = optuna.create_study(pruner=pruner)
        trial = study.ask()
        trial.report(0.0, 1)
        trial.should_prune()
        assert list(parts) == pruner._trial_allocation_budgets
    if (grace, longest, reduction) == (1, 81, 3):
        assert parts == (81, 34, 15, 8, 5)  # Li et al., table 1
    for first, number in ((0, 40), (40, 200), (1000, sum(parts))):
        counts = np.bincount(
            [bracket_of(n, brackets, reduction) for n in range(first, first + number)], minlength=brackets
        )
        assert np.abs(counts - number * np.array(parts) / sum(parts)).max() < 3.5


def test_brackets_stay_when_a_sweep_is_extended() -> None:
    """They are written into the sweep's record with the first `max_epochs`."""
    sweep = sweep_of("hyperband")
    longer = sweep.stop.model_dump(mode="json") | {"max_epochs": 900}
    assert Stop.model_validate(longer).scheduler_options == sweep.stop.scheduler_options == {"brackets": 3}
    shorter = Sweep.model_validate({**sweep.model_dump(mode="json"), "then": {"best": 2, "max_epochs": 2}}).following
    assert shorter is not None  # which may have fewer rungs than brackets
    assert Sweep.model_validate(shorter.model_dump(mode="json")).stop.scheduler_options == {"brackets": 3}


@pytest.mark.parametrize(
    ("others", "p"),
    [([], 1 / 32), ([0.001], 2 / 32), ([0.015], 3 / 32), ([0.025], 5 / 32), ([0.0], 1 / 32)],
)
def test_the_signed_rank_test(others: list[float], p: float) -> None:
    """Four folds are worse by 0.01, 0.02, 0.03, 0.04, and the fifth by 0.05, or better by `others`."""
    own = [0.5 - 0.01 * fold for fold in range(1, 5)] + [0.5 + others[0] if others else 0.45]
    if others != [0.0]:
        assert p_worse(own, [0.5] * 5, "max") == pytest.approx(p)
        assert p_worse([-value for value in own], [-0.5] * 5, "min") == pytest.approx(p)

    def rows(values: Sequence[float]) -> list[dict[str, float]]:
        means = {METRIC: float(np.mean(values)), **{fold_metric(METRIC, k): v for k, v in enumerate(values)}}
        return [{"epoch": epoch, **means} for epoch in (1, 2)]

    search = search_of(make_sweep(stop={"scheduler": "wilcoxon", "grace_epochs": 2}))
    for values in ([0.5] * 5, own):
        ended = search.report(search.next().trial, rows(values), "running")  # type: ignore[union-attr]
    assert ended == (p < 0.1)
    if p == 2 / 32:
        assert search.record.trials[1].reason == "worse than trial 0000 over 5 folds, p = 0.0625, at epoch 2"
    rowless = search.next().trial  # type: ignore[union-attr]
    assert not search.report(rowless, [{"epoch": e, METRIC: 0.1} for e in (1, 2)], "running")  # has no folds


def test_few_folds_can_prove_nothing() -> None:
    stop = Stop.model_validate({"scheduler": "wilcoxon"})
    check_folds(stop, 4)
    for few in (stop, Stop.model_validate({"scheduler": "patient", "scheduler_options": {"inner": "wilcoxon"}})):
        with pytest.raises(InputError, match=r"p_threshold: 0\.1 is never reached over 3 folds, .* 2\^-3 = 0\.125"):
            check_folds(few, 3)
    check_folds(Stop.model_validate({}), 0)


def test_trials_over_folds_are_compared_by_them(tmp_path: Path) -> None:
    """With the rows of a real trial of folds; three folds are refused before anything is written."""
    few = write_tiny_dataset(tmp_path / "few", 60, folds=3)
    sweep = make_sweep(
        task={"fold": "all"}, stop={"scheduler": "wilcoxon", "grace_epochs": 2}, search={"start_from": []}
    )
    with pytest.raises(InputError, match=r"p_threshold: 0\.1 is never reached over 3 folds"):
        describe(sweep, few, tmp_path)
    arrays = Task(write_tiny_dataset(tmp_path / "tiny", 60, folds=5), TaskSpec(fold="all")).arrays()
    search = search_of(sweep)
    for top, ends in ((0.8, False), (0.5, True), (0.9, False)):
        number = search.next().trial  # type: ignore[union-attr]
        hparams = {"top": top, "rate": 0.5, "noise": 0.01}
        rows = [{**row} for row in trainables.build("curve", hparams, arrays, number).fit(2)]
        assert search.report(number, rows, "running") == ends
    assert search.record.trials[1].reason == "worse than trial 0000 over 5 folds, p = 0.0312, at epoch 2"


def test_a_rung_in_seconds_counts_the_epochs_that_had_begun() -> None:
    """Epochs of 1.5 s: the rung at 2 s is judged by the first two, and the first alone would have lasted 1.5 s."""
    stop = {**SECONDS, "scheduler": "asha", "reduction": 3}
    curves = [[0.1, 0.5, 0.9, 0.9], [0.2, 0.3, 0.9, 0.9], [0.1, 0.6, 0.9, 0.95, 0.95]]
    assert run(stop, curves, epoch_s=1.5) == [None, "below the best 1/3, 0.4333, at 2 s", None]
    record = search_of(make_sweep()).record
    record.apply({"event": "sampled", "time": 0.0, "trial": 0, "hparams": {}})
    times = [1.5, math.nan, -3.0, 0.5, 30.0]
    epochs = [{"epoch": n, "epoch_s": s} for n, s in enumerate(times, 1)]
    record.apply({"event": "report", "time": 0.0, "trial": 0, "epochs": epochs})
    levels = [1.0, 1.5, 1.6, 2.0, 20.0, 40.0]
    found = [(level, count) for _, level, count in crossed(record.trials[0], levels, "seconds", 0)]
    assert found == [(1.0, 1), (1.5, 1), (1.6, 4), (2.0, 4), (20.0, 5)]
    assert [level for _, level, _ in crossed(record.trials[0], levels, "seconds", 4)] == [20.0]


@pytest.mark.parametrize("case", ["asha, seconds", "hyperband", "median", "wilcoxon"])
def test_a_report_costs_the_same_after_many_trials(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted are the looks at a trial's epochs: none but its own (and the best trial's, where folds are compared)."""
    looks = []
    for number in (10, 80):
        search = search_of(sweep_of(case).model_copy(update={"search": make_sweep(search={"num_trials": 500}).search}))
        rows = list(curve_rows(0, 8))
        for trial in range(number):
            search.journal.append("sampled", trial=trial, hparams={}, params={}, distributions={})
            search.report(trial, [{**row, METRIC: row[METRIC] + trial * 1e-4} for row in rows], "finished")
        for trial in range(number, number + 20):  # the first one at a rung looks at all trials there
            search.journal.append("sampled", trial=trial, hparams={}, params={}, distributions={})
            search.report(trial, rows, "running")
        search.journal.append("sampled", trial=number + 20, hparams={}, params={}, distributions={})
        seen = []
        column: Callable[..., Any] = Epochs.column
        monkeypatch.setattr(Epochs, "column", lambda self, name: seen.append(name) or column(self, name))  # noqa: B023
        search.report(number + 20, rows, "running")
        monkeypatch.undo()
        looks.append(len(seen))
    assert max(looks) <= 40, looks  # fewer than there are trials


def test_repeats_of_finalists_are_compared_with_nobody() -> None:
    for repeat_of, number_here in ((None, 1), (0, 0)):
        trial = TrialRecord(1, {}, epochs=Epochs({"epoch": epoch, METRIC: 0.5} for epoch in (1, 2)))
        trial.repeat_of = repeat_of
        rung, levels = Rung(2, METRIC, "max"), Levels((2,), METRIC, "max", "epochs", ("running",), averaged=False)
        rung.see(trial)
        levels.see(trial)
        assert len(rung.values) == len(levels.values[0]) == number_here


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stop.scheduler=hyperbnd"], r"there is no 'hyperbnd'; did you mean 'hyperband'"),
        (["stop.scheduler=hyperband", "stop.scheduler_options.brackets=9"], "brackets: 9, but only 2 can begin within epoch 20, the first at epoch 5"),
        (["stop.scheduler=median", "stop.scheduler_options.interval=1.5"], "interval 1.5 must be whole, as stop.unit is epochs"),
        (["stop.scheduler=median", "stop.max_epochs=999999999"], "compares a trial more than 10,000 times"),
        (["stop.scheduler=percentile", "stop.scheduler_options.percentile=100"], "percentile: Input should be less than 100"),
        (["stop.scheduler=percentile", "stop.scheduler_options.against=best"], "against: Input should be 'averages' or"),
        (["stop.scheduler=patient", "stop.scheduler_options.inner=patient"], "inner: want null, or one of asha, hyperband"),
        (["stop.scheduler=patient", "stop.scheduler_options.inner_options={brackets: 2}"], "there is no inner scheduler"),
        (["stop.scheduler=patient", "stop.scheduler_options={inner: asha, inner_options: {x: 1}}"], "asha has no such option"),
        (["stop.scheduler=wilcoxon"], "wilcoxon compares the folds of trials: want task.fold: all"),
        (["stop.scheduler=wilcoxon", "stop.scheduler_options.p_threshold=0"], "p_threshold: Input should be greater than 0"),
        (["stop.grace_s=3"], "stop.grace_s: 3.0, but stop.unit is epochs: want grace_s: null, and stop.grace_epochs"),
        (["stop.max_s=3"], "stop.max_s: 3.0, but stop.unit is epochs"),
        (["stop={unit: seconds, grace_epochs: 5, max_s: 9}"], "grace_epochs: 5, but stop.unit is seconds: want grace_epochs: null"),
        (["stop={unit: seconds, max_s: 9}"], "stop.grace_s is missing, as stop.unit is seconds"),
        (["stop={unit: seconds, grace_s: 9}"], "stop.max_s is missing, as stop.unit is seconds"),
        (["stop.grace_epochs=null"], "stop.grace_epochs is missing, as stop.unit is epochs"),
        (["stop.unit=minutes"], "stop.unit: Input should be 'epochs' or 'seconds', but got 'minutes'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as error:
        read_sweep("quick", overrides)
    assert "\n" not in str(error.value)


def test_a_sweep_says_what_ends_its_trials() -> None:
    said = {
        "{max_epochs: 20}": "ASHA compares trials at epochs 5, 15",
        "{scheduler: hyperband}": "Hyperband compares trials at epochs 5, 15, 45",
        "{scheduler: median, scheduler_options: {interval: 1}}": "the median rule compares trials at epochs 5, 6, 7, 8, …, 99",
        "{unit: seconds, grace_s: 0.5, max_s: 9}": "ASHA compares trials at 0.5, 1.5, 4.5 s of training",
        "{scheduler: patient}": "a trial ends after 10 epochs in which it got no better",
        "{scheduler: patient, scheduler_options: {inner: asha}}": "a trial ends after 10 epochs in which it got no better, "
        "where ASHA at epochs 5, 15, 45 ends it, too",
        "{scheduler: none}": "no trial is stopped early",
    }
    for asked, words in said.items():
        stop = Stop.model_validate(yaml.safe_load(asked))
        assert stop.in_words() == words
        assert Stop.model_validate(stop.model_dump(mode="json")) == stop
    assert remarks(make_sweep(stop={"scheduler": "median", "grace_epochs": 5, "max_epochs": 4})) == [
        "the median rule stops no trial: stop.grace_epochs, 5, is not below stop.max_epochs, 4",
        "without effect: stop.reduction, as stop.scheduler is median",
    ]
    short = make_sweep(stop={**SECONDS, "grace_s": 9, "max_s": 9})
    assert remarks(short) == ["ASHA stops no trial: stop.grace_s, 9, is not below stop.max_s, 9"]


def test_a_sweep_of_an_earlier_version_is_read_as_it_was(tmp_path: Path) -> None:
    older = {"metric": METRIC, "mode": "max", "scheduler": "asha", "grace_epochs": 2, "max_epochs": 9, "reduction": 3}
    stop = Stop.model_validate(older)
    assert (list(stop.rungs()), stop.unit, stop.max_s, stop.scheduler_options) == ([2, 6], "epochs", None, {})
