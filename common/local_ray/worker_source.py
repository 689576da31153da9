"""A process that imports what workers need, and then becomes one for each that Ray wants: a fork takes milliseconds, the imports seconds.

    python -m fersweep.common.local_ray.worker_source SOCKET MODULE …

It imports once for all workers of this machine, while the driver reads its data and starts Ray: not Ray itself, which reads a
worker's variables when it is imported. It ends when its stdin does: with the driver. new_worker.py asks it for workers.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST_BYTES = 2**20  # of what is received at once
LOOK_S = 0.5  # in which a worker that has ended is noticed
ASK_S = 1.0  # in which somebody who has connected says what is wanted
PREFIX = "fersweep-workers-"  # of the name of a source's directory
YOUNG_S = 60.0  # a directory whose source may not listen yet
HARMLESS = ("jemalloc_bg_thd",)  # threads of libraries that see to it that a fork does not hurt

Asked = tuple[dict[str, Any], list[int]]
"""What new_worker.py sends, and its stdout and stderr."""


def main(arguments: Sequence[str]) -> None:
    place, modules = Path(arguments[0]), arguments[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as in workers that raylet starts
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        for module in modules:
            with contextlib.suppress(Exception):  # the trial says why
                importlib.import_module(module)
        _remove_dead(place.parent)
        gc.collect()
        gc.freeze()  # a collection would copy what workers share
        asked = None if has_threads() else _serve(listening)
    if asked is not None:
        _become(*asked)
        return
    with contextlib.suppress(OSError):
        place.unlink()
        place.parent.rmdir()


def _remove_dead(own: Path) -> None:
    """The directories of other sources that were killed, before they could remove them."""
    for directory in own.parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            if directory.stat().st_uid != os.getuid() or time.time() - directory.stat().st_mtime < YOUNG_S:
                continue
            try:
                connection.connect(str(directory / own.name))
            except (ConnectionRefusedError, FileNotFoundError):  # nobody listens
                shutil.rmtree(directory)


def has_threads() -> bool:
    """Whether this process has threads whose locks a fork would leave as they are."""
    names = (Path("/proc/self/task", task, "comm").read_text().strip() for task in os.listdir("/proc/self/task"))
    return sum(name not in HARMLESS for name in names) > 1


def _serve(listening: socket.socket) -> Asked | None:
    """Fork a worker for each that is asked for → in the worker, what was asked; in this process None, when the driver has ended."""
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [], LOOK_S)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if sys.stdin in ready:
            return None
        if listening in ready:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):  # who has asked starts a worker by itself
                asked = _asked(connection)
                if asked is not None and os.fork() == 0:
                    return asked
                if asked is not None:
                    connection.send(b"1")
                    for descriptor in asked[1]:
                        os.close(descriptor)


def _asked(connection: socket.socket) -> Asked | None:
    """None where somebody else has connected, or has given up. Raises OSError."""
    connection.settimeout(ASK_S)
    message, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, 2)
    while message and not message.endswith(b"\n"):
        part = connection.recv(MOST_BYTES)
        message += part or b"\n"
    try:
        asked = json.loads(message)
    except ValueError:
        return None
    gone = bool(select.select([connection], [], [], 0)[0])  # nothing more was to come but its end
    return None if gone else (asked, descriptors)


def _become(asked: dict[str, Any], outputs: Sequence[int]) -> None:
    """Run what Ray wants as a worker in this process."""
    os.setpgid(0, 0)  # raylet ends a worker with its process group
    for number, descriptor in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["directory"])
    path = asked["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [entry for entry in path if entry and entry not in sys.path]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # or all workers would draw the same
    sys.argv = asked["arguments"]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
