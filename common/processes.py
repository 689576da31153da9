"""Processes: C++ libraries silenced and bounded, modules run in a process of their own, threads."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import site
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere. Python's own exceptions are not lost: they are raised, not printed."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def bounded_memory(num_bytes: int) -> Iterator[None]:
    """Refuse this process what goes more than `num_bytes` beyond the memory that it has, or beyond what is free: a library
    that is asked for terabytes by a file then fails where it asks, instead of taking the machine's. Linux alone.
    """
    import resource

    import psutil

    try:
        status = Path("/proc/self/status").read_text()
        held = int(status.partition("VmData:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + min(num_bytes, int(SHARE_OF_FREE * psutil.virtual_memory().available))
    others = [limit for limit in (before, most) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([wanted, *others]), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


SHARE_OF_FREE = 0.8
ROOT = Path(__file__).absolute().parents[2]
"""The directory that Python finds `fersweep` in: of the checkout, or site-packages."""


def module_command(module: str, *arguments: object) -> list[str]:
    """`python -m module arguments`, so that no file of the working directory is taken for a module (-P)."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def python_path() -> str:
    """PYTHONPATH of a Python that has to find `fersweep`: the user's own entries come first."""
    ours = [] if str(ROOT) in site.getsitepackages() else [str(ROOT)]  # which stay behind the standard library
    return os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *ours])


def environment() -> dict[str, str]:
    """This process's environment, for a Python that has to find `fersweep`."""
    return {**os.environ, "PYTHONPATH": python_path()}


def run_module(module: str, *arguments: object, otherwise: str) -> None:
    """Run a module of ours in a process of its own, to its end: TensorFlow and torch do not share one well.

    RuntimeError, beginning with `otherwise`, with the last line of its stderr if it fails.
    """
    process = subprocess.run(
        module_command(module, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        last = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise RuntimeError(f"{otherwise}: {last}")


def usable_home() -> None:
    """See to it that HOME is a directory that can be written, and the user has a name, for this process and its children.

    In a container with any user id neither may be so, and Ray, MLflow, Keras, torch and matplotlib each want to write
    there. Then HOME is a directory of this user's under the temporary directory; stderr says so when it is made.
    """
    try:
        home = Path.home()
        usable = home.is_dir() and os.access(home, os.W_OK | os.X_OK)
    except (
        RuntimeError,
        OSError,
    ):  # neither HOME nor an entry for this user id; a directory that may not be looked into
        home, usable = None, False
    if not usable:
        os.environ["HOME"] = str(_temporary_home(home))
    try:
        getpass.getuser()
    except (OSError, KeyError):  # no entry for this user id
        os.environ["LOGNAME"] = f"user-{os.getuid()}"


def _temporary_home(instead_of: Path | None) -> Path:
    """The same one each time, unless it belongs to somebody else."""
    place = Path(tempfile.gettempdir()) / f"fersweep-home-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
        print(f"HOME ({instead_of or 'not set'}) cannot be written: caches go to {place}", file=sys.stderr)
    if not is_own_directory(place):
        return Path(tempfile.mkdtemp(prefix="fersweep-"))
    return place


def is_own_directory(path: Path) -> bool:
    """Is it a directory, no link to one, of this user's, which nobody else may write? Under /tmp, anybody may have made it."""
    found = path.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def yield_to_the_sweep() -> None:
    """Take only the CPU time that the sweep leaves; Ray runs its workers at niceness 15, next to which 19 is not low enough."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # Linux
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Restarted:
    """A child process that is started again if it dies, less and less often if it keeps dying. Its methods may be called from
    different threads. `died`: hears how.
    """

    FIRST_S, MOST_S = 1.0, 60.0  # before it is started again

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], died: Callable[[str], None]):
        self._start, self._died = start, died
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._again_at, self._pause = 0.0, self.FIRST_S

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended as it should, or was never started."""
        return self._process is None or self._process.poll() == 0

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._process = self._start()

    def check(self) -> None:
        """Start it again if it died. Returns at once."""
        with self._lock, contextlib.suppress(OSError):  # no memory, no disk: the next check tries again
            code = self._process.poll() if self._process else 0
            if not code or time.monotonic() < self._again_at:
                return
            self._again_at, self._pause = time.monotonic() + self._pause, min(2 * self._pause, self.MOST_S)
            self._process = self._start()
            self._died(f"exit code {code}" if code > 0 else signal.Signals(-code).name)

    def leave(self) -> None:
        """Nobody looks after it any more: it goes on by itself."""
        if self._process is not None and self._process.poll() is None:
            threading.Thread(target=self._process.wait, daemon=True).start()  # so that it leaves no zombie

    def kill(self, wait_s: float) -> None:
        """End it and what it has started, that leads a process group: with SIGTERM, and after `wait_s` with SIGKILL."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)


def num_threads() -> int:
    """CPU threads of a trial: OMP_NUM_THREADS, which Ray sets, or all of the machine's."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
