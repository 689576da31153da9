"""What a scheduler is to the search: a rule that reads the journal."""

from __future__ import annotations

from typing import Protocol

from fersweep.results.record.journal import SweepRecord


class Rule(Protocol):
    """Keeps no state of its own: what it looks at is a function of the record (results/record/ranking/derived.py)."""

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        """Why the running trial `number`, which has just been trained from epoch `before` on, ends; None: it goes on."""
        ...
