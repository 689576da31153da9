"""How a sweep went: which trial was with a worker when, read off the events of its journal.

    timeline = Timeline(read_events(sweep_dir / "journal.jsonl"))
    timeline.idle_share()

Time is active time: seconds since the sweep's first event, without the breaks between a driver's end and the next one's
start. A driver that was killed counts up to the last event that it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fersweep.results.record.journal import Event, read_events
from fersweep.results.record.sweep_json import SweepJson


@dataclass
class Attempt:
    """The time that a trial spent with a worker. `how` it ended: finished, stopped, failed, fault, rung: PBT compared it, or
    open: the journal, or its driver's session, ended before it did. `worker`: host and process, where the journal names them.
    """

    trial: int
    start: float
    end: float
    epochs: int = 0
    train_s: float = 0.0  # spent in epochs; the rest is starting, saving, waiting
    worker: str | None = None
    how: str = "open"


class ReportedEpoch(NamedTuple):
    """When an epoch was reported, and the number of epochs that the sweep's trials had trained by then."""

    active_s: float
    num_epochs: int


@dataclass(frozen=True)
class Cost:
    """`wall_s`: from the start of each session to its last event. `trial_s`: the time of all trials together."""

    wall_s: float
    trial_s: float


class Timeline:
    """Attempts and epochs in active time.

    Attributes:
        attempts: in the order of their starts.
        epochs: trial → its epochs, in order.
        breaks: where one session followed another.
        active_s: up to the last event.
        began, last: first and last event, seconds since 1970 (UTC).
        suggest_s: how long each suggestion took; journals of earlier versions do not say.
        most_reports: that came within one second.
    """

    def __init__(self, events: Iterable[Event]):
        self.attempts: list[Attempt] = []
        self.epochs: dict[int, list[ReportedEpoch]] = {}
        self.breaks: list[float] = []
        self.active_s = 0.0
        self.began: float | None = None
        self._open: dict[int, Attempt] = {}
        self.last = self._session = 0.0
        self.suggest_s: list[float] = []
        self.most_reports = 0
        self._reports = 0, 0  # the second of the last report, and how many have come in it
        self._num_epochs = 0
        for event in events:
            self._apply(event)
        for attempt in self._open.values():
            attempt.end = self.active_s
        self.attempts.sort(key=lambda attempt: attempt.start)

    def _apply(self, event: Event) -> None:
        kind, time = event["event"], event["time"]
        started = kind == "session" and event["action"] == "started"
        if self.began is None:
            self.began = time
        elif not started:
            self.active_s += max(time - self.last, 0.0)
        if started:
            for trial in list(self._open):
                self._end(trial, "open")
            if self.active_s:
                self.breaks.append(self.active_s)
            self._session = self.active_s
        self.last = time
        if kind == "sampled":
            self._begin(event["trial"], self.active_s)
            self.suggest_s += [event["suggest_s"]] if "suggest_s" in event else []
        elif kind == "report":
            self._report(event)
        elif kind in ("compared", "exploited"):  # it may have waited for its turn since its last report
            if attempt := self._open.pop(event["trial"], None):
                attempt.how = "rung"
            self._begin(event["trial"], self.active_s)
        elif kind in ("fault", "ended"):
            self._end(event["trial"], "fault" if kind == "fault" else event["state"])

    def _begin(self, trial: int, start: float) -> Attempt:
        self._open[trial] = Attempt(trial, start, start)
        self.attempts.append(self._open[trial])
        return self._open[trial]

    def _report(self, event: Event) -> None:
        second, number = self._reports
        self._reports = int(event["time"]), number + 1 if int(event["time"]) == second else 1
        self.most_reports = max(self.most_reports, self._reports[1])
        trial, known = event["trial"], self.epochs.setdefault(event["trial"], [])
        fresh, train_s = 0, 0.0
        for row in event["epochs"]:
            if row["epoch"] == len(known) + 1:  # as the journal is replayed
                self._num_epochs += 1
                known.append(ReportedEpoch(self.active_s, self._num_epochs))
                fresh, train_s = fresh + 1, train_s + row.get("epoch_s", 0.0)
        attempt = self._open.get(trial)
        if attempt is None:  # an unfinished trial was handed out again, of which the journal has no event
            attempt = self._begin(trial, max(self._session, self.active_s - train_s))
        attempt.epochs += fresh
        attempt.train_s += train_s
        attempt.end = self.active_s
        if worker := event.get("worker"):
            attempt.worker = f"{worker['host']}, process {worker['pid']}"

    def _end(self, trial: int, how: str) -> None:
        if attempt := self._open.pop(trial, None):
            attempt.end, attempt.how = self.active_s, how

    @property
    def workers_known(self) -> bool:
        """Whether the journal names the worker of each attempt that reported anything."""
        reported = [attempt for attempt in self.attempts if attempt.epochs]
        return bool(reported) and all(attempt.worker for attempt in reported)

    def lanes(self) -> list[tuple[Attempt, str]]:
        """Each attempt and the lane that it is drawn in: its worker, `WORKER (2)` where that has others at the same time. Where the journal names none, there are as few lanes
        as are needed so that no two attempts overlap.
        """
        if not self.workers_known:
            numbers = _lane_numbers([(attempt.start, attempt.end) for attempt in self.attempts])
            return [(attempt, f"worker {lane + 1}") for attempt, lane in zip(self.attempts, numbers, strict=True)]
        of_worker: dict[str | None, list[Attempt]] = {}
        for attempt in self.attempts:
            of_worker.setdefault(attempt.worker, []).append(attempt)
        lanes: dict[int, str] = {}
        for worker, attempts in of_worker.items():
            numbers = (
                _lane_numbers([(attempt.start, attempt.end) for attempt in attempts]) if worker else [0] * len(attempts)
            )
            for attempt, lane in zip(attempts, numbers, strict=True):
                lanes[id(attempt)] = f"{worker or 'before a first report'}{f' ({lane + 1})' if lane else ''}"
        return [(attempt, lanes[id(attempt)]) for attempt in self.attempts]

    def _busy(self) -> list[tuple[float, float]]:
        """When workers had trials: start and end of each stretch, one where a worker had several trials at once."""
        stretches: list[tuple[float, float]] = []
        last: dict[str, int] = {}  # the latest stretch of each worker
        for attempt in self.attempts:
            at = last.get(attempt.worker) if attempt.worker else None
            if at is not None and attempt.start < stretches[at][1] - 1e-6:
                stretches[at] = stretches[at][0], max(stretches[at][1], attempt.end)
                continue
            if attempt.worker:
                last[attempt.worker] = len(stretches)
            stretches.append((attempt.start, attempt.end))
        return stretches

    @property
    def num_at_once(self) -> int:
        """The most trials that were with workers at the same time."""
        return max(_lane_numbers([(attempt.start, attempt.end) for attempt in self.attempts]), default=-1) + 1

    @property
    def num_workers(self) -> int:
        """The most workers that had trials at the same time; where the journal does not name them, one for each trial."""
        return max(_lane_numbers(self._busy()), default=-1) + 1

    def idle_share(self) -> float:
        """Share of the workers' time (as many as were at work at once, from the first event to the last) without a trial."""
        available = self.num_workers * self.active_s
        return 1 - sum(end - start for start, end in self._busy()) / available if available else 0.0

    def training_share(self) -> float:
        """Share of the same time that was spent in epochs."""
        available = self.num_workers * self.active_s
        return min(sum(attempt.train_s for attempt in self.attempts) / available, 1.0) if available else 0.0


def _lane_numbers(stretches: Sequence[tuple[float, float]]) -> list[int]:
    """The lane of each stretch (start, end), in the order of their starts: as few as there are at once."""
    free_at: list[float] = []
    numbers: list[int] = []
    for start, end in stretches:
        lane = next((i for i, at in enumerate(free_at) if at <= start + 1e-6), len(free_at))
        free_at[lane : lane + 1] = [end]
        numbers.append(lane)
    return numbers


def cost(journal: Path) -> Cost:
    """What a sweep took, by its journal.

    A trial's time is that between its events, alone or beside others; where a session picks it up, the training time of its first report.
    """
    wall_s = trial_s = started = last = 0.0
    since: dict[int, float] = {}
    for event in read_events(journal):
        at, kind, trial = event["time"], event["event"], event.get("trial", -1)
        if kind == "session" and event["action"] == "started":
            wall_s, started, since = wall_s + max(last - started, 0.0), at, {}  # a clock may be set back
        elif kind in ("report", "ended", "fault"):
            trained = sum(row.get("epoch_s", 0.0) for row in event.get("epochs", ()))
            trial_s += max(at - since[trial], 0.0) if trial in since else trained
        last = at
        if kind in ("sampled", "report"):
            since[trial] = at
        elif kind != "session":
            since.pop(trial, None)
    return Cost(wall_s + max(last - started, 0.0), trial_s)


def planned_and_taken(sweep: SweepJson, sweep_dir: Path) -> str | None:
    """How long a sweep was planned to take, and how long it took, in words; None where `fersweep plan` was not asked, or for
    other numbers of trials and epochs.
    """
    planned, asked = sweep.planned, sweep.asked
    if planned is None or (planned.num_trials, planned.max_epochs) != (asked.search.num_trials, asked.stop.max_epochs):
        return None
    return planned.against(cost(sweep_dir / "journal.jsonl").wall_s)
