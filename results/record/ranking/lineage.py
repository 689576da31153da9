"""Which trial copied which, and the schedule of hparams that led to a checkpoint: what PBT makes of a trial.

schedule_of(record.trials, trial, 12)      # what led to its checkpoint of epoch 12, from epoch 1 on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fersweep.common.display.tables import short
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.trial_record import Hparams, TrialRecord, trial_name


class Step(NamedTuple):
    """Epochs `first` to `last` were trained by `trial`, with these hparams."""

    first: int
    last: int
    trial: int
    hparams: Hparams
    params: dict[str, Any]

    @property
    def epochs(self) -> str:
        """`epochs 1 to 5`, `epoch 6`."""
        return f"epoch {self.last}" if self.first == self.last else f"epochs {self.first} to {self.last}"


def schedule_of(trials: Mapping[int, TrialRecord], trial: TrialRecord, epoch: int) -> list[Step]:
    """The steps that led to a trial's checkpoint of an epoch, in their order: where it went on from another one's checkpoint,
    the epochs before are that one's. One step for a trial that never did.
    """
    steps: list[Step] = []
    while epoch > 0:
        stretch = trial.at(epoch)
        steps.insert(0, Step(stretch.first, epoch, trial.number, stretch.hparams, stretch.params))
        epoch = stretch.first - 1
        trial = trial if stretch.donor is None else trials[stretch.donor]
    return steps


def best_schedule(sweep: SweepJson, trials: Mapping[int, TrialRecord], trial: TrialRecord) -> list[Step]:
    """What led to the checkpoint of a trial's best epoch; [] before it has one."""
    best = trial.best(sweep.metric, sweep.mode)
    return schedule_of(trials, trial, int(best["epoch"])) if best else []


def changed_hparams(sweep: SweepJson, steps: Sequence[Step]) -> list[Hparams]:
    """Of each step those hparams that differ between steps, under the names of a sweep file."""
    each = [sweep.named_as(step.params, step.hparams) for step in steps]
    names = dict.fromkeys(name for hparams in each for name in hparams)
    varied = [name for name in names if any(hparams.get(name) != each[0].get(name) for hparams in each)]
    return [{name: hparams[name] for name in varied if name in hparams} for hparams in each]


def schedule_in_words(sweep: SweepJson, steps: Sequence[Step]) -> str:
    """`epochs 1 to 5 in trial 0003: learning_rate 0.01; epochs 6 to 12 in trial 0007: learning_rate 0.008`."""
    parts: list[str] = []
    for step, hparams in zip(steps, changed_hparams(sweep, steps), strict=True):
        values = ", ".join(f"{name} {short(value)}" for name, value in hparams.items())
        parts.append(f"{step.epochs} in trial {trial_name(step.trial)}: {values or 'the same'}")
    return "; ".join(parts)


def copies(trial: TrialRecord) -> str:
    """`copied 0003 at epoch 5, 0007 at epoch 10`; "" for a trial that copied none."""
    made = [f"{trial_name(s.donor)} at epoch {s.first - 1}" for s in trial.exploits if s.donor is not None]
    return f"copied {', '.join(made)}" if made else ""
