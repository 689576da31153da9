"""The processes of a sweep's callbacks, as its driver sees them: started, watched, and ended.

callbacks = Callbacks(sweep_dir, sweep.asked, storage)
callbacks.start()
callbacks.check()               # every few seconds: starts again what died, says what went wrong
lines = callbacks.finish()      # after the sweep's last event: what was not delivered
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

from fersweep.common.files import write_whole
from fersweep.common.own_code.importing import say
from fersweep.common.processes import Restarted, environment, module_command
from fersweep.common.untrusted import MB
from fersweep.results.callbacks import delivered
from fersweep.results.callbacks.delivered import DIRECTORY, LOG, keyed
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.own_code import CALLBACKS, code_of
from fersweep.search_spaces.sweep_file.schema import Sweep

FINISH_S = 10.0  # for what is left at the sweep's end
SYNC_S = 60.0  # the same where somebody asks for it
KILL_S = 1.0


class Callbacks:
    """Nothing waits but `finish`, and nothing but `start` raises. `driven`: while this process drives the sweep."""

    def __init__(self, sweep_dir: Path, asked: Sweep, storage: Storage, driven: bool = True):
        self._dir, self._storage, self._asked = Path(sweep_dir).resolve(), storage, asked
        self._callbacks = keyed(asked)
        self._said = {key: len(delivered.read(self._dir, key).said) for key in self._callbacks}
        self._children = {
            key: Restarted(functools.partial(_start, self._dir, key, driven), functools.partial(self._died, key))
            for key in self._callbacks
        }

    def start(self) -> None:
        """A line on stderr says whose code is run. InputError where a copy of it is missing."""
        for code in code_of(self._asked, [CALLBACKS]):
            say(code, CALLBACKS)
        for key, child in self._children.items():
            self._fetch(key)
            try:
                child.start()
            except OSError as error:
                self._tell(key, f"its process cannot be started: {error.strerror}")

    def check(self) -> None:
        """Start again what died. What went wrong is said on stderr, once a kind."""
        for key, child in self._children.items():
            child.check()
            said = delivered.read(self._dir, key).said
            for line in said[self._said[key] :]:
                self._tell(key, f"{line}; {LOG} in the sweep's directory has what it printed")
            self._said[key] = max(len(said), self._said[key])

    def finish(self, timeout_s: float = FINISH_S) -> list[str]:
        """Wait until all have heard of the sweep's end, but not longer than `timeout_s`, then end them.

        Returns lines on what was not delivered.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and not all(child.has_ended for child in self._children.values()):
            self.check()
            time.sleep(0.05)
        for child in self._children.values():
            child.kill(KILL_S)
        self.check()
        lines: list[str] = []
        for key, callback in self._callbacks.items():
            if late := delivered.behind(self._dir, key):
                made_good = f"made good by: {delivered.sync_command(self._dir)}"
                lines.append(f"callbacks: {callback.shown}: {delivered.not_delivered(late)}; {made_good}")
            self._keep(key)
        return lines

    def _fetch(self, key: str) -> None:
        """How far it has heard on another machine."""
        path = delivered.path_of(self._dir, key)
        with contextlib.suppress(OSError):
            if self._storage.path is None and not path.exists() and path.name in self._storage.names(DIRECTORY):
                path.parent.mkdir(exist_ok=True)
                write_whole(path, self._storage.read(f"{DIRECTORY}/{path.name}", MB))

    def _keep(self, key: str) -> None:
        path = delivered.path_of(self._dir, key)
        with contextlib.suppress(OSError):
            if self._storage.path is None and path.exists():
                self._storage.write(f"{DIRECTORY}/{path.name}", path.read_bytes())

    def _died(self, key: str, how: str) -> None:
        state = delivered.read(self._dir, key)
        if state.tries:  # in a call, and not while it was made, which is said
            self._tell(key, f"its process ended ({how}); started again")

    def _tell(self, key: str, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(f"callbacks: {self._callbacks[key].shown}: {text}", file=sys.stderr, flush=True)


def _start(sweep_dir: Path, key: str, driven: bool) -> subprocess.Popen[bytes]:
    """In a process group of its own: a Ctrl-C that ends the driver leaves it alive for what is left. It sees no GPU: those are
    the trials'.
    """
    parent = ["--parent", os.getpid()] if driven else []
    command = module_command("fersweep.results.callbacks.delivery", sweep_dir, key, *parent)
    with (sweep_dir / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environment(), "CUDA_VISIBLE_DEVICES": ""},
            process_group=0,
        )
