"""Hundreds of files that are not what they should be, in every place where one is read: each is refused in one line, or
read whole; nothing hangs, nothing is written elsewhere, no memory is taken for a claim.

The same each time. FERSWEEP_FUZZ=10 draws ten times as many.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.pixels import pixels
from fersweep.data_pipeline.dataset.verify import verify
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.compare.trials import compare
from fersweep.results.dashboards.status import status
from fersweep.results.record import checkpoints
from fersweep.results.record.home import find_sweep, sweep_directories
from fersweep.results.record.journal import read_events
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.record.timeline import Timeline, cost
from fersweep.results.report.page import render as render_report
from fersweep.results.scores.figures import read_kept
from fersweep.results.tracking.lag import missing
from fersweep.trainables.saved_model import read_checkpoint
from tests.datasets import write_tiny_dataset
from tests.fuzz import mutations
from tests.hanging import ending
from tests.malformed.garbled import garbled
from tests.sweeps import write_sweep

TIMES = int(os.environ.get("FERSWEEP_FUZZ", "1"))
HANGS_S = 60  # what takes milliseconds and has not ended by then never will
FEWEST = 1000  # cases of a run
SPARE_BYTES = 3 * 2**30  # that a case may take
TRIAL = 0
cases: Counter[str] = Counter()
refused: Counter[str] = Counter()


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Time and memory end."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + SPARE_BYTES, before[1]))
    try:
        with ending(HANGS_S):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(run: Callable[[], object], *kinds: type[Exception]) -> str | None:
    """The one line with which `run` refuses what it reads; None where it accepts it. `kinds`: that it raises instead."""
    try:
        with limited():
            run()
    except (InputError, *kinds) as error:
        message = str(error)
        assert message.isprintable(), repr(message)
        assert 0 < len(message) <= 1200
        return message
    return None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("fuzz") / "deep" / "home"
    sweep_dir = write_sweep(home, write_tiny_dataset(home / "data" / "tiny", 72), num_trials=3)
    shutil.copytree(sweep_dir, sweep_dir.parent / "sound")
    return home


@pytest.fixture(scope="module")
def sweep_dir(home: Path) -> Path:
    return home / "sweeps" / "tiny"


@pytest.fixture
def fuzzed(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Fuzzed]:
    """What lies in the home is as before afterwards, and nothing else is anywhere near it."""
    place = home.parent / "here"
    place.mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    before = listing(home.parents[1])
    yield Fuzzed(request.node.name)
    assert listing(home.parents[1]) == before


def listing(root: Path) -> dict[str, int | None]:
    """Path → size of all files below; of directories None."""
    paths = {str(path): path.stat().st_size if path.is_file() else None for path in root.rglob("*")}
    return {path: size for path, size in paths.items() if not path.endswith(("/driver.lock", "/.lock"))}


class Fuzzed:
    def __init__(self, name: str):
        self.name = name.removeprefix("test_")

    def __call__(
        self, path: Path, strategy: st.SearchStrategy[bytes], number: int, *runs: Callable[[], object],
        kinds: tuple[type[Exception], ...] = (), prepare: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Put what `strategy` draws in the place of `path`, `number` times, and `runs` one after the other."""
        sound = path.read_bytes()

        @settings(derandomize=True, database=None, deadline=None, max_examples=number * TIMES, suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(strategy)
        def check(content: bytes) -> None:
            path.write_bytes(content)
            if prepare is not None:
                prepare()
            cases[self.name] += 1
            for run in runs:
                if refusal(run, *kinds) is not None:
                    refused[self.name] += 1
                    break

        try:
            check()
        finally:
            path.write_bytes(sound)
            if prepare is not None:
                prepare()


def seen(home: Path, name: str) -> None:
    """The verbs that look at a sweep, and that the others are shown whatever it is."""
    states = {each.sweep: each.state for each in status(home)}
    assert states["sound"] == "finished"
    assert name in states
    if states[name] == "unreadable":
        load_sweep(home / "sweeps" / name)
        raise AssertionError("what `status` cannot read others must not")


def test_journals(home: Path, sweep_dir: Path, fuzzed: Fuzzed) -> None:
    path = sweep_dir / "journal.jsonl"

    def whole() -> None:
        load_sweep(sweep_dir)
        Timeline(read_events(path)).idle_share()
        cost(path)
        missing(sweep_dir)

    fuzzed(path, mutations.journals(path.read_bytes()), 250, whole, lambda: seen(home, "tiny"), lambda: compare(sweep_dir, 1))  # fmt: skip


def test_sweep_json(home: Path, sweep_dir: Path, fuzzed: Fuzzed) -> None:
    path = sweep_dir / "sweep.json"

    def whole() -> None:
        recorded = load_sweep(sweep_dir)
        assert recorded.sweep.home == home.resolve()
        _ = recorded.storage, recorded.ranked(), recorded.sweep.without_faces(), recorded.sweep.faces
        recorded.sweep.as_bytes()
        if recorded.storage.path is not None:
            missing(sweep_dir)

    def looked_at() -> None:
        if load_sweep(sweep_dir).storage.path is not None:  # else a bucket would be asked
            seen(home, "tiny")
            compare(sweep_dir, 1)

    fuzzed(path, mutations.json_files(path.read_bytes()), 250, whole, looked_at)


def test_sweeps_in_a_bucket(home: Path, sweep_dir: Path, fuzzed: Fuzzed) -> None:
    bucket, adopted = home.parent / "bucket", home.parent / "adopted"
    shutil.copytree(sweep_dir, bucket / "tiny")
    (bucket / "tiny" / "journal").mkdir()
    shutil.copy(sweep_dir / "journal.jsonl", bucket / "tiny" / "journal" / "00000.jsonl")
    path = bucket / "tiny" / "sweep.json"
    content = json.loads(path.read_bytes())
    names = st.sampled_from([*mutations.VALUES, "../../x", "..", "a/b", "x"])
    named = names.map(lambda name: json.dumps({**content, "sweep": {**content["sweep"], "name": name}}).encode())

    def adopt() -> None:
        directory = find_sweep(adopted, f"file://{bucket}/tiny")
        assert directory.parent == adopted / "sweeps"
        shutil.rmtree(directory)

    strategy = st.one_of(named, mutations.json_files(path.read_bytes()))
    fuzzed(path, strategy, 80, adopt)
    shutil.rmtree(bucket)
    shutil.rmtree(adopted)


def test_manifests(home: Path, fuzzed: Fuzzed) -> None:
    dataset = home / "data" / "tiny"
    path = dataset / "manifest.json"

    def whole() -> None:
        task = Task(dataset)
        task.arrays()

    fuzzed(path, mutations.json_files(path.read_bytes()), 110, lambda: read_manifest(dataset), whole, lambda: verify(dataset))  # fmt: skip


def test_parts(home: Path, fuzzed: Fuzzed) -> None:
    dataset = home / "data" / "tiny"
    path, manifest = dataset / "faces" / "part-00000.parquet", (dataset / "manifest.json").read_bytes()
    table = pq.read_table(path)

    def stored(table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="none")
        return sink.getvalue().to_pybytes()

    def fit() -> None:
        """The manifest goes with it: what else would be found is its size."""
        content: dict[str, Any] = json.loads(manifest)
        content["parts"][0]["num_bytes"] = path.stat().st_size
        content["parts"][0].pop("sha256")
        (dataset / "manifest.json").write_bytes(json.dumps(content).encode())

    def whole() -> None:
        for features in ("blendshapes", "pixels"):
            Task(dataset, TaskSpec(features=features)).arrays()  # pyright: ignore[reportArgumentType]
        pixels(dataset)

    try:
        strategy = st.one_of(
            mutations.tables(table).map(stored), garbled(path.read_bytes()), st.sampled_from(mutations.WHOLE)
        )
        fuzzed(path, strategy, 110, whole, lambda: verify(dataset), prepare=fit)
    finally:
        (dataset / "manifest.json").write_bytes(manifest)


def test_models(sweep_dir: Path, fuzzed: Fuzzed) -> None:
    recorded = load_sweep(sweep_dir)
    checkpoint = recorded.best_checkpoint(recorded.ranked()[0])
    assert checkpoint is not None
    x = recorded.sweep.task().load("val").x[:2]

    def whole() -> None:
        read_checkpoint(checkpoint)
        trainables.restore(checkpoint)

    path = checkpoint / "model.json"
    fuzzed(path, mutations.json_files(path.read_bytes()), 120, whole)
    path = checkpoint / "state.npz"
    fuzzed(path, mutations.npz_files(path.read_bytes()), 120, whole)
    assert len(trainables.restore(checkpoint).predict(x)) == 2


def test_checkpoints_and_predictions(sweep_dir: Path, fuzzed: Fuzzed) -> None:
    recorded, storage = load_sweep(sweep_dir), Storage(sweep_dir)
    trial = recorded.ranked()[0]
    checkpoint = recorded.best_checkpoint(trial)
    assert checkpoint is not None
    epoch = int((recorded.best(trial) or {})["epoch"])
    damaged = (checkpoints.Damaged,)
    path = checkpoint / checkpoints.CHECKSUMS
    fuzzed(path, mutations.json_files(path.read_bytes()), 60, lambda: checkpoints.fetch(storage, trial.number, epoch, sweep_dir), kinds=damaged)  # fmt: skip
    path = checkpoint / checkpoints.EPOCHS
    fuzzed(
        path, mutations.json_files(path.read_bytes()), 60, lambda: checkpoints.read_epochs(checkpoint), kinds=damaged
    )

    def predictions() -> None:
        answers = recorded.val_predictions(trial)
        if answers is not None:
            y, probabilities = answers
            assert y.max() < probabilities.shape[1]

    path = sweep_dir / "trials" / trial.name / checkpoints.PREDICTIONS
    fuzzed(path, mutations.npz_files(path.read_bytes()), 100, predictions, lambda: compare(sweep_dir, 1))


def test_hints(sweep_dir: Path, fuzzed: Fuzzed) -> None:
    """Files that are only a help: what cannot be read is as if it were not there."""
    level, trees = sweep_dir / "recorder.json", sweep_dir / "trees.json"
    level.write_text(json.dumps({"offset": 10, "closed": True, "beat": 1.0, "error": None}))
    trees.write_text(json.dumps({"key": {"fingerprint": "x", "classes": ["a"]}, "figures": {"split": "val"}}))
    try:
        fuzzed(level, mutations.json_files(level.read_bytes()), 60, lambda: missing(sweep_dir))
        fuzzed(trees, mutations.json_files(trees.read_bytes()), 60, lambda: read_kept(trees))
    finally:
        level.unlink()
        trees.unlink()


OTHERS = ["a FIFO", "a directory", "a socket", "a device", "a link to nothing", "a link to itself", "a huge file"]


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_file(home: Path, sweep_dir: Path, what: str, fuzzed: Fuzzed) -> None:
    """In place of each file that is read. A huge file is one with a hole: it takes no room on the disk."""
    recorded = load_sweep(sweep_dir)
    checkpoint = recorded.best_checkpoint(recorded.ranked()[0])
    assert checkpoint is not None
    dataset = home / "data" / "tiny"
    trial = recorded.ranked()[0]
    epoch = int((recorded.best(trial) or {})["epoch"])

    def restored() -> None:
        checkpoints.fetch(Storage(sweep_dir), trial.number, epoch, sweep_dir)
        checkpoints.read_epochs(checkpoint)
        trainables.restore(checkpoint)

    readers: dict[Path, Callable[[], object]] = {
        sweep_dir / "sweep.json": lambda: (seen(home, "tiny"), load_sweep(sweep_dir)),
        sweep_dir / "journal.jsonl": lambda: (seen(home, "tiny"), load_sweep(sweep_dir)),
        sweep_dir / "driver.lock": lambda: [status(home), sweep_directories(home)],
        sweep_dir / "recorder.json": lambda: missing(sweep_dir),
        sweep_dir / "trees.json": lambda: read_kept(sweep_dir / "trees.json"),
        dataset / "manifest.json": lambda: Task(dataset),
        dataset / "faces" / "part-00000.parquet": lambda: Task(dataset).arrays(),
        **{checkpoint / name: restored for name in ("model.json", "state.npz", "epochs.json", "checksums.json")},
        sweep_dir / "trials" / trial.name / "predictions.npz": lambda: compare(sweep_dir, 1),
    }
    for path, read in readers.items():
        kept = path.with_name(f"{path.name}.kept")
        if existed := path.exists():
            path.rename(kept)
        try:
            put(path, what)
            cases["what_is_no_file"] += 1
            with contextlib.suppress(FileNotFoundError):  # as where there is none
                refusal(read, checkpoints.Damaged)
        finally:
            path.rmdir() if what == "a directory" else path.unlink()
            if existed:
                kept.rename(path)


def put(path: Path, what: str) -> None:
    if what == "a FIFO":
        os.mkfifo(path)
    elif what == "a directory":
        path.mkdir()
    elif what == "a socket":
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):  # its name may be 107 bytes long
            server.bind(path.name)
    elif what == "a device":
        path.symlink_to("/dev/zero")
    elif what == "a link to nothing":
        path.symlink_to("nowhere")
    elif what == "a link to itself":
        path.symlink_to(path.name)
    else:
        with path.open("wb") as file:
            file.truncate(2**42)


@pytest.mark.skipif(TIMES == 1, reason="takes seconds")
def test_reports_of_what_was_accepted(sweep_dir: Path, fuzzed: Fuzzed) -> None:
    """A journal that is read can be shown: a few whole reports."""
    path = sweep_dir / "journal.jsonl"
    fuzzed(path, mutations.journals(path.read_bytes()), 4, lambda: render_report(sweep_dir))


def test_there_were_enough() -> None:
    print(f"{cases.total()} files, {refused.total()} refused: {dict(cases)}")
    if len(cases) < 9:
        pytest.skip("only some of these tests ran")
    assert cases.total() >= FEWEST
    assert refused.total() >= FEWEST // 3
