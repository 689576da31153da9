"""The search itself, without Ray: which trial comes next, and whether one goes on. Everything is read from the journal.

Samplers and schedulers keep no state of their own. What they look at, the trials as Optuna's and the rungs, is a function of the
journal, kept level with it event by event (results/record/ranking/derived.py): so a suggestion and a report cost at 5,000 trials
what they cost at 500 (docs/measurements.md). A search that was interrupted and resumed suggests and stops exactly as one
that was not, given the same history.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fersweep.cluster.samplers.background import Making
from fersweep.cluster.samplers.sampler import Sampler, Suggestion
from fersweep.cluster.schedulers.registry import rule
from fersweep.results.record.journal import Journal, SweepRecord
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.results.record.trial_record import INFEASIBLE
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import NamedPoint

if TYPE_CHECKING:
    import optuna


MIN_ENDED = 10  # the share of failures is of at least so many trials
MANY = 4  # trials that run: then a slow sampler's next suggestion begins before it is asked for, and so without their next ends
MAX_LOST = 10  # machines that a trial may lose without gaining an epoch


@dataclass(frozen=True)
class Assignment:
    """What a worker gets: a trial, its hparams, and how many of its epochs are in the journal already."""

    trial: int
    hparams: dict[str, Any]
    known_epochs: int


class TooManyFailures(RuntimeError):
    """More trials failed than the sweep's failures.max_failed_share allows."""


class Search:
    """Decides for one sweep. `journal` is the only thing that it writes.

    `history`, `points`: trials of older sweeps, and points of theirs to begin with (older_sweeps.py).
    `active`: trials that are with a worker, and when each was last heard of (seconds of time.monotonic).
    """

    def __init__(
        self,
        sweep: Sweep,
        journal: Journal,
        history: Sequence[OlderTrial] = (),
        points: Sequence[NamedPoint] = (),
    ):
        self.sweep, self.journal = sweep, journal
        self._sampler = Sampler(sweep, history, points, journal.path.parent)
        self.making = Making(self._sampler)
        self._rule = rule(sweep.stop)
        self._order = order_of(sweep)
        self.active: dict[int, float] = {}

    @property
    def record(self) -> SweepRecord:
        return self.journal.record

    def waiting(self) -> list[int]:
        """Trials that have not ended and are with no worker: an interrupted driver or a lost worker left them."""
        return [number for number in self.record.running if number not in self.active]

    @property
    def remaining(self) -> int:
        """How many trials are still to be handed out: those that are waiting, and those that were not sampled yet."""
        all_trials = max(self._num_wanted, len(self.record.trials))
        return all_trials - self.record.num_ended - len(self.active)

    def done(self) -> bool:
        """Whether every trial that was asked for has ended."""
        return self.record.num_ended == len(self.record.trials) >= self._num_wanted

    @property
    def _num_wanted(self) -> int:
        """search.num_trials, or fewer where the sampler has no more points."""
        num_trials = self.sweep.search.num_trials
        return min(num_trials, len(self.record.trials)) if self._sampler.exhausted(self.record) else num_trials

    def next(self, wait: bool = True) -> Assignment | None:
        """The next trial to run: first those left unfinished, then new ones; None when all are handed out.

        Without `wait` it is None, too, while a slow sampler makes its suggestion, in another thread.
        """
        number = min(self.waiting(), default=None)
        if number is None:
            number = len(self.record.trials)
            if number >= self._num_wanted:
                return None
            if not wait and self._sampler.slow:
                self.making.begin(self.record, number)
                if not self.making.is_ready():
                    return None
            self._sample(number, *self._suggested(number))
        trial = self.record.trials[number]
        self.active[number] = time.monotonic()
        if not wait and self._sampler.slow and len(self.active) >= MANY and len(self.record.trials) < self._num_wanted:
            self.making.begin(self.record, len(self.record.trials))
        return Assignment(number, trial.hparams, trial.num_epochs)

    def _suggested(self, number: int) -> tuple[Suggestion, float]:
        """A suggestion, and the seconds that it took."""
        if self._sampler.slow:
            return self.making.take(self.record, number)
        start = time.perf_counter()
        return self._sampler.suggest(self.record, number), time.perf_counter() - start

    def _sample(self, number: int, suggestion: Suggestion, took_s: float) -> None:
        from optuna.distributions import distribution_to_json

        distributions = {name: distribution_to_json(d) for name, d in suggestion.distributions.items()}
        self.journal.append(
            "sampled",
            trial=number,
            hparams=suggestion.hparams,
            params=suggestion.params,
            distributions=distributions,
            point=suggestion.point,
            **({"attrs": suggestion.attrs} if suggestion.attrs else {}),
            suggest_s=round(took_s, 6),
        )

    def study(self) -> optuna.Study:
        """The journal as an Optuna study."""
        return self._sampler.study(self.record)

    def report(
        self,
        number: int,
        epochs: list[dict[str, float]],
        status: str,
        reason: str | None = None,
        worker: dict[str, Any] | None = None,
        costs: dict[str, float] | None = None,
    ) -> bool:
        """Record what a trial trained; True if it ends here.

        Args:
            number: the trial.
            epochs: metrics of each epoch since its last report; may be empty.
            status: "running", or how the trial ended by itself: "finished", "failed".
            reason: of a failure or of an early end.
            worker: what its process uses (cluster/worker/resource_usage.py).
            costs: what its model costs (cluster/worker/costs.py), in its first report.
        """
        self.active[number] = time.monotonic()
        before = self.record.trials[number].num_epochs
        self._record_epochs(number, epochs, worker, costs)
        if status == "running":
            return self._judge(number, before)
        self._end(number, status, reason)
        return True

    def settle(self) -> None:
        """Judge the last report of the journal, if a driver was killed between writing it and judging it."""
        if self.record.unjudged is not None:
            self._judge(*self.record.unjudged)
            self.active.clear()

    def _judge(self, number: int, before: int) -> bool:
        """Whether a running trial that has just been trained from epoch `before` on ends: it will never keep to a constraint, or
        the scheduler ends it.
        """
        broken = self._order.infeasible(self.record.trials[number], for_good=True)
        reason = f"{INFEASIBLE}{broken}" if broken else self._rule.judge(self.record, number, before)
        if reason is not None:
            self._end(number, "stopped", reason)
        return reason is not None

    def _record_epochs(
        self,
        number: int,
        epochs: list[dict[str, float]] | None,
        worker: dict[str, Any] | None,
        costs: dict[str, float] | None,
    ) -> None:
        if epochs:
            others = {"worker": worker, "costs": costs}
            self.journal.append("report", trial=number, epochs=epochs, **{k: v for k, v in others.items() if v})

    def fault(
        self,
        number: int,
        kind: str,
        reason: str,
        epochs: list[dict[str, float]] | None = None,
        worker: dict[str, Any] | None = None,
        log: Sequence[str] = (),
        costs: dict[str, float] | None = None,
    ) -> None:
        """Record that an attempt at a trial failed; the trial is tried again, or fails.

        Args:
            kind: "trial" (its process died, or an unforeseen error was raised: at most failures.max_retries times),
                "infrastructure" (a machine was lost: any number of times, while epochs are gained in between).
            epochs, worker, costs: what the attempt had trained since its last report, as in `report`.
            log: the last lines that a process wrote before it died.
        """
        self._record_epochs(number, epochs, worker, costs)
        self.journal.append("fault", trial=number, kind=kind, reason=reason, **({"log": list(log)} if log else {}))
        trial = self.record.trials[number]
        if trial.retries > self.sweep.failures.max_retries or trial.lost > MAX_LOST:
            tries = trial.retries + trial.lost
            self._end(number, "failed", reason if tries == 1 else f"{reason} ({tries} attempts)")
        else:
            self.active.pop(number, None)

    def _end(self, number: int, status: str, reason: str | None) -> None:
        self.journal.append("ended", trial=number, state=status, reason=reason)
        self.active.pop(number, None)
        failures, ended = self.sweep.failures, self.record.num_ended
        failed = self.record.count()["failed"]
        num_trials = max(ended, min(MIN_ENDED, self.sweep.search.num_trials))
        if status == "failed" and failed > failures.max_failed_share * num_trials:
            raise TooManyFailures(
                f"{failed} of {ended} trials failed, which is more than failures.max_failed_share "
                f"({failures.max_failed_share:g}) allows; {self.record.commonest_failure()}"
            )
