"""What a new sweep takes from older ones (`search.start_from`): {sweep: OLD} gives the sampler their trials to learn from,
if they are in its space; {sweep: OLD, best: K} makes the points of their best K trials its own first ones, and
{sweep: OLD, values: false} all that there is room for.

Values of another task, or on other data, say little here: they are refused, unless they are asked for (values: true).
Points come without their values: those were reached on other faces or in other epochs, and the sampler would mistake
them for values of this sweep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.text import one_line
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.results.record.home import find_sweep
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.ranking.finalists import best_first
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import Learned, OlderPoint, OlderTrial, SweepJson
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import fitted


def history(sweep: Sweep, home: Path, dataset: Learned) -> list[OlderTrial]:
    """The ended trials of the older sweeps that `sweep`, on `dataset`, learns from. Raises InputError if a sweep does not
    exist, has another metric or another task, or has no trial in the space.
    """
    older: list[OlderTrial] = []
    for name in sweep.search.older:
        theirs, record = _load(sweep, home, name)
        _refuse_other_values(sweep, dataset, theirs, name)
        fixed_then = theirs.asked.space.fix
        usable = [old for trial in record.searched if (old := _older_trial(sweep, name, trial, fixed_then))]
        if not usable:
            raise _none_fits(name, record)
        older += usable
    return older


def _refuse_other_values(sweep: Sweep, dataset: Learned, theirs: SweepJson, name: str) -> None:
    """InputError where the values of an older sweep are not those that its trials would have here."""
    points_alone = f"{{sweep: {name}, values: false}} takes its points alone"
    if theirs.asked.stop.metric_in_full != sweep.stop.metric_in_full:
        raise InputError(
            f"search.start_from: the values of sweep {name!r} are {theirs.asked.stop.metric_in_full}, and this sweep's are "
            f"{sweep.stop.metric_in_full}: {points_alone}"
        )
    difference = next(_differences(sweep.task, dataset, theirs), None)
    if difference is not None and name not in sweep.search.insists:
        raise InputError(
            f"search.start_from: sweep {name!r} learned another task: {difference}: {points_alone}; "
            f"{{sweep: {name}, values: true}} takes its values all the same"
        )


def _differences(task: TaskSpec, dataset: Learned, theirs: SweepJson) -> Iterator[str]:
    """What differs in the faces, classes and features that two sweeps learn, in words."""
    then, now = (
        spec.model_dump(mode="json") | {"classes": spec.classes or {name: [name] for name in classes}}
        for spec, classes in ((theirs.asked.task, theirs.dataset.classes or theirs.classes), (task, dataset.classes))
    )
    for key in now:
        if then.get(key) != now[key]:
            yield f"task.{key} was {one_line(then.get(key), 60)}, and is {one_line(now[key], 60)}"
    if theirs.dataset.fingerprint != dataset.fingerprint:
        before, after = theirs.dataset.fingerprint[:12], dataset.fingerprint[:12]
        yield f"its dataset {theirs.dataset.name} has the fingerprint {before}, and {dataset.name} has {after}"


def best_points(sweep: Sweep, home: Path) -> list[OlderPoint]:
    """The points of the older sweeps' best trials, best first.

    The best are those that have ended and not failed, by this sweep's metric, or by theirs where that is somebody's own and they
    do not know it; where finalists were run by that metric, those
    come first, by their means. Raises InputError if a sweep does not
    exist, is of another trainable, or has fewer, and if a point is outside the space; where no number is asked for, if all
    are outside.
    """
    search, points = sweep.search, list[OlderPoint]()
    room = search.num_trials - len(search.points) - sum(number or 0 for _, number in search.best_of)
    for name, number in search.best_of:
        theirs, record = _load(sweep, home, name)
        finalists = (
            best_first(record, theirs.asked) if theirs.asked.stop.metric_in_full == sweep.stop.metric_in_full else []
        )
        order = order_of(sweep)
        if sweep.stop.own_metric is not None and sweep.stop.own_metric not in theirs.asked.stop.metrics:
            order = theirs.order
        best = (finalists or record.kept(order, number))[:number]
        if number is not None and len(best) < number:
            raise InputError(
                f"search.start_from: sweep {name!r} has {len(best)} trials that have ended and not failed, not {number}"
            )
        fitting: list[OlderPoint] = []
        for trial in best:
            title = f"{theirs.name}/{trial.name}"
            try:
                tried = order.tried(trial)
                fixed = fitted(sweep, title, {**theirs.asked.space.fix, **tried.params})
            except ValueError as error:
                if number is None:
                    continue
                raise InputError(str(error)) from None
            fitting.append(OlderPoint(name=title, params=fixed.params))
        if not fitting:
            raise _none_fits(name, record)
        if number is None:
            fitting = fitting[:room]
            room -= len(fitting)
        points += fitting
    return points


def _load(sweep: Sweep, home: Path, name: str) -> tuple[SweepJson, SweepRecord]:
    """An older sweep, and its record. Raises InputError if it is of another trainable."""
    recorded = load_sweep(find_sweep(home, name))
    before = recorded.sweep.asked.trainable
    if before != sweep.trainable:
        raise InputError(
            f"search.start_from: sweep {name!r} has trainable {before!r}, not {sweep.trainable!r}: nothing to learn from"
        )
    return recorded.sweep, recorded.record


def _none_fits(name: str, record: SweepRecord) -> InputError:
    return InputError(f"search.start_from: none of the {len(record.trials)} trials of sweep {name!r} is in the space")


def _older_trial(sweep: Sweep, name: str, trial: TrialRecord, fixed_then: dict[str, Any]) -> OlderTrial | None:
    """What the sampler learns of one trial; None if it has not ended, or is outside the space."""
    from optuna.distributions import distribution_to_json

    try:
        tried = trial.at_best(sweep.stop.metric, sweep.stop.mode).params
        fixed = fitted(sweep, f"{name}/{trial.name}", {**fixed_then, **tried})
    except ValueError:
        return None
    metric, asked = sweep.stop.metric, order_of(sweep).asked
    wanted = {"epoch", *asked, *(["epoch_s"] if "train_s" in asked else [])}
    rows = [
        {name: value for name, value in row.items() if name in wanted}
        for row in trial.epochs
        if math.isfinite(row[metric])
    ]
    if trial.state == "running" or (trial.state != "failed" and not rows):
        return None
    return OlderTrial(
        sweep=name,
        params=fixed.params,
        distributions={key: distribution_to_json(distribution) for key, distribution in fixed.distributions.items()},
        epochs=rows,
        state=trial.state,
        costs=trial.costs,
    )
