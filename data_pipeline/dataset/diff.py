"""What differs between two datasets: `fersweep data diff runs/data/a runs/data/b`.

Faces are matched by face_id, which is the same for the same pixels everywhere; augmented copies are left out. Some 300
bytes a face of A and 60 a face of B are in memory.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fersweep.data_pipeline.dataset.columns import codes
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_part
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, SPLITS

NUM_EXAMPLES = 10
SAME_SCORE = 1e-6  # two scores that differ by less are one
NOT_COMPARED = {
    "name",
    "created",
    "command",
    "parts",
    "fingerprint",
    "num_faces",
    "counts",
    "undetected",
    "twins",
    "near_twins",
    "augmented",
}


def diff(a: Path, b: Path) -> dict[str, Any]:
    """What `b` has otherwise than `a`, ready for JSON. InputError where one of them is damaged.

    - "same": the fingerprints are; "a", "b": {"directory", "name", "fingerprint", "num_faces", "image_size"}
    - "only_a", "only_b": {split: {label: faces}} of the faces that the other lacks; "in_both": how many both have
    - "label", "split", "fold": {"num", "changes": {"train → val": faces}}, "label" with "examples"
    - "detected": {"num", "changes"}; "scores": {"num": faces with another score, "rms" and "max" over those that MediaPipe
      found in both}
    - "manifest": {key: [a's, b's]} of options, sources and what else was recorded
    """
    one, other = _Faces(a), _Faces(b)
    left, right = _match(one, other)
    told: dict[str, Any] = {
        "same": one.manifest["fingerprint"] == other.manifest["fingerprint"],
        "a": one.told(),
        "b": other.told(),
        "only_a": one.counts(np.setdiff1d(np.arange(len(one.ids)), left)),
        "only_b": other.counts(np.setdiff1d(np.arange(len(other.ids)), right)),
        "in_both": len(left),
        "label": _changes(one.labels[left], other.labels[right], LABELS),
        "split": _changes(one.splits[left], other.splits[right], SPLITS),
        "fold": _changes(one.folds[left], other.folds[right], [*map(str, range(127)), "none"]),
        "detected": _changes(one.detected[left], other.detected[right], ["not found", "found"]),
        "scores": _scores_differ(one, other, left, right),
        "manifest": _unequal(_recorded(one.manifest), _recorded(other.manifest)),
    }
    odd = np.flatnonzero(one.labels[left] != other.labels[right])[:NUM_EXAMPLES]
    told["label"]["examples"] = [
        {
            "face_id": one.ids[row : row + 1].tobytes().hex(),
            "a": LABELS[one.labels[row]],
            "b": LABELS[other.labels[match]],
        }
        for row, match in zip(left[odd].tolist(), right[odd].tolist(), strict=True)
    ]
    return told


def render(found: dict[str, Any]) -> Group:
    """`diff`'s answer for a terminal."""
    a, b = found["a"], found["b"]
    if found["same"] and not found["manifest"]:
        return Group(Text(f"the same: {a['num_faces']:,} faces, fingerprint {a['fingerprint']}"))
    lines = [
        f"A {a['directory']}: {a['num_faces']:,} faces, fingerprint {a['fingerprint'][:16]}",
        f"B {b['directory']}: {b['num_faces']:,} faces, fingerprint {b['fingerprint'][:16]}"
        + (", the same" if found["same"] else ""),
        f"in both: {found['in_both']:,} faces",
    ]
    if a["image_size"] != b["image_size"]:
        lines.append("their faces have other sizes, so that none has the same pixels")
    for side in ("a", "b"):
        for split, labels in found[f"only_{side}"].items():
            told = ", ".join(f"{number:,} {label}" for label, number in labels.items())
            lines.append(f"only in {side.upper()}, {split}: {told}")
    for key in ("label", "split", "fold", "detected"):
        if found[key]["num"]:
            told = ", ".join(f"{pair} {number:,}" for pair, number in found[key]["changes"].items())
            lines.append(
                f"another {key}: {found[key]['num']:,} faces ({told})".replace("another detected", "MediaPipe")
            )
    if found["scores"]["num"]:
        scores = found["scores"]
        lines.append(
            f"other scores: {scores['num']:,} faces, rms {scores['rms']:.2g}, at most {scores['max']:.2g} apart"
        )
    table = Table("recorded", "A", "B", box=None, pad_edge=False)
    for key, values in found["manifest"].items():
        table.add_row(key, *map(_short, values))
    return Group(*map(Text, lines), *([table] if found["manifest"] else []))


class _Faces:
    """The original faces of a dataset: arrays over all N."""

    def __init__(self, directory: Path):
        self.directory, self.manifest = Path(directory), read_manifest(directory)
        columns = ["face_id", "label", "split", "fold", "detected", "augmentation"]
        light = [_light(_originals(self.directory, part, columns)) for part in self.manifest["parts"]]
        arrays = [np.concatenate(column) for column in zip(*light, strict=True)]
        self.ids, self.labels, self.splits, self.folds, self.detected = arrays

    def told(self) -> dict[str, Any]:
        shown = {key: self.manifest[key] for key in ("name", "fingerprint", "num_faces", "image_size")}
        return {"directory": str(self.directory), **shown}

    def counts(self, rows: np.ndarray) -> dict[str, dict[str, int]]:
        pairs = Counter(zip(self.splits[rows].tolist(), self.labels[rows].tolist(), strict=True))
        return {
            name: {label: pairs[split, index] for index, label in enumerate(LABELS) if pairs[split, index]}
            for split, name in enumerate(SPLITS)
            if any(key[0] == split for key in pairs)
        }


class _Gap(NamedTuple):
    """Differences of scores."""

    num: int = 0
    squares: float = 0.0
    values: int = 0
    largest: float = 0.0


def _originals(directory: Path, part: dict[str, Any], columns: Sequence[str]) -> pa.Table:
    table = open_part(directory, part, columns)
    return table.filter(table["augmentation"].is_null())


def _light(table: pa.Table) -> list[np.ndarray]:
    return [
        np.frombuffer(bytes.fromhex("".join(table["face_id"].to_pylist())), "S32"),
        codes(table["label"], LABELS),
        codes(table["split"], SPLITS),
        pc.fill_null(table["fold"], -1).to_numpy(),
        table["detected"].to_numpy().astype(np.int8),
    ]


def _match(one: _Faces, other: _Faces) -> tuple[np.ndarray, np.ndarray]:
    """Rows of A and of B that are the same face. Of n twins here and m there min(n, m) are, equal labels first."""
    keys = [_keys(faces) for faces in (one, other)]
    _, left, right = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    order = np.argsort(left)
    return left[order], right[order]


def _keys(faces: _Faces) -> np.ndarray:
    """(N,) V36: face_id, and the face's number among its twins in the order of labels and splits."""
    words = faces.ids.view(np.uint64).reshape(-1, 4)
    order = np.lexsort((faces.splits, faces.labels, *words.T))
    starts = np.ones(len(order), bool)
    starts[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    positions = np.arange(len(order))
    number = np.empty(len(order), np.uint32)
    number[order] = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    keys = np.empty(len(order), [("id", "S32"), ("number", np.uint32)])
    keys["id"], keys["number"] = faces.ids, number
    return keys


def _changes(a: np.ndarray, b: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    odd = a != b
    pairs = Counter(zip(a[odd].tolist(), b[odd].tolist(), strict=True))
    return {
        "num": int(odd.sum()),
        "changes": {f"{names[one]} → {names[other]}": number for (one, other), number in pairs.most_common()},
    }


def _scores_differ(one: _Faces, other: _Faces, left: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Scores of the faces that were found in both; one that a dataset does not have is not compared."""
    scores = np.concatenate([_scores(one.directory, part) for part in one.manifest["parts"]])
    match = np.full(len(other.ids), -1)
    match[right] = left
    start, gap = 0, _Gap()
    for part in other.manifest["parts"]:
        there = _scores(other.directory, part)
        rows = match[start : start + len(there)]
        start += len(there)
        apart = np.abs(there[rows >= 0] - scores[rows[rows >= 0]])
        known = ~np.isnan(apart)
        gap = _Gap(
            gap.num + int((np.where(known, apart, 0) > SAME_SCORE).any(axis=1).sum()),
            gap.squares + float(np.square(apart[known], dtype=np.float64).sum()),
            gap.values + int(known.sum()),
            max(gap.largest, float(apart[known].max(initial=0.0))),
        )
    rms = (gap.squares / gap.values) ** 0.5 if gap.values else None
    return {"num": gap.num, "rms": rms, "max": gap.largest if gap.values else None}


def _scores(directory: Path, part: dict[str, Any]) -> np.ndarray:
    """(n, 52) float32, NaN where there is none."""
    table = _originals(directory, part, [*BLENDSHAPES, "augmentation"])
    return np.column_stack([pc.fill_null(table[name], np.nan).to_numpy() for name in BLENDSHAPES])


def _unequal(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """{dotted key: [a's value, b's]} of what was recorded otherwise; what one has not at all is told whole."""
    found: dict[str, list[Any]] = {}
    for key in dict.fromkeys([*a, *b]):
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= _unequal(one, other, f"{prefix}{key}.")
        elif one != other:
            found[f"{prefix}{key}"] = [one, other]
    return found


def _recorded(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says beside its counts; older ones with what was understood."""
    told = {"blendshapes": list(BLENDSHAPES), "sources": [], **manifest}
    told["sources"] = [source["sha256"] for source in told["sources"]]
    return {key: value for key, value in told.items() if key not in NOT_COMPARED}


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-16:]}"
