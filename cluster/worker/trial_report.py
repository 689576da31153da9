"""What a worker reports of a trial, and what an error says of it."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Any

from fersweep.cluster.worker.resource_usage import Usage
from fersweep.common.own_code.importing import not_copied, where
from fersweep.common.text import masked
from fersweep.trainables.protocol import TrialFailed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class TrialReport:
    """What a trial reports to its driver.

    Attributes:
        trial: its number.
        epochs: metrics of each epoch since its last report.
        status: "running", "finished", "failed" (for a reason of its own), "fault" (an unforeseen error, to be tried
            again), "storage" (what was trained could not be saved).
        reason: of that status, in a line.
        notes: what a person should know, e.g. of a damaged checkpoint.
        worker: what its process uses; None if that was not measured.
        costs: what its model costs (costs.py), in its first report.
    """

    trial: int
    epochs: list[dict[str, float]]
    status: str
    reason: str | None
    notes: list[str] = field(default_factory=list)
    worker: Usage | None = None
    costs: dict[str, float] = field(default_factory=dict[str, float])

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "worker": self.worker.as_json() if self.worker else {}}


def verdict(error: Exception) -> tuple[str, str]:
    """The status and the one-line reason that an exception gives a trial: see TrialReport."""
    lines = masked(str(error)).strip().splitlines() or [""]
    text = f"{lines[0]}{not_copied(error)}"
    reason = text if isinstance(error, TrialFailed) else f"{type(error).__name__}{text and f': {text}'}{where(error)}"
    if isinstance(error, MemoryError):
        return "failed", f"out of memory: {lines[0]}".rstrip(": ")
    if isinstance(error, (TrialFailed, ValueError)):
        return "failed", reason
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return "storage", reason
    return "fault", reason
