"""The process of one callback: `python -m fersweep.results.callbacks.delivery SWEEP_DIR KEY [--parent PID]`.

It follows `journal.jsonl` as it grows, and calls the callback for each event, in order. How far it has come is on disk before a
call and after the last one, so that each event comes at least once: one that a crash interrupts comes again. A call that raises,
or takes longer than CALL_S, is said once a kind, and the next event follows; one that ends the process MOST_TRIES times is
left out. Whatever happens here, the sweep does not wait for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.common.own_code import copies
from fersweep.common.own_code.importing import said
from fersweep.common.own_code.separate import TooLong, time_limit
from fersweep.common.processes import bounded_memory, yield_to_the_sweep
from fersweep.common.text import masked, one_line, printable
from fersweep.common.untrusted import GB
from fersweep.results.callbacks import delivered
from fersweep.results.callbacks.classes import made
from fersweep.results.callbacks.delivered import DIRECTORY, MOST_SAID, Delivered, keyed
from fersweep.results.callbacks.hearing import Call, Hearing
from fersweep.results.record.journal import events_after
from fersweep.results.record.sweep_json import read_sweep_json

POLL_S = 0.25
CALL_S = 60.0  # for one call
MOST_TRIES = 3
MEMORY_BYTES = 4 * GB
LEFT_ALONE_S = 60.0  # after the driver's end
OOM_FIRST = "1000"  # of Linux's oom_score_adj: where memory runs out, this process goes before any trial


class _Delivery:
    def __init__(self, sweep_dir: Path, key: str, parent: int | None):
        sweep = read_sweep_json(sweep_dir)
        copies.note(sweep_dir)
        self._dir, self._key, self._parent = sweep_dir, key, parent
        self._callback = keyed(sweep.asked)[key]
        self._hearing = Hearing(sweep, sweep_dir)
        self._state = delivered.read(sweep_dir, key)
        self._written: Delivered | None = None
        self._kinds = {_kind(line) for line in self._state.said}
        journal = sweep_dir / "journal.jsonl"
        if journal.exists() and self._state.offset > journal.stat().st_size:  # an older copy was put back
            self._state = self._state.model_copy(update={"offset": journal.stat().st_size, "tries": 0})

    def run(self) -> None:
        try:
            instance = made(self._callback)
        except InputError as error:
            self._say(str(error).removeprefix("callbacks: "))
            raise
        journal, offset = self._dir / "journal.jsonl", 0
        while True:
            driven = self._parent is not None and os.getppid() == self._parent  # before the journal is read
            for event, end in events_after(journal, offset):
                if end <= self._state.offset:
                    self._hearing.skip(event)
                else:
                    self._deliver(instance, self._hearing.calls(event), offset, end)
                offset = end
            if self._state != self._written:
                self._write()
            if not driven or self._session_has_ended():
                return
            time.sleep(POLL_S)

    def _session_has_ended(self) -> bool:
        return self._hearing.session_pid == self._parent and self._hearing.record.action != "started"

    def _deliver(self, instance: object, calls: Sequence[Call], start: int, end: int) -> None:
        calls = [(method, facts) for method, facts in calls if callable(getattr(instance, method, None))]
        tries = self._state.tries if self._state.offset == start else 0
        if not calls:
            self._state = self._state.model_copy(update={"offset": end, "tries": 0})
            return
        if tries >= MOST_TRIES:
            self._say(f"{calls[0][0]}: it ended its process {tries} times, and the event is left out")
        else:
            self._write(offset=start, tries=tries + 1)
            for method, facts in calls:
                try:
                    with time_limit(CALL_S):
                        getattr(instance, method)(*facts)
                except BaseException as error:  # whatever it raises, the next event follows
                    self._say(f"{method}: {error if isinstance(error, TooLong) else said(error)}")
        self._state = self._state.model_copy(update={"offset": end, "tries": 0})

    def _write(self, **changes: int) -> None:
        self._state = self._state.model_copy(update=changes)
        delivered.write(self._dir, self._key, self._state)
        self._written = self._state

    def _say(self, text: str) -> None:
        """Once a kind."""
        line = masked(one_line(text, 400))
        if (kind := _kind(line)) in self._kinds or len(self._kinds) >= MOST_SAID:
            return
        self._kinds.add(kind)
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self._callback.shown}: {line}", file=sys.stderr, flush=True)
        self._state = self._state.model_copy(update={"said": [*self._state.said, line]})
        with contextlib.suppress(OSError):
            self._write()


def _kind(line: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "#", line)


def deliver(sweep_dir: Path, key: str, parent: int | None = None) -> None:
    """Have a callback hear of all that it has not heard, and, while the process `parent` drives the sweep, of what comes.

    Waits for another process that delivers to the same callback.
    """
    (sweep_dir / DIRECTORY).mkdir(exist_ok=True)
    with lock(sweep_dir / DIRECTORY / f"{key}.lock"), bounded_memory(MEMORY_BYTES):
        _Delivery(sweep_dir, key, parent).run()


def _end_after(parent: int) -> None:
    """Where the driver is gone: end this process a while later, however its callback hangs."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    time.sleep(LEFT_ALONE_S)
    os._exit(1)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Tell a callback of a sweep.")
    parser.add_argument("sweep_dir", type=Path)
    parser.add_argument("key")
    parser.add_argument("--parent", type=int, help="process that drives the sweep; deliver until it is done or gone")
    options = parser.parse_args(arguments)
    yield_to_the_sweep()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_FIRST)
    if options.parent is not None:
        threading.Thread(target=_end_after, args=(options.parent,), daemon=True).start()
    try:
        deliver(options.sweep_dir, options.key, options.parent)
    except InputError:
        os._exit(1)  # it was said
    except Exception as error:  # the disk is full, the journal is damaged
        print(f"{options.key}: given up: {printable(masked(str(error)))}", file=sys.stderr, flush=True)
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # its threads are not waited for


if __name__ == "__main__":
    main(sys.argv[1:])
