"""What a search keeps level with its journal event by event is what all trials at once say, whatever came in which order."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest

from fersweep.cluster.driver import checkpoint_pruning
from fersweep.cluster.driver.live_view import Varying
from fersweep.cluster.samplers.asked import Shown
from fersweep.cluster.samplers.known_trials import KnownTrials
from fersweep.cluster.samplers.record_storage import RecordStorage
from fersweep.cluster.samplers.registry import GOOD
from fersweep.cluster.schedulers.asha import quantile, survives
from fersweep.cluster.search.decisions import Search
from fersweep.results.record.journal import STATES, SweepRecord
from fersweep.results.record.optuna_study import OneMetric, study_of
from fersweep.results.record.trial_record import Epochs, Report, Reports, TrialRecord, WorkerUsage
from tests.cluster.test_search import make_sweep

METRIC = "val_macro_f1"
AS_THEY_ARE = Shown(500, GOOD, curves=True, keeps=False)
TPE_IS_SHOWN = replace(AS_THEY_ARE, judge_running=True)
DRAWN = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'


def events(rng: np.random.Generator, num_trials: int) -> Iterator[dict[str, Any]]:
    """A journal in which everything that can happen happens, in any order, with ties and NaN."""
    trained: dict[int, int] = {}
    running: list[int] = []
    ended: list[int] = []
    time = 0.0
    while len(trained) < num_trials or running:
        time, what = time + 1, rng.random()
        if len(trained) < num_trials and (what < 0.2 or not running):
            names = ("a", "b", "c")[: rng.integers(1, 4)]
            params = {name: 0.5 if name == "a" else round(float(rng.random()), 1) for name in names}
            given = {"hparams": {}, "params": params, "distributions": dict.fromkeys(names, DRAWN)}
            running.append(len(trained))
            yield {"event": "sampled", "time": time, "trial": len(trained), **given}
            trained[len(trained)] = 0
            continue
        about = {"time": time, "trial": int(rng.choice(running))}
        if what < 0.7:
            first = max(trained[about["trial"]] + int(rng.random() < 0.9), 1)  # some tell an epoch twice
            epochs = range(first, first + int(rng.integers(1, 4)))
            values = [math.nan if rng.random() < 0.05 else round(float(rng.random()), 1) for _ in epochs]
            trained[about["trial"]] = epochs[-1]
            rows = [{"epoch": epoch, METRIC: value} for epoch, value in zip(epochs, values, strict=True)]
            yield {"event": "report", "epochs": rows, **about}
        elif what < 0.75:
            yield {"event": "fault", "kind": "trial", "reason": "its process died", **about}
        else:
            running.remove(about["trial"])
            ended.append(about["trial"])
            yield {"event": "ended", "state": str(rng.choice(STATES[1:])), **about}
            if rng.random() < 0.1:
                running.append(ended.pop(int(rng.integers(len(ended)))))
                yield {"event": "reopened", "time": time, "trial": running[-1]}


def values_of(trial: TrialRecord, num_epochs: int | None = None) -> list[float]:
    return [row[METRIC] for row in trial.epochs[:num_epochs] if math.isfinite(row[METRIC])]


def ranked(record: SweepRecord, best: Any) -> list[int]:
    trials = [trial for trial in record.trials.values() if trial.state != "failed" and values_of(trial)]
    sign = -1 if best is max else 1
    return [trial.number for trial in sorted(trials, key=lambda trial: sign * best(values_of(trial)))]


def survivor(record: SweepRecord, number: int, level: int, mode: str, reduction: int) -> bool:
    """ASHA's rule, from all trials."""
    best, sign = (max, 1) if mode == "max" else (min, -1)
    reached = [trial for trial in record.trials.values() if trial.num_epochs >= level]
    rung = {trial.number: sign * best(values_of(trial, level)) for trial in reached if values_of(trial, level)}
    return number in rung and bool(rung[number] >= np.quantile(list(rung.values()), 1 - 1 / reduction))


@pytest.mark.parametrize(("seed", "mode"), [(0, "max"), (1, "min"), (2, "max")])
def test_what_is_kept_level_is_what_all_trials_say(seed: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, record, sweep = np.random.default_rng(seed), SweepRecord(), make_sweep()
    best, stop = (max if mode == "max" else min), sweep.stop.model_copy(update={"mode": mode})
    sweep = sweep.model_copy(update={"stop": stop})
    search = type("OfARecord", (), {"sweep": sweep, "record": record, "needed_rungs": lambda self: []})()
    pruner, kept = checkpoint_pruning.Pruner(search, None), dict[int, frozenset[int]]()  # type: ignore[arg-type]
    monkeypatch.setattr(pruner._thread, "submit", lambda prune, storage, number, wanted: kept.update({number: wanted}))
    known = record.derived(KnownTrials, OneMetric(METRIC, mode), TPE_IS_SHOWN)
    for count, event in enumerate(events(rng, 60)):
        record.apply(event)
        trials = list(record.trials.values())
        assert record.num_epochs == sum(trial.num_epochs for trial in trials)
        assert record.count() == {state: sum(trial.state == state for trial in trials) for state in STATES}
        assert sorted(record.running) == [trial.number for trial in trials if trial.state == "running"]
        if count % 5:
            continue
        order = ranked(record, best)
        assert [trial.number for trial in record.ranked(METRIC, mode)] == order
        names = list(dict.fromkeys(name for trial in trials for name in trial.params))
        several = [n for n in names if len(trials) < 2 or len({repr(t.params.get(n)) for t in trials}) > 1]
        assert record.derived(Varying).names() == several
        for level in stop.rungs()[:2]:
            for trial in trials[-8:]:
                expected = survivor(record, trial.number, level, mode, stop.reduction)
                assert survives(record, stop, trial.number, level) == expected
        pruner.prune()
        five = [number for number in order if record.trials[number].state != "running"][: sweep.keep_checkpoints]
        for trial in trials:
            if trial.state != "running":
                assert kept[trial.number] == pruner._wanted(trial, trial.number in five)
        assert told(known.frozen()) == told(known_anew(record, mode))
    pruner._thread.shutdown()


def known_anew(record: SweepRecord, mode: str, shown: Shown = TPE_IS_SHOWN) -> list[optuna.trial.FrozenTrial]:
    known = KnownTrials(OneMetric(METRIC, mode), shown)
    for trial in record.trials.values():
        known.see(trial)
    return known.frozen()


def told(trials: list[optuna.trial.FrozenTrial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.values, t.params, t.distributions, repr(t.intermediate_values)) for t in trials]


def drawn(study: optuna.Study) -> dict[str, Any]:
    trial = study.ask()
    return {name: trial.suggest_float(name, 0, 1) for name in ("a", "b", "c", "d")}


def tpe(seed: int) -> optuna.samplers.TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_suggestions_are_those_of_a_study_of_all_trials(mode: str) -> None:
    record, known = SweepRecord(), KnownTrials(OneMetric(METRIC, mode), AS_THEY_ARE)
    for count, event in enumerate(events(np.random.default_rng(7), 60)):
        record.apply(event)
        known.see(record.trials[event["trial"]])
        if count % 16:
            continue
        anew = study_of(record, METRIC, mode)
        anew.sampler = tpe(count)
        storage = RecordStorage(known, len(record.trials), "s")
        study = optuna.load_study(study_name="s", storage=storage, sampler=tpe(count))
        assert drawn(study) == drawn(anew)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_running_trial_that_has_reported_counts_as_if_it_were_stopped_now(mode: str) -> None:
    """By all that it has reported so far; one that has not, by nothing. What has ended stays what it is."""
    record, state = SweepRecord(), optuna.trial.TrialState
    known, plain = (
        record.derived(KnownTrials, OneMetric(METRIC, mode), shown) for shown in (TPE_IS_SHOWN, AS_THEY_ARE)
    )
    for count, event in enumerate(events(np.random.default_rng(11), 40)):
        record.apply(event)
        if count % 3:
            continue
        for now, before in zip(known.frozen(), plain.frozen(), strict=True):
            trial = record.trials[now.number]
            if trial.state == "running" and trial.num_epochs:
                assert (now.state, before.state) == (state.PRUNED, state.RUNNING)
                assert repr(list(now.intermediate_values.values())) == repr(list(trial.epochs.column(METRIC)))
                assert now.params == before.params
            else:
                assert told([now]) == told([before])


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_many_trials_the_same_are_good_and_the_newest_are_not_forgotten(mode: str) -> None:
    """That no more than GOOD are good whatever their number is Optuna's; see tests/test_private_names.py."""
    from optuna.samplers._tpe.sampler import _split_trials

    record = SweepRecord()
    for event in list(events(np.random.default_rng(3), 150))[:-12]:
        record.apply(event)
    frozen = known_anew(record, mode, Shown(40, GOOD, curves=True, keeps=False))
    judged = [trial for trial in record.trials.values() if trial.state in ("finished", "stopped")]
    numbers = {trial.number for trial in frozen}
    assert len(frozen) < len(record.trials) - 20
    assert numbers >= {trial.number for trial in judged[-30:]} | set(record.running)

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.RUNNING)
    anew = study_of(record, METRIC, mode)
    good, _ = _split_trials(anew, anew.get_trials(states=states), GOOD)
    good_of_these, _ = _split_trials(anew, [trial for trial in frozen if trial.state in states], GOOD)
    assert [trial.params for trial in good_of_these] == [trial.params for trial in good]
    assert [trial.number for trial in good_of_these] == [trial.number for trial in good]


def test_a_quantile_is_numpys_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        values = np.sort(rng.normal(size=rng.integers(1, 60)).round(int(rng.integers(1, 17))))
        share = 1 - 1 / float(rng.choice([1.5, 2, 3, 4, 7]))
        assert quantile(values.tolist(), share) == np.quantile(values, share)


def test_a_journal_says_how_long_a_suggestion_took(tmp_path: Any, open_journal: Any) -> None:
    search = Search(make_sweep(), open_journal(tmp_path / "j.jsonl"))
    search.next()
    assert json.loads((tmp_path / "j.jsonl").read_text())["suggest_s"] > 0


def test_epochs_read_as_the_rows_that_they_were() -> None:
    rows: list[dict[str, Any]] = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": math.inf}, {"epoch": 3, "loss": 1.0}]
    epochs = Epochs(rows)
    assert list(epochs) == rows
    assert epochs[-1] == rows[-1]
    assert epochs[1:] == rows[1:]
    assert type(epochs[0]["epoch"]) is int
    assert list(epochs.column("loss")) == [0.5, math.inf, 1.0]
    for odd in (
        {"epoch": 4, "loss": 1},
        {"epoch": 4, "other": 0.5},
        {"epoch": 4.0, "loss": 0.5},
        {"epoch": 4, "loss": None},
    ):
        epochs = Epochs([*rows, odd])  # type: ignore[list-item]
        assert list(epochs) == [*rows, odd]
        assert [type(value) for value in epochs[3].values()] == [type(value) for value in odd.values()]
        epochs.append(rows[0])
        assert len(epochs) == 5


def test_reports_read_as_they_were() -> None:
    reports, made = (
        Reports(),
        [
            Report(1.5, 1, WorkerUsage("node-1", 12, 99.5, 2**40 + 1, None, 0.0)),
            Report(2.5, 3),
            Report(3.5, 4, WorkerUsage(None, 12)),
        ],
    )
    for report in made:
        reports.append(report)
    assert reports == made
    assert reports[-2:] == made[-2:]
    assert type(reports[0].worker[3]) is int  # type: ignore[index]
