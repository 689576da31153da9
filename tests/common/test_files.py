"""Files and directories that are whole or not there, and locks that processes of any version of ours respect."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.common.files import (
    cannot_write,
    check_target,
    check_writable,
    is_held,
    lock,
    new_directory,
    regular_file,
    replacing,
    write_whole,
)


def break_off(file: Path) -> None:
    file.write_bytes(b"half")
    raise ValueError("broken off")


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "manifest.json"
    write_whole(path, b"old")
    assert path.read_bytes() == b"old"
    with pytest.raises(ValueError, match="broken off"), replacing(path) as fresh:
        break_off(fresh)
    assert path.read_bytes() == b"old"
    guessed = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    guessed.symlink_to(tmp_path / "somebody's")
    write_whole(path, b"new", sync=False)
    assert path.read_bytes() == b"new"
    assert not (tmp_path / "somebody's").exists(), "made ready where others may write, it is not followed"
    guessed.unlink()
    with replacing(path) as fresh:
        assert fresh.suffix == ".json", "writers choose their format by it"
        fresh.write_bytes(b"newer")
    assert path.read_bytes() == b"newer"
    assert [file.name for file in path.parent.iterdir()] == ["manifest.json"]


def test_a_directory_is_there_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "mine"
    with pytest.raises(ValueError, match="broken off"), new_directory(path) as fresh:
        break_off(fresh / "half")
    assert list(path.parent.iterdir()) == []
    with new_directory(path) as fresh:
        (fresh / "sweep.json").touch()
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["sweep.json"]
    with pytest.raises(OSError, match=r"not empty|exists"), new_directory(path) as fresh:
        (fresh / "another").touch()
    assert [file.name for file in path.iterdir()] == ["sweep.json"]
    assert list(path.parent.iterdir()) == [path]


def test_locks_exclude_those_of_flock(tmp_path: Path) -> None:
    """Versions before this one call flock themselves."""
    path = tmp_path / "driver.lock"
    path.write_text("kept")
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_held(path)
        for wait_s in (0, 0.1):
            with pytest.raises(TimeoutError):
                lock(path, wait_s)
    assert not is_held(path)
    with lock(path):
        assert is_held(path)
        with path.open("r+") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not is_held(path)
    assert path.read_text() == "kept"


def test_looking_at_a_lock_changes_nothing_and_hinders_nobody_who_looks(tmp_path: Path) -> None:
    path = tmp_path / "no.lock"
    assert not is_held(path)
    assert not path.exists()
    path.touch()
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_held(path)


def test_a_lock_ends_with_its_process_and_is_not_left_to_its_children(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from pathlib import Path; from fersweep.common.files import lock\n"
        "held = lock(Path(sys.argv[1]))\n"
        "subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'])\n"
        "print('held', flush=True); input(); os._exit(9)"
    )
    path = tmp_path / "driver.lock"
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(path)
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait()
        assert not is_held(path)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--grid: nothing can be written into .*gone \(No such file or directory\)"):
        check_writable(tmp_path / "gone", "--grid")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, RuntimeError),
        (errno.EDQUOT, RuntimeError),
        (errno.EACCES, InputError),
        (errno.EISDIR, InputError),
    ],
)
def test_a_full_disk_is_nobodys_mistake(number: int, kind: type[Exception]) -> None:
    error = cannot_write(Path("page.html"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error) == f"page.html cannot be written: {os.strerror(number)}"


def test_a_target_has_a_name_that_can_be_written(tmp_path: Path) -> None:
    assert check_target(tmp_path / "a.png", "--out", (".png",)) == tmp_path / "a.png"
    (tmp_path / "b.png").mkdir()
    for name, message in [
        ("a.txt", r"--out .*a\.txt: the name must end in \.png"),
        ("b.png", "there is a directory of that name"),
        ("c/a.png", "there is no directory .*c"),
    ]:
        with pytest.raises(InputError, match=message):
            check_target(tmp_path / name, "--out", (".png",))


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/null"), lambda path: path.symlink_to(path)]
)
def test_a_pipe_or_a_device_is_never_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    make(path)
    with pytest.raises(InputError, match=r"^--csv .*table\.csv: is a pipe, a socket, a device or a circle of links"):
        check_target(path, "--csv", (".csv",))
    with pytest.raises(OSError, match="which is never replaced"):
        write_whole(path, b"")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert regular_file(tmp_path / "file") == tmp_path / "file"
    for name, message in {
        "none": "there is no such file",
        "": "is a directory, where a file is wanted",
        "file/x": "Not a directory",
        "n" * 300: "File name too long",
        "a\0b": "embedded null byte",
    }.items():
        with pytest.raises(InputError, match=message):
            regular_file(tmp_path / name, "sweep file")
