"""The command line in processes of its own, to be killed: for tests of what a sweep survives."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.processes import module_command
from tests.doubles.changed_driver import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
CURVE = """
trainable: {trainable}
space: {{fix: {{{fix}}}, range: {{{range}}}}}
search: {{sampler: {sampler}, num_trials: {trials}, seed: {seed}}}
stop: {{grace_epochs: 3, max_epochs: {epochs}, report_s: 0, reduction: 3, timeout_s: {timeout_s}}}
resources: {{cpus: {cpus}, fuse: {fuse}}}
failures: {{max_failed_share: 1.0}}
"""


def write_curve(path: Path, **changes: Any) -> Path:
    """A sweep file over a learning curve; its name is the file's."""
    asked = {
        "trainable": "curve",
        "fix": "noise: 0.02",
        "range": "",
        "sampler": "tpe",
        "trials": 40,
        "epochs": 27,
        "seed": 3,
    }
    path.write_text(CURVE.format(**{**asked, "timeout_s": 60, "cpus": 1, "fuse": 1, **changes}))
    return path


UNRECORDED = {"UNRECORDED": "1"}  # for `start` and `run`: without a recorder, in tests that do not look into MLflow


def start(verb: str, *arguments: object, home: Path | None, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """`fersweep VERB ARGUMENTS --home HOME` as a process, its output piped. home: None for verbs that have none. env:
    further variables; those of tests/doubles/changed_driver.py change it.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    module = "tests.doubles.changed_driver" if VARIABLES & environment.keys() else "fersweep"
    command = module_command(module, verb, *arguments)
    command += [] if home is None else ["--home", str(home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run(verb: str, *arguments: object, home: Path, code: int = 0, timeout_s: float = 200, **options: Any) -> str:
    """Run it to its end, which must have this exit code → stderr."""
    process = start(verb, *arguments, home=home, **options)
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == code, f"{verb} {arguments}: {process.returncode}\n{out}\n{err}"
    return err


def wait_until(condition: Callable[[], Any], process: subprocess.Popen | None = None, timeout_s: float = 300) -> None:
    """Until `condition()` is true; fails when `process` ends before, and ends it where this takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        if condition():
            return
        if time.monotonic() > deadline:
            if process is not None:
                kill_all(process)
            raise AssertionError(f"timed out: {process.communicate() if process else ''}")
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(max(0.005, 3 * (time.monotonic() - asked)))  # to ask is to take a core from what is waited for


def kill(process: subprocess.Popen) -> None:
    """SIGKILL, and wait for the end."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL to a process and everything that it started, and wait for its end."""
    for pid in [process.pid, *below(process.pid, "")]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def num_lines(path: Path) -> int:
    """Events in a journal that is being written."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def below(pid: int, needle: str) -> list[int]:
    """Processes below `pid`, at any depth, whose command line contains `needle`."""
    parents, commands = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(place.name)] = int(place.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            commands[int(place.name)] = place.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()

    def is_below(one: int) -> bool:
        return one in parents and (parents[one] == pid or is_below(parents[one]))

    return [one for one, command in commands.items() if needle in command and is_below(one)]


def in_a_small_disk(tmp_path: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run a script where $DISK is a file system of 40 MB of its own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system (unshare -rm)")
    (tmp_path / "disk").mkdir()
    script = f"set -u; DISK={tmp_path / 'disk'}; mount -t tmpfs -o size=40m tmpfs $DISK || exit 99\n{commands}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    command = ["unshare", "-rm", "bash", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
