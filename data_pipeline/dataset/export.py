"""A dataset for other tools: `fersweep data export runs/data/fer2013 out --as csv` (or numpy, imagefolder).

csv: `fer2013.csv` as Kaggle lays it out (emotion,pixels,Usage; `ckextended.csv` where there is contempt, which is 7), and
    `blendshapes.csv` with split, label, scores and head pose. `prepare` reads either back.
numpy: `train/pixels.npy` …, which `numpy.load(…, mmap_mode="r")` maps, rows as in `train/rows.csv`; `names.json` names them.
imagefolder: `train/happy/0000017.png` … with `train/metadata.jsonl`: Hugging Face's `load_dataset("imagefolder", data_dir=…)`
    reads it, and so does `prepare`.

Faces are in the dataset's order, without augmented copies. One part is in memory at a time.
"""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError, hint
from fersweep.common.files import cannot_write, new_directory
from fersweep.common.text import csv_text
from fersweep.data_pipeline.dataset.columns import codes, floats, images
from fersweep.data_pipeline.dataset.manifest import Manifest, read_manifest
from fersweep.data_pipeline.dataset.parts import open_part
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, NUM_LANDMARKS, SPLITS

USAGES = dict(zip(SPLITS, ("Training", "PublicTest", "PrivateTest"), strict=True))
POSE = ("yaw", "pitch", "roll")
ROWS = ("face_id", "source", "label", "origin", "subject", "fold", "detected", "duplicate_of", "near_duplicate_of")

Add = Callable[[pa.Table, int], None]  # a part's faces, and the number of the first


@dataclass(frozen=True)
class Export(AsJson):
    """What `export_dataset` wrote."""

    out: str
    layout: str
    num_faces: int
    files: list[str]
    """Paths within `out`, or patterns (`train/*/*.png`)."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def export_dataset(directory: Path, out: Path, layout: str) -> Export:
    """Write the dataset to the new directory `out`.

    InputError where `out` is there and not empty, `layout` is unknown, or the dataset lacks what it needs. `out` appears
    when all is written.
    """
    directory, out = Path(directory), Path(out)
    manifest = read_manifest(directory)
    if layout not in LAYOUTS:
        raise InputError(f"--as {layout} is unknown; {hint(layout, LAYOUTS)}")
    if layout == "imagefolder" and manifest["image_size"] is None:
        raise InputError(f"{directory} has no pixels: it is made of ready-made blendshapes; --as csv or numpy")
    if layout == "csv" and len(set(manifest["image_size"] or ())) > 1:
        raise InputError(
            f"{directory} has faces that are not square, which the CSV cannot say; --as numpy or imagefolder"
        )
    with _fresh(out) as unfinished:
        start = 0
        with LAYOUTS[layout](unfinished, manifest) as add:
            for part in manifest["parts"]:
                table = open_part(directory, part)
                table = table.filter(table["augmentation"].is_null())
                add(table, start)
                start += table.num_rows
        paths = [path.relative_to(unfinished) for path in unfinished.rglob("*") if path.is_file()]
        files = sorted({str(path.parent.parent / "*" / "*.png" if path.suffix == ".png" else path) for path in paths})
    return Export(str(out), layout, start, files)


@contextlib.contextmanager
def _fresh(out: Path) -> Iterator[Path]:
    """`new_directory`, with an InputError where `out` is taken or cannot be written; a RuntimeError where the disk is full."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty: give a new directory")
    try:
        with new_directory(out.resolve()) as unfinished:
            yield unfinished
    except OSError as error:
        raise cannot_write(Path(error.filename or out), error) from None


# --- layouts ---


@contextlib.contextmanager
def _csv(out: Path, manifest: Manifest) -> Iterator[Add]:
    size, blendshapes = manifest["image_size"] or (), _blendshapes(manifest)
    with ExitStack() as stack:
        name = "ckextended.csv" if "contempt" in manifest["classes"] else "fer2013.csv"
        faces = stack.enter_context(_table(out / name, ("emotion", "pixels", "Usage"))) if size else None
        header = ("face_id", "source", "subject", "split", "label", *blendshapes, *POSE)
        scores = stack.enter_context(_table(out / "blendshapes.csv", header)) if blendshapes else None

        def add(table: pa.Table, start: int) -> None:
            splits = table["split"].to_pylist()
            if faces is not None:
                ids = codes(table["label"], LABELS).tolist()
                for label, face, split in zip(ids, images(table["pixels"], size), splits, strict=True):
                    faces.writerow((label, " ".join(map(str, face.reshape(-1).tolist())), USAGES[split]))
            if scores is not None:
                table = table.filter(table["detected"])
                scores.writerows(_texts(table, header))

        yield add


@contextlib.contextmanager
def _numpy(out: Path, manifest: Manifest) -> Iterator[Add]:
    size, blendshapes = manifest["image_size"] or (), _blendshapes(manifest)
    has_landmarks = (manifest.get("has") or {}).get("landmarks", False)
    kinds: dict[str, tuple[tuple[int, ...], Any]] = {"labels": ((), np.int8), "pose": ((len(POSE),), np.float32)}
    kinds |= {"pixels": (tuple(size), np.uint8)} if size else {}
    kinds |= {"blendshapes": ((len(blendshapes),), np.float32)} if blendshapes else {}
    kinds |= {"landmarks": ((NUM_LANDMARKS, 3), np.float16)} if has_landmarks else {}
    sizes = {split: sum(labels.values()) for split, labels in manifest["counts"].items()}
    num_written = dict.fromkeys(sizes, 0)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    names = {
        "labels": list(LABELS), "blendshapes": blendshapes, "pose": list(POSE), "num_faces": sizes,
        "arrays": {name: {"shape": ["N", *shape], "dtype": np.dtype(kind).name} for name, (shape, kind) in kinds.items()},
        "fingerprint": manifest["fingerprint"],
    }  # fmt: skip
    (out / "names.json").write_text(json.dumps(names, indent=1) + "\n")
    with ExitStack() as stack:
        rows = {}
        for split, number in sizes.items():
            (out / split).mkdir()
            rows[split] = stack.enter_context(_table(out / split / "rows.csv", ROWS))
            arrays[split] = {
                name: np.lib.format.open_memmap(out / split / f"{name}.npy", "w+", kind, (number, *shape))
                for name, (shape, kind) in kinds.items()
            }

        def add(table: pa.Table, start: int) -> None:
            for split in sizes:
                mine = table.filter(pc.field("split").cast(pa.string()) == split)
                span = slice(num_written[split], num_written[split] + mine.num_rows)
                for name, array in arrays[split].items():
                    array[span] = _values(mine, name, blendshapes, size)
                rows[split].writerows(_texts(mine, ROWS))
                num_written[split] = span.stop

        yield add
        for array in (array for of_split in arrays.values() for array in of_split.values()):
            array.flush()  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _imagefolder(out: Path, manifest: Manifest) -> Iterator[Add]:
    import cv2

    size, blendshapes = manifest["image_size"] or (), _blendshapes(manifest)
    names, numbers = ("label", "face_id", "source", "origin", "subject"), ("fold", *blendshapes, *POSE)
    with ExitStack() as stack:
        metadata = {}
        for split, labels in manifest["counts"].items():
            for label in labels:
                (out / split / label).mkdir(parents=True)
            metadata[split] = stack.enter_context((out / split / "metadata.jsonl").open("w", encoding="utf-8"))

        def add(table: pa.Table, start: int) -> None:
            faces = zip(
                table["split"].to_pylist(),
                images(table["pixels"], size),
                _texts(table, (*names, *numbers)),
                strict=True,
            )
            for number, (split, face, values) in enumerate(faces, start):
                file = f"{values[0]}/{number:07d}.png"
                (out / split / file).write_bytes(cv2.imencode(".png", face)[1].tobytes())
                row = dict(zip((*names, *numbers), values, strict=True))
                row |= {name: json.loads(row[name] or "null") for name in numbers}
                metadata[split].write(json.dumps({"file_name": file, **row}) + "\n")

        yield add


LAYOUTS: dict[str, Callable[[Path, Manifest], AbstractContextManager[Add]]] = {
    "csv": _csv,
    "numpy": _numpy,
    "imagefolder": _imagefolder,
}


def _blendshapes(manifest: Manifest) -> list[str]:
    return list(manifest.get("blendshapes", BLENDSHAPES))


@contextlib.contextmanager
def _table(path: Path, header: Sequence[str]) -> Iterator[Any]:
    file: IO[str]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        yield writer


def _texts(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    """Rows as text: a float32 in as few digits as bring it back, names so that no spreadsheet takes them for a formula."""
    cells = ((table[column].type, table[column].cast(pa.string()).to_pylist()) for column in columns)
    return zip(*(values if _is_number(kind) else map(_named, values) for kind, values in cells), strict=True)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _named(name: str | None) -> str | None:
    return None if name is None else csv_text(name)


def _values(table: pa.Table, name: str, blendshapes: Sequence[str], image_size: Sequence[int]) -> np.ndarray:
    """The rows' part of an array, NaN where a face was not found."""
    if name == "labels":
        return codes(table["label"], LABELS)
    if name == "pixels":
        return images(table["pixels"], image_size)
    if name == "landmarks":
        nothing = np.full(NUM_LANDMARKS * 3, np.nan, np.float16).tobytes()
        data = b"".join(value or nothing for value in table[name].to_pylist())
        return np.frombuffer(data, np.float16).reshape(-1, NUM_LANDMARKS, 3)
    return floats(table, blendshapes if name == "blendshapes" else POSE)
