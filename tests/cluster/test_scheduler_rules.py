"""Each scheduler's rule on curves made by hand, beside Optuna's pruners where they say the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from fersweep import trainables
from fersweep.cluster.driver.run_sweep import reopen
from fersweep.cluster.launch import describe
from fersweep.cluster.schedulers.asha import Rung
from fersweep.cluster.schedulers.hyperband import bracket_of, shares
from fersweep.cluster.schedulers.levels import Levels
from fersweep.cluster.schedulers.wilcoxon import check_folds, p_worse
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints
from fersweep.results.record.ranking.progress import crossed
from fersweep.results.record.storage import Storage
from fersweep.results.record.trial_record import Epochs, TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep
from fersweep.trainables.metrics import fold_metric
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import make_sweep
from tests.datasets import write_tiny_dataset
from tests.searches import METRIC, SECONDS, run, search_of, sweep_of


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


def test_repeats_of_finalists_are_compared_with_nobody() -> None:
    for repeat_of, number_here in ((None, 1), (0, 0)):
        trial = TrialRecord(1, {}, epochs=Epochs({"epoch": epoch, METRIC: 0.5} for epoch in (1, 2)))
        trial.repeat_of = repeat_of
        rung, levels = Rung(2, METRIC, "max"), Levels((2,), METRIC, "max", "epochs", ("running",), averaged=False)
        rung.see(trial)
        levels.see(trial)
        assert len(rung.values) == len(levels.values[0]) == number_here


def test_more_seconds(tmp_path: Path, open_journal: OpenJournal) -> None:
    """Those that ended at `stop.max_s` go on when it is larger; not those that had all epochs or their patience, or whose
    checkpoint is gone.
    """
    storage, open_to = Storage(tmp_path), open_journal(tmp_path / "journal.jsonl")
    stop = {"unit": "seconds", "grace_s": 1.0, "grace_epochs": None, "max_s": 4.0, "max_epochs": 9}
    ends = {0: (4, "trained for 4 s"), 1: (9, None), 2: (3, "no better epoch in 2"), 3: (4, "trained for 4 s")}
    for number, (num_epochs, reason) in ends.items():
        epochs = [{"epoch": epoch, "val_macro_f1": 0.5, "epoch_s": 1.0} for epoch in range(1, num_epochs + 1)]
        open_to.append("sampled", trial=number, hparams={}, params={}, distributions={})
        open_to.append("report", trial=number, epochs=epochs)
        open_to.append("ended", trial=number, state="finished", reason=reason)
        if number != 3:
            storage.write(f"{checkpoints.place(number, num_epochs)}/epochs.json", b"[]")
    for max_s, running in ((4.0, set[int]()), (6.0, {0})):
        search = Search(make_sweep(stop={**stop, "max_s": max_s}), open_to)
        reopen(search, storage, retry_failed=False)
        assert set(search.record.running) == running
