"""The dataset on disk: `faces/part-*.parquet` (one row a face) and `manifest.json`, which is written last.

A directory without a manifest is not a dataset; parts are checked against it whenever they are opened.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.errors import InputError

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
"""Every label a dataset can hold, in canonical order (FER2013's ids 0–6, then FER+'s and CK+'s contempt)."""

BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""MediaPipe's 52 scores in MediaPipe's order; `landmarks.py` refuses a bundle that answers with others."""


def arrow_schema(image_size: tuple[int, int]) -> pa.Schema:
    """Columns of a part file for faces of `image_size` (H, W) pixels."""
    name = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("face_id", pa.string(), nullable=False),  # sha256 of the pixels (and of the augmentation)
            pa.field("source", pa.string(), nullable=False),
            pa.field("split", name, nullable=False),
            pa.field("label", name, nullable=False),
            pa.field("votes", pa.list_(pa.float32())),  # over LABELS; fixed-size lists with nulls break Arrow's reader
            pa.field("pixels", pa.binary(image_size[0] * image_size[1]), nullable=False),  # gray uint8, row-major
            pa.field("detected", pa.bool_(), nullable=False),
            *(pa.field(blendshape, pa.float32()) for blendshape in BLENDSHAPES),
            pa.field("duplicate_of", pa.string()),  # source of the twin's first holder in a split that outranks this
            pa.field("augmentation", pa.string()),
        ]
    )


def face_id(pixels: np.ndarray) -> str:
    """Name of a face: sha256 (hex) of its (H, W) uint8 pixels. The same pixels have the same name everywhere."""
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()).hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds the old content or the new, never a part of it, even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def part_path(directory: Path, number: int) -> Path:
    return directory / "faces" / f"part-{number:05d}.parquet"


def write_part(directory: Path, number: int, rows: pa.Table) -> None:
    """Write part `number` of a dataset by temp-and-rename. `rows` has the columns of `arrow_schema`."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="none", use_dictionary=["split", "label"])  # pyright: ignore[reportArgumentType]
    path = part_path(directory, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, sink.getvalue().to_pybytes())


def make_rows(
    image_size: tuple[int, int],
    *,
    pixels: np.ndarray,
    blendshapes: np.ndarray,
    source: Sequence[str],
    split: Sequence[str],
    label: Sequence[str],
    duplicate_of: Sequence[str | None],
) -> pa.Table:
    """Rows of a part. `pixels` (N, H, W) uint8; `blendshapes` (N, 52) float32, a row of NaN where no face was found."""
    schema = arrow_schema(image_size)
    detected = ~np.isnan(blendshapes[:, 0])
    columns: dict[str, Any] = {
        "face_id": [face_id(face) for face in pixels],
        "source": source,
        "split": split,
        "label": label,
        "votes": [None] * len(pixels),
        "pixels": [face.tobytes() for face in pixels],
        "detected": detected,
        "duplicate_of": duplicate_of,
        "augmentation": [None] * len(pixels),
    }
    for index, blendshape in enumerate(BLENDSHAPES):
        columns[blendshape] = pa.array(blendshapes[:, index], mask=~detected, type=pa.float32())
    return pa.table([pa.array(columns[field.name], type=field.type) for field in schema], schema=schema)


def fingerprint(tables: Iterable[pa.Table], image_size: tuple[int, int]) -> str:
    """sha256 (hex) of what a model can see: pixels (by face_id), labels, splits, twins and blendshapes, in row order.

    Independent of how rows are cut into parts, of `source` names and of time.
    """
    texts = ("face_id", "split", "label", "duplicate_of", "augmentation")
    digests = {name: hashlib.sha256() for name in (*texts, "votes", *BLENDSHAPES)}
    for table in tables:
        for name in texts:
            present = name != "duplicate_of"  # a twin's name is a source: only whether there is one counts
            for value in table[name].to_pylist():
                digests[name].update(((value if present else "twin") if value is not None else "-").encode() + b"\n")
        for value in table["votes"].to_pylist():
            digests["votes"].update(b"-" if value is None else np.asarray(value, "<f4").tobytes())
        for name in BLENDSHAPES:
            scores = pc.fill_null(table[name], -1.0).to_numpy()
            digests[name].update(np.ascontiguousarray(scores, "<f4").tobytes())
    whole = hashlib.sha256(f"{SCHEMA_VERSION} {image_size[0]}x{image_size[1]}".encode())
    for name, digest in digests.items():
        whole.update(name.encode() + digest.digest())
    return whole.hexdigest()


def count(table: pa.Table) -> dict[str, dict[str, int]]:
    """Rows per split and label, in canonical order: {"train": {"angry": 3995, …}, …}."""
    pairs = Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    return {
        split: {label: pairs[split, label] for label in LABELS if (split, label) in pairs}
        for split in SPLITS
        if any(key[0] == split for key in pairs)
    }


def seal(directory: Path, manifest_fields: dict[str, Any]) -> dict[str, Any]:
    """Turn the parts under `directory` into a dataset: count, fingerprint and write the manifest, which is returned.

    `manifest_fields` holds at least "image_size"; what it says beside that is kept as it is.
    """
    height, width = manifest_fields["image_size"]
    paths = sorted((directory / "faces").glob("part-*.parquet"))
    columns = [name for name in arrow_schema((height, width)).names if name != "pixels"]
    tables = [pq.read_table(path, columns=columns) for path in paths]
    faces = pa.concat_tables([table.select(["split", "label", "detected", "duplicate_of"]) for table in tables])
    counts = count(faces)
    present = {label for labels in counts.values() for label in labels}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": directory.resolve().name,
        "classes": [label for label in LABELS if label in present],
        "num_faces": faces.num_rows,
        "counts": counts,
        "undetected": count(faces.filter(~pc.field("detected"))),
        "twins": count(faces.filter(pc.field("duplicate_of").is_valid())),
        "fingerprint": fingerprint(tables, (height, width)),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **manifest_fields,
        "image_size": [height, width],
        "parts": [
            {"file": f"faces/{path.name}", "num_rows": table.num_rows, "num_bytes": path.stat().st_size}
            for path, table in zip(paths, tables, strict=True)
        ],
    }
    write_manifest(directory, manifest)
    return manifest


def write_dataset(directory: Path, rows: pa.Table | Sequence[pa.Table], manifest_fields: dict[str, Any]) -> dict:
    """Write a whole dataset, a part a table. Returns the manifest. `manifest_fields`: see `seal`."""
    for number, table in enumerate([rows] if isinstance(rows, pa.Table) else rows):
        write_part(Path(directory), number, table)
    return seal(Path(directory), manifest_fields)


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    write_file(Path(directory) / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a dataset. InputError where it is missing, broken, or of another schema version."""
    path = Path(directory) / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory} is no finished dataset: it has no manifest.json (`prepare` makes one)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is broken ({error}): prepare the dataset anew") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema version {version}, this program reads version {SCHEMA_VERSION}")
    return manifest


def open_table(directory: Path, columns: Sequence[str] | None = None, split: str | None = None) -> pa.Table:
    """Rows of a dataset in their order: all `columns`, or those named; all splits, or the one named.

    InputError where a part that the manifest names is missing or truncated.
    """
    directory = Path(directory)
    wanted = None if columns is None else [*dict.fromkeys([*columns, "split"])]
    tables = []
    for part in read_manifest(directory)["parts"]:
        path = directory / part["file"]
        found = path.stat().st_size if path.is_file() else None
        if found != part["num_bytes"]:
            state = "is missing" if found is None else f"has {found} bytes, not {part['num_bytes']}"
            raise InputError(f"{path} {state}: the dataset is damaged, prepare it anew")
        try:
            table = pq.read_table(path, columns=wanted)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(
                f"{path} cannot be read ({str(error).splitlines()[0]}): prepare the dataset anew"
            ) from None
        if split is not None:
            table = table.filter(pc.field("split").cast(pa.string()) == split)
        tables.append(table)
    table = pa.concat_tables(tables)
    return table if columns is None else table.select(list(columns))
