"""What a new sweep learns from older ones (`search.start_from: {sweep: OLD}`): their trials, where they lie in its space."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

from cluster.sweep import Sweep, sample_space
from data_pipeline.errors import InputError
from results.journal import TrialRecord
from results.sweeps import find_sweep, load_sweep


def history(sweep: Sweep, home: Path) -> list[dict[str, Any]]:
    """The ended trials of the older sweeps that `sweep` names, as `sweep.json` has them: {sweep, params, distributions,
    epochs, state}. Raises InputError where a sweep is not there, searches for something else, or has nothing to offer.
    """
    found = []
    for name in sweep.search.older:
        older, record = load_sweep(find_sweep(home, name))
        theirs, ours = older["sweep"], sweep.model_dump(mode="json")
        for key, before, now in (
            ("trainable", theirs["trainable"], ours["trainable"]),
            ("stop.metric", theirs["stop"]["metric"], ours["stop"]["metric"]),
        ):
            if before != now:
                raise InputError(
                    f"search.start_from: sweep {name!r} has {key} {before!r}, not {now!r}: nothing to learn from"
                )
        taken = [one for trial in record.trials.values() if (one := _taken(sweep, name, trial, theirs["space"]["fix"]))]
        if not taken:
            raise InputError(
                f"search.start_from: none of the {len(record.trials)} trials of sweep {name!r} lies in the space"
            )
        found += taken
    return found


def _taken(sweep: Sweep, name: str, trial: TrialRecord, fixed_then: dict[str, Any]) -> dict[str, Any] | None:
    """One trial; None if it has not ended, or lies outside the space."""
    from optuna.distributions import distribution_to_json
    from optuna.trial import FixedTrial

    params = {**fixed_then, **trial.params}
    if any(params.get(key, value) != value for key, value in sweep.space.fix.items()):
        return None
    fixed = FixedTrial({key: value for key, value in params.items() if key not in sweep.space.fix})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna only warns of a value outside its distribution
            sample_space(sweep, fixed)
        inside = all(one._contains(one.to_internal_repr(fixed.params[key])) for key, one in fixed.distributions.items())
    except ValueError:
        return None
    if not inside:
        return None
    metric = sweep.stop.metric
    rows = [{"epoch": row["epoch"], metric: row[metric]} for row in trial.epochs if math.isfinite(row[metric])]
    if trial.state == "running" or (trial.state != "failed" and not rows):
        return None
    return {
        "sweep": name,
        "params": fixed.params,
        "distributions": {key: distribution_to_json(one) for key, one in fixed.distributions.items()},
        "epochs": rows,
        "state": trial.state,
    }
