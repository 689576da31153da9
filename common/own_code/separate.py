"""Ask a module of ours something that runs own code, in a process of its own: it may hang, exit, print, or take the memory.

answer = ask("fersweep.trainables.metric_trial", request, "stop.metric", limit_s=60)

if __name__ == "__main__":       # in that module
    reply(answer_of)             # its request → its answer, both JSON; an InputError is raised where it was asked
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.own_code.importing import say_who_exits
from fersweep.common.processes import environment, module_command
from fersweep.common.text import one_line
from fersweep.common.untrusted import MB, is_object, parse_json

SOON_S = 10.0  # after which a person hears what is waited for


class TooLong(BaseException):
    """Raised in own code that takes too long; no Exception, which it may catch."""


def ask(module: str, request: Any, what: str, limit_s: float) -> Any:
    """The answer of `module`. `what` begins each message. Raises InputError."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        process = subprocess.Popen(
            module_command(module), stdin=asked, stdout=answer, stderr=errors, env=environment(), start_new_session=True
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(SOON_S, limit_s))
            if process.poll() is None and limit_s > SOON_S:
                print(f"{what}: it is loaded and tried, for up to {limit_s:g} s", file=sys.stderr, flush=True)
            code = process.wait(max(limit_s - SOON_S, 0))
        except subprocess.TimeoutExpired:
            raise InputError(f"{what}: it takes longer than {limit_s:g} s to be loaded and tried") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            process.wait()
        answer.seek(0)
        content, errors_said = answer.read(MB), _last_line(errors)
    try:
        found = parse_json(content)
    except ValueError:
        found = None
    if not is_object(found) or not {"answer", "error"} & found.keys():
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        raise InputError(
            f"{what}: it ended the process that tried it ({how}){f': {errors_said}' if errors_said else ''}"
        )
    if "error" in found:
        raise InputError(str(found["error"]))
    return found["answer"]


def _last_line(file: Any) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 4096, 0))
    lines = file.read().decode(errors="replace").strip().splitlines()
    lines = [line for line in lines if ": runs the code of " not in line]
    return one_line(lines[-1], 200) if lines else ""


def reply(answer_of: Callable[[Any], Any]) -> None:
    """Answer the request on stdin. What own code prints goes to stderr, also what its libraries do."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    request = parse_json(sys.stdin.buffer.read())
    leave = os._exit
    say_who_exits()
    try:
        answer = {"answer": answer_of(request)}
    except InputError as error:
        answer = {"error": str(error)}
    with os.fdopen(stdout, "wb") as file:
        file.write(json.dumps(answer).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    leave(0)  # threads of its libraries are not waited for


@contextlib.contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Raise TooLong in the block after so many seconds. In the main thread."""

    def raise_it(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"it takes longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
