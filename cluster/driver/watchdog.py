"""A thread beside the driver: the sweep's heartbeat, its recorder, whether a stop is requested, and whether the cluster
still answers.
"""

from __future__ import annotations

import contextlib
import os
import socket
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
LOST_STOPPING_S = 3.0  # the same while the sweep stops: SIGTERM to all processes of a machine ends its Ray, too


class Watchdog:
    """A context manager. `head`: HOST:PORT of the cluster's head, once there is one. `interrupted`: writes the journal's
    last event where the head is gone while the sweep stops.
    """

    def __init__(
        self,
        directory: Path,
        storage: Storage,
        recorder: Recorder,
        stopping: Stopping,
        interrupted: Callable[[], None],
        resume_command: str,
    ):
        self.head: str | None = None
        self._directory, self._storage, self._recorder = directory, storage, recorder
        self._stopping, self._interrupted, self._resume_command = stopping, interrupted, resume_command
        self._requests = Storage(storage.address, retry_s=0)  # it looks again soon
        self._ended = threading.Event()
        self._answered = self._stored = self._beaten = -float("inf")
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
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
        if self.head is None or _answers(self.head):
            self._answered = now
            return
        stopping = self._stopping.asked
        if now - self._answered <= (LOST_STOPPING_S if stopping else LOST_S):
            return
        code = 1
        if stopping:
            code = 128 + (self._stopping.signal or 2)
            with contextlib.suppress(OSError):
                self._interrupted()
        else:
            print(f"fersweep: the Ray cluster at {self.head} does not answer any more", file=sys.stderr)
        print(f"interrupted; nothing is lost; go on with: {self._resume_command}", file=sys.stderr, flush=True)
        os._exit(code)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=BEAT_S).close()
    except OSError:
        return False
    return True
