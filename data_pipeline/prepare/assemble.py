"""Staged faces → the dataset's parts: splits, folds and twins are settled, and every row is written with them.

In memory is what decides a split (some 60 bytes a face, 640 where near twins are looked for); of pixels, scores and
landmarks one part at a time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.parts import write_part
from fersweep.data_pipeline.dataset.schema import arrow_schema
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.reading_cache import ID_BYTES
from fersweep.data_pipeline.prepare.staging import Stage
from fersweep.data_pipeline.splits.assign import assign
from fersweep.data_pipeline.splits.near_twins import SIDE, near_pairs
from fersweep.data_pipeline.splits.turned_twins import turned_pairs
from fersweep.data_pipeline.splits.twins import find_near, find_twins
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, SPLITS, Counts

MAX_COMPARED = 500_000  # faces among which near twins are looked for


@dataclass(frozen=True)
class Settled:
    """What was decided for each of N kept faces, in the dataset's order."""

    splits: np.ndarray  # (N,) int8
    folds: np.ndarray | None  # (N,) int8, -1 in test
    twin_of: np.ndarray  # (N,) int64: row of the twin in a split that outranks one's own, or -1
    near_twin_of: np.ndarray  # the same
    compared: bool  # near twins were looked for
    skipped: Counts  # {reason: {label: faces}}
    carved: dict[str, int]  # split → its faces that no source put there
    carved_by: str | None  # "subject" or "stratified"
    num_subjects: int
    kept: dict[int, int]  # number of a source → its faces
    kept_whole: dict[str, int]  # {label: pictures}: see crop.Crops
    turned_twins: dict[str, int]  # {split: near twins that are so only mirrored or turned}


def settle(stage: Stage, options: Options, image_size: tuple[int, int] | None) -> Settled:
    """Decide splits, folds and twins of the staged faces. InputError where no face is left."""
    compared = options.near_duplicates and image_size is not None and sum(stage.sizes) <= MAX_COMPARED
    known = _Known(image_size if compared else None)
    for part in stage.parts(
        ["id", "origin", "label", "split", "subject", "broken", "is_whole", *["pixels"] * compared]
    ):
        known.add(part)
    known.finish()
    if len(known.labels) == 0:
        raise InputError(f"no face is left of the sources: {_reasons(known.skipped)}")
    alike = pairs = np.empty((0, 2), np.int64)
    if known.thumbnails is not None:
        alike = near_pairs(known.thumbnails)
        pairs = np.concatenate([alike, turned_pairs(known.thumbnails)])
    splits, folds = assign(
        known.ids, known.labels, known.splits, known.subjects, pairs,
        by=options.split, val_share=options.val_share, test_share=options.test_share,
        folds=options.folds, seed=options.seed,
    )  # fmt: skip
    carved = {
        split: num
        for code, split in enumerate(SPLITS[1:], start=1)
        if (num := int(((splits == code) & (known.splits != code)).sum()))
    }
    twins = find_twins(known.ids, splits)
    near = np.where(twins < 0, find_near(pairs, splits), -1)  # an exact twin is no near twin
    turned = splits[(near >= 0) & (find_near(alike, splits) < 0)]
    skipped = {
        reason: {
            LABELS[label]: known.skipped[reason, label]
            for label in range(len(LABELS))
            if (reason, label) in known.skipped
        }
        for reason in sorted({reason for reason, _ in known.skipped})
    }
    whole = {LABELS[label]: known.whole[label] for label in range(len(LABELS)) if label in known.whole}
    by_subject = options.split != "stratified" and bool((known.subjects >= 0).any())
    carved_by = ("subject" if by_subject else "stratified") if carved else None
    return Settled(
        splits,
        folds,
        twins,
        near,
        compared,
        skipped,
        carved,
        carved_by,
        len(known.subject_codes),
        dict(known.kept),
        whole,
        _per_split(turned),
    )


def chosen_for_augmentation(settled: Settled) -> np.ndarray:
    """(M,) rows of train faces that have no twin above: those that a task learns."""
    return np.flatnonzero((settled.splits == 0) & (settled.twin_of < 0))


def write(
    out: Path,
    stage: Stage,
    copies: Stage | None,
    settled: Settled,
    image_size: tuple[int, int] | None,
    origins: Sequence[str],
) -> None:
    """Write the dataset's parts: the faces in the order of the sources, then the augmented copies."""
    shutil.rmtree(out / "faces", ignore_errors=True)  # of a run that was interrupted here
    names = _sources_of(stage, np.union1d(settled.twin_of, settled.near_twin_of))
    number = 0
    for start, faces in stage.kept():
        if faces.num_rows:
            rows = np.arange(start, start + faces.num_rows)
            write_part(out, number, _final(faces, rows, settled, names, image_size, origins))
            number += 1
    for part in copies.parts() if copies is not None else ():
        write_part(out, number, _final(part, part["row"].to_numpy(), settled, names, image_size, origins))
        number += 1


def _per_split(splits: np.ndarray) -> dict[str, int]:
    counts = np.bincount(splits, minlength=len(SPLITS)).tolist()
    return {split: num for split, num in zip(SPLITS, counts, strict=True) if num}


class _Known:
    """What decides splits, gathered part by part."""

    def __init__(self, image_size: tuple[int, int] | None):
        self.image_size = image_size
        self.subject_codes: dict[tuple[int, str], int] = {}
        self.skipped: Counter[tuple[str, int]] = Counter()
        self.kept: Counter[int] = Counter()
        self.whole: Counter[int] = Counter()
        self._columns: dict[str, list[np.ndarray]] = {
            name: [] for name in ("ids", "labels", "splits", "subjects", "thumbnails")
        }

    def add(self, part: pa.Table) -> None:
        broken = part.filter(part["broken"].is_valid())
        self.skipped.update(zip(broken["broken"].to_pylist(), broken["label"].to_pylist(), strict=True))
        part = part.filter(part["broken"].is_null())
        self.kept.update(part["origin"].to_pylist())
        self.whole.update(part.filter(part["is_whole"])["label"].to_pylist())
        columns = self._columns
        columns["ids"].append(np.array(part["id"].to_pylist(), f"S{ID_BYTES}"))
        columns["labels"].append(part["label"].to_numpy())
        columns["splits"].append(part["split"].to_numpy())
        persons = zip(part["origin"].to_pylist(), part["subject"].to_pylist(), strict=True)
        codes = self.subject_codes
        columns["subjects"].append(
            np.array(
                [-1 if who is None else codes.setdefault((origin, who), len(codes)) for origin, who in persons],
                np.int32,
            )
        )
        if self.image_size is not None:
            columns["thumbnails"].append(_thumbnails(part["pixels"], self.image_size))

    def finish(self) -> None:
        joined = {name: np.concatenate(arrays) if arrays else None for name, arrays in self._columns.items()}
        empty = np.empty(0, np.int8)
        self.ids: np.ndarray = joined["ids"] if joined["ids"] is not None else np.empty(0, f"S{ID_BYTES}")
        self.labels: np.ndarray = joined["labels"] if joined["labels"] is not None else empty
        self.splits: np.ndarray = joined["splits"] if joined["splits"] is not None else empty
        self.subjects: np.ndarray = joined["subjects"] if joined["subjects"] is not None else empty
        self.thumbnails = joined["thumbnails"]


def _thumbnails(pixels: pa.ChunkedArray, image_size: tuple[int, int]) -> np.ndarray:
    """(n, SIDE, SIDE) uint8."""
    import cv2

    faces = (np.frombuffer(face, np.uint8).reshape(image_size) for face in pixels.to_pylist())
    small = [cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in faces]
    return np.array(small, np.uint8).reshape(-1, SIDE, SIDE)


def _sources_of(stage: Stage, rows: np.ndarray) -> dict[int, str]:
    """`source` of the kept faces `rows` (sorted; negative ones are none)."""
    names = {}
    for start, faces in stage.kept(["source"]):
        wanted = rows[(rows >= start) & (rows < start + faces.num_rows)]
        values = faces["source"].take(pa.array(wanted - start, pa.int64())).to_pylist()
        names.update(zip(wanted.tolist(), values, strict=True))
    return names


def _final(
    part: pa.Table,
    rows: np.ndarray,
    settled: Settled,
    names: dict[int, str],
    image_size: tuple[int, int] | None,
    origins: Sequence[str],
) -> pa.Table:
    """Staged faces with what was settled for faces `rows` (n,): a part of the dataset."""
    schema = arrow_schema(image_size)
    num = part.num_rows
    scores = _floats(part["scores"], len(BLENDSHAPES))
    pose = _floats(part["pose"], 3)
    columns: dict[str, Any] = {
        "face_id": _names(part),
        "source": part["source"],
        "split": _named(settled.splits[rows], SPLITS),
        "label": _named(part["label"].to_numpy(), LABELS),
        "votes": part["votes"],
        "detected": pa.array(~np.isnan(scores).all(axis=1)),
        "duplicate_of": [names.get(row) for row in settled.twin_of[rows].tolist()],
        "augmentation": part["augmentation"],
        "origin": _named(part["origin"].to_numpy(), origins),
        "subject": part["subject"],
        "fold": pa.nulls(num, pa.int8()) if settled.folds is None else _without(settled.folds[rows], -1),
        "near_duplicate_of": [names.get(row) for row in settled.near_twin_of[rows].tolist()],
        "num_views": part["num_views"],
        "spread": part["spread"],
        "landmarks": part["landmarks"],
    }
    if image_size is not None:
        columns["pixels"] = part["pixels"].combine_chunks().cast(schema.field("pixels").type)
    for index, blendshape in enumerate(BLENDSHAPES):
        columns[blendshape] = _without(scores[:, index], np.nan)
    for index, angle in enumerate(("yaw", "pitch", "roll")):
        columns[angle] = _without(pose[:, index], np.nan)
    return pa.table([_column(columns[field.name], field.type) for field in schema], schema=schema)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, type=kind)


def _names(part: pa.Table) -> list[str]:
    """face_id of each row: of its pixels, and of what was done to them."""
    pairs = zip(part["id"].to_pylist(), part["augmentation"].to_pylist(), strict=True)
    return [name.hex() if text is None else hashlib.sha256(name + text.encode()).hexdigest() for name, text in pairs]


def _named(codes: np.ndarray, names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(list(names)))


def _without(values: np.ndarray, nothing: float) -> pa.Array:
    """Values with nulls for `nothing`."""
    return pa.array(values, mask=np.isnan(values) if np.isnan(nothing) else values == nothing)


def _floats(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """(n, width) float32 of binary values; NaN where there is none."""
    nothing = np.full(width, np.nan, np.float32).tobytes()
    return np.frombuffer(b"".join(value or nothing for value in column.to_pylist()), np.float32).reshape(-1, width)


def _reasons(skipped: Counter[tuple[str, int]]) -> str:
    reasons: Counter[str] = Counter()
    for (reason, _), num in skipped.items():
        reasons[reason] += num
    return ", ".join(f"{num:,} × {reason}" for reason, num in reasons.most_common()) or "they hold none"
