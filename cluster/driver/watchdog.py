"""A thread beside the driver: the sweep's heartbeat, its recorder, and whether the cluster still answers."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

from fersweep.results.record.storage import Storage
from fersweep.results.tracking.recorder import Recorder

BEAT_S, BUCKET_BEAT_S = 5.0, 30.0
HEARTBEAT = "heartbeat"
LOST_S = 30.0  # without an answer of the cluster's head


class Watchdog:
    """A context manager. `head`: HOST:PORT of the cluster's head, once there is one."""

    def __init__(self, directory: Path, storage: Storage, recorder: Recorder, resume_command: str):
        self.head: str | None = None
        self._directory, self._storage, self._recorder = directory, storage, recorder
        self._resume_command = resume_command
        self._ended = threading.Event()
        self._answered = self._stored = -float("inf")
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
            with contextlib.suppress(OSError):  # whoever writes what matters finds that the disk is full
                self._beat()
            self._recorder.check()
            self._check_head()
            if self._ended.wait(BEAT_S):
                return

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
        elif now - self._answered > LOST_S:
            print(f"fersweep: the Ray cluster at {self.head} does not answer any more", file=sys.stderr)
            print(f"interrupted; nothing is lost; go on with: {self._resume_command}", file=sys.stderr, flush=True)
            os._exit(1)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=BEAT_S).close()
    except OSError:
        return False
    return True
