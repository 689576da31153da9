"""The parts of a dataset's page that show faces: some of each class, those not detected, twins with their labels, near twins."""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import side_by_side
from fersweep.common.display.page import Section, html_table, plot, sheet, subheading
from fersweep.data_pipeline.describe.charts import lost_bars
from fersweep.data_pipeline.describe.description import Twins
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.describe.statistics import spread_sample
from fersweep.data_pipeline.describe.summary import conflicts, listed
from fersweep.data_pipeline.vocabulary import LABELS, SPLITS

NUM_EACH = 24  # faces of a class
NUM_LOST = 15  # of a class that were not detected
NUM_GROUPS = 60  # of twins
NUM_COMPARED = 5000  # near twins whose labels are compared
SEED = 0
NO_PIXELS = "The dataset has blendshapes alone, so there are no faces to show."


def samples(rows: DatasetRows, labels: Sequence[str], split: str) -> Section:
    """Faces of each class, and of the augmented copies if there are any."""
    heading = "Some faces of each class"
    if not rows.has_pixels:
        return Section(heading, note=NO_PIXELS)
    original = rows.is_original
    parts: list[Markup] = []
    for label in labels:
        of_label = original & (rows.labels == LABELS.index(label))
        in_split = of_label & (rows.splits == SPLITS.index(split))
        parts.append(_strip(rows, label, in_split if in_split.any() else of_label, NUM_EACH))
    if rows.is_augmented.any():
        parts.append(_strip(rows, "augmented copies", rows.is_augmented, NUM_EACH))
    return Section(
        heading,
        side_by_side(parts),
        f"Up to {NUM_EACH} faces a class of {split} (of all splits where the class has none there), drawn with seed {SEED}, as "
        "MediaPipe and the models see them. Hover for where a face came from.",
    )


def _strip(rows: DatasetRows, name: str, mask: np.ndarray, number: int) -> Markup:
    """Some of the faces in `mask` (N,), under their name and number."""
    chosen = _drawn(mask, number)
    sources = rows.take(chosen, ["source"])["source"].to_pylist()
    cards = [
        ([index], f"{source}, {_place(rows, row)}")
        for index, (source, row) in enumerate(zip(sources, chosen, strict=True))
    ]
    return subheading(name, f"{mask.sum():,}") + sheet(rows.pictures(chosen), cards)


def _drawn(mask: np.ndarray, number: int) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[spread_sample(np.zeros(len(rows)), number, SEED)]


def _place(rows: DatasetRows, row: int) -> str:
    return f"{LABELS[rows.labels[row]]}, {SPLITS[rows.splits[row]]}"


def not_found(rows: DatasetRows, labels: Sequence[str], faces: bool) -> Section:
    """Pictures in which MediaPipe found no face: how many of each class, and some of them."""
    heading, lost = "Faces that MediaPipe did not find", rows.is_original & ~rows.is_detected
    if rows.manifest["landmarks"] is None:
        return Section(
            heading, note="The blendshapes came ready-made: faces that were not found had been left out before."
        )
    if not lost.any():
        return Section(heading, note="It found a face in every picture.")
    masks = {label: rows.is_original & (rows.labels == LABELS.index(label)) for label in labels}
    parts = {label: (int((lost & mask).sum()), int(mask.sum())) for label, mask in masks.items()}
    html, below = plot(lost_bars(parts)), ""
    if rows.has_pixels and faces:
        below = f" Below, up to {NUM_LOST} of each class."
        strips = [_strip(rows, label, lost & mask, NUM_LOST) for label, mask in masks.items() if (lost & mask).any()]
        html += side_by_side(strips, 360)
    shares = {label: part / max(whole, 1) for label, (part, whole) in parts.items()}
    most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    unequal = f" Most are lost of {most} ({shares[most]:.1%}), fewest of {least} ({shares[least]:.1%})."
    return Section(
        heading,
        html,
        f"{lost.sum():,} of {rows.is_original.sum():,} faces, all splits, have no blendshapes, and a model of blendshapes never "
        f"sees them.{unequal if len(labels) > 1 else ''} Lines: 95 % intervals.{below}",
    )


def twins(rows: DatasetRows, labels: Sequence[str], figures: Twins, faces: bool) -> Section:
    """Faces with the same pixels: across splits, and those whose labels contradict each other."""
    if not figures.groups:
        return Section("Twins", note="No two faces have the same pixels.")
    html = _across(rows, labels, rows.is_twin, "twin")
    groups = conflicts(rows)
    if groups:
        drawn = "" if len(groups) <= NUM_GROUPS else f"{NUM_GROUPS} of {len(groups)}"
        html += subheading("The same pixels under different labels", drawn)
        html += _conflicting(rows, groups[:NUM_GROUPS], faces)
    return Section(
        "Twins",
        html,
        f"{figures.faces:,} faces are in {figures.groups:,} groups of faces with the same pixels, all splits; "
        f"{figures.conflicting:,} of the groups have different labels, so that no model can be right about all of them. Twins of val "
        f"and test faces are left out of train by default. Across splits: {listed(figures.across_splits)}.",
    )


def _conflicting(rows: DatasetRows, groups: Sequence[np.ndarray], faces: bool) -> Markup:
    texts: list[str] = []
    for group in groups:
        pairs = [(LABELS[rows.labels[row]], SPLITS[rows.splits[row]]) for row in group]
        splits_of = {label: [split for name, split in pairs if name == label] for label, _ in pairs}
        texts.append("\n".join(f"{label}: {', '.join(_counted(splits))}" for label, splits in splits_of.items()))
    if not (rows.has_pixels and faces):
        return html_table(["labels and splits"], [[text.replace("\n", "; ")] for text in texts])
    firsts = np.array([group[0] for group in groups])
    return sheet(rows.pictures(firsts), [([index], text) for index, text in enumerate(texts)], captioned=True, width=88)


def _counted(words: Sequence[str]) -> list[str]:
    return [word if words.count(word) == 1 else f"{words.count(word)}× {word}" for word in dict.fromkeys(words)]


def near_twins(rows: DatasetRows, labels: Sequence[str], faces: bool) -> Section:
    """Pairs of faces with nearly the same pixels in different splits."""
    heading, near = "Near twins", np.flatnonzero(rows.is_near & rows.is_original)
    if not len(near):
        searched = rows.manifest.get("compared", "near_twins" in rows.manifest)
        none = "No face has nearly the same pixels as one in a split above its own."
        return Section(heading, note=none if searched else "They were not looked for when this dataset was made.")
    compared = near[:NUM_COMPARED]
    names = rows.take(compared, ["near_duplicate_of"])["near_duplicate_of"].to_pylist()
    row_of = rows.find(set(names))
    pairs = [(int(row), row_of[name]) for row, name in zip(compared, names, strict=True) if name in row_of]
    pairs.sort(key=lambda pair: rows.labels[pair[0]] == rows.labels[pair[1]])  # those that disagree first
    num_differ = sum(rows.labels[first] != rows.labels[second] for first, second in pairs)
    html = _across(rows, labels, rows.is_near, "near twin")
    if rows.has_pixels and faces and pairs:
        shown = pairs[:NUM_GROUPS]
        pictures = rows.pictures(np.array(shown).reshape(-1))
        cards = [
            ([2 * index, 2 * index + 1], f"{_place(rows, first)}\n{_place(rows, second)}")
            for index, (first, second) in enumerate(shown)
        ]
        html += subheading("Pairs", f"{len(shown)} of {len(near):,}, different labels first")
        html += sheet(pictures, cards, captioned=True, width=72)
    pair_count = f"the {len(pairs):,} pairs" if len(pairs) == len(near) else f"{len(pairs):,} pairs compared"
    return Section(
        heading,
        html,
        f"{len(near):,} faces have nearly the same pixels as one in a split above their own; in {num_differ:,} of {pair_count} the labels "
        "differ. Faces with exactly the same pixels are the twins above.",
    )


def _across(rows: DatasetRows, labels: Sequence[str], is_twin: np.ndarray, kind: str) -> Markup:
    """A table: the faces of each class that have such a twin in a split above, by split. kind: its name in a sentence."""
    twins = is_twin & rows.is_original
    counts = {
        split: [int((twins & (rows.splits == index) & (rows.labels == LABELS.index(label))).sum()) for label in labels]
        for index, split in enumerate(SPLITS)
    }
    counts = {split: numbers for split, numbers in counts.items() if sum(numbers)}
    if not counts:
        return Markup("<p>None has a {} in another split.</p>").format(kind)
    table = [[label, *(numbers[index] for numbers in counts.values())] for index, label in enumerate(labels)]
    lead = Markup("<p>Faces of each split with a {} in a split above it (test above val above train):</p>").format(kind)
    return lead + html_table(["label", *counts], [*table, ["all", *map(sum, counts.values())]])
