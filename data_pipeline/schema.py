"""The dataset on disk: `faces/part-*.parquet` (one row a face) and `manifest.json`, which is written last.

A directory without a manifest is not a dataset; parts are checked against it whenever they are opened.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.digest import sha256
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


LANDMARKS_BYTES = 478 * 3 * 2  # (478, 3) float16
_NAME = pa.dictionary(pa.int32(), pa.string())
_FIELDS = [
    pa.field("face_id", pa.string(), nullable=False),  # sha256 of the pixels (of the scores, where there are none)
    pa.field("source", pa.string(), nullable=False),
    pa.field("split", _NAME, nullable=False),
    pa.field("label", _NAME, nullable=False),
    pa.field("votes", pa.list_(pa.float32())),  # over LABELS; fixed-size lists with nulls break Arrow's reader
    pa.field("detected", pa.bool_(), nullable=False),
    *(pa.field(blendshape, pa.float32()) for blendshape in BLENDSHAPES),
    pa.field("duplicate_of", pa.string()),  # source of the twin's first holder in a split that outranks this
    pa.field("augmentation", pa.string()),
]
ADDED_FIELDS = [
    pa.field("origin", _NAME),  # which of the dataset's sources
    pa.field("subject", pa.string()),  # whose face, where the source says so
    pa.field("fold", pa.int8()),
    pa.field("near_duplicate_of", pa.string()),  # like duplicate_of, of nearly the same pixels
    pa.field("num_views", pa.int8()),  # in which MediaPipe found the face
    pa.field("spread", pa.float32()),  # of the scores over the views: root mean square of their deviations
    *(pa.field(angle, pa.float32()) for angle in ("yaw", "pitch", "roll")),  # degrees, see landmarks.Reading
    pa.field("landmarks", pa.binary(LANDMARKS_BYTES)),  # (478, 3) float16, see landmarks.Reading
]
"""Columns that datasets made before them lack; `open_table` answers with nulls."""


def arrow_schema(image_size: Sequence[int] | None) -> pa.Schema:
    """Columns of a part file for faces of `image_size` (H, W) pixels; None: a dataset that has no pixels."""
    fields = [*_FIELDS, *ADDED_FIELDS]
    if image_size is not None:  # gray uint8, row-major; one data page a part, so that it can be mapped into memory
        fields.insert(5, pa.field("pixels", pa.binary(image_size[0] * image_size[1]), nullable=False))
    return pa.schema(fields)


def face_id(face: np.ndarray) -> str:
    """Name of a face: sha256 (hex) of its (H, W) uint8 pixels, or of its (52,) float32 scores where it has no pixels.

    The same pixels have the same name everywhere.
    """
    return hashlib.sha256(np.ascontiguousarray(face).tobytes()).hexdigest()


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
    path = part_path(directory, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, rows)


def write_table(path: Path, rows: pa.Table) -> None:
    """Write Parquet by temp-and-rename, uncompressed and each column in one page (see reading.py)."""
    sink = pa.BufferOutputStream()
    names = [field.name for field in rows.schema if pa.types.is_dictionary(field.type)]
    pq.write_table(  # pyright: ignore[reportArgumentType]
        rows,
        sink,
        compression="none",
        use_dictionary=names,  # pyright: ignore[reportArgumentType]
        data_page_size=2**30,
        max_rows_per_page=max(rows.num_rows, 1),
        row_group_size=max(rows.num_rows, 1),
    )
    write_file(path, sink.getvalue().to_pybytes())


def make_rows(
    image_size: tuple[int, int] | None,
    *,
    blendshapes: np.ndarray,
    source: Sequence[str],
    split: Sequence[str],
    label: Sequence[str],
    duplicate_of: Sequence[str | None],
    pixels: np.ndarray | None = None,
    landmarks: np.ndarray | None = None,
    **others: Sequence[Any],
) -> pa.Table:
    """Rows of a part.

    Args:
        blendshapes: (N, 52) float32, a row of NaN where no face was found; a NaN in a row: the source lacks this score.
        pixels: (N, H, W) uint8; None if and only if `image_size` is.
        landmarks: (N, 478, 3) float, rows without a face are left out.
        others: columns of `arrow_schema` of N values each; those not given are null.
    """
    schema = arrow_schema(image_size)
    missing = np.isnan(blendshapes)
    detected: list[bool] = (~np.all(missing, axis=1)).tolist()
    faces = blendshapes if pixels is None else pixels
    columns: dict[str, Any] = {
        "face_id": [face_id(face) for face in faces],
        "source": source,
        "split": split,
        "label": label,
        "pixels": None if pixels is None else [face.tobytes() for face in pixels],
        "detected": detected,
        "duplicate_of": duplicate_of,
        **others,
    }
    if landmarks is not None:
        halves = landmarks.astype(np.float16)
        columns["landmarks"] = [one.tobytes() if found else None for one, found in zip(halves, detected, strict=True)]
    for index, blendshape in enumerate(BLENDSHAPES):
        columns[blendshape] = pa.array(blendshapes[:, index], mask=missing[:, index], type=pa.float32())
    empty = [None] * len(blendshapes)
    return pa.table([pa.array(columns.get(field.name, empty), type=field.type) for field in schema], schema=schema)


def fingerprint(tables: Iterable[pa.Table], image_size: Sequence[int] | None) -> str:
    """sha256 (hex) of what a model can see: pixels (by face_id), labels, splits, twins, blendshapes and what else the
    dataset has of what came later (folds, near twins, landmarks, several origins), in row order.

    Independent of how rows are cut into parts, of the names of sources and of time.
    """
    texts = ("face_id", "split", "label", "duplicate_of", "augmentation")
    later: dict[str, bool] = dict.fromkeys(("fold", "near_duplicate_of", "landmarks", "origin"), False)
    digests = {name: hashlib.sha256() for name in (*texts, "votes", *BLENDSHAPES, *later)}
    origins: dict[str | None, int] = {}
    for table in tables:
        for name in texts:
            _digest_texts(digests[name], table[name].to_pylist(), is_twin=name == "duplicate_of")
        for value in table["votes"].to_pylist():
            digests["votes"].update(b"-" if value is None else np.asarray(value, "<f4").tobytes())
        for name in BLENDSHAPES:
            scores = pc.fill_null(table[name], -1.0).to_numpy()
            digests[name].update(np.ascontiguousarray(scores, "<f4").tobytes())
        for name in later:
            values = table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
            later[name] = later[name] or any(value is not None for value in values)
            if name == "landmarks":
                for value in values:
                    digests[name].update(value or b"-")
            elif name == "origin":
                codes = [origins.setdefault(value, len(origins)) for value in values]
                _digest_texts(digests[name], codes, is_twin=False)
            else:
                _digest_texts(digests[name], values, is_twin=name == "near_duplicate_of")
    later["origin"] = len(origins) > 1
    size = "no pixels" if image_size is None else f"{image_size[0]}x{image_size[1]}"
    whole = hashlib.sha256(f"{SCHEMA_VERSION} {size}".encode())
    for name, digest in digests.items():
        if later.get(name, True):  # a dataset without them is the one that it was before there were any
            whole.update(name.encode() + digest.digest())
    return whole.hexdigest()


def _digest_texts(digest: Any, values: Sequence[Any], is_twin: bool) -> None:
    """Values as lines. A twin's name is a source: only whether there is one counts."""
    for value in values:
        digest.update((("twin" if is_twin else str(value)) if value is not None else "-").encode() + b"\n")


def _pairs(table: pa.Table) -> Counter[tuple[str, str]]:
    return Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))


def _nested(pairs: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Rows per split and label, in canonical order: {"train": {"angry": 3995, …}, …}."""
    return {
        split: {label: pairs[split, label] for label in LABELS if (split, label) in pairs}
        for split in SPLITS
        if any(key[0] == split for key in pairs)
    }


def seal(directory: Path, manifest_fields: dict[str, Any]) -> dict[str, Any]:
    """Turn the parts under `directory` into a dataset: count, fingerprint and write the manifest, which is returned.

    `manifest_fields` holds at least "image_size"; what it says beside that is kept as it is. One part is in memory at
    a time.
    """
    image_size = manifest_fields["image_size"]
    paths = sorted((directory / "faces").glob("part-*.parquet"))
    tally = Tally()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": directory.resolve().name,
        "fingerprint": fingerprint(tally.through(paths, image_size), image_size),
        **tally.counted(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **manifest_fields,
        "image_size": None if image_size is None else list(image_size),
        "parts": [
            {"file": f"faces/{path.name}", "num_rows": n, "num_bytes": path.stat().st_size, "sha256": sha256(path)}
            for path, n in zip(paths, tally.num_rows, strict=True)
        ],
    }
    write_manifest(directory, manifest)
    return manifest


class Tally:
    """What the manifest counts, summed up while parts pass by."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []
        self.faces, self.undetected, self.twins, self.near_twins = Counter(), Counter(), Counter(), Counter()
        self.augmented: Counter[str] = Counter()
        self.present: set[str] = set()

    def through(self, paths: Iterable[Path], image_size: Sequence[int] | None) -> Iterator[pa.Table]:
        columns = [name for name in arrow_schema(image_size).names if name != "pixels"]
        for path in paths:
            table = read_part(path, columns)
            self.add(table)
            yield table

    def add(self, table: pa.Table) -> None:
        self.num_rows.append(table.num_rows)
        originals = table.filter(pc.field("augmentation").is_null())
        self.augmented.update(table.filter(pc.field("augmentation").is_valid())["label"].to_pylist())
        self.faces += _pairs(originals)
        self.undetected += _pairs(originals.filter(~pc.field("detected")))
        self.twins += _pairs(originals.filter(pc.field("duplicate_of").is_valid()))
        if "near_duplicate_of" in table.column_names:
            self.near_twins += _pairs(originals.filter(pc.field("near_duplicate_of").is_valid()))
        self.present |= {name for name in table.column_names if table[name].null_count < table.num_rows}

    def counted(self) -> dict[str, Any]:
        labels = {label for _, label in self.faces}
        return {
            "classes": [label for label in LABELS if label in labels],
            "num_faces": self.faces.total(),
            "counts": _nested(self.faces),
            "undetected": _nested(self.undetected),
            "twins": _nested(self.twins),
            "near_twins": _nested(self.near_twins),
            "augmented": {label: self.augmented[label] for label in LABELS if label in self.augmented},
            "blendshapes": [name for name in BLENDSHAPES if name in self.present],
        }


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
        table = open_part(directory, part, wanted)
        if split is not None:
            table = table.filter(pc.field("split").cast(pa.string()) == split)
        tables.append(table)
    table = pa.concat_tables(tables)
    return table if columns is None else table.select(list(columns))


def open_part(directory: Path, part: dict[str, Any], columns: Sequence[str] | None = None) -> pa.Table:
    """`read_part` of one of the manifest's "parts". InputError where it is missing, truncated or broken."""
    path = part_file(directory, part)
    try:
        return read_part(path, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a part that is as long as it should be and cannot be read."""
    return InputError(f"{path} cannot be read ({str(error).splitlines()[0]}): prepare the dataset anew")


def part_file(directory: Path, part: dict[str, Any]) -> Path:
    """File of one of the manifest's "parts". InputError where it is missing or truncated."""
    path = directory / part["file"]
    found = path.stat().st_size if path.is_file() else None
    if found != part["num_bytes"]:
        state = "is missing" if found is None else f"has {found} bytes, not {part['num_bytes']}"
        raise InputError(f"{path} {state}: the dataset is damaged, prepare it anew")
    return path


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one part: all columns, or those named, in the file's order; ADDED_FIELDS that it lacks are null."""
    with pq.ParquetFile(path, memory_map=True) as file:
        present = file.schema_arrow.names
        table = file.read(None if columns is None else [name for name in columns if name in present])
    for field in ADDED_FIELDS:
        if field.name not in present and (columns is None or field.name in columns):
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table
