"""Sources → dataset: `fersweep prepare fer2013.csv.zip runs/data/fer2013`.

First the sources are read through once: whatever is wrong with them shows before anything is written, and splits and
twins are settled. Then a reader streams the faces through Ray Data to one landmarker per worker; parts are written as
they fill up. Killed at any moment, the same command goes on after the finished parts. The manifest is written last.
"""

import atexit
import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.address import reaching
from data_pipeline.bundle import SHA256, find_bundle
from data_pipeline.errors import InputError
from data_pipeline.landmarks import Landmarker
from data_pipeline.plan import SIDES, STATE, Options, Plan, Progress, Tell, all_faces, begun, read_through, request
from data_pipeline.quiet import silent_stderr
from data_pipeline.schema import BLENDSHAPES, make_rows, part_path, seal, write_file, write_part
from data_pipeline.sources import Face, Source, decode, fit, open_source

BATCH_ROWS = 256  # faces a worker takes at a time, fewer where there are few
MIN_BATCH_ROWS = 16
OBJECT_STORE_BYTES = 512 * 2**20


def prepare(
    sources: Sequence[Path],
    out: Path,
    *,
    workers: int | None = None,
    landmarker: Path | None = None,
    image_size: tuple[int, int] | None = None,
    border: float = 0.25,
    size: int = 192,
    val_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 0,
    address: str | None = None,
    part_rows: int = 2048,
    progress: Tell | None = None,
) -> dict[str, Any]:
    """Make the dataset `out` of `sources` and return its manifest; a finished one is left as it is.

    `workers`: landmarkers, one process and one CPU each (default: all CPUs). `image_size`: (H, W) of every face
    (default: the first face's). `border`, `size`: see `landmarks.Landmarker`. `val_share`, `test_share`: of train,
    where the sources have no such split. `address`: of a Ray cluster; an initialised Ray is used as it is.
    InputError where sources or options are wrong, or differ from those `out` was begun with; RuntimeError where
    MediaPipe or its bundle is missing.
    """
    out = Path(out)
    tell = progress or (lambda _: None)
    if workers is not None and workers < 1:
        raise InputError(f"workers: must be 1 or more, but got {workers}")
    opened = [open_source(Path(source)) for source in sources]
    first = next(all_faces(opened), None)
    if first is None:
        given = ", ".join(map(str, sources)) or "none was given"
        raise InputError(f"the sources ({given}) hold no face: give a CSV, a folder of images, or an archive of either")
    height, width = image_size or decode(first).shape
    if not image_size and not (height in SIDES and width in SIDES):
        raise InputError(f"{first.source}: a face of {height}×{width} pixels; both sides must lie in 8–1024")
    options = Options((height, width), border, size, val_share, test_share, seed, part_rows)
    wanted = request(opened, options)
    if (manifest := begun(out, wanted)) is not None:
        tell(Progress("finished", manifest["num_faces"], manifest["num_faces"], 0.0, 0.0))
        return manifest
    bundle = find_bundle(landmarker)
    with Landmarker(bundle):  # whatever MediaPipe lacks shows here, not in a worker
        pass
    plan = read_through(opened, options, tell)
    with _ray(workers, address) as ray, _locked(out):
        write_file(out / STATE, json.dumps(wanted, indent=1).encode())
        for leftover in (out / "faces").glob(".*.tmp"):
            leftover.unlink()
        parts = _Parts(out, plan, options)
        if parts.missing:
            _extract(ray, opened, parts, options, bundle, workers, tell)
        landmarks = {"border": border, "size": size, "bundle_sha256": SHA256, "mediapipe": version("mediapipe")}
        fields = {**wanted, "image_size": [height, width], "landmarks": landmarks, "command": shlex.join(sys.argv)}
        manifest = seal(out, fields)
        (out / STATE).unlink()
    return manifest


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    (out / "faces").mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out} is being prepared by another process: wait for it") from None
        yield
    (out / ".lock").unlink(missing_ok=True)


class _Parts:
    """The parts that are still to be written, each as soon as its last face comes in."""

    def __init__(self, out: Path, plan: Plan, options: Options):
        self.out, self.plan, self.options = out, plan, options
        self.num_faces = len(plan.labels)
        starts = range(0, self.num_faces, options.part_rows)
        sizes = {part: min(options.part_rows, self.num_faces - start) for part, start in enumerate(starts)}
        self.missing = {part: size for part, size in sizes.items() if not part_path(out, part).exists()}
        self._pixels: dict[int, np.ndarray] = {}
        self._scores: dict[int, np.ndarray] = {}
        self._left = dict(self.missing)

    def add(self, rows: np.ndarray, pixels: np.ndarray, scores: np.ndarray) -> None:
        """Faces of rows (n,): pixels (n, H, W) uint8 and scores (n, 52) float32, NaN where no face was found."""
        for part in np.unique(rows // self.options.part_rows).tolist():
            mine = rows // self.options.part_rows == part
            where = rows[mine] - part * self.options.part_rows
            size = self.missing[part]
            self._pixels.setdefault(part, np.empty((size, *self.options.image_size), np.uint8))[where] = pixels[mine]
            self._scores.setdefault(part, np.empty((size, len(BLENDSHAPES)), np.float32))[where] = scores[mine]
            self._left[part] -= len(where)
            if self._left[part] == 0:
                self._write(part)

    def _write(self, part: int) -> None:
        span = slice(part * self.options.part_rows, (part + 1) * self.options.part_rows)
        rows = make_rows(
            self.options.image_size,
            pixels=self._pixels.pop(part),
            blendshapes=self._scores.pop(part),
            source=self.plan.sources[span],
            split=self.plan.splits[span],
            label=self.plan.labels[span],
            duplicate_of=self.plan.duplicate_of[span],
        )
        write_part(self.out, part, rows)


def _extract(
    ray: Any,
    sources: Sequence[Source],
    parts: _Parts,
    options: Options,
    bundle: Path,
    workers: int | None,
    tell: Tell,
) -> None:
    """Write every part that is not there yet."""
    todo, done = sum(parts.missing.values()), 0
    begun_at, begun_with = 0.0, 0  # the rate counts from the first batch on: workers take seconds to start
    workers = min(workers or int(ray.cluster_resources().get("CPU", 1)), -(-todo // MIN_BATCH_ROWS))
    batch_rows = min(max(todo // (4 * workers), MIN_BATCH_ROWS), BATCH_ROWS)
    block_bytes = round(batch_rows * parts.plan.mean_bytes / 2)  # half: faces vary, a batch must fill a block
    blocks = _Blocks(sources, set(parts.missing), options.part_rows, batch_rows)
    for table in _stream(ray, blocks, options, bundle, workers, block_bytes):
        pixels = np.frombuffer(b"".join(table["pixels"].to_pylist()), np.uint8)
        scores = np.frombuffer(b"".join(table["blendshapes"].to_pylist()), np.float32)
        shape = (table.num_rows, *options.image_size)
        parts.add(table["row"].to_numpy(), pixels.reshape(shape), scores.reshape(-1, len(BLENDSHAPES)))
        done += table.num_rows
        if not begun_with:
            begun_at, begun_with = time.monotonic(), done
        rate = (done - begun_with) / max(time.monotonic() - begun_at, 1e-3)
        eta_s = (todo - done) / rate if rate else None
        tell(Progress("extract", parts.num_faces - todo + done, parts.num_faces, rate, eta_s))
    if done != todo:
        raise RuntimeError(f"{todo - done} faces did not come back from the workers; run the same command again")


# --- Ray ---


@contextlib.contextmanager
def _ray(workers: int | None, address: str | None) -> Iterator[Any]:
    """Ray: the one that runs already, a cluster's, or a local one that ends with the block."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray's C++ side warns about what Ray Data does by default
    }.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with reaching(address), silent_stderr():
        if address is None:
            here = {"num_cpus": workers or os.cpu_count(), "object_store_memory": OBJECT_STORE_BYTES}
            ray.init(address="local", include_dashboard=False, **here, **quiet)  # not one that happens to run here
        else:
            ray.init(address=address, runtime_env={"py_modules": [str(Path(__file__).parent)]}, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def _stream(
    ray: Any, blocks: "_Blocks", options: Options, bundle: Path, workers: int, block_bytes: int
) -> Iterator[pa.Table]:
    """The faces of `blocks` with their scores, in any order: row int64, pixels (H·W bytes), blendshapes (52 float32).

    `block_bytes` is what Ray Data puts into one block: a block is a worker's task, and a few of them all that is held.
    """
    from ray.data import ActorPoolStrategy, DataContext

    extractor = {
        "bundle": str(bundle),
        "image_size": options.image_size,
        "border": options.border,
        "size": options.size,
    }
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    quiet = {
        "target_max_block_size": block_bytes,
        "enable_progress_bars": False,
        "print_on_execution_start": False,
    }
    before = {name: getattr(context, name) for name in quiet}
    try:
        for name, value in quiet.items():
            setattr(context, name, value)
        faces = ray.data.read_datasource(
            _datasource(blocks),
            override_num_blocks=1,
            num_cpus=0,
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},  # sources lie on this machine
        ).map_batches(
            Extractor,
            fn_constructor_kwargs=extractor,
            batch_size=blocks.batch_rows,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        yield from faces.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except Exception as error:
        raise _plain(error) from None
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _plain(error: Exception) -> RuntimeError:
    """One line: what a worker raised, out of the tracebacks that Ray wraps around it."""
    raised = re.findall(r"^\s*([\w.]*(?:Error|Exception)): (.+)$", str(error), re.MULTILINE)
    told = [f"{name}: {message}" for name, message in raised if not name.startswith("ray.")]
    lines = str(error).strip().splitlines() or [""]
    return RuntimeError(f"a worker failed: {told[-1] if told else f'{type(error).__name__}: {lines[0]}'}")


def _datasource(blocks: "_Blocks") -> Any:
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Faces(Datasource):
        """One task that streams `blocks`."""

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
            return [ReadTask(blocks, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]

    return Faces()


@dataclass(frozen=True)
class _Blocks:
    """Faces of `parts`, still encoded, in tables of `batch_rows`."""

    sources: Sequence[Source]
    parts: set[int]
    part_rows: int
    batch_rows: int

    def __call__(self) -> Iterator[pa.Table]:
        wanted = (pair for pair in enumerate(all_faces(self.sources)) if pair[0] // self.part_rows in self.parts)
        while rows := list(itertools.islice(wanted, self.batch_rows)):
            columns = {name: [getattr(face, name) for _, face in rows] for name in ("source", "data", "is_text")}
            yield pa.table({"row": pa.array([row for row, _ in rows], pa.int64()), **columns})


class Extractor:
    """One worker: decodes faces and finds their blendshapes (NaN where there is no face)."""

    def __init__(self, bundle: str, image_size: tuple[int, int], border: float, size: int):
        self.image_size = image_size
        here = Path(bundle) if Path(bundle).exists() else None  # another machine of the cluster looks for its own
        self.landmarker = Landmarker(find_bundle(here), border=border, size=size)
        self.nothing = np.full(len(BLENDSHAPES), np.nan, np.float32)
        atexit.register(self.landmarker.close)

    def __call__(self, batch: pa.Table) -> pa.Table:
        pixels, scores = [], []
        for row in batch.to_pylist():
            face = fit(decode(Face(row["source"], "", None, row["data"], row["is_text"])), self.image_size)
            found = self.landmarker.blendshapes(face)
            pixels.append(face.tobytes())
            scores.append((self.nothing if found is None else found).tobytes())
        columns = {"pixels": pa.array(pixels, pa.binary()), "blendshapes": pa.array(scores, pa.binary())}
        return pa.table({"row": batch["row"], **columns})
