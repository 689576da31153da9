"""Stands where Ray wants an agent that a sweep does not use, for as long as the process that started it lives.

    python late_agent.py                                  does nothing
    python late_agent.py ADDRESS PORT_FILE PYTHON AGENT …   listens, and becomes the agent when somebody connects

The second is Ray's runtime-environment agent, whose start takes most of a second of CPU time: where nothing has a runtime
environment, nobody asks for it. What is imported here before that is what Python itself starts with, but for sockets.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

LOOK_S = 1.0


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--now"]:
        become(int(arguments[1]), arguments[2:])
        return
    parent = os.getppid()
    listening = listen(*arguments[:2]) if arguments else None
    while os.getppid() == parent:
        if listening is None:
            time.sleep(LOOK_S)
        elif is_asked(listening):
            command, own = arguments[2:], os.path.abspath(__file__)
            os.set_inheritable(listening.fileno(), True)
            os.execv(command[0], [command[0], own, "--now", str(listening.fileno()), *command[1:]])


def listen(address: str, port_file: str) -> socket.socket:
    """A socket on a free port, which is in `port_file` from now on."""
    import socket

    listening = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    unfinished = f"{port_file}.{os.getpid()}"
    with open(unfinished, "w") as file:
        file.write(str(listening.getsockname()[1]))
    os.replace(unfinished, port_file)
    return listening


def is_asked(listening: socket.socket) -> bool:
    """Whether somebody has connected, within a while."""
    import select

    return bool(select.select([listening], [], [], LOOK_S)[0])


def become(descriptor: int, command: list[str]) -> None:
    """Run the agent in this process, with the socket that somebody has connected to already. `command`: its flags for
    Python, its file and its arguments.
    """
    import runpy
    import socket

    from aiohttp import web

    listening, run_app = socket.socket(fileno=descriptor), web.run_app

    def run_here(app: Any, sock: socket.socket, **more: Any) -> None:
        sock.close()
        run_app(app, sock=listening, **more)

    web.run_app = run_here
    file = next(index for index, part in enumerate(command) if part.endswith(".py"))
    sys.argv = command[file:]
    sys.path[0] = os.path.dirname(command[file])
    runpy.run_path(command[file], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
