"""The journal of a sweep: one append-only file that is the only record of what happened.

`journal.jsonl` holds one JSON object a line, written by the driver alone and flushed to disk before anybody
else hears of the event. The Optuna study, the scheduler's rungs and the MLflow runs are made of it: they are rebuilt by
replaying the events in order and never hold anything that is not here.

Events: `session` (a driver started, was interrupted, finished; `code`: which version of a trainable of somebody's own it trains with; `fused`: up to how many trials train at once in each worker, where that is more than one), `sampled` (a trial got its hparams; `suggest_s`: how long its suggestion took; `attrs`: what the sampler keeps; `repeat`: of a finalist, with which of its seeds; `refused`: why its hparams cannot be built), `report` (a trial
trained one or more epochs; `worker`: what its process used; `costs`: what its model costs, measured once), `fault` (an attempt at a trial broke off, or its checkpoint
was damaged; the trial goes on; `log`: the last lines that a process wrote before it died), `ended` (a trial finished, was stopped by the scheduler, or failed), `reopened` (an ended trial
runs again: more epochs, or a failed one once more). Of PBT alone: `compared` (at `at_epoch` a trial was compared with `among` that
had reached it, and goes on), `exploited` (it goes on from the checkpoint of trial `donor` at epoch `donor_epoch`, with other hparams).

A sweep whose storage is a bucket has its journal there, in segments `journal/00000.jsonl`; the local file is a copy.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.untrusted import MB, open_regular, why
from fersweep.results.record.events import parse_event
from fersweep.results.record.ranking.derived import Derived, Ranking, Repeats, SearchTotals, Totals
from fersweep.results.record.ranking.order import Order
from fersweep.results.record.ranking.spent import Spent
from fersweep.results.record.storage import Storage
from fersweep.results.record.trial_record import STATES, Event, Report, Stretch, TrialRecord, WorkerUsage
from fersweep.results.record.trial_record import Hparams as Hparams  # imported from here by name
from fersweep.results.record.trial_record import Row as Row
from fersweep.results.record.trial_record import trial_name as trial_name
from fersweep.search_spaces.sweep_file.space.choices import drawn_distribution, drawn_params

LONGEST_LINE = 64 * MB
MOST_SPANS = 8  # of trials' numbers in a line
OF_A_TRIAL = ("report", "fault", "ended", "reopened", "compared", "exploited")  # that was sampled before

D = TypeVar("D", bound=Derived)


@dataclass
class SweepRecord:
    """A replayed journal: every trial by number, and what the last driver did: started, finished, failed, interrupted."""

    trials: dict[int, TrialRecord] = field(default_factory=dict)
    action: str | None = None
    sessions: int = 0
    fused: int = 1  # up to how many trials train at once in a worker, as the last driver began
    code: str | None = None  # of somebody's own trainable, with which trials are trained from now on
    unjudged: tuple[int, int] | None = None  # the last event, if it is a report: its trial, and its epochs before
    spent: Spent = field(default_factory=Spent, repr=False, compare=False)
    _derived: dict[tuple[Any, ...], Derived] = field(default_factory=dict, repr=False, compare=False)

    def apply(self, event: Event) -> None:
        """Fold one event in. An epoch that is already known is ignored, so a repeated report changes nothing."""
        kind = event["event"]
        if kind == "session":
            self.action = event["action"]
            if event["action"] == "started":
                self.sessions, self.code, self.fused = self.sessions + 1, event.get("code"), event.get("fused") or 1
            self.spent.hear(event, None)
            return
        self.unjudged = None
        if kind == "sampled":
            repeat: dict[str, int] = event.get("repeat") or {}
            self.trials[event["trial"]] = TrialRecord(
                number=event["trial"],
                hparams=event["hparams"],
                params=drawn_params(event.get("params", {})),
                distributions=_shared(event),
                point=event.get("point"),
                attrs=event.get("attrs", {}),
                refused=event.get("refused"),
                sampled_at=event["time"],
                repeat_of=repeat.get("of"),
                seed_index=repeat.get("seed"),
            )
        elif kind in OF_A_TRIAL:
            self._apply_to(self.trials[event["trial"]], event)
        else:
            return
        trial = self.trials[event["trial"]]
        self.spent.hear(event, trial)
        for derived in self._derived.values():
            if trial.repeat_of is None or getattr(derived, "SEES_REPEATS", False):
                derived.see(trial)

    def _apply_to(self, trial: TrialRecord, event: Event) -> None:
        kind = event["event"]
        if kind == "report":
            before = trial.num_epochs
            self.unjudged = trial.number, before
            for row in event["epochs"]:
                if row["epoch"] == trial.num_epochs + 1:
                    trial.epochs.append(row)
                    trial.reported_at.append(event["time"])
                    trial.lost = 0
            if not trial.costs and event.get("costs"):
                trial.costs = {sys.intern(name): float(value) for name, value in event["costs"].items()}
            if trial.num_epochs > before:
                trial.reports.append(Report(event["time"], trial.num_epochs, WorkerUsage.of(event)))
                if self.code is not None and self.code not in trial.codes:
                    trial.codes = (*trial.codes, self.code)
        elif kind == "fault":
            trial.retries += event["kind"] == "trial"
            trial.lost += event["kind"] == "infrastructure"
            trial.log = event.get("log", trial.log)
        elif kind == "compared":
            trial.compared_at = event["at_epoch"]
        elif kind == "exploited":
            trial.compared_at = event["at_epoch"]
            first, donor = event["at_epoch"] + 1, event["donor"]
            trial.exploits.append(Stretch(first, event["hparams"], event.get("params", {}), _shared(event), donor))
        elif kind == "ended":
            trial.state, trial.reason, trial.ended_at = event["state"], event.get("reason"), event["time"]
            trial.ends += 1
        else:
            trial.state, trial.reason, trial.ended_at, trial.retries = "running", None, None, 0
            trial.reopened = True

    def derived(self, kind: Callable[..., D], *arguments: Hashable) -> D:
        """What derived.py keeps level with this record: `kind(*arguments)`, the same one at each call."""
        key = (kind, *arguments)
        if key not in self._derived:
            made = self._derived[key] = kind(*arguments)
            for trial in self.trials.values():
                if trial.repeat_of is None or getattr(made, "SEES_REPEATS", False):
                    made.see(trial)
        return cast("D", self._derived[key])

    def ranking(self, order: Order | str, mode: str = "max") -> Ranking:
        """Trials of the search that have a finite value, best first; failed trials are left out. `order`: or a metric, with its mode."""
        return self.derived(Ranking, order if isinstance(order, Order) else Order(order, mode))

    def ranked(self, order: Order | str, mode: str = "max") -> list[TrialRecord]:
        """The same as a list."""
        return list(self.ranking(order, mode))

    def kept(self, order: Order, number: int | None) -> list[TrialRecord]:
        """The ended trials whose checkpoints are kept, best first: `number` of them (None: all), and of several objectives the
        whole front.
        """
        ranking = self.ranking(order)
        if number is not None and order.objectives:
            number = max(number, sum(trial.state != "running" for trial in ranking.front()))
        return list(islice((trial for trial in ranking if trial.state != "running"), number))

    @property
    def searched(self) -> list[TrialRecord]:
        """The trials of the search, without the repeats of finalists."""
        return [trial for trial in self.trials.values() if trial.repeat_of is None]

    def ended_repeats(self) -> list[TrialRecord]:
        """The repeats of finalists that have ended and not failed: their checkpoints are kept, too."""
        repeats = self.derived(Repeats).trials.values()
        return [trial for trial in repeats if trial.state not in ("running", "failed")]

    @property
    def running(self) -> dict[int, TrialRecord]:
        """Trials that have not ended."""
        return self.derived(Totals).running

    @property
    def num_epochs(self) -> int:
        """Epochs of all trials together."""
        return self.derived(Totals).num_epochs

    @property
    def num_ended(self) -> int:
        return len(self.trials) - len(self.running)

    def commonest_failure(self) -> str:
        """`the commonest reason (4×): …` of the trials that failed; there is one."""
        reasons = Counter(str(trial.reason) for trial in self.trials.values() if trial.state == "failed")
        reason, times = reasons.most_common(1)[0]
        return f"the commonest reason ({times}×): {reason}"

    def all_failed(self) -> str | None:
        """A line on a sweep of which every trial has failed; None of any other."""
        if not self.trials or self.count()["failed"] < len(self.trials):
            return None
        if len(self.trials) == 1:
            return f"its one trial failed: {next(iter(self.trials.values())).reason}"
        return f"all {len(self.trials)} trials failed; {self.commonest_failure()}"

    def of_code(self, now: str) -> str | None:
        """A line on which trials were trained with which version of somebody's own code; None where all were with that of `now`."""
        trained: dict[tuple[str, ...], list[int]] = {}
        for trial in self.trials.values():
            if trial.codes:
                trained.setdefault(trial.codes, []).append(trial.number)
        if {code for codes in trained for code in codes} <= {now}:
            return None
        each = (f"{' and then '.join(codes)}: {_those(numbers)}" for codes, numbers in trained.items())
        return f"the code changed while the sweep ran: {'; '.join(each)}"

    def count(self, repeats: bool = True) -> dict[str, int]:
        """Number of trials by state; `repeats`: with those of finalists."""
        states = self.derived(Totals if repeats else SearchTotals).states
        return {state: states[state] for state in STATES}


def _those(numbers: list[int]) -> str:
    """`9 trials (0000 to 0007, 0009)`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    shown = ", ".join(" to ".join(map(trial_name, span)) for span in spans[:MOST_SPANS])
    return f"{len(numbers)} trial{'s' * (len(numbers) > 1)} ({shown}{', …' * (len(spans) > MOST_SPANS)})"


def _shared(event: Event) -> dict[str, str]:
    """The distributions of an event, each text once for all trials."""
    return {name: sys.intern(drawn_distribution(text)) for name, text in event.get("distributions", {}).items()}


def read_events(path: Path) -> Iterator[Event]:
    """The events of a journal in order, none where there is no file; a last line without its newline (a crash in the
    middle of a write) is left out. Raises InputError where the file cannot be read, or a line is damaged.
    """
    known, repeats = set[int](), set[int]()
    for number, line in enumerate(_lines(path), 1):
        try:
            event = parse_event(line)
            if event["event"] == "sampled":
                if repeat := event.get("repeat"):
                    if repeat["of"] not in known or repeat["of"] in repeats:
                        raise ValueError(f"`repeat` is of {repeat['of']}, which is no trial of the search before it")
                    repeats.add(event["trial"])
                known.add(event["trial"])
            elif event["event"] in OF_A_TRIAL and event["trial"] not in known:
                raise ValueError(f"trial {event['trial']} was not sampled before")
            elif event["event"] == "exploited" and event["donor"] not in known:
                raise ValueError(f"its donor, trial {event['donor']}, was not sampled before")
        except ValueError as error:
            raise _damaged(f"{path}: line {number}", error) from None
        yield event


def events_after(path: Path, offset: int) -> Iterator[tuple[Event, int]]:
    """The events that begin at byte `offset` or after it, each with the byte at which its line ends. As `read_events`."""
    for line in _lines(path, offset):
        try:
            event = parse_event(line)
        except ValueError as error:
            raise _damaged(f"{path}: the line at byte {offset}", error) from None
        offset += len(line)
        yield event, offset


def _lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} cannot be read: {why(error)}") from None
    with file:
        file.seek(offset)
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                return
            yield line


def _damaged(line: str, error: ValueError) -> InputError:
    return InputError(
        f"{line} is damaged, and is no event of a sweep ({why(error)}); put a copy of the file back, or delete this line "
        "and all after it: `resume` goes on from there"
    )


def read(path: Path) -> SweepRecord:
    """Replay the whole journal at `path` (a missing file is an empty sweep). Raises InputError as `read_events`."""
    record = SweepRecord()
    for event in read_events(path):
        record.apply(event)
    return record


class Journal:
    """The writer. One driver has it open; opening cuts off a torn last line, every append reaches the disk.

    `storage`: a bucket that gets every event before the local file does, and whose events win when it is opened.
    An append that fails raises OSError and leaves no trace; that of several together leaves none on disk.
    """

    def __init__(self, path: Path, storage: Storage | None = None):
        self.path = path
        self._segments = None if storage is None or storage.path is not None else Segments(storage)
        if self._segments:
            write_whole(path, self._segments.read())
        _cut_torn_line(path)
        self.record = read(path)
        self._now = _steady_clock()
        self._file = path.open("ab", buffering=0)
        self._together: list[Event] | None = None
        self.observers: list[Callable[[Event], None]] = []  # called with each event that is written; must not raise

    def append(self, event: str, **fields: Any) -> None:
        """Write one event and fold it into `self.record`. NaN and Inf are written as JSON's usual extensions."""
        entry = {"event": event, "time": self._now(), **fields}
        if self._together is None:
            self._write([entry])
        else:
            self._together.append(entry)
        self.record.apply(entry)
        if self._together is None:
            self._tell([entry])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Events of the block are written at its end, all at once: nobody may act on them before. A kill in it leaves none of them,
        or the first few.
        """
        self._together = []
        try:
            yield
        finally:
            entries, self._together = self._together, None
            if entries:
                self._write(entries)
                self._tell(entries)

    def _write(self, entries: Sequence[Event]) -> None:
        lines = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
        if self._segments:
            self._segments.append(lines)
        end = self._file.tell()
        try:
            if self._file.write(lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _tell(self, entries: Sequence[Event]) -> None:
        for entry in entries:
            for observer in self.observers:
                observer(entry)

    def session(self, action: str, **fields: Any) -> None:
        self.append("session", action=action, pid=os.getpid(), host=socket.gethostname(), **fields)

    def close(self) -> None:
        self._file.close()


def _steady_clock() -> Callable[[], float]:
    """Seconds since 1970 (UTC): of now, and from then on as time passes, whatever the machine's clock is set to."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first goes on while the machine sleeps
    ahead = time.time() - time.clock_gettime(clock)
    return lambda: ahead + time.clock_gettime(clock)


class Segments:
    """The journal in a bucket, which cannot append: the newest segment is written anew with each event."""

    DIRECTORY, BYTES = "journal", 64 * 1024

    def __init__(self, storage: Storage):
        self.storage = storage
        self._names = [name for name in storage.names(self.DIRECTORY) if re.fullmatch(r"\d{5,}\.jsonl", name)]
        self._number, self._content = len(self._names), b""

    def read(self) -> bytes:
        """All events so far."""
        return b"".join(self.storage.read(f"{self.DIRECTORY}/{name}") for name in self._names)

    def append(self, line: bytes) -> None:
        if len(self._content) > self.BYTES:
            self._number, self._content = self._number + 1, b""
        self.storage.write(f"{self.DIRECTORY}/{self._number:05d}.jsonl", self._content + line)
        self._content += line


def _cut_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
