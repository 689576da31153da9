"""Sources → dataset: `fersweep prepare fer2013.csv.zip runs/data/fer2013`.

First the sources are read through once: whatever is wrong with them shows before anything is written, and splits and
twins are settled. Then a reader streams the faces through Ray Data to one landmarker per worker; parts are written as
they fill up. Killed at any moment, the same command goes on after the finished parts. The manifest is written last.
"""

import atexit
import contextlib
import fcntl
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.bundle import SHA256, find_bundle
from data_pipeline.errors import InputError
from data_pipeline.schema import BLENDSHAPES, face_id, make_rows, part_path, read_manifest, seal, write_file, write_part
from data_pipeline.sources import Face, Source, decode, fit, open_source
from data_pipeline.splits import assign_splits, find_twins

BATCH_ROWS = 256  # faces a worker takes at a time, fewer where there are few
MIN_BATCH_ROWS = 16
OBJECT_STORE_BYTES = 512 * 2**20
STATE = "unfinished.json"


@dataclass(frozen=True)
class Progress:
    """What `prepare` tells its caller now and then."""

    phase: str  # "read" (check the sources), "extract" (landmarks) or "finished" (was already: nothing to do)
    done: int  # faces
    total: int | None  # None while reading: not known yet
    rate: float  # faces a second in this phase
    eta_s: float | None


@dataclass(frozen=True)
class Plan:
    """What is known of each face before landmarks are looked for. Lists of N."""

    sources: list[str]
    labels: list[str]
    splits: list[str]
    duplicate_of: list[str | None]
    mean_bytes: float  # of an encoded face


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
    progress: Callable[[Progress], None] | None = None,
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
    _check(image_size, border, size, val_share, test_share, part_rows, workers)
    if not sources:
        raise InputError("no source given: give a CSV, a folder of images, or an archive of either")
    opened = [open_source(Path(source)) for source in sources]
    first = decode(next(_faces(opened))).shape
    options = {
        "image_size": list(image_size or first),
        "border": border,
        "size": size,
        "val_share": val_share,
        "test_share": test_share,
        "seed": seed,
        "part_rows": part_rows,
    }
    request = {"sources": [_describe(source) for source in opened], "options": options}
    if (out / "manifest.json").exists():
        manifest = read_manifest(out)
        _check_same(out, manifest, request)
        tell(Progress("finished", manifest["num_faces"], manifest["num_faces"], 0.0, 0.0))
        return manifest
    if (out / STATE).exists():
        _check_same(out, json.loads((out / STATE).read_bytes()), request)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is no dataset: give a new directory")
    bundle = find_bundle(landmarker)
    plan = _read_through(opened, options, tell)

    (out / "faces").mkdir(parents=True, exist_ok=True)
    with _locked(out):
        if not (out / STATE).exists():
            write_file(out / STATE, json.dumps(request, indent=1).encode())
        for leftover in (out / "faces").glob(".*.tmp"):
            leftover.unlink()
        _extract(opened, plan, out, options, bundle, workers, address, tell)
        fields = {
            **request,
            "image_size": options["image_size"],
            "landmarks": {"border": border, "size": size, "bundle_sha256": SHA256, "mediapipe": _mediapipe_version()},
            "command": shlex.join(sys.argv),
        }
        manifest = seal(out, fields)
        (out / STATE).unlink()
    return manifest


def _check(image_size, border, size, val_share, test_share, part_rows, workers) -> None:
    if image_size is not None and not all(8 <= side <= 1024 for side in image_size):
        raise InputError(f"image_size: both sides must lie in 8–1024 pixels, but got {image_size}")
    if not 0.0 <= border <= 2.0:
        raise InputError(f"border: must lie in 0–2 (a share of the side), but got {border}")
    if not 64 <= size <= 1024:
        raise InputError(f"size: must lie in 64–1024 pixels, but got {size}")
    for name, share in (("val_share", val_share), ("test_share", test_share)):
        if not 0.0 <= share <= 0.45:
            raise InputError(f"{name}: must lie in 0–0.45, but got {share}")
    for name, number in (("part_rows", part_rows), ("workers", workers)):
        if number is not None and number < 1:
            raise InputError(f"{name}: must be 1 or more, but got {number}")


def _describe(source: Source) -> dict[str, str]:
    return {"path": str(source.path), "format": source.format, "sha256": source.sha256()}


def _check_same(out: Path, begun: dict[str, Any], request: dict[str, Any]) -> None:
    """InputError saying what differs from the command that began `out`."""
    for key, value in request["options"].items():
        if begun["options"].get(key) != value:
            raise InputError(
                f"{out} was begun with {key} {begun['options'].get(key)}, not {value}: give a new directory"
            )
    before, now = ([source["sha256"] for source in what["sources"]] for what in (begun, request))
    if before != now:
        paths = ", ".join(source["path"] for source in begun["sources"])
        raise InputError(
            f"{out} was begun with other sources ({paths}, or their content changed): give a new directory"
        )


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out} is being prepared by another process: wait for it") from None
        yield
    (out / ".lock").unlink(missing_ok=True)


def _faces(sources: Sequence[Source]) -> Iterator[Face]:
    for source in sources:
        yield from source.faces()


def _read_through(sources: Sequence[Source], options: dict[str, Any], tell: Callable[[Progress], None]) -> Plan:
    """Decode every face once: all errors of the input show here."""
    ids, labels, splits, names, num_bytes = [], [], [], [], 0
    started = time.monotonic()
    for face in _faces(sources):
        ids.append(face_id(fit(decode(face), tuple(options["image_size"]))))
        labels.append(face.label)
        splits.append(face.split)
        names.append(face.source)
        num_bytes += len(face.data)
        if len(ids) % 500 == 0:
            tell(Progress("read", len(ids), None, len(ids) / (time.monotonic() - started), None))
    shares = {name: options[name] for name in ("val_share", "test_share", "seed")}
    assigned = assign_splits(ids, labels, splits, **shares)
    return Plan(names, labels, assigned, find_twins(ids, assigned, names), num_bytes / len(ids))


def _extract(
    sources: Sequence[Source],
    plan: Plan,
    out: Path,
    options: dict[str, Any],
    bundle: Path,
    workers: int | None,
    address: str | None,
    tell: Callable[[Progress], None],
) -> None:
    """Write every part that is not there yet."""
    total, part_rows, (height, width) = len(plan.labels), options["part_rows"], options["image_size"]
    parts = range(-(-total // part_rows))
    missing = {part for part in parts if not part_path(out, part).exists()}
    if not missing:
        return
    sizes = {part: min(part_rows, total - part * part_rows) for part in missing}
    todo, done, started = sum(sizes.values()), 0, time.monotonic()
    open_parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    with _ray(workers, address) as ray:
        workers = min(workers or int(ray.cluster_resources().get("CPU", 1)), -(-todo // MIN_BATCH_ROWS))
        batch_rows = min(max(todo // (4 * workers), MIN_BATCH_ROWS), BATCH_ROWS)
        block_bytes = round(batch_rows * plan.mean_bytes / 2)  # half: faces vary in size, a batch must fill a block
        for table in _stream(ray, sources, missing, options, bundle, workers, batch_rows, block_bytes):
            rows = table["row"].to_numpy()
            pixels = np.stack([np.frombuffer(face, np.uint8) for face in table["pixels"].to_pylist()])
            scores = np.stack([np.frombuffer(face, np.float32) for face in table["blendshapes"].to_pylist()])
            for part in np.unique(rows // part_rows).tolist():
                faces, blendshapes = open_parts.setdefault(
                    part,
                    (
                        np.empty((sizes[part], height * width), np.uint8),
                        np.empty((sizes[part], len(BLENDSHAPES)), "f4"),
                    ),
                )
                mine = rows // part_rows == part
                faces[rows[mine] - part * part_rows] = pixels[mine]
                blendshapes[rows[mine] - part * part_rows] = scores[mine]
                sizes[part] -= int(mine.sum())
                if sizes[part] == 0:
                    faces, blendshapes = open_parts.pop(part)
                    span = slice(part * part_rows, part * part_rows + len(faces))
                    rows_of_part = make_rows(
                        (height, width),
                        pixels=faces.reshape(-1, height, width),
                        blendshapes=blendshapes,
                        source=plan.sources[span],
                        split=plan.splits[span],
                        label=plan.labels[span],
                        duplicate_of=plan.duplicate_of[span],
                    )
                    write_part(out, part, rows_of_part)
            done += len(rows)
            rate = done / (time.monotonic() - started)
            tell(Progress("extract", total - todo + done, total, rate, (todo - done) / rate))
    if any(sizes.values()):
        raise RuntimeError(f"faces of {len(open_parts)} parts did not come back; run the same command again")


# --- Ray ---


@contextlib.contextmanager
def _ray(workers: int | None, address: str | None) -> Iterator[Any]:
    """Ray: the one that runs already, a cluster's, or a local one that ends with the block."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(num_cpus=workers or os.cpu_count(), object_store_memory=OBJECT_STORE_BYTES, **quiet)
    else:
        modules = {"py_modules": [str(Path(__file__).parent)]}
        ray.init(address=address, runtime_env=modules, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def _stream(
    ray: Any,
    sources: Sequence[Source],
    parts: set[int],
    options: dict[str, Any],
    bundle: Path,
    workers: int,
    batch_rows: int,
    block_bytes: int,
) -> Iterator[pa.Table]:
    """Faces of `parts` with their scores, in any order: row int64, pixels (H·W bytes), blendshapes (52 float32).

    `block_bytes` is what Ray Data puts into one block: a block is a worker's task, and a few of them all that is held.
    """
    from ray.data import ActorPoolStrategy, DataContext

    extractor = {"bundle": str(bundle), **{name: options[name] for name in ("image_size", "border", "size")}}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
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
            _datasource(sources, parts, options["part_rows"], batch_rows),
            override_num_blocks=1,
            num_cpus=0,
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},  # sources lie on this machine
        ).map_batches(
            Extractor,
            fn_constructor_kwargs=extractor,
            batch_size=batch_rows,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        yield from faces.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except Exception as error:
        raise _innermost(error) from None
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _innermost(error: BaseException) -> Exception:
    """What a worker raised, out of what Ray wraps around it."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = getattr(error, "cause", None) or error.__cause__ or error
    for wanted in (InputError, RuntimeError):
        for found in reversed(chain):
            if type(found) is wanted:
                return found
    told = next((found for found in reversed(chain) if str(found)), chain[0])
    return RuntimeError(f"{type(told).__name__}: {str(told).strip().splitlines()[-1]}")


def _datasource(sources: Sequence[Source], parts: set[int], part_rows: int, batch_rows: int) -> Any:
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Faces(Datasource):
        """One task that streams the faces of `parts`, still encoded."""

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
            metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(lambda: _blocks(sources, parts, part_rows, batch_rows), metadata)]

    return Faces()


def _blocks(sources: Sequence[Source], parts: set[int], part_rows: int, batch_rows: int) -> Iterator[pa.Table]:
    rows: list[tuple[int, Face]] = []
    for row, face in enumerate(_faces(sources)):
        if row // part_rows in parts:
            rows.append((row, face))
        if len(rows) == batch_rows:
            yield _block(rows)
            rows = []
    if rows:
        yield _block(rows)


def _block(rows: list[tuple[int, Face]]) -> pa.Table:
    columns = {name: [getattr(face, name) for _, face in rows] for name in ("source", "data", "is_text")}
    return pa.table({"row": pa.array([row for row, _ in rows], pa.int64()), **columns})


class Extractor:
    """One worker: decodes faces and finds their blendshapes (NaN where there is no face)."""

    def __init__(self, bundle: str, image_size: Sequence[int], border: float, size: int):
        from data_pipeline.landmarks import Landmarker

        self.image_size = (image_size[0], image_size[1])
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


def _mediapipe_version() -> str:
    from importlib.metadata import version

    return version("mediapipe")
