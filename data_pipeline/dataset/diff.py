"""What differs between two datasets: `fersweep data diff runs/data/a runs/data/b`.

Faces are matched by face_id, which is the same for the same pixels everywhere; augmented copies are left out. Some 300
bytes a face of A and 60 a face of B are in memory.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.text import Text

from fersweep.common.display.tables import table
from fersweep.data_pipeline.dataset.columns import codes, floats
from fersweep.data_pipeline.dataset.manifest import Manifest, Part, read_manifest
from fersweep.data_pipeline.dataset.parts import open_part
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, SPLITS, Counts

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


@dataclass(frozen=True)
class Side:
    """One of the two datasets."""

    directory: str
    name: str
    fingerprint: str
    num_faces: int
    image_size: list[int] | None


@dataclass(frozen=True)
class Changes:
    """Faces of both for which something is not the same."""

    num: int
    changes: dict[str, int]
    """{"train → val": faces}."""


@dataclass(frozen=True)
class Example:
    """A face whose label is `a` in A and `b` in B."""

    face_id: str
    a: str
    b: str


@dataclass(frozen=True)
class LabelChanges(Changes):
    examples: list[Example]


@dataclass(frozen=True)
class ScoreChanges:
    """Differences of blendshapes."""

    num: int
    """Faces with another score."""
    rms: float | None
    """This and `max`: over the scores that both have; None where there is none."""
    max: float | None


@dataclass(frozen=True)
class Difference:
    """What B has otherwise than A."""

    same: bool
    """Are the fingerprints?"""
    a: Side
    b: Side
    only_a: Counts
    """Faces that B lacks."""
    only_b: Counts
    in_both: int
    label: LabelChanges
    split: Changes
    fold: Changes
    detected: Changes
    scores: ScoreChanges
    manifest: dict[str, list[Any]]
    """{dotted key: [A's value, B's]} of options, sources and what else was recorded."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def diff(a: Path, b: Path) -> Difference:
    """Compare two datasets. InputError where one of them is damaged."""
    first, second = _Faces(a), _Faces(b)
    left, right = _match(first, second)
    odd = np.flatnonzero(first.labels[left] != second.labels[right])[:NUM_EXAMPLES]
    examples = [
        Example(first.ids[row : row + 1].tobytes().hex(), LABELS[first.labels[row]], LABELS[second.labels[match]])
        for row, match in zip(left[odd].tolist(), right[odd].tolist(), strict=True)
    ]
    labels = _changes(first.labels[left], second.labels[right], LABELS)
    return Difference(
        same=first.manifest["fingerprint"] == second.manifest["fingerprint"],
        a=first.side(),
        b=second.side(),
        only_a=first.counts(np.setdiff1d(np.arange(len(first.ids)), left)),
        only_b=second.counts(np.setdiff1d(np.arange(len(second.ids)), right)),
        in_both=len(left),
        label=LabelChanges(labels.num, labels.changes, examples),
        split=_changes(first.splits[left], second.splits[right], SPLITS),
        fold=_changes(first.folds[left], second.folds[right], [*map(str, range(127)), "none"]),
        detected=_changes(first.detected[left], second.detected[right], ["not found", "found"]),
        scores=_score_changes(first, second, left, right),
        manifest=_unequal(_recorded(first.manifest), _recorded(second.manifest)),
    )


def render(result: Difference) -> Group:
    """`diff`'s result for a terminal."""
    a, b, scores = result.a, result.b, result.scores
    if result.same and not result.manifest:
        return Group(Text(f"the same: {a.num_faces:,} faces, fingerprint {a.fingerprint}"))
    lines = [
        f"A {a.directory}: {a.num_faces:,} faces, fingerprint {a.fingerprint[:16]}",
        f"B {b.directory}: {b.num_faces:,} faces, fingerprint {b.fingerprint[:16]}"
        + (", the same" if result.same else ""),
        f"in both: {result.in_both:,} faces",
    ]
    if a.image_size != b.image_size:
        lines.append("their faces have other sizes, so that none has the same pixels")
    for side, counts in (("A", result.only_a), ("B", result.only_b)):
        for split, labels in counts.items():
            faces = ", ".join(f"{number:,} {label}" for label, number in labels.items())
            lines.append(f"only in {side}, {split}: {faces}")
    for title, change in (
        ("another label", result.label),
        ("another split", result.split),
        ("another fold", result.fold),
        ("MediaPipe", result.detected),
    ):
        if change.num:
            pairs = ", ".join(f"{pair} {number:,}" for pair, number in change.changes.items())
            lines.append(f"{title}: {change.num:,} faces ({pairs})")
    if scores.num:
        lines.append(f"other scores: {scores.num:,} faces, rms {scores.rms:.2g}, at most {scores.max:.2g} apart")
    recorded = table(["recorded", "A", "B"], 3)
    for key, values in result.manifest.items():
        recorded.add_row(key, *map(_short, values))
    return Group(*map(Text, lines), *([recorded] if result.manifest else []))


class _Faces:
    """The original faces of a dataset: arrays over all N."""

    def __init__(self, directory: Path):
        self.directory, self.manifest = Path(directory), read_manifest(directory)
        columns = ["face_id", "label", "split", "fold", "detected", "augmentation"]
        light = [_light(_originals(self.directory, part, columns)) for part in self.manifest["parts"]]
        arrays = [np.concatenate(column) for column in zip(*light, strict=True)]
        self.ids, self.labels, self.splits, self.folds, self.detected = arrays

    def side(self) -> Side:
        manifest = self.manifest
        return Side(
            str(self.directory),
            manifest["name"],
            manifest["fingerprint"],
            manifest["num_faces"],
            manifest["image_size"],
        )

    def counts(self, rows: np.ndarray) -> Counts:
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


def _originals(directory: Path, part: Part, columns: Sequence[str]) -> pa.Table:
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


def _match(a: _Faces, b: _Faces) -> tuple[np.ndarray, np.ndarray]:
    """Rows of A and of B that are the same face. Of n twins here and m there min(n, m) are, equal labels first."""
    _, left, right = np.intersect1d(_keys(a), _keys(b), assume_unique=True, return_indices=True)
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


def _changes(a: np.ndarray, b: np.ndarray, names: Sequence[str]) -> Changes:
    odd = a != b
    pairs = Counter(zip(a[odd].tolist(), b[odd].tolist(), strict=True))
    changes = {f"{names[before]} → {names[after]}": number for (before, after), number in pairs.most_common()}
    return Changes(int(odd.sum()), changes)


def _score_changes(a: _Faces, b: _Faces, left: np.ndarray, right: np.ndarray) -> ScoreChanges:
    """Scores of the faces that were found in both; a score that a dataset does not have is not compared."""
    scores = np.concatenate([_scores(a.directory, part) for part in a.manifest["parts"]])
    match = np.full(len(b.ids), -1)
    match[right] = left
    start, gap = 0, _Gap()
    for part in b.manifest["parts"]:
        there = _scores(b.directory, part)
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
    return ScoreChanges(gap.num, rms, gap.largest if gap.values else None)


def _scores(directory: Path, part: Part) -> np.ndarray:
    """(n, 52) float32, NaN where there is none."""
    table = _originals(directory, part, [*BLENDSHAPES, "augmentation"])
    return floats(table, BLENDSHAPES)


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """{dotted key: [a's value, b's]} where they differ; a dict that only one has is one value."""
    unequal: dict[str, list[Any]] = {}
    for key in dict.fromkeys([*a, *b]):
        before, after = a.get(key), b.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            unequal |= _unequal(before, after, f"{prefix}{key}.")
        elif before != after:
            unequal[f"{prefix}{key}"] = [before, after]
    return unequal


def _recorded(manifest: Manifest) -> Mapping[str, Any]:
    """What a manifest records beside counts; of an older one with the defaults of what it lacks."""
    fields: dict[str, Any] = {"blendshapes": list(BLENDSHAPES), "sources": [], **manifest}
    fields["sources"] = [source["sha256"] for source in fields["sources"]]
    return {key: value for key, value in fields.items() if key not in NOT_COMPARED}


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 200 else f"{text[:120]} … {text[-60:]}"
