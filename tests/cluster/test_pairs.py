"""Two commands at once on one sweep, one name, one dataset: one of them runs, the other is refused and changes nothing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fersweep.cli import main
from fersweep.cli.options import known_sweeps
from fersweep.cluster import launch as launching
from fersweep.cluster import launch_or_resume, new_sweep, stop
from fersweep.cluster import resume as resuming
from fersweep.cluster.driver.run_sweep import Outcome
from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.common import ray_connection
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.integrity import MEMORY
from fersweep.data_pipeline.prepare import preparation
from fersweep.data_pipeline.prepare.begun import STATE
from fersweep.data_pipeline.prepare.options import Options
from fersweep.results.dashboards.status import status
from fersweep.results.models.open_model import open_model
from fersweep.results.record import drivers
from fersweep.results.record.drivers import HEARTBEAT, LOCK
from fersweep.results.record.home import find_sweep, sweep_names
from fersweep.results.record.journal import Journal
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import stored_at
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.datasets import write_tiny_dataset
from tests.processes import write_curve
from tests.sweeps import write_sweep

Snapshot = dict[str, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a finished sweep, `tiny`, and its dataset."""
    home = tmp_path_factory.mktemp("pairs") / "runs"
    write_sweep(home, write_tiny_dataset(home / "data" / "tiny"), num_trials=2)
    return home


@pytest.fixture
def home(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in a process without Ray: whatever would train says who would have."""
    for name, double in [
        ("capacity.check", lambda *_: None),
        ("check_nodes", lambda *_: None),
        ("run_sweep", lambda sweep, arrays, directory, **_: Outcome("finished", directory)),
    ]:
        for module in (launching, resuming):
            monkeypatch.setattr(f"{module.__name__}.{name}", double)
    monkeypatch.setattr(ray_connection, "connect", lambda *_, **__: None)
    monkeypatch.setattr(launch_or_resume, "WAIT_S", 0.0)
    for module in (new_sweep, drivers):
        monkeypatch.setattr(module, "MOMENT_S", 0.0)
    copy = shutil.copytree(finished, tmp_path / "runs")
    (copy / "sweeps" / "tiny" / LOCK).touch()
    return copy


def snapshot(place: Path) -> Snapshot:
    """Every name below a directory, with the sha256 of what is in it; but for what a reader remembers of a dataset."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(place.rglob("*"))
        if path.name != MEMORY
    }


@contextmanager
def held(path: Path) -> Iterator[None]:
    """What a driver in another process does to the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """`fersweep ARGUMENTS` in this process → its exit code."""
    monkeypatch.setattr(sys, "argv", ["fersweep", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def recipe(tmp_path: Path, name: str, *more: str) -> list[str]:
    path = write_curve(tmp_path / "c.yaml", trials=2, epochs=2)
    data = str(tmp_path / "runs" / "data" / "tiny")
    return ["launch", str(path), "--data", data, "--name", name, *more]


RESUMED = [
    [],
    ["--trials", "+1"],
    ["--max-epochs", "30"],
    ["--retry-failed"],
    ["--set", "keep_checkpoints=1"],
    ["--data", "elsewhere"],
]


@pytest.mark.parametrize("options", RESUMED, ids=" ".join)
def test_a_resume_beside_a_driver(
    home: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "elsewhere" in options:
        options = ["--data", str(shutil.copytree(home / "data" / "tiny", home.parent / "elsewhere"))]
    sweep_dir = home / "sweeps" / "tiny"
    with held(sweep_dir / LOCK):
        before = snapshot(home)
        assert run(monkeypatch, "resume", "tiny", *options, "--home", home) == 2
        assert snapshot(home) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("another process is running this sweep: wait for it, or stop it (fersweep stop)")
    assert run(monkeypatch, "resume", "tiny", *options, "--home", home) == 0, "the lock is not kept by the refused one"


Lay = Callable[[Path], Path]  # what another process has made, given a home → the lock that it holds
LAUNCHED: dict[str, tuple[Lay, list[str], str]] = {
    "its name": (lambda home: home / "sweeps" / "tiny" / LOCK, ["tiny"], "a sweep of this name exists"),
    "its name, --resume": (
        lambda home: home / "sweeps" / "tiny" / LOCK,
        ["tiny", "--resume"],
        "another process is running this sweep",
    ),
    "a launch": (lambda home: home / "sweeps" / ".new.new" / LOCK, ["new"], "another process is launching a sweep"),
    "a launch, --resume": (
        lambda home: home / "sweeps" / ".new.new" / LOCK,
        ["new", "--resume"],
        "another process is launching a sweep",
    ),
    "the name of what follows": (
        lambda home: shutil.copytree(home / "sweeps" / "tiny", home / "sweeps" / "new-full") / LOCK,
        ["new", "--set", "then={best: 1}"],
        "new-full: a sweep of this name exists",
    ),
}


@pytest.mark.parametrize("beside", LAUNCHED)
def test_a_launch_beside(
    home: Path, tmp_path: Path, beside: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay, (name, *options), message = LAUNCHED[beside]
    with held(lay(home)):
        before = snapshot(home)
        assert run(monkeypatch, *recipe(tmp_path, name, *options), "--home", home) == 2
        assert snapshot(home) == before
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_others_beside_a_driver(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`status --sync` leaves the sweep to the driver's recorder; readers change nothing."""
    with held(home / "sweeps" / "tiny" / LOCK):
        before = snapshot(home)
        assert run(monkeypatch, "status", "--sync", "--home", home) == 0
        assert "left to the recorder that is at work" in capsys.readouterr().err
        assert run(monkeypatch, "compare", "tiny", "--home", home) == 0
        assert snapshot(home) == before
    stopped = stop.stop(home / "sweeps" / "tiny", print)
    assert (stopped.state, snapshot(home)) == ("finished", before), "nobody is asked to stop"


def test_datasets_that_others_make(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faces" / "happy").mkdir(parents=True)
    Image.new("L", (48, 48), 90).save(tmp_path / "faces" / "happy" / "a.png")
    out = home / "data" / "made"
    arguments = ["prepare", tmp_path / "faces", "--out", out, "--pixels-only", "--workers", "1"]
    with held(out / ".lock"):
        before = snapshot(home)
        assert run(monkeypatch, *arguments) == 2
        assert snapshot(home) == before
    assert "is being prepared by another process: wait for it" in capsys.readouterr().err.splitlines()[-1]
    assert run(monkeypatch, "data", "export", home / "data" / "tiny", home / "data" / "tiny", "--as", "numpy") == 2
    assert snapshot(home) == before
    (out / ".lock").unlink()
    others = json.dumps({"sources": [], "options": {"crop": "none", "seed": 7}})
    monkeypatch.setattr(preparation, "_job", lambda *_, **__: (out / STATE).write_text(others))  # after the first look
    with pytest.raises(InputError, match="was begun with"):
        preparation.prepare([tmp_path / "faces"], out, Options(pixels_only=True), workers=1)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(STATE, others)]


def start(target: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Runs in a thread → it, and what it will return or raise."""
    ended: list[Any] = []

    def ending() -> None:
        try:
            ended.append(target())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=ending)
    thread.start()
    return thread, ended


def test_two_resumes_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one's `--trials` is nowhere, and the sweep can be resumed again."""
    begun, go_on = threading.Event(), threading.Event()

    def run_sweep(sweep: Any, arrays: Any, directory: Path, **_: Any) -> Outcome:
        begun.set()
        assert go_on.wait(60)
        return Outcome("finished", directory)

    monkeypatch.setattr(resuming, "run_sweep", run_sweep)
    directory = home / "sweeps" / "tiny"
    thread, ended = start(lambda: resume(directory, trials="+1"))
    assert begun.wait(60)
    before = snapshot(home)
    with pytest.raises(InputError, match="another process is running this sweep"):
        resume(directory, trials="+7")
    assert snapshot(home) == before
    go_on.set()
    thread.join()
    assert ended == [Outcome("finished", directory)]
    assert load_sweep(directory).sweep.asked.search.num_trials == 5


def test_two_launches_of_one_name_at_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have passed the first checks when one of them takes the name."""
    both, done = threading.Barrier(2), threading.Barrier(2)
    monkeypatch.setattr(launching, "address_of_mlflow", SimpleNamespace(check=lambda *_: both.wait(60)))

    def run_sweep(sweep: Any, arrays: Any, directory: Path, **_: Any) -> Outcome:
        done.wait(60)  # the other one has been refused
        return Outcome("finished", directory)

    monkeypatch.setattr(launching, "run_sweep", run_sweep)
    data, path = home / "data" / "tiny", str(write_curve(tmp_path / "c.yaml", trials=2, epochs=2))

    def launched() -> Outcome:
        try:
            return launch(read_sweep(path, [], name="new"), data, home)
        except InputError:
            done.wait(60)
            raise

    threads, ended = zip(*(start(launched) for _ in range(2)), strict=True)
    for thread in threads:
        thread.join()
    refused = [end[0] for end in ended if isinstance(end[0], InputError)]
    assert len(refused) == 1
    assert [end[0] for end in ended if end[0] not in refused] == [Outcome("finished", home / "sweeps" / "new")]
    assert sorted(path.name for path in (home / "sweeps").iterdir()) == ["new", "tiny"]


@pytest.mark.parametrize("step", ["_remove_unfinished", "write_whole", "_stored", "rename"])
def test_a_launch_that_fails_between_its_steps_leaves_nothing(
    tmp_path: Path, home: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    if step == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    else:
        monkeypatch.setattr(new_sweep, step, fail)
    elsewhere, path = tmp_path / "a" / "b", str(write_curve(tmp_path / "c.yaml", trials=2, epochs=2))
    sweep = read_sweep(path, ["storage='s3://bucket'"] if step == "_stored" else [], name="new")
    monkeypatch.setattr(launching, "refuse_stored", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        launch(sweep, home / "data" / "tiny", elsewhere)
    assert (tmp_path / "a").exists() == (step == "_remove_unfinished"), "from its name on it is a sweep"
    if step == "_remove_unfinished":
        assert [found.state for found in status(elsewhere)] == ["interrupted"]
        assert resume(elsewhere / "sweeps" / "new").state == "finished"


def test_what_killed_launches_left_is_listed_nowhere_and_goes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps, content = home / "sweeps", (home / "sweeps" / "tiny" / "sweep.json").read_text()
    of_a_bucket = json.loads(content)
    of_a_bucket["sweep"]["storage"] = "s3://bucket"
    for name, left in [
        (".empty.new", []),
        (".new.new", [LOCK, "sweep.json"]),
        (".older-0123abcd", ["sweep.json"]),
        (".alive.new", [LOCK, "sweep.json"]),
        (".bucket.new", [LOCK, "sweep.json"]),
        (".mine.new", ["sweep.json", "my notes"]),
    ]:
        (sweeps / name / "trials").mkdir(parents=True)
        for file in left:
            (sweeps / name / file).write_text("" if file == LOCK else content)
    (sweeps / ".bucket.new" / "sweep.json").write_text(json.dumps(of_a_bucket))
    assert sweep_names(home) == ["tiny"]
    assert [found.sweep for found in status(home)] == ["tiny"]
    context: Any = type("Context", (), {"params": {"home": home}})
    assert known_sweeps(context, "") == ["tiny"]
    with pytest.raises(InputError, match=r"no sweep '\.new\.new' in .*: known: tiny$"):
        find_sweep(home, ".new.new")
    with pytest.raises(InputError, match="sweeps: tiny;"):
        open_model("nothing", home)
    with held(sweeps / ".alive.new" / LOCK):
        assert run(monkeypatch, *recipe(tmp_path, "new"), "--home", home, "--json") == 0
    assert "removed 2 unfinished directories of launches that were killed" in capsys.readouterr().err
    hidden = {path.name for path in sweeps.glob(".*")}
    assert hidden == {".alive.new", ".bucket.new", ".mine.new"}
    assert sweep_names(home) == ["new", "tiny"]


def test_unfinished_checkpoints_go_when_the_sweep_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = home / "sweeps" / "tiny"
    (directory / "trials" / "0001" / ".epoch-0004-0123abcd").mkdir(parents=True)
    before = snapshot(directory)
    resume(directory, trials="+1")
    assert "removed 1 unfinished checkpoints of processes that were killed" in capsys.readouterr().err
    changed = {name for name, content in before.items() if snapshot(directory).get(name) != content}
    assert changed == {"sweep.json", "trials/0001/.epoch-0004-0123abcd"}


def test_a_sweep_in_a_bucket(home: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that was killed after it had claimed its place there blocks no name; a journal that is lost there is not
    what the local copy becomes; what another machine runs is left alone.
    """
    data, path = home / "data" / "tiny", str(write_curve(tmp_path / "c.yaml", trials=2, epochs=2))
    sweep = read_sweep(path, [f"storage='{bucket}'"], name="new")
    storage, directory = Storage(stored_at(bucket, "new")), home / "sweeps" / "new"

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # as SIGKILL, which tidies nothing up
        with pytest.raises(SystemExit):
            launch(sweep, data, home)
    claimed = json.loads(storage.read("sweep.json"))["sweep_id"]
    with pytest.raises(InputError, match="a sweep is there"):
        launch(sweep, data, tmp_path / "another home")
    assert not (tmp_path / "another home").exists()
    assert launch(sweep, data, home).state == "finished"
    assert load_sweep(directory).sweep.sweep_id == claimed
    driver = Journal(directory / "journal.jsonl", storage)
    driver.session("started")
    driver.session("finished")
    driver.close()
    storage.write("trials/0000/predictions.npz", b"answers")
    storage.write(HEARTBEAT, f"{time.time()} 7 elsewhere".encode())
    before = snapshot(home)
    with pytest.raises(InputError, match="process 7 on elsewhere ran this sweep"):
        resume(directory, trials="+1")
    assert snapshot(home) == before
    storage.write(HEARTBEAT, b"0.0 7 elsewhere")
    storage.move("trials/0000/predictions.npz", "trials/0000.foreign-1/predictions.npz")
    assert storage.names("trials/0000") == []
    storage.move("trials/0000.foreign-1", "trials/0000")
    assert storage.read("trials/0000/predictions.npz") == b"answers"
    storage.remove("journal")
    for ask in (
        lambda: resume(directory),
        lambda: launch_or_resume.launch_or_resume(sweep, data, home),
        lambda: find_sweep(home, storage.address),
        lambda: find_sweep(tmp_path / "another home", storage.address),
    ):
        with pytest.raises(
            InputError, match=r"its journal is missing, but .* of 1 trials; put a copy of journal/ back"
        ):
            ask()
    assert snapshot(home) == before
    assert not (tmp_path / "another home").exists()
    (seen,) = status(home, "new")
    assert (seen.state, seen.resume) == ("unreadable", None)
    assert "its journal is missing" in str(seen.reason)
