"""Homes of several users: of a group whose members all write, and of somebody else, which is only read.

Root lends a process its rights to read (this Python may lie in root's own directory), none to write.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from fersweep.common.errors import InputError
from fersweep.common.files import is_held, lock
from fersweep.common.processes import environment
from fersweep.results.mlflow_store import connection
from fersweep.results.predict.prediction import champion
from fersweep.results.record.home import check_home
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.tracking.recorder_process import record
from tests.sweeps import write_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may act as other users"),
]

GROUP, COLLEAGUE, STRANGER = 4321, 54322, 54323
GOES_ON = """
import sys
from pathlib import Path
from fersweep.results.promote.promotion import promote
from fersweep.results.tracking.recorder_process import record
from tests.sweeps import FakeDriver

home = Path(sys.argv[1])
driver = FakeDriver(home / "sweeps" / "tiny", None)
driver.journal.session("started")
driver.journal.append("reopened", trial=0)
driver.report(0, [{**driver.journal.record.trials[0].epochs[-1], "epoch": 10}])
driver.end(0, "finished")
driver.journal.session("finished")
driver.journal.close()
assert record(home / "sweeps" / "tiny")
promote(home / "sweeps" / "tiny")
"""
READS = """
import sys
from fersweep.cli.main import app
from fersweep.common.errors import InputError

home = sys.argv[1]
for verb in (
    ["status"], ["compare", "tiny"], ["report", "tiny", "--out", "report.html"], ["champion", "show"],
    ["champion", "history"], ["evaluate", "champion", "--data", f"{home}/data/tiny"],
):
    code = app([*verb, "--home", home], standalone_mode=False)
    assert not code, verb
for verb in (["promote", "tiny"], ["champion", "rollback"], ["status", "tiny", "--sync"], ["resume", "tiny"]):
    try:
        app([*verb, "--home", home], standalone_mode=False)
        sys.exit(f"{verb} was not refused")
    except InputError as error:
        assert "nothing can be written into" in str(error), error
"""


def as_user(user: int, groups: int | None, code: str, home: Path, place: Path) -> None:
    """Run Python code, whose argument is `home`, as another user; its files go below `place`."""
    place.mkdir(mode=0o700)
    fonts = shutil.copytree(matplotlib.get_cachedir(), place / "matplotlib")  # it takes seconds to look for them
    for path in (place, fonts):
        os.chown(path, user, user)
    rights = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    groups_ = ["--clear-groups"] if groups is None else [f"--groups={groups}"]
    variables = {
        **environment(),
        "HOME": str(place),
        "TMPDIR": str(place),
        "LOGNAME": f"user-{user}",
        "MPLCONFIGDIR": str(fonts),
    }
    done = subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", *groups_, *rights, sys.executable, "-c", code, home],
        cwd=place,
        env=variables,
        umask=0o002,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def files(home: Path) -> dict[Path, tuple[int, bytes | None]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in home.rglob("*")}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """The home of a group: a colleague went on with a sweep that another user had launched, and promoted of it."""
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are closed to other users
        above = Path(directory)
        os.chown(above, 0, GROUP)
        above.chmod(0o2775)
        home, before = above / "runs", os.umask(0o002)
        try:
            sweep_dir = write_sweep(home, num_trials=1)
            shutil.copy(empty_store, home)
            assert record(sweep_dir)
        finally:
            os.umask(before)
        as_user(COLLEAGUE, GROUP, GOES_ON, home, tmp_path_factory.mktemp("colleague") / "own")
        yield home


def test_a_group_shares_a_home(shared: Path, empty_store: Path) -> None:
    assert stat.S_IMODE(empty_store.stat().st_mode) == 0o664, "made with umask 002, where SQLite asks for 0644"
    owners = {path.stat().st_uid for path in shared.rglob("*")}
    assert owners == {0, COLLEAGUE}
    rows = (next(shared.glob("artifacts/*/artifacts/history.csv")).parent.parent.parent).rglob("history.csv")
    assert max(len(path.read_text().splitlines()) for path in rows) == 1 + 10, (
        "what the first user recorded was replaced"
    )
    for path in shared.rglob("*"):
        mode = path.stat().st_mode
        assert path.stat().st_gid == GROUP, path
        if path.is_dir():
            assert mode & 0o2070 == 0o2070, path
        elif "models" not in path.relative_to(shared).parts:  # which MLflow copies as they are, and nobody changes
            assert mode & 0o060 == 0o060, path


def test_a_stranger_reads(shared: Path, tmp_path: Path) -> None:
    before, own = files(shared), tmp_path / "own"
    as_user(STRANGER, None, READS, shared, own)
    assert files(shared) == before
    assert (own / "report.html").stat().st_size > 100_000
    assert not [path for path in own.glob("fersweep-*") if "fersweep-home" not in path.name], (
        "the copy of the store is gone"
    )


def test_a_model_on_a_read_only_mount(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow writes beside the model that it gives."""
    import mlflow.artifacts

    download, places = mlflow.artifacts.download_artifacts, list[str]()

    def refuse(uri: str, dst_path: str | None = None, **options: Any) -> str:
        if dst_path is None:
            raise OSError(errno.EROFS, "Read-only file system", str(shared))
        places.append(dst_path)
        return download(uri, dst_path=dst_path, **options)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", refuse)
    checkpoint = champion(shared)
    assert places
    assert checkpoint.is_relative_to(places[0])
    assert (checkpoint / "state.npz").is_file()


def test_a_store_that_only_its_owner_writes(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLite makes it by itself: the home can be written, mlflow.db in it cannot."""
    sweep_dir = write_sweep(tmp_path, num_trials=1)
    shutil.copy(empty_store, tmp_path)
    store = tmp_path / "mlflow.db"
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != store)
    with pytest.raises(
        InputError, match=r"mlflow\.db can be read, but not written: its owner lets the group with chmod g\+w"
    ):
        check_home(tmp_path)
    with pytest.raises(PermissionError, match="another user's"):
        connection.open_store(read_sweep_json(sweep_dir))


def test_locks_are_the_groups(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with lock(tmp_path / "lock"):
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o664
    finally:
        os.umask(before)
    assert not is_held(tmp_path / "lock")
