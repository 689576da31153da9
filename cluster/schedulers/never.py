"""No early end."""

from __future__ import annotations

from fersweep.results.record.journal import SweepRecord
from fersweep.search_spaces.sweep_file.schema import Stop


class Never:
    def __init__(self, stop: Stop): ...

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        return None
