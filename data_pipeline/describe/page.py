"""A dataset on one page that opens offline: `fersweep describe DATASET --html FILE`.

Figures by which one may choose something (scores, pairs, cells, maps) are of train alone, without augmented copies and without
twins of val and test; each figure's text says which faces it shows, and how many were drawn if not all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import side_by_side
from fersweep.common.display.page import (
    Section,
    beside,
    bullets,
    folded,
    html_table,
    page,
    plot,
    subheading,
    tiles,
)
from fersweep.data_pipeline.dataset.manifest import Manifest, left_out
from fersweep.data_pipeline.describe import brightness, charts, pictures, poses, ridges, statistics
from fersweep.data_pipeline.describe.description import Description
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.describe.summary import describe_rows
from fersweep.data_pipeline.describe.train_scores import TrainScores
from fersweep.data_pipeline.vocabulary import LABELS

MAX_PLANE = 1600  # faces of the 2-D maps
MIN_TSNE = 10
SEED = 0


def render(
    directory: Path, faces: bool = True, tell: Callable[[str, float], object] = lambda _step, _done: None
) -> str:
    """The page as HTML. InputError where the dataset is damaged.

    Args:
        faces: whether faces may be on it.
        tell: is called with what is drawn next, and which share of the parts is done.
    """
    tell("reading", 0.0)
    rows = DatasetRows(directory)
    scores = TrainScores(rows)
    description = describe_rows(rows, scores)
    parts: dict[str, Callable[[], list[Section]]] = {
        "classes": lambda: [_head(description), _classes(rows, description, scores.labels)],
        "samples": lambda: [pictures.samples(rows, scores.labels, scores.split)] if faces else [],
        "faces that were not found": lambda: [pictures.not_found(rows, scores.labels, faces)],
        "twins": lambda: [pictures.twins(rows, scores.labels, description.twins, faces)],
        "near twins": lambda: [pictures.near_twins(rows, scores.labels, faces)],
        "distributions of scores": lambda: _alone(scores),
        "pairs of scores, maps": lambda: _together(scores),
        "brightness": lambda: [brightness.section(rows, scores, faces)],
        "poses": lambda: poses.sections(rows, scores),
        "sources": lambda: [_origins(rows.manifest), _making(rows.manifest)],
    }
    sections: list[Section] = []
    for index, (name, make) in enumerate(parts.items(), 1):
        tell(name, index / (len(parts) + 1))
        sections += make()
    size = description.image_size
    content = f"of {size[0]}×{size[1]} pixels" if size else "as blendshapes alone"
    lead = (
        f"{description.num_faces:,} faces {content}, labelled {', '.join(scores.labels)}. Statistics are of train alone, without augmented "
        "copies and without twins of val and test, unless something else is said."
    )
    if scores.split != "train":
        lead = lead.replace("train alone", f"{scores.split}, since there is no train,")
    return page(f"Dataset {description.name}", lead, sections)


def _head(description: Description) -> Section:
    twins = description.twins
    splits = ", ".join(f"{sum(labels.values()):,} {split}" for split, labels in description.counts.items())
    facts = [(f"{description.num_faces:,}", f"faces: {splits}"), (str(len(description.classes)), "classes")]
    if description.landmarks is not None:
        facts.append((f"{description.detected_share or 0:.1%}", "of them found by MediaPipe"))
    crossing = sum(twins.across_splits.values())
    facts.append((f"{twins.faces:,}", f"faces with a twin of the same pixels; {crossing:,} across splits"))
    facts.append((f"{twins.conflicting:,}", "groups of twins whose labels differ"))
    if near := sum(description.near_twins.across_splits.values()):
        facts.append((f"{near:,}", "near twins across splits"))
    if scores := description.scores:
        best, nats = next(iter(scores.information_nats.items()))
        entropy = f"{scores.class_entropy_nats:.2f}"
        facts.append((f"{nats:.2f} nats", f"of the class's {entropy} are in {best}, the most informative score"))
    if description.num_subjects:
        facts.append((f"{description.num_subjects:,}", "subjects"))
    if description.folds:
        facts.append((str(len(description.folds)), "folds"))
    if copies := sum(description.augmented.values()):
        facts.append((f"{copies:,}", "augmented copies in train, beside the faces"))
    if num_left_out := sum(sum(labels.values()) for labels in description.left_out.values()):
        facts.append((f"{num_left_out:,}", "rows and pictures left out"))
    if carved := description.carved:
        facts.append((f"{sum(carved.values()):,}", f"faces of {' and '.join(carved)} drawn from train"))
    facts.append((f"{description.num_bytes / 1e6:,.0f} MB", f"on disk, made {description.created[:10]}"))
    return Section("At a glance", tiles(facts))


def _classes(rows: DatasetRows, description: Description, labels: list[str]) -> Section:
    counts = description.counts
    table: list[list[str]] = []
    for label in labels:
        numbers = [counts[split].get(label, 0) for split in counts]
        shares = (f"{n / max(sum(counts[split].values()), 1):.1%}" for n, split in zip(numbers, counts, strict=True))
        cells = zip((f"{n:,}" for n in numbers), shares, strict=True)
        table.append([label, *(text for pair in cells for text in pair)])
    heads = ["label", *(text for split in counts for text in (split, "share"))]
    html = beside(charts.class_bars(counts, labels), html_table(heads, table))
    if description.folds:
        html += subheading("Folds") + html_table(["fold", *labels], _fold_table(rows, len(description.folds), labels))
    number, majority = max((sum(counts[split].get(label, 0) for split in counts), label) for label in labels)
    share = number / max(description.num_faces, 1)
    return Section(
        "Classes", html, f"Always guessing {majority}, the most frequent class, is right for {share:.1%} of all faces."
    )


def _fold_table(rows: DatasetRows, num_folds: int, labels: list[str]) -> list[list[int]]:
    """Fold, then its original faces of each label."""
    in_fold = [(rows.folds == fold) & rows.is_original for fold in range(num_folds)]
    of_label = [rows.labels == LABELS.index(label) for label in labels]
    return [[fold, *(int((faces & mask).sum()) for mask in of_label)] for fold, faces in enumerate(in_fold)]


def _alone(scores: TrainScores) -> list[Section]:
    """Figures of each score of train faces; a sentence where there are no scores."""
    if not scores.names:
        return [Section("Blendshapes", note=f"No face of {scores.split} has blendshapes.")]
    return [_information(scores), _distributions(scores)]


def _together(scores: TrainScores) -> list[Section]:
    """Figures of several scores at once, if there are faces enough."""
    if not scores.names or len(scores.y) <= 2:
        return []
    return [_correlations(scores), _pairs(scores), _planes(scores)]


def _information(scores: TrainScores) -> Section:
    dead = ", ".join(scores.dead) or "none"
    noise = statistics.information_noise(len(scores.y), len(scores.labels))
    return Section(
        "What each score says about the class",
        side_by_side([charts.information_bars(scores), charts.class_map(scores)], 420),
        f"The bars: mutual information of a score and the class, in nats, {scores.faces_in_words()}; each score is cut into {statistics.NUM_BINS} "
        f"bins of equally many faces. A score that determines the class has {scores.entropy:.3f} nats (the class's entropy); one that is "
        f"independent of it seems to have {noise:.4f} (dotted line). The map: correlation of the score with being of the class. Gray: scores "
        f"that stay below {statistics.DEAD_BELOW} on every face ({dead}): nearly dead as they are, though their small differences may be "
        "informative once standardised.",
    )


def _distributions(scores: TrainScores) -> Section:
    return Section(
        "Distributions of the scores",
        ridges.distributions(scores),
        f"Each class's faces over the score's range, {scores.faces_in_words()}; the {ridges.NUM_RIDGES} most informative scores, then any of them. "
        "Axes are logarithmic, since most faces score low, and run from the 0.5 % to the 99.8 % quantile; what is beyond is counted at their ends. "
        "Each class is as high as its peak; ticks: medians.",
    )


def _correlations(scores: TrainScores) -> Section:
    return Section(
        "Correlations of the scores",
        charts.correlation_map(scores),
        f"Pearson correlations, {scores.faces_in_words()}: of all classes together, or within one. Columns are in the order of the rows. Left "
        "and right of the same score go together; classes differ in more than one score at a time.",
    )


def _pairs(scores: TrainScores) -> Section:
    best = charts.best_pairs(scores)
    pair = best[0][1:] if best else (scores.names[0], scores.names[0])
    table = html_table(["score", "and score", "nats together"], [[a, b, round(nats, 3)] for nats, a, b in best[:12]])
    return Section(
        "Pairs of scores",
        beside(charts.scatter(scores, pair), subheading("The most informative pairs") + table),
        f"Up to {charts.MAX_POINTS // len(scores.labels)} faces of each class of {scores.split}, drawn with seed {SEED}; choose any two "
        "scores. Logarithmic axes leave out scores of 0. "
        f"The table: mutual information of the class and both scores, 8 × 8 bins, among the {charts.NUM_BEST} most informative.",
    )


def _planes(scores: TrainScores) -> Section:
    drawn = statistics.spread_sample(scores.y, MAX_PLANE // len(scores.labels), SEED)
    y, missing = scores.y[drawn], np.isnan(scores.x)
    x = np.where(missing, np.nanmean(scores.x, axis=0), scores.x)
    places, directions, shares = statistics.principal_plane(x)
    axes = [
        f"component {number + 1}, {share:.0%}: {_largest(direction, scores.names)}"
        for number, (direction, share) in enumerate(zip(directions, shares, strict=True))
    ]
    if len(axes) < 2:
        return Section("The faces on a map", note="One score spans no plane.")
    principal = plot(charts.plane(places[drawn], y, scores.labels, (axes[0], axes[1])))
    parts = [subheading("Principal components") + principal]
    if len(drawn) >= MIN_TSNE:
        tsne = plot(charts.plane(statistics.neighbour_map(x[drawn], SEED), y, scores.labels, ("", "")))
        parts.append(subheading("t-SNE") + tsne)
    filled = " A score that a face lacks counts as the mean." if missing.any() else ""
    return Section(
        "The faces on a map",
        side_by_side(parts),
        f"Up to {MAX_PLANE // len(scores.labels)} faces of each class of {scores.split}, by their standardised scores, drawn with seed {SEED}."
        f"{filled} Principal components (of all {len(x):,}) keep distances, as far as two directions can; t-SNE keeps neighbours together, and "
        "distances between its islands mean nothing.",
    )


def _largest(direction: np.ndarray, names: list[str]) -> str:
    """The two scores with the largest parts in a direction, with their signs."""
    largest = np.argsort(-np.abs(direction))[:2]
    return ", ".join(f"{'+' if direction[index] > 0 else '−'}{names[index]}" for index in largest)


def _origins(manifest: Manifest) -> Section:
    """The sources of the faces, what their classes became, and what was left out."""
    origins: dict[str, Any] = manifest.get("origins") or {}
    names = [*origins, *[""] * (len(manifest["sources"]) - len(origins))]
    empty: dict[str, Any] = {}
    files: list[Any] = [*manifest["sources"], *[empty] * (len(origins) - len(manifest["sources"]))]
    lines = [
        [
            name or None,
            source.get("path"),
            source.get("format") or origins[name].get("format"),
            origins.get(name, {}).get("num_faces"),
            source.get("sha256", "")[:12] or None,
        ]
        for name, source in zip(names, files, strict=True)
    ]
    html = html_table(["origin", "path", "format", "faces", "sha256"], lines) if lines else Markup()
    mapped = [
        [name, label, target["label"] or "dropped", target["num_faces"]]
        for name, origin in origins.items()
        for label, target in (origin.get("labels") or empty).items()
    ]
    if mapped:
        html += subheading("Labels") + html_table(["origin", "its label", "here", "faces"], mapped)
    if reasons := left_out(manifest):
        cells = [
            [reason, sum(labels.values()), ", ".join(f"{label} {number:,}" for label, number in labels.items())]
            for reason, labels in reasons.items()
        ]
        html += subheading("Left out") + html_table(["reason", "rows and pictures", "classes"], cells)
    others = [
        [name, suffix, number]
        for name, origin in origins.items()
        for suffix, number in (origin.get("other_files") or empty).items()
    ]
    if others:
        html += subheading("Other files") + html_table(["origin", "kind", "files"], others)
    warnings = [f"{name}: {text}" for name, origin in origins.items() for text in origin.get("warnings") or ()]
    if warnings:
        html += subheading("Warnings") + bullets(warnings)
    return Section("Where the faces came from", html, "" if html else "The manifest names no source.")


def _making(manifest: Manifest) -> Section:
    landmarks = manifest["landmarks"] or {}
    facts = [
        ["made", manifest["created"]],
        ["command", manifest.get("command")],
        ["fersweep", manifest.get("fersweep")],
        ["splits", manifest.get("split_by")],
        [
            "MediaPipe",
            landmarks.get(
                "mediapipe", "not used" if manifest.get("blendshapes") == [] else "not used: ready-made blendshapes"
            ),
        ],
        *([name.replace("_", " "), _plain(value)] for name, value in landmarks.items() if name != "mediapipe"),
        ["fingerprint", manifest["fingerprint"]],
        ["parts", len(manifest["parts"])],
    ]
    html = html_table(["", ""], [[name, text] for name, text in facts if text is not None])
    html += folded("All options", json.dumps(manifest.get("options", {}), indent=1))
    return Section("How it was made", html)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
