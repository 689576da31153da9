"""The state of every sweep, read from its directory alone: `fersweep status`.

A sweep is running while its driver holds `driver.lock`, or has a heartbeat on another machine, whatever its journal says
last: a killed driver wrote no end. One in a bucket is looked up there if it is asked for by name.
Imports neither Ray nor MLflow nor a framework, so that it takes no longer than reading the journals.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.files import disk_bytes, is_held
from fersweep.results.callbacks.delivered import trouble
from fersweep.results.record.drivers import LOCK, beat, is_driven
from fersweep.results.record.home import (
    find_sweep,
    refresh,
    refuse_missing_journal,
    resume_command,
    retry_options,
    sweep_directories,
)
from fersweep.results.record.journal import SweepRecord, read_events
from fersweep.results.record.ranking.budget import spending
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.ranking.finalists import final, missing
from fersweep.results.record.ranking.order import Order
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.record.timeline import planned_and_taken
from fersweep.results.tracking.lag import recorded


@dataclass(frozen=True)
class Best:
    """The best epoch of a sweep, by its metric."""

    value: float
    trial: int
    epoch: int


@dataclass(frozen=True)
class Driver:
    """The process that ran a sweep last."""

    pid: int | None
    host: str | None


@dataclass(frozen=True)
class Failure:
    """A failed trial: why, and, where its process died, the last lines that this wrote."""

    trial: int
    reason: str | None
    log: list[str]


@dataclass(frozen=True)
class SweepStatus:
    """What is known of a sweep. None: there is no such thing, or it cannot be read.

    Attributes:
        state: running, interrupted, failed, finished or unreadable.
        reason: interrupted: "killed" or "interrupted"; failed: as its driver said; finished:
            what of its budget ended it; unreadable: what is wrong.
        trials: those of the search by the journal's state, in which a trial is "running" until its end is recorded.
        failures: the trials that failed.
        budget: what is spent of each part of the search's budget, in words; spent: what of it ended the search.
        finalists: how many of their repeats have ended, in words.
        num_trials: as the sweep file asks for.
        fused: up to how many trials train at once in a worker.
        front: number of trials that no other beats in all objectives, where there are several.
        epochs: of all trials together.
        seen_at: last sign of life, seconds since 1970.
        age_s: how long ago that was.
        resume: the command that goes on.
        fersweep: the version that launched it.
        planned: how long the sweep was planned to take, and how long it took, in words; once it has finished.
        storage: its bucket.
        mlflow: what MLflow lacks of it: what is late, what it refuses for good; None: nothing.
        code: which trials were trained with which version of somebody's own code, where that has changed.
        callbacks: lines on those that failed, or lack events.
        sync: whether MLflow is level with the journal; filled by `sync`.
    """

    sweep: str
    directory: Path
    disk_bytes: int
    state: str = "unreadable"
    reason: str | None = None
    trials: dict[str, int] | None = None
    failures: list[Failure] = field(default_factory=list)
    num_trials: int | None = None
    budget: list[str] = field(default_factory=list[str])
    spent: str | None = None
    finalists: str | None = None
    metric: str | None = None
    mode: str | None = None
    best: Best | None = None
    fused: int | None = None
    front: int | None = None
    epochs: int | None = None
    seen_at: float | None = None
    age_s: float | None = None
    driver: Driver | None = None
    resume: str | None = None
    fersweep: str | None = None
    planned: str | None = None
    storage: str | None = None
    mlflow: str | None = None
    callbacks: list[str] = field(default_factory=list[str])
    code: str | None = None
    sync: str | None = None

    @property
    def num_ended(self) -> int | None:
        return None if self.trials is None else sum(self.trials.values()) - self.trials["running"]

    @property
    def num_left(self) -> int:
        """Trials that have not ended or not begun."""
        return (self.num_trials or 0) - (self.num_ended or 0)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"directory": str(self.directory)}


@dataclass(frozen=True)
class _Replay:
    """A replayed journal: its trials, when its last event was, and the last event that a driver wrote of itself."""

    record: SweepRecord
    last_event_at: float | None
    session: dict[str, Any] | None

    @property
    def driver(self) -> Driver | None:
        return None if self.session is None else Driver(self.session.get("pid"), self.session.get("host"))


def status(home: Path, name: str | None = None) -> list[SweepStatus]:
    """What is known of each sweep under `home`, by name, or of `name` alone. InputError if there is no sweep `name`."""
    if name is None:
        return [_describe(directory) for directory in sweep_directories(home)]
    return [_describe(find_sweep(home, name), refreshed="://" not in name)]


def from_bucket(directory: Path) -> None:
    """Make the record of a sweep in a bucket what it is there: a driver on another machine may have gone on with it.

    InputError where the bucket has lost the journal.
    """
    try:
        storage = read_sweep_json(directory).storage(directory)
    except InputError:  # which is said of it below
        return
    if storage.path is not None or is_held(directory / LOCK):
        return
    try:
        refresh(Storage(storage.address, retry_s=1), directory)
    except OSError as error:
        line = f"{directory.name}: {storage.address} does not answer ({_one_line(error)}): this is of old"
        print(line, file=sys.stderr)


def _describe(directory: Path, refreshed: bool = False) -> SweepStatus:
    num_bytes = disk_bytes(directory.resolve())
    try:
        if refreshed:
            from_bucket(directory)
        return _read(directory, num_bytes)
    except Exception as error:  # whatever is wrong with one sweep, the others are shown
        reason = _one_line(error).replace(f"{directory}/", "")
        return SweepStatus(directory.name, directory, num_bytes, reason=reason)


def _read(directory: Path, num_bytes: int) -> SweepStatus:
    held = is_held(directory / LOCK)  # before the journal: a driver that ends in between has written its end
    sweep = read_sweep_json(directory)
    replay = _replay(directory / "journal.jsonl")
    record, num_trials = replay.record, sweep.asked.search.num_trials
    if (storage := sweep.storage(directory)).path is not None:
        refuse_missing_journal(storage, record)
    state, reason = _state(held, record.action, (replay.session or {}).get("reason"))
    if reason == "killed" and is_driven(directory, storage, replay.session):
        state, reason = "running", None
    all_failed = record.all_failed() if record.derived(SearchTotals).num_ended >= num_trials else None
    if state == "finished" and all_failed:  # an older version's
        state, reason = "failed", all_failed
    retry = f" {retry_options(sweep.asked.trainable)}" if all_failed else ""
    seen_at = max(filter(None, (replay.last_event_at, beat(directory))), default=None)
    parts, judged = spending(record, sweep.asked), final(record, sweep.asked)
    spent = next((part.reason for part in parts if part.reached), None)
    ended = record.derived(SearchTotals).num_ended
    more = (ended < num_trials and spent is None) or any(missing(record, sweep.asked))
    goes_on = state in ("interrupted", "failed") or (state == "finished" and more)
    return SweepStatus(
        sweep=directory.name,
        directory=directory,
        disk_bytes=num_bytes,
        state=state,
        reason=reason,
        trials=record.count(repeats=False),
        failures=[Failure(t.number, t.reason, t.log) for t in record.trials.values() if t.state == "failed"],
        num_trials=num_trials,
        budget=[part.text for part in parts],
        spent=spent,
        finalists=f"{judged.progress} repeats" if judged else None,
        metric=sweep.metric,
        mode=sweep.mode,
        best=_best(record, sweep.order),
        fused=record.fused,
        front=len(record.ranking(sweep.order).front()) if sweep.order.objectives else None,
        epochs=record.num_epochs,
        seen_at=seen_at,
        age_s=None if seen_at is None else round(max(time.time() - seen_at, 0.0), 1),
        driver=replay.driver,
        resume=resume_command(directory) + retry if goes_on else None,
        fersweep=sweep.versions.get("fersweep"),
        planned=planned_and_taken(sweep, directory) if state == "finished" else None,
        storage=sweep.asked.storage,
        mlflow=recorded(directory, record, running=state == "running"),
        callbacks=trouble(directory, sweep.asked, running=state == "running"),
        code=record.of_code(sweep.asked.trainable),
    )


def _best(record: SweepRecord, order: Order) -> Best | None:
    """None: no trial has a value and keeps to the constraints."""
    trial = record.ranking(order).best()
    row = None if trial is None else trial.best(order.metric, order.mode)
    return Best(row[order.metric], trial.number, int(row["epoch"])) if trial and row else None


def _replay(path: Path) -> _Replay:
    """One pass: journals are long."""
    record, last_event_at, session = SweepRecord(), None, None
    for event in read_events(path):
        record.apply(event)
        last_event_at = float(event["time"])
        if event["event"] == "session":
            session = event
    return _Replay(record, last_event_at, session)


def _state(running: bool, action: str | None, reason: str | None) -> tuple[str, str | None]:
    """State and reason. A journal that says "started", or nothing yet, without a driver: the driver was killed."""
    if running:
        return "running", None
    if action in ("finished", "failed"):
        return action, reason
    return "interrupted", "interrupted" if action == "interrupted" else "killed"


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}".removesuffix(": ")
