"""The search itself, without Ray: which trial comes next, and whether one goes on. Everything is read from the journal.

Samplers and schedulers keep no state of their own. What they look at, the trials as Optuna's and the rungs, is a function of the
journal, kept level with it event by event (results/record/ranking/derived.py): so a suggestion and a report cost at 5,000 trials
what they cost at 500 (docs/explanation/measurements.md). A search that was interrupted and resumed suggests and stops exactly as one
that was not, given the same history.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fersweep.cluster.samplers.background import Making
from fersweep.cluster.samplers.sampler import Sampler, Suggestion
from fersweep.cluster.schedulers.pbt import Population
from fersweep.cluster.schedulers.registry import rule
from fersweep.cluster.search.assignment import Assignment, assignment_of
from fersweep.results.record.journal import Journal, SweepRecord
from fersweep.results.record.ranking import budget, finalists
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.results.record.trial_record import INFEASIBLE, TrialRecord
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import NamedPoint

if TYPE_CHECKING:
    import optuna


MIN_ENDED = 10  # the share of failures is of at least so many trials
MANY = 4  # trials that run: then a slow sampler's next suggestion begins before it is asked for, and so without their next ends
MAX_LOST = 10  # machines that a trial may lose without gaining an epoch


class TooManyFailures(RuntimeError):
    """More trials failed than the sweep's failures.max_failed_share allows."""


class Search:
    """Decides for one sweep. `journal` is the only thing that it writes.

    `history`, `points`: trials of older sweeps, and points of theirs to begin with (older_sweeps.py).
    `active`: trials that are with a worker, and when each was last heard of (seconds of time.monotonic).
    `fused`: a worker may train several trials at once.
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
        self._population = Population(sweep) if sweep.stop.scheduler == "pbt" else None
        self.active: dict[int, float] = {}
        self.fused = False

    @property
    def record(self) -> SweepRecord:
        return self.journal.record

    def waiting(self) -> list[int]:
        """Trials that have not ended and are with no worker: an interrupted driver or a lost worker left them."""
        return [number for number in self.record.running if number not in self.active]

    @property
    def remaining(self) -> int:
        """How many trials are still to be handed out: those that are waiting, those that were not sampled yet, and the
        repeats of finalists. While the search's last trials run, nobody knows yet which these are.
        """
        waiting = len(self.record.running) - len(self.active)
        if self.over() is None:
            return waiting + self.sweep.search.num_trials - self._search.num_trials
        return waiting + sum(1 for _ in self._missing_repeats())

    def over(self) -> str | None:
        """Why no further trial is sampled; None: there is more to try."""
        if self._search.num_trials >= self.sweep.search.num_trials:
            return f"search.num_trials: {self.sweep.search.num_trials}"
        if self._sampler.exhausted(self.record):
            return f"search.sampler: {self.sweep.search.sampler} has tried all its points"
        spent = budget.reached(self.record, self.sweep)
        return None if spent is None else spent.reason

    @property
    def spent(self) -> str | None:
        """What ended the search before all that was asked for; None: nothing did."""
        if self._search.num_trials < self.sweep.search.num_trials:
            return self.over()
        return next((str(trial.reason) for trial in self.record.trials.values() if budget.was_cut(trial)), None)

    def done(self) -> bool:
        """Whether every trial that was asked for has ended, and every repeat of the finalists."""
        return not self.record.running and self.over() is not None and not any(self._missing_repeats())

    @property
    def _search(self) -> SearchTotals:
        return self.record.derived(SearchTotals)

    def _missing_repeats(self) -> Iterator[tuple[TrialRecord, int]]:
        """Repeats of finalists that were not sampled yet; which they are is known when the search's trials have ended."""
        return iter(()) if self._search.running else finalists.missing(self.record, self.sweep)

    def must_be_alone(self, number: int) -> bool:
        """Whether a trial gets its last attempt, and has it alone: it should not fail for what breaks others beside it."""
        trial = self.record.trials.get(number)
        return self.fused and trial is not None and trial.retries >= self.sweep.failures.max_retries

    def next(self, wait: bool = True, beside: bool = False) -> Assignment | None:
        """The next trial to run: first those left unfinished, then new ones, then the repeats of finalists; None when all
        are handed out. Under PBT one that is at a rung is compared with the others now. One that cannot be built fails on
        the way.

        Without `wait` it is None, too, while a slow sampler makes its suggestion, in another thread. `beside`: it is to train
        beside others, which not every one may.
        """
        while True:
            number = self._next(beside)
            if number is None or (number not in self.record.trials and not self._begin(number, wait)):
                return None
            refused = self.record.trials[number].refused
            if refused is None:
                break
            self._end(number, "failed", refused)
        self._compare(number)
        self.active[number] = time.monotonic()
        if not wait and self._sampler.slow and len(self.active) >= MANY and self.over() is None:
            self.making.begin(self.record, len(self.record.trials))
        return assignment_of(self.record, number)

    def _next(self, beside: bool = False) -> int | None:
        """The trial whose turn it is; under PBT that which has passed the fewest rungs. A new one gets the next number."""
        new, population = len(self.record.trials), self._population
        waiting = [number for number in self.waiting() if not (beside and self.must_be_alone(number))]
        if population is None:
            has_more = not waiting and (self.over() is None or any(self._missing_repeats()))
            return new if has_more else min(waiting, default=None)
        if self.over() is None:
            waiting.append(new)
        trials = self.record.trials
        return min(waiting, key=lambda number: (population.turn(trials.get(number)), number), default=None)

    def _begin(self, number: int, wait: bool) -> bool:
        """Journal a new trial; False: its suggestion is not ready yet."""
        if self.over() is not None:
            self._repeat(number, *next(self._missing_repeats()))
            return True
        if not wait and self._sampler.slow:
            self.making.begin(self.record, number)
            if not self.making.is_ready():
                return False
        self._sample(number, *self._suggested(number))
        return True

    def _compare(self, number: int) -> bool:
        """Whether a trial at a rung of PBT's, whose turn it is, goes on from another one's checkpoint."""
        population, trial = self._population, self.record.trials[number]
        if population is None or not population.is_due(trial):
            return False
        exploit = population.exploit(self.record, number)
        if exploit is None:
            among = len(population.compared(self.record, trial.num_epochs))
            self.journal.append("compared", trial=number, at_epoch=trial.num_epochs, among=among)
            return False
        self.journal.append("exploited", trial=number, **vars(exploit))
        return True

    def _takes_turns(self, number: int) -> bool:
        """Whether a running trial that is at a rung of PBT's leaves its place: to one whose turn it is, or to be handed out
        again with another one's checkpoint. Of several that train at once each does: all of them are compared when all have
        come to the rung.
        """
        if self._population is None or not self._population.is_due(self.record.trials[number]):
            return False
        heard = self.active.pop(number)
        if self.fused or self._next() != number or self._compare(number):
            return True
        self.active[number] = heard
        return False

    def needed_rungs(self) -> Sequence[int]:
        """Epochs whose checkpoints of any trial may still be copied to another one; none but under PBT."""
        if self._population is None:
            return []
        return self._population.needed_rungs(self.record, len(self.record.trials) < self.sweep.search.num_trials)

    def _suggested(self, number: int) -> tuple[Suggestion, float]:
        """A suggestion, and the seconds that it took."""
        if self._sampler.slow:
            return self.making.take(self.record, number)
        start = time.perf_counter()
        return self._sampler.suggest(self.record, number), time.perf_counter() - start

    def _repeat(self, number: int, point: TrialRecord, seed: int) -> None:
        """Trial `number` is the point of another one again: its number gives its trainable another seed."""
        self.journal.append(
            "sampled",
            trial=number,
            hparams=point.hparams,
            params=point.params,
            distributions=point.distributions,
            point=point.point,
            repeat={"of": point.number, "seed": seed},
        )

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
            **({} if suggestion.refused is None else {"refused": suggestion.refused}),
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
        """Record what a trial trained; True if it ends here, or leaves its place to another one.

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
            return self._judge(number, before) or self._takes_turns(number)
        self._end(number, status, reason)
        return True

    def settle(self) -> None:
        """Judge the last report of the journal, if a driver was killed between writing it and judging it."""
        if self.record.unjudged is not None:
            self._judge(*self.record.unjudged)
            self.active.clear()

    def _judge(self, number: int, before: int) -> bool:
        """Whether a running trial that has just been trained from epoch `before` on ends: it will never keep to a constraint,
        the scheduler ends it, or the sweep's budget does. Repeats of finalists are trained in full.
        """
        trial = self.record.trials[number]
        if trial.repeat_of is not None:
            return False
        broken = self._order.infeasible(trial, for_good=True)
        reason = f"{INFEASIBLE}{broken}" if broken else self._rule.judge(self.record, number, before)
        reason = reason or budget.cuts(self.record, self.sweep)
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
