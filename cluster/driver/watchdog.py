"""A thread beside the driver: the sweep's heartbeat, its recorder, whether a stop is requested, and whether the cluster
still answers. A second one waits for the death of this machine's raylet, with which Ray ends everything within milliseconds,
this process, too; where it is faster, a process beside it has the last word.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fersweep.cluster.driver.stopping import Stopping
from fersweep.results.record.drivers import BEAT_S, BUCKET_BEAT_S, HEARTBEAT, stop_requested
from fersweep.results.record.storage import Storage
from fersweep.results.tracking.recorder import Recorder

LOOK_S = 1.0
LOST_S = 30.0  # without an answer of the cluster's head
WITNESS = 'read -r _ || printf "%s\n" "$1" >&2'  # for sh: a driver that goes without a word leaves its stdin at its end
DEATH_S = 10.0  # in which this machine's raylet ends, where Ray says that it has
SHOW_CURSOR = "\x1b[?25h"
LOST_STOPPING_S = 3.0  # the same while the sweep stops: SIGTERM to all processes of a machine ends its Ray, too


class Watchdog:
    """A context manager. `session`: writes the journal's last event where Ray is gone: its action, and the reason;
    `look_after`: is called at each beat.
    """

    def __init__(
        self,
        directory: Path,
        storage: Storage,
        recorder: Recorder,
        stopping: Stopping,
        session: Callable[..., None],
        resume_command: str,
        look_after: Callable[[], None] = lambda: None,
    ):
        self._head: str | None = None
        self._raylet: socket.socket | None = None
        self._ending = threading.Lock()
        self._witness: subprocess.Popen[bytes] | None = None
        self._directory, self._storage, self._recorder = directory, storage, recorder
        self._stopping, self._session, self._resume_command = stopping, session, resume_command
        self._look_after = look_after
        self._requests = Storage(storage.address, retry_s=0)  # it looks again soon
        self._ended = threading.Event()
        self._answered = self._stored = self._beaten = -float("inf")
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        line = f"fersweep: this process, or Ray beside it, was killed, e.g. for want of memory\n{self._goes_on('interrupted')}"
        with contextlib.suppress(OSError):  # it is a help, no more
            self._witness = subprocess.Popen(
                ["/bin/sh", "-c", WITNESS, "sh", line],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        self._thread.start()
        return self

    def watch_ray(self, head: str, raylet: socket.socket | None) -> None:
        """Ray is connected. head: HOST:PORT of the cluster's; raylet: a connection that ends with this machine's."""
        self._head, self._raylet = head, raylet
        if raylet is not None:
            threading.Thread(target=self._await_death, args=(raylet,), name="raylet", daemon=True).start()

    def await_end(self) -> None:
        """For whoever hears before this thread that Ray is dead: wait until it has ended the process."""
        self._ended.wait(DEATH_S)

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._dismiss_witness()
        if self._raylet is not None:
            with contextlib.suppress(OSError):  # wakes its thread
                self._raylet.shutdown(socket.SHUT_RDWR)
        if self._storage.path is None:
            with contextlib.suppress(OSError):
                self._beat_in_bucket(0.0)

    def _run(self) -> None:
        while True:
            if time.monotonic() - self._beaten >= BEAT_S:
                self._beaten = time.monotonic()
                with contextlib.suppress(OSError):  # whoever writes what matters finds that the disk is full
                    self._beat()
                self._recorder.check()
                self._look_after()
                self._look_for_request()
                self._check_head()
            elif self._stopping.asked:
                self._check_head()
            elif self._storage.path is not None:
                self._look_for_request()
            if self._ended.wait(LOOK_S):
                return

    def _look_for_request(self) -> None:
        with contextlib.suppress(OSError):  # it looks again
            if stop_requested(self._requests):
                self._stopping.request()

    def _beat(self) -> None:
        (self._directory / HEARTBEAT).touch()
        if self._storage.path is None and time.monotonic() - self._stored > BUCKET_BEAT_S:
            self._beat_in_bucket(time.time())
            self._stored = time.monotonic()

    def _beat_in_bucket(self, at: float) -> None:
        self._storage.write(HEARTBEAT, f"{at} {os.getpid()} {socket.gethostname()}".encode())

    def _check_head(self) -> None:
        """End this process if the head is gone for good: Ray's own calls would wait for it for ever."""
        now = time.monotonic()
        if self._head is None or _answers(self._head):
            self._answered = now
        elif now - self._answered > (LOST_STOPPING_S if self._stopping.asked else LOST_S):
            self._end(f"the Ray cluster at {self._head} does not answer any more")

    def _await_death(self, raylet: socket.socket) -> None:
        """Ray on this machine ends with its raylet, its agent and its object store: the last two are, or end, the first."""
        with contextlib.suppress(OSError):
            while raylet.recv(1024):
                pass
        raylet.close()
        if not self._ended.is_set():
            self._end("Ray on this machine has died: one of its processes was killed, e.g. for want of memory")

    def _end(self, reason: str) -> None:
        """End this process: what it calls of Ray would hang, or end it without a word. No trial has failed for that."""
        with self._ending:  # for good
            reason = str(self._stopping.error or reason)
            code, action, more = 1, "failed", {"reason": reason}
            if self._stopping.asked and self._stopping.error is None:
                code, action, more = 128 + (self._stopping.signal or 2), "interrupted", {}
            show = SHOW_CURSOR if sys.stderr.isatty() else ""  # the live view hides it
            lines = [f"fersweep: {reason}"] if code == 1 else []
            lines.append(self._goes_on(action))
            with contextlib.suppress(OSError, ValueError):
                print(show + "\n".join(lines), file=sys.stderr, flush=True)
            self._dismiss_witness()
            with contextlib.suppress(OSError, ValueError):  # last: Ray may end this process any moment
                self._session(action, **more)
            os._exit(code)

    def _goes_on(self, action: str) -> str:
        return f"{action}; nothing is lost; go on with: {self._resume_command}"

    def _dismiss_witness(self) -> None:
        witness, self._witness = self._witness, None
        if witness is not None:
            with contextlib.suppress(OSError):
                witness.communicate(b"said\n")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=BEAT_S).close()
    except OSError:
        return False
    return True
