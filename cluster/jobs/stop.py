"""Stop a sweep that runs as a job, from any machine that reaches the cluster's Jobs API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fersweep.cluster.jobs.jobs import STOP_WAIT_S, Job, Jobs
from fersweep.common.display.as_json import AsJson
from fersweep.common.display.tables import age
from fersweep.common.text import shell

WAIT_S = STOP_WAIT_S + 15.0


@dataclass(frozen=True)
class StoppedJob(AsJson):
    """What became of it. state: of the job; "running" if it did not end in time. resume: the command that goes on."""

    sweep: str
    job: str
    state: str
    line: str
    resume: str | None


def stop_job(jobs: Jobs, sweep: str, say: Callable[[str], None]) -> StoppedJob:
    """Ask the sweep's driver to stop, and wait until it has: its running trials report once more, with their checkpoint.

    Raises InputError where the cluster has no job of this sweep. One that has ended is left as it is.
    """
    job = jobs.newest(sweep)
    if job.has_ended:
        return _stopped(job, f"does not run: its job {job.id} {_ended(job)}")
    jobs.stop(job)
    say(f"{sweep}: job {job.id} is asked to stop; trials that run report once more, with their checkpoint")
    job = jobs.wait(job, lambda _: False, WAIT_S)
    if not job.has_ended:
        line = f"{sweep}: job {job.id} still runs after {WAIT_S:.0f} s; ask again"
        return StoppedJob(sweep, job.id, "running", line, None)
    return _stopped(job, "had just ended" if job.state == "SUCCEEDED" else "is stopped")


def _ended(job: Job) -> str:
    ended = {"SUCCEEDED": "finished", "FAILED": "failed", "STOPPED": "was stopped"}[job.state]
    took = "" if job.ended_at is None or job.started_at is None else f" after {age(job.ended_at - job.started_at)}"
    return ended + took


def _stopped(job: Job, what: str) -> StoppedJob:
    resume = None if job.state == "SUCCEEDED" else job.command
    line = f"{job.sweep or job.id} {what}" + (f"; go on with: {resume}" if resume else "")
    if resume and job.home and not job.storage:
        line += f" (or, on a machine of the cluster: {shell('fersweep', 'resume', job.sweep, '--home', job.home)})"
    return StoppedJob(job.sweep or job.id, job.id, job.state.lower(), line, resume)
