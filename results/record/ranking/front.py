"""The front of a sweep with several objectives: its trials that no other beats in all of them.

front = front_of(record, order)
front.trials, front.knee, front.pick("latency_ms")
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fersweep.common.errors import InputError, hint
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking import pareto
from fersweep.results.record.ranking.order import Order
from fersweep.results.record.trial_record import TrialRecord

KNEE = "knee"


@dataclass(frozen=True)
class Front:
    """The front, one trial or more.

    Attributes:
        trials: best first by the first objective.
        values: (N, M) float64, the objectives of each.
        worst: (M,) float64, the worst value of each objective among all trials that keep to the constraints.
    """

    order: Order
    trials: list[TrialRecord]
    values: np.ndarray
    worst: np.ndarray

    @cached_property
    def knee(self) -> TrialRecord:
        """The trial that gives the most in each objective for the least in the others (pareto.knee)."""
        return self.trials[pareto.knee(self.values, self.order.modes)]

    @cached_property
    def share(self) -> float:
        """How much of what is between the best and the worst values of all trials the front dominates, in [0, 1]: 1 where one trial
        is the best in every objective. The hypervolume, in shares of the box that these values span.
        """
        loss = pareto.losses(self.values, self.order.modes)
        worst = pareto.losses(self.worst[None], self.order.modes)[0]
        span = worst - loss.min(axis=0)
        if not (span > 0).all():
            return 1.0
        minimised = ["min"] * len(span)
        return pareto.hypervolume((loss - loss.min(axis=0)) / span, minimised, [1.0] * len(span))

    def pick(self, wanted: str) -> TrialRecord:
        """The knee, or the best in an objective. Raises InputError for another word."""
        names = self.order.names
        if wanted == KNEE:
            return self.knee
        if wanted not in names:
            raise InputError(f"--pick: there is no {wanted!r}; {hint(wanted, [KNEE, *names], 'want one of')}")
        column = pareto.losses(self.values, self.order.modes)[:, names.index(wanted)]
        return self.trials[int(column.argmin())]

    def labels(self) -> dict[int, str]:
        """What to call the trials that `pick` can give: number → "knee, best latency_ms"."""
        labels: dict[int, list[str]] = {}
        for wanted in [KNEE, *self.order.names]:
            title = wanted if wanted == KNEE else f"best {wanted}"
            labels.setdefault(self.pick(wanted).number, []).append(title)
        return {number: ", ".join(titles) for number, titles in labels.items()}


def front_of(record: SweepRecord, order: Order) -> Front | None:
    """None where there is one objective, or no trial yet that has its values and keeps to the constraints."""
    ranking = record.ranking(order)
    trials = ranking.front()
    if not trials:
        return None
    everyone = np.array([order.losses(trial) for trial in ranking if ranking.rank(trial) is not None])
    signs = np.array([-1.0 if mode == "max" else 1.0 for mode in order.modes])
    values = np.array([order.losses(trial) for trial in trials]) * signs
    return Front(order, trials, values, everyone.max(axis=0) * signs)
