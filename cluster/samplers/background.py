"""A suggestion that is made in a thread of its own: what takes seconds must not keep the reports of running trials waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fersweep.cluster.samplers.sampler import Sampler, Suggestion
from fersweep.results.record.journal import SweepRecord

PATIENCE_S = 5.0  # for a suggestion that nobody wants any more


class Making:
    """One suggestion at a time. It sees the record as it is when it begins; nothing of it is written before it is taken."""

    def __init__(self, sampler: Sampler):
        self._sampler = sampler
        self._now: _Made | None = None

    def begin(self, record: SweepRecord, number: int) -> None:
        """Begin with trial `number`, unless it has begun."""
        if self._now is None or self._now.number != number:
            self.drop()
            start = time.perf_counter()
            finish = self._sampler.begin(record, number)
            self._now = _Made(number, finish, time.perf_counter() - start)

    def is_ready(self) -> bool:
        return self._now is not None and not self._now.thread.is_alive()

    def take(self, record: SweepRecord, number: int) -> tuple[Suggestion, float]:
        """The suggestion, when it is there, and the seconds that it took. Raises what the sampler raised."""
        self.begin(record, number)
        assert self._now is not None
        now, self._now = self._now, None
        now.thread.join()
        if now.error is not None:
            raise now.error
        assert now.suggestion is not None
        return now.suggestion, now.took_s

    def drop(self) -> None:
        """Forget what is being made. It is waited for: a process should not end in the middle of it."""
        if self._now is not None:
            self._now.thread.join(PATIENCE_S)
        self._now = None


class _Made:
    """What a thread makes: `suggestion`, or the `error` that it came to."""

    def __init__(self, number: int, finish: Callable[[], Suggestion], took_s: float):
        self.number, self.took_s = number, took_s
        self.suggestion: Suggestion | None = None
        self.error: Exception | None = None
        self._finish = finish
        self.thread = threading.Thread(target=self._make, name="suggestion", daemon=True)
        self.thread.start()

    def _make(self) -> None:
        start = time.perf_counter()
        try:
            self.suggestion = self._finish()
        except Exception as error:  # it is the driver's, which takes it
            self.error = error
        self.took_s += time.perf_counter() - start
