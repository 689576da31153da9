"""What a new sweep takes from older ones (`search.start_from`): {sweep: OLD} gives the sampler their trials to learn from,
if they are in its space; {sweep: OLD, best: K} makes the points of their best K trials its own first ones.

Points come without their values: those were reached on other faces or in other epochs, and the sampler would mistake
them for values of this sweep.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.results.record.home import find_sweep
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.ranking.finalists import best_first
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import OlderPoint, OlderTrial
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import fitted


def history(sweep: Sweep, home: Path) -> list[OlderTrial]:
    """The ended trials of the older sweeps that `sweep` learns from. Raises InputError if a sweep does not exist,
    has another metric, or has no trial in the space.
    """
    older: list[OlderTrial] = []
    for name in sweep.search.older:
        theirs, record = _load(sweep, home, name)
        if theirs.stop.metric != sweep.stop.metric:
            raise _nothing_to_learn(name, "stop.metric", theirs.stop.metric, sweep.stop.metric)
        usable = [old for trial in record.searched if (old := _older_trial(sweep, name, trial, theirs.space.fix))]
        if not usable:
            raise InputError(
                f"search.start_from: none of the {len(record.trials)} trials of sweep {name!r} is in the space"
            )
        older += usable
    return older


def best_points(sweep: Sweep, home: Path) -> list[OlderPoint]:
    """The points of the older sweeps' best trials, best first.

    The best are those that have ended and not failed, by this sweep's metric; where finalists were run by that metric, those
    come first, by their means. Raises InputError if a sweep does not
    exist, is of another trainable, or has fewer, and if a point is outside the space.
    """
    points: list[OlderPoint] = []
    for name, number in sweep.search.best_of:
        theirs, record = _load(sweep, home, name)
        best = best_first(record, theirs) if theirs.stop.metric == sweep.stop.metric else []
        best = (best or record.kept(order_of(sweep), number))[:number]
        if len(best) < number:
            raise InputError(
                f"search.start_from: sweep {name!r} has {len(best)} trials that have ended and not failed, not {number}"
            )
        for trial in best:
            title = f"{theirs.name}/{trial.name}"
            try:
                fixed = fitted(
                    sweep, title, {**theirs.space.fix, **trial.at_best(sweep.stop.metric, sweep.stop.mode).params}
                )
            except ValueError as error:
                raise InputError(str(error)) from None
            points.append(OlderPoint(name=title, params=fixed.params))
    return points


def _load(sweep: Sweep, home: Path, name: str) -> tuple[Sweep, SweepRecord]:
    """What was asked of an older sweep, and its record. Raises InputError if it is of another trainable."""
    recorded = load_sweep(find_sweep(home, name))
    theirs = recorded.sweep.asked
    if theirs.trainable != sweep.trainable:
        raise _nothing_to_learn(name, "trainable", theirs.trainable, sweep.trainable)
    return theirs, recorded.record


def _nothing_to_learn(name: str, key: str, before: str, now: str) -> InputError:
    return InputError(f"search.start_from: sweep {name!r} has {key} {before!r}, not {now!r}: nothing to learn from")


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
