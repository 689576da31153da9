"""What is left over on this machine: Ray's sessions, temporary directories, staged data, and what MediaPipe saw."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import readings_directory
from fersweep.common.stores import node_cache
from fersweep.results.housekeeping.leftovers.leftover import DAY_S, HOUR_S, InUse, Leftover, path_leftover, quiet_for
from fersweep.results.housekeeping.out_of_sight import remove_tree

SESSION = re.compile(r"session_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d+_(?P<pid>\d+)")
SCRATCH = re.compile(r"fersweep-(job-|code-|plan-)?[a-z0-9_]{8}")  # of tempfile


class Processes:
    """What the processes of this machine say that they use: their command lines, and the files of this user's that are open."""

    def __init__(self) -> None:
        import psutil

        self.pids: set[int] = set()
        self._said: list[str] = []
        for process in psutil.process_iter():
            self.pids.add(process.pid)
            for ask in (process.cmdline, process.cwd, lambda process=process: [f.path for f in process.open_files()]):
                with contextlib.suppress(psutil.Error, OSError):  # another user's, or it has just ended
                    answer = ask()
                    self._said += [answer] if isinstance(answer, str) else answer

    def use(self, text: str) -> bool:
        """Does any of them name it?"""
        return any(text in said for said in self._said)


def ray_sessions() -> Iterator[Leftover]:
    """Ray's directories of sessions that have ended: this user's, named by no process, and silent for an hour; a Ray that
    runs writes into its own every few seconds.
    """
    root = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    found = [path for path in sorted(root.glob("session_*")) if SESSION.fullmatch(path.name) and _is_own(path)]
    processes = Processes() if found else None
    for path in found:
        if processes and not _is_live(path, processes) and quiet_for(path, HOUR_S):
            yield path_leftover("ray sessions", path, lambda path=path: _remove_session(path))


def _is_live(session: Path, processes: Processes) -> bool:
    match = SESSION.fullmatch(session.name)
    return match is None or int(match["pid"]) in processes.pids or processes.use(session.name)


def _remove_session(path: Path) -> None:
    if _is_live(path, Processes()):
        raise InUse("a process uses it now")
    remove_tree(path)
    latest = path.with_name("session_latest")
    if latest.is_symlink() and not latest.exists():
        latest.unlink()


def scratch() -> Iterator[Leftover]:
    """Temporary directories of processes that were killed: this user's, used by no process, and silent for a day."""
    root, own = Path(tempfile.gettempdir()), f"fersweep-{os.getuid()}"  # the second has staged data
    found = [path for path in sorted(root.glob("fersweep-*")) if SCRATCH.fullmatch(path.name) and path.name != own]
    found = [path for path in found if _is_own(path) and quiet_for(path, DAY_S)]
    processes = Processes() if found else None
    for path in found:
        if processes and not processes.use(str(path)):
            yield path_leftover("temporary directories", path)


def half_staged() -> Iterator[Leftover]:
    """Staged data that a process which was killed has not finished, or not removed to the end."""
    root = node_cache.place()[0]
    for path in node_cache.half_removed(root):
        yield path_leftover("staged data", path)
    for name in node_cache.partial(root):
        path = root / f".{name}.partial"
        if quiet_for(path, HOUR_S):
            yield path_leftover("staged data", path, lambda name=name: _remove_staged(root, name))


def caches() -> Iterator[Leftover]:
    """What only saves time: staged data that no process uses, and what MediaPipe saw in faces."""
    root = node_cache.place()[0]
    for name in node_cache.whole(root):
        yield path_leftover("caches", root / name, lambda name=name: _remove_staged(root, name))
    if (readings := readings_directory()).is_dir():
        for path in sorted(readings.iterdir()):
            yield path_leftover("caches", path)


def _remove_staged(root: Path, name: str) -> None:
    try:
        if not node_cache.remove_unused(root, name):
            raise InUse("a process uses it")
    except OSError as error:
        raise InputError(f"{root}: {error.strerror or error}") from None


def _is_own(path: Path) -> bool:
    """A directory of this user's, and no link."""
    try:
        return not path.is_symlink() and path.is_dir() and path.lstat().st_uid == os.getuid()
    except OSError:
        return False
