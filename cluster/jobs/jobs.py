"""The sweeps of a cluster as its jobs: found by the sweep's name, read, and stopped.

A job is named SWEEP@N, the N-th of that sweep: two submitted at once want the same name, and Ray refuses the second.
"""

# Ray's client has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fersweep.cluster.jobs.api import JobsApi
from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError, hint

SWEEP, HOME, STORAGE, COMMAND = "fersweep_sweep", "fersweep_home", "fersweep_storage", "fersweep_command"  # metadata
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
STOP_WAIT_S = 60  # between SIGTERM and SIGKILL, where Ray gives 3: running trials have 20 s to report, then MLflow 10
POLL_S = 1.0
NUM_LINES = 3


@dataclass(frozen=True)
class Job(AsJson):
    """A job of a cluster.

    Attributes:
        id: Ray's name of it.
        sweep: its sweep; None: a job of somebody else.
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        home, storage: where the sweep's record is, as the cluster's machines see it.
        command: what submitted it.
        started_at, ended_at: seconds since 1970.
        exit_code: of its driver.
        joined: whether its driver has joined the cluster.
        message: Ray's own, of several lines.
    """

    id: str
    sweep: str | None
    state: str
    home: str | None = None
    storage: str | None = None
    command: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    joined: bool = False
    message: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


class Jobs:
    """The jobs of one cluster. Its methods raise RuntimeError where the API does not answer as it should."""

    def __init__(self, api: JobsApi):
        self.api = api
        with _told(api):
            self._client = api.client()

    def all(self) -> list[Job]:
        """The newest last."""
        with _told(self.api):
            found = [_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: (job.started_at or 0.0, job.id))

    def of(self, sweep: str) -> list[Job]:
        """The jobs of a sweep, the newest last; none where it has none."""
        return [job for job in self.all() if job.sweep == sweep]

    def newest(self, sweep: str) -> Job:
        """The last job of a sweep. Raises InputError naming the sweeps that have one."""
        jobs = self.all()
        for job in reversed(jobs):
            if sweep in (job.sweep, job.id):
                return job
        names = sorted({job.sweep for job in jobs if job.sweep is not None})
        known = hint(sweep, names) if names else "it has had none (fersweep launch … --submit sends one)"
        raise InputError(f"{self.api.named}: the cluster has no job of a sweep {sweep!r}: {known}")

    def look(self, job: Job) -> Job:
        """The job as it is now."""
        with _told(self.api):
            return _job(self._client.get_job_info(job.id))

    def submit(self, number: int, sweep: str, entrypoint: str, runtime_env: dict[str, Any], **metadata: str) -> Job:
        """Send a job → as it is then. InputError where another one has that number by now."""
        name = f"{sweep}@{number}"
        with _told(self.api):
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=name,
                    runtime_env=runtime_env,
                    metadata={SWEEP: sweep, **metadata},
                )
            except RuntimeError as error:
                if f"{name} already exists" in str(error):
                    raise InputError(f"sweep {sweep} was submitted by somebody else just now, as job {name}") from None
                if "No available agent" in str(error):
                    raise RuntimeError(
                        f"{self.api.named}: no dashboard agent runs on the head, which starts jobs: its port may be another "
                        f"Ray's of that machine (ray start --dashboard-agent-listen-port=…)"
                    ) from None
                raise
            return _job(self._client.get_job_info(name))

    def log(self, job: Job) -> str:
        """What its driver has printed so far."""
        with _told(self.api):
            return str(self._client.get_job_logs(job.id))

    def follow(self, job: Job) -> Iterator[str]:
        """What its driver has printed, and goes on to print, until it ends. A broken connection is taken up again."""
        import asyncio

        loop, num_seen = asyncio.new_event_loop(), 0
        try:
            while True:
                tail, num_read = self._client.tail_job_logs(job.id), 0
                try:
                    while True:
                        text = loop.run_until_complete(anext(tail))
                        before, num_read = num_read, num_read + len(text)
                        if num_read > num_seen:
                            yield text[max(num_seen - before, 0) :]
                            num_seen = num_read
                except StopAsyncIteration:
                    pass
                except Exception as error:  # of aiohttp, or RuntimeError
                    time.sleep(POLL_S)
                    if self.look(job).has_ended and not num_read:
                        raise RuntimeError(f"{self.api.named}: the log of {job.id} cannot be read: {error}") from None
                    continue
                if self.look(job).has_ended:
                    return
                time.sleep(POLL_S)
        finally:
            loop.close()

    def stop(self, job: Job) -> None:
        """Ask its driver to end, and return at once."""
        with _told(self.api):
            self._client.stop_job(job.id)

    def wait(self, job: Job, done: Callable[[Job], bool], seconds: float) -> Job:
        """The job when `done(job)`, when it has ended, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while not done(job) and not job.has_ended and time.monotonic() < deadline:
            time.sleep(POLL_S)
            job = self.look(job)
        return job


@contextmanager
def _told(api: JobsApi) -> Iterator[None]:
    """RuntimeErrors of Ray's client in one line: the last one of its traceback."""
    import requests

    try:
        yield
    except InputError:
        raise
    except (RuntimeError, requests.RequestException, OSError) as error:
        lines = [line for line in str(error).splitlines() if line.strip(" .")]
        raise RuntimeError(f"{api.named}: {lines[-1] if lines else type(error).__name__}") from None


def _job(details: Any) -> Job:
    known = details.metadata or {}
    return Job(
        id=details.submission_id,
        sweep=known.get(SWEEP),
        state=str(details.status.value),
        home=known.get(HOME),
        storage=known.get(STORAGE),
        command=known.get(COMMAND),
        started_at=details.start_time / 1000 if details.start_time else None,
        ended_at=details.end_time / 1000 if details.end_time else None,
        exit_code=details.driver_exit_code,
        joined=details.job_id is not None,
        message=details.message or "",
    )
