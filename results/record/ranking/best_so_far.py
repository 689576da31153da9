"""When a sweep gets a new best trial, as its events come: for whoever tells somebody of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fersweep.results.record.ranking.order import Order
from fersweep.results.record.trial_record import Event, Row

if TYPE_CHECKING:
    from fersweep.results.record.journal import SweepRecord


class BestSoFar:
    """The best value of the search's trials, by its metric or its first objective, among those that keep to the constraints.

    value: None while there is none.
    """

    def __init__(self, record: SweepRecord, order: Order):
        self._record, self._order = record, order
        best = record.ranking(order).best()
        self.value = best.value(order.metric, order.mode) if best else None

    def better(self, event: Event) -> Row | None:
        """The epoch of an event that is the best of the sweep so far, if one is. To be asked after each event, in order, which
        the record has heard of.
        """
        trial = self._record.trials.get(event.get("trial", -1))
        if event["event"] != "report" or trial is None or trial.repeat_of is not None:
            return None
        if not self._order.is_feasible(trial):
            return None
        sign, found = 1 if self._order.mode == "max" else -1, None
        for row in event["epochs"]:
            value = row.get(self._order.metric, math.nan)
            if math.isfinite(value) and (self.value is None or sign * value > sign * self.value):
                self.value, found = value, row
        return found
