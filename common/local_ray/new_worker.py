"""What raylet runs for a new worker: worker_source.py forks one. Where that is not possible, this process becomes the worker.

    python -I -S new_worker.py SOCKET SETUP_WORKER DEFAULT_WORKER ARGUMENT …

It imports next to nothing: it is in the way of every worker.
"""

from __future__ import annotations

import os
import sys

LONGEST_S = 20.0  # for which a fork is waited for, imports included; raylet waits for 60 s
FOR_SETUP = ("--language=", "--serialized-runtime-env-context=")  # what SETUP_WORKER takes from the arguments
NO_ENVIRONMENT = "{}"  # of its own: else SETUP_WORKER sees to it


def main(arguments: list[str]) -> None:
    place, setup, *worker = arguments
    environments = [argument.partition("=")[2] for argument in worker if argument.startswith(FOR_SETUP[1])]
    if environments not in ([], [NO_ENVIRONMENT]):
        os.execv(sys.executable, [sys.executable, setup, *worker])
    worker = [argument for argument in worker if not argument.startswith(FOR_SETUP)]
    if not is_forked(place, worker):
        os.execv(sys.executable, [sys.executable, *worker])


def is_forked(place: str, worker: list[str]) -> bool:
    """Ask for a worker → whether there is one."""
    import json
    import socket

    asked = {"arguments": worker, "environment": dict(os.environ), "directory": os.getcwd()}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LONGEST_S)
        try:
            connection.connect(place)
            socket.send_fds(connection, [json.dumps(asked).encode()], [1, 2])
            connection.sendall(b"\n")
            return connection.recv(1) == b"1"
        except OSError:
            return False


if __name__ == "__main__":
    main(sys.argv[1:])
