"""What a dataset holds: `fersweep describe runs/data/fer2013`. As a page: page.py."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Group
from rich.text import Text

from fersweep.common.display.fitting_table import FittingTable
from fersweep.common.display.tables import table
from fersweep.data_pipeline.dataset.manifest import Manifest, left_out
from fersweep.data_pipeline.describe.description import Description, NearTwins, ScoreFigures, Twins
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.describe.statistics import DEAD_BELOW
from fersweep.data_pipeline.describe.train_scores import TrainScores
from fersweep.data_pipeline.vocabulary import LABELS, SPLITS, UNKNOWN, Counts

HEAVY = 0.2  # share of a class whose loss gets a line of its own


def describe(directory: Path) -> Description:
    """Counts, losses, twins, statistics and identity of a dataset. InputError where it is damaged."""
    return describe_rows(DatasetRows(directory))


def describe_rows(rows: DatasetRows, scores: TrainScores | None = None) -> Description:
    """`describe` of rows that are in memory already, and of the scores of their train faces (None: they are read)."""
    manifest = rows.manifest
    counts, looked = manifest["counts"], manifest["landmarks"] is not None or bool(manifest.get("blendshapes", True))
    undetected = manifest["undetected"] if looked else {}
    lost = {label: _total(undetected, label) / _total(counts, label) for label in manifest["classes"] if looked}
    num_undetected = sum(sum(labels.values()) for labels in undetected.values())
    scores = scores or TrainScores(rows)
    return Description(
        name=manifest["name"],
        directory=str(rows.directory),
        fingerprint=manifest["fingerprint"],
        num_faces=manifest["num_faces"],
        image_size=manifest["image_size"],
        num_bytes=sum(part["num_bytes"] for part in manifest["parts"]),
        classes=manifest["classes"],
        counts=counts,
        undetected=undetected,
        detected_share=1.0 - num_undetected / max(manifest["num_faces"], 1) if looked else None,
        lost=lost,
        twins=_twins(rows),
        near_twins=NearTwins(_across(rows, rows.is_near), manifest.get("turned_twins", {})),
        augmented=manifest.get("augmented", {}),
        left_out=left_out(manifest),
        other_files=_other_files(manifest),
        carved=manifest.get("carved", {}),
        carved_by=manifest.get("carved_by"),
        seed=manifest.get("options", {}).get("seed"),
        kept_whole=manifest.get("kept_whole", {}),
        split_by=manifest.get("split_by"),
        folds=_folds(rows),
        num_subjects=manifest.get("num_subjects") or len(rows.subjects) or None,
        has_landmarks=manifest.get("has", {}).get("landmarks", False),
        landmarks=manifest["landmarks"],
        origins=manifest.get("origins", {}),
        sources=list(manifest["sources"]),
        created=manifest["created"],
        scores=_score_figures(scores) if scores.names else None,
    )


def _other_files(manifest: Manifest) -> dict[str, int]:
    files: Counter[str] = Counter()
    for origin in manifest.get("origins", {}).values():
        files.update(origin.get("other_files", {}))
    return dict(files.most_common())


def _total(counts: Counts, label: str) -> int:
    """Faces of a label in all splits."""
    return sum(labels.get(label, 0) for labels in counts.values())


def conflicts(rows: DatasetRows) -> list[np.ndarray]:
    """Groups of rows with the same pixels whose labels differ: rows rise within a group, groups by their first row."""
    order, starts = _groups(rows)
    groups = (np.sort(group) for group in np.split(order, starts[1:]) if len(group) > 1)
    return sorted(
        (group for group in groups if len(np.unique(rows.labels[group])) > 1), key=lambda group: int(group[0])
    )


def _groups(rows: DatasetRows) -> tuple[np.ndarray, np.ndarray]:
    """Rows of original faces, those of the same pixels side by side, and where each group begins."""
    originals = np.flatnonzero(rows.is_original)
    order = originals[np.argsort(rows.ids[originals], kind="stable")]
    ids = rows.ids[order]
    return order, np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.zeros(0, np.int64)


def _twins(rows: DatasetRows) -> Twins:
    order, starts = _groups(rows)
    sizes = np.diff(np.append(starts, len(order)))
    lowest, highest = (extreme.reduceat(rows.labels[order], starts) for extreme in (np.minimum, np.maximum))
    return Twins(
        groups=int((sizes > 1).sum()),
        faces=int(sizes[sizes > 1].sum()),
        conflicting=int((lowest != highest).sum()),
        across_splits=_across(rows, rows.is_twin),
    )


def _across(rows: DatasetRows, is_twin: np.ndarray) -> dict[str, int]:
    """{split: its faces that have a twin in a split above}, of the splits that have such."""
    counts = np.bincount(rows.splits[is_twin & rows.is_original], minlength=len(SPLITS))
    return {split: int(number) for split, number in zip(SPLITS, counts, strict=True) if number}


def _folds(rows: DatasetRows) -> dict[str, int] | None:
    folds = rows.folds[(rows.folds >= 0) & rows.is_original]
    return {str(fold): int(number) for fold, number in enumerate(np.bincount(folds))} if len(folds) else None


def _score_figures(scores: TrainScores) -> ScoreFigures:
    return ScoreFigures(
        split=scores.split,
        num_faces=len(scores.y),
        class_entropy_nats=round(scores.entropy, 4),
        information_nats={scores.names[i]: round(float(scores.information[i]), 4) for i in scores.ranked()},
        dead=scores.dead,
    )


def render(description: Description) -> Group:
    """A description for the terminal."""
    size = description.image_size
    content = f"faces of {size[0]}×{size[1]} pixels" if size else "faces as blendshapes alone"
    lines = [_twin_line(description.twins), *_more(description)]
    return Group(
        Text(f"{description.name}  {description.num_faces:,} {content}", style="bold"),
        Text(f"{description.directory}  {description.num_bytes / 1e6:.0f} MB  {description.created}"),
        Text(f"fingerprint {description.fingerprint}"),
        _count_table(description),
        *map(Text, lines),
    )


def _count_table(description: Description) -> FittingTable:
    counts, has_lost = description.counts, description.landmarks is not None
    shown = table(["label", *counts, *["no face found"] * has_lost], 1)
    for label in description.classes:
        numbers = (f"{counts[split].get(label, 0):,}" for split in counts)
        shown.add_row(label, *numbers, *[f"{description.lost.get(label, 0):.1%}"] * has_lost)
    totals = (f"{sum(counts[split].values()):,}" for split in counts)
    shown.add_section()
    shown.add_row("all", *totals, *[f"{1 - (description.detected_share or 0):.1%}"] * has_lost, style="bold")
    return shown


def _twin_line(twins: Twins) -> str:
    if not twins.faces:
        return "twins: none"
    return (
        f"twins: {twins.faces:,} faces in {twins.groups:,} groups, {twins.conflicting:,} of them with "
        "contradicting labels; train faces that are also in val or test, val faces in test: "
        f"{listed(twins.across_splits)}"
    )


def _more(description: Description) -> list[str]:
    """A line for each thing that the dataset has beside faces, labels and splits."""
    lines: list[str] = []
    if near := description.near_twins.across_splits:
        turned = description.near_twins.turned
        how = f"; of these only mirrored or turned: {listed(turned)}" if turned else ""
        lines.append(f"near twins, nearly the same pixels in a split above: {listed(near)}{how}")
    if description.num_subjects:
        lines.append(f"subjects: {description.num_subjects:,}")
    if folds := description.folds:
        lines.append(f"folds: {len(folds)} of {min(folds.values()):,} to {max(folds.values()):,} faces")
    if copies := sum(description.augmented.values()):
        lines.append(f"augmented copies in train, not counted above: {copies:,}")
    if len(description.origins) > 1:
        numbers = {name: origin.get("num_faces") for name, origin in description.origins.items()}
        lines.append("origins: " + ", ".join(name if n is None else f"{n:,} of {name}" for name, n in numbers.items()))
    lines += _empty(description)
    lines += _losses(description)
    lines += _carved(description)
    if whole := description.kept_whole:
        listing = ", ".join(f"{number:,} {label}" for label, number in whole.items())
        lines.append(f"kept whole, with no face found or looked for: {listing}")
    if scores := description.scores:
        best = ", ".join(f"{name} {nats:.3f}" for name, nats in list(scores.information_nats.items())[:3])
        lines.append(
            f"scores, on {scores.split}: the most informative about the class are {best} of its "
            f"{scores.class_entropy_nats:.3f} nats; {len(scores.dead)} scores stay below {DEAD_BELOW}"
        )
    return lines


def _losses(description: Description) -> list[str]:
    """What the sources hold and the dataset does not: by reason, and the classes that lose much."""
    lines: list[str] = []
    if description.left_out:
        reasons = [
            f"{sum(labels.values()):,} × {reason}{of_labels(labels)}" for reason, labels in description.left_out.items()
        ]
        lines.append("left out: " + "; ".join(reasons))
    for label, num_lost, num_all in heavy_losses(description):
        which = "all" if num_lost == num_all else f"{num_lost:,} of"
        lines.append(f"{label}: {which} {num_all:,} of its rows and pictures are left out")
    if others := description.other_files:
        lines.append("other files: " + ", ".join(f"{number:,} {suffix}" for suffix, number in others.items()))
    return lines


def of_labels(labels: Mapping[str, int]) -> str:
    """` (sad 12, happy 3)`; nothing where no class is known."""
    known = [f"{label} {number:,}" for label, number in labels.items() if label != UNKNOWN]
    return f" ({', '.join(known)})" if known else ""


def heavy_losses(description: Description) -> list[tuple[str, int, int]]:
    """(label, rows and pictures left out, all of them) of the labels that lose HEAVY of them or more."""
    lost: Counter[str] = Counter()
    for labels in description.left_out.values():
        lost.update({label: number for label, number in labels.items() if label != UNKNOWN})
    alls = {label: number + _total(description.counts, label) for label, number in lost.items()}
    return [(label, lost[label], alls[label]) for label in LABELS if lost[label] >= HEAVY * alls.get(label, 1)]


def _empty(description: Description) -> list[str]:
    """The splits without faces, and the classes that lack faces in one."""
    lines: list[str] = []
    for split, needs in (("val", "a search needs them (--val-share)"), ("test", "`promote` needs them (--test-share)")):
        counts = description.counts.get(split, {})
        if not counts and not (split == "val" and description.folds):
            lines.append(f"no faces in {split}: {needs}")
        elif counts and (lacking := [label for label in description.classes if not counts.get(label)]):
            lines.append(f"no faces of {', '.join(lacking)} in {split}")
    return lines


def _carved(description: Description) -> list[str]:
    if not description.carved:
        return []
    splits = " and ".join(f"{number:,} of {split}" for split, number in description.carved.items())
    why = "" if description.split_by in ("subject", "stratified") else ": no source has such a split"
    how = f"by {description.carved_by}" if description.carved_by == "subject" else description.carved_by
    return [f"drawn from train, {how}, seed {description.seed}: {splits}{why}"]


def listed(numbers: Mapping[str, int]) -> str:
    """`5 of train, 3 of val`."""
    return ", ".join(f"{number:,} of {split}" for split, number in numbers.items() if number) or "none"
