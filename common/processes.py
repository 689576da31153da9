"""Processes: C++ libraries silenced and bounded, modules run in a process of their own, threads."""

from __future__ import annotations

import contextlib
import getpass
import os
import site
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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


def num_threads() -> int:
    """CPU threads of a trial: OMP_NUM_THREADS, which Ray sets, or all of the machine's."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
