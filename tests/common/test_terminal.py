"""Ctrl-C in the middle of native code, streams that are closed or that nobody reads, a terminal that is gone."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fersweep.common.display import terminal
from fersweep.common.processes import environment


def interrupted(times: int, error: Exception | None = None) -> None:
    """Ctrl-C, so many times, in what is not to be broken off, which then fails with `error`."""
    with terminal.deferred():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        if error is not None:
            raise error


def test_a_ctrl_c_is_put_off_and_a_second_one_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the block fails because of it."""
    ended: list[bool] = []
    monkeypatch.setattr(terminal, "end_at_once", lambda: ended.append(True))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted(1)
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, RuntimeError("Ray did not start"))
    assert not ended
    with pytest.raises(KeyboardInterrupt):
        interrupted(2)
    assert ended
    interrupted(0)
    assert signal.getsignal(signal.SIGINT) == before


def test_what_is_started_there_outlives_a_hang_up() -> None:
    """Ray's processes: a closed terminal sends the signal to all that it has, and the driver wants their last reports."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with terminal.deferred():
        process = subprocess.Popen(["sleep", "60"])
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


CLOSED = """
import os, sys
from fersweep.common import processes
from fersweep.common.display import terminal
terminal.open_streams()
with processes.silent_stderr():
    print("out"), print("err", file=sys.stderr)
file = open(sys.argv[1], "w")
os.system("echo from a process; echo and to stderr >&2")
print(sys.stdin.read(), file.fileno() > 2, file=file)
"""


def test_closed_streams_are_opened(tmp_path: Path) -> None:
    """Else a file that a process opens is its stdout, and what it prints goes there."""
    command = [sys.executable, "-P", "-c", CLOSED, tmp_path / "file"]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *map(str, command)]
    done = subprocess.run(closed, env=environment(), check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == " True\n"


def test_a_stream_that_nobody_reads_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True) as stream:
        with pytest.raises(BrokenPipeError):
            stream.write("one\n")
        monkeypatch.setattr(sys, "__stderr__", stream)
        with terminal.forgiving(stream) as forgiving:
            forgiving.write("two\n")
            forgiving.flush()
            assert os.readlink(f"/proc/self/fd/{writer}") == os.devnull
