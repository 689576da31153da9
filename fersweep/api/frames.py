"""A sweep's trials and epochs as pandas DataFrames. The columns, and what is in them, are those of `docs/how-to/python.md`.

Values are those of `fersweep compare NAME --json`: the metric at the trial's best epoch, the hparams that this epoch was
trained with, under the names that a sweep file takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fersweep.results.compare.trials import TTA_SCORES, VAL_SCORES
from fersweep.results.record.journal import read_events
from fersweep.results.record.ranking.order import COSTS, costs_of
from fersweep.results.record.timeline import Timeline

if TYPE_CHECKING:
    from fersweep.results.record.recorded_sweep import RecordedSweep
    from fersweep.results.record.trial_record import Hparams, TrialRecord

TIME = "datetime64[us, UTC]"
BEFORE = {"trial": "int64", "state": "str", "value": "float64", "best_epoch": "Int64", "epochs": "int64"}
AFTER = {
    "started": TIME,
    "ended": TIME,
    "seconds": "float64",
    "retries": "int64",
    "reason": "str",
    "point": "str",
    "front": "Int64",
    "infeasible": "str",
}
REPEATS = {"repeat_of": "Int64", "seed_index": "Int64"}
OF_EPOCHS = {"trial": "int64", "epoch": "int64"}


def trials(recorded: RecordedSweep, repeats: bool = False) -> pd.DataFrame:
    """A row for each trial, by number; see `Sweep.trials`."""
    found = [trial for trial in recorded.record.trials.values() if repeats or trial.repeat_of is None]
    rows = {trial.number: recorded.best(trial) for trial in found}
    seconds = seconds_by_trial(recorded)
    order, ranking = recorded.sweep.order, recorded.record.ranking(recorded.sweep.order)
    fixed = {**BEFORE, **AFTER, **(REPEATS if repeats else {})}
    columns: dict[str, list[Any]] = {name: [] for name in fixed}
    for trial in found:
        best = rows[trial.number]
        values: dict[str, Any] = {
            "trial": trial.number,
            "state": trial.state,
            "value": None if best is None else best[recorded.sweep.metric],
            "best_epoch": None if best is None else int(best["epoch"]),
            "epochs": trial.num_epochs,
            "started": trial.sampled_at,
            "ended": trial.ended_at,
            "seconds": seconds.get(trial.number, 0.0),
            "retries": trial.retries,
            "reason": trial.reason,
            "point": trial.point,
            "front": ranking.rank(trial),
            "infeasible": order.infeasible(trial) if best is not None else None,
            "repeat_of": trial.repeat_of,
            "seed_index": trial.seed_index,
        }
        for name, column in columns.items():
            column.append(values[name])
    hparams = [hparams_of(recorded, trial) for trial in found]
    figures = [_figures(recorded, trial, rows[trial.number]) for trial in found]
    typed = {name: _typed(values, fixed[name]) for name, values in columns.items()}
    taken = {*fixed, *(name for row in figures for name in row)}
    return pd.DataFrame(
        {
            **{name: typed[name] for name in BEFORE},
            **_spread(hparams, taken),
            **{
                name: _typed([row.get(name) for row in figures], "float64")
                for name in _figure_names(recorded)
                if any(name in row for row in figures) or not figures
            },
            **{name: typed[name] for name in fixed if name not in BEFORE},
        }
    )


def epochs(recorded: RecordedSweep, hparams: bool = False, repeats: bool = False) -> pd.DataFrame:
    """A row for each epoch of each trial; see `Sweep.epochs`."""
    found = [trial for trial in recorded.record.trials.values() if repeats or trial.repeat_of is None]
    names = list(dict.fromkeys(name for trial in found for name in trial.epochs.names if name != "epoch"))
    numbers = [trial.number for trial in found for _ in range(trial.num_epochs)]
    columns = {
        "trial": _typed(numbers, "int64"),
        "epoch": _typed([epoch for trial in found for epoch in range(1, trial.num_epochs + 1)], "int64"),
        **{
            name: _typed([value for trial in found for value in trial.epochs.column(name)], "float64")
            for name in names or [recorded.sweep.metric]
        },
        "reported": _typed([time for trial in found for time in trial.reported_at], TIME),
    }
    if hparams:
        columns |= _spread([row for trial in found for row in _hparams_by_epoch(recorded, trial)], {*columns})
    return pd.DataFrame(columns)


def hparams_of(recorded: RecordedSweep, trial: TrialRecord) -> Hparams:
    """Those of the best epoch, as a sweep file names them; {} of a trial whose hparams could not be built."""
    return {} if trial.refused is not None else recorded.sweep.named(trial)


def seconds_by_trial(recorded: RecordedSweep) -> dict[int, float]:
    """For how long each trial was with a worker, over all its attempts."""
    seconds: dict[int, float] = {}
    for attempt in Timeline(read_events(recorded.directory / "journal.jsonl")).attempts:
        seconds[attempt.trial] = seconds.get(attempt.trial, 0.0) + attempt.end - attempt.start
    return seconds


def _hparams_by_epoch(recorded: RecordedSweep, trial: TrialRecord) -> list[Hparams]:
    if trial.refused is not None:
        return [{} for _ in trial.epochs]
    stretches = trial.stretches  # of PBT: hparams change
    named = [recorded.sweep.named_as(stretch.params, stretch.hparams) for stretch in stretches]
    ends = [*(stretch.first for stretch in stretches[1:]), trial.num_epochs + 1]
    return [
        hparams
        for hparams, stretch, end in zip(named, stretches, ends, strict=True)
        for _ in range(stretch.first, min(end, trial.num_epochs + 1))
    ]


def _figure_names(recorded: RecordedSweep) -> list[str]:
    return list(dict.fromkeys([*VAL_SCORES, *TTA_SCORES, *recorded.sweep.order.names, *COSTS]))


def _figures(recorded: RecordedSweep, trial: TrialRecord, best: Mapping[str, float] | None) -> dict[str, float]:
    """Scores and objectives at the best epoch, and what the model costs."""
    if best is None:
        return costs_of(trial, None)
    scores = {name: best[name] for name in _figure_names(recorded) if name in best}
    return scores | costs_of(trial, best)


def _spread(rows: Sequence[Mapping[str, Any]], taken: set[str]) -> dict[str, pd.Series[Any]]:
    """A column for each name in the rows; `hparams.NAME` where the name is another column's."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        f"hparams.{name}" if name in taken else name: _of_any_kind([row.get(name) for row in rows]) for name in names
    }


def _of_any_kind(values: list[Any]) -> pd.Series[Any]:
    """bool, int64, float64 or str where all values are; boolean or Int64 where some are missing; else object."""
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    kinds: set[Any] = {type(value) for value in known}
    if not kinds:
        return _typed(values, "object")
    if kinds == {bool}:
        return _typed(values, "bool" if whole else "boolean")
    if kinds == {int}:
        return _typed(values, "int64" if whole else "Int64")
    if kinds <= {int, float}:
        return _typed(values, "float64")
    return _typed(values, "str" if kinds == {str} else "object")


def _typed(values: Sequence[Any], dtype: str) -> pd.Series[Any]:
    if dtype == TIME:
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="float64"), unit="s", utc=True).astype(TIME))
    return pd.Series(values, dtype=dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]
