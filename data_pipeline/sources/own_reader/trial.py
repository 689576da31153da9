"""Try an own reader on a source: `fersweep check reader my_reader.py faces.zip`. Nothing is written.

Everything is read twice, as `prepare` does; of the pictures, LOOKED_AT are decoded, spread over the source.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from fersweep.common.display.tables import duration, table
from fersweep.data_pipeline.faces.crop import BESIDE, degenerate, is_beside
from fersweep.data_pipeline.sources.decode import Broken, Face, decode
from fersweep.data_pipeline.sources.formats.reader import RawFace
from fersweep.data_pipeline.sources.labels import Naming
from fersweep.data_pipeline.sources.opening import opened
from fersweep.data_pipeline.sources.own_reader.own_reader import Tell, UnsteadyError, find_reader
from fersweep.data_pipeline.sources.pictures import is_picture
from fersweep.data_pipeline.sources.source import Source, content, open_with
from fersweep.data_pipeline.vocabulary import LABELS, SPLITS

LOOKED_AT = 1000
SLOW = 200  # faces a second; MediaPipe reads some 100 on a core
PASSES = 3  # of `prepare` over a source: it is counted, its pictures' size is asked, and they are read
MOST_NAMED = 6
NO_SPLIT = "no split"


@dataclass
class Trial:
    """What a reader makes of a source.

    Attributes:
        counts: split, or NO_SPLIT → label → faces that are kept.
        labels: the reader's label → ours; None: it is dropped.
        dropped: reason → faces; those of unknown labels are in `unknown`.
        num_subjects: persons; None: no face says who it is.
        unreadable: reason → pictures that `prepare` cannot use, of the `num_looked_at` that were decoded.
        sizes: "48×48" → pictures of those.
        faults: what keeps `prepare` from making a sound dataset of it; a line each.
        notes: what one should know.
    """

    reader: str
    source: str
    num_records: int = 0
    is_all: bool = True
    counts: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    labels: dict[str, str | None] = field(default_factory=dict[str, str | None])
    unknown: dict[str, int] = field(default_factory=dict[str, int])
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    num_subjects: int | None = None
    num_looked_at: int = 0
    unreadable: dict[str, int] = field(default_factory=dict[str, int])
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    faces_per_s: float = 0.0
    faults: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    @property
    def num_faces(self) -> int:
        return sum(sum(labels.values()) for labels in self.counts.values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"num_faces": self.num_faces}


def try_reader(
    asked: str, path: Path, labels: Mapping[str, str] | None = None, most: int | None = None, tell: Tell | None = None
) -> Trial:
    """Read the source `path` with the reader `asked`. InputError where it cannot be read to the end.

    labels: as `--map`. most: stop after so many faces; None: read all.
    """
    source = open_with(path, find_reader(asked), labels)
    assert source.own is not None
    source.own.most, source.own.tell = most, tell
    trial = Trial(source.format, str(path))
    subjects = _count(source, trial)
    trial.is_all = most is None or trial.num_records < most
    try:
        _look(source, trial)
    except UnsteadyError as error:
        trial.faults.append(str(error))
    trial.faults += _faults(trial, source, subjects)
    trial.notes += _notes(trial, source)
    return trial


def _count(source: Source, trial: Trial) -> dict[str, set[str]]:
    """The first reading: counts, and each subject's splits."""
    naming, begun = Naming(source.labels), time.monotonic()
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    dropped, unknown, subjects = Counter[str](), Counter[str](), defaultdict[str, set[str]](set)
    for face in source.raw_faces():
        trial.num_records += 1
        for name in face.votes or ():
            if not _is_known(naming, name):
                unknown[name] += 0
        if face.drop is not None:
            dropped[face.drop] += 1
        elif not _is_known(naming, face.label):
            unknown[face.label] += 1
        elif (label := naming[face.label]) is None:
            dropped[f"class {face.label} dropped"] += 1
        else:
            counts[face.split or NO_SPLIT][label] += 1
            if face.subject is not None:
                subjects[face.subject].add(face.split or NO_SPLIT)
    trial.faces_per_s = round(trial.num_records / max(time.monotonic() - begun, 1e-3), 1)
    trial.counts = {split: dict(counts[split]) for split in (*SPLITS, NO_SPLIT) if split in counts}
    trial.labels, trial.unknown, trial.dropped = dict(naming), dict(unknown), dict(dropped)
    trial.num_subjects = len(subjects) or None
    return subjects


def _look(source: Source, trial: Trial) -> None:
    """The second reading, in which some pictures are decoded. UnsteadyError where it differs from the first."""
    every = -(-trial.num_records // LOOKED_AT)
    unreadable, sizes, has_boxes = Counter[str](), Counter[str](), False
    for number, raw in enumerate(source.raw_faces()):
        is_left_out = raw.drop is not None or trial.labels.get(raw.label, raw.label) is None
        if number % every or is_left_out or raw.kind == "scores":
            continue
        trial.num_looked_at += 1
        try:
            gray = decode(_face(raw))
            sizes[f"{gray.shape[0]}×{gray.shape[1]}"] += 1
            has_boxes |= raw.box is not None
            is_lost = raw.box is not None and is_beside(raw.box, gray.shape)
            if (reason := degenerate(gray) or (BESIDE if is_lost else None)) is not None:
                raise Broken(raw.source, reason)
        except Broken as error:
            if not unreadable:
                trial.notes.append(f"the first picture that cannot be used: {error}")
            unreadable[error.reason] += 1
    if has_boxes:
        trial.notes.append(
            "boxes are not looked at with --pixels-only, which keeps pictures whole (--crop auto crops them)"
        )
    trial.unreadable, trial.sizes = dict(unreadable), dict(sizes.most_common())


def _face(raw: RawFace) -> Face:
    data, kind = (raw.data, "image") if isinstance(raw.data, bytes) else content(raw.data)
    return Face(raw.source, "", None, data, kind)


def _is_known(naming: Naming, name: str) -> bool:
    try:
        naming[name]
    except KeyError:
        return False
    return True


def _faults(trial: Trial, source: Source, subjects: Mapping[str, set[str]]) -> Iterator[str]:
    own = source.own
    assert own is not None
    if trial.unknown:
        names = [f"{name!r} ({f'{number:,}' if number else 'in votes'})" for name, number in trial.unknown.items()]
        more = ", …" * (len(names) > MOST_NAMED)
        yield (
            f"unknown labels: {', '.join(names[:MOST_NAMED])}{more}: say what each is, LABELS = "
            f"{{{next(iter(trial.unknown))!r}: 'happy'}} in the reader (one of {', '.join(LABELS)}; None drops it), or --map"
        )
    classes = {label for labels in trial.counts.values() for label in labels}
    if len(classes) == 1 and not trial.unknown:
        yield f"every face is {classes.pop()}: there is nothing to learn; is `label` read from the right place?"
    if not trial.num_faces and not trial.unknown:
        yield "no face is left: every one is dropped"
    if own.missing:
        number = trial.dropped["image is missing"]
        yield (
            f"{number:,} of {trial.num_records:,} pictures are missing, first {own.missing!r}: names begin at the source, as in "
            f"{_first_picture(source)!r}"
        )
    if trial.unreadable:
        reasons = _reasons(trial.unreadable)
        yield f"{sum(trial.unreadable.values()):,} of {trial.num_looked_at:,} pictures that were decoded cannot be used: {reasons}"
    if torn := sum(len(splits - {NO_SPLIT}) > 1 for splits in subjects.values()):
        yield (
            f"{torn:,} of {len(subjects):,} subjects are in several splits, so scores flatter: leave `split` out, or prepare with "
            "--split subject"
        )
    if trial.counts and "train" not in trial.counts and NO_SPLIT not in trial.counts:
        yield f"no face is in train, only in {', '.join(trial.counts)}"


def _first_picture(source: Source) -> str:
    with opened(source.path) as files:
        return next((member.name for member in files if is_picture(member)), "images/1.png")


def _notes(trial: Trial, source: Source) -> Iterator[str]:
    by = "by subject" if trial.num_subjects else "stratified"
    if list(trial.counts) == [NO_SPLIT]:
        yield f"no face has a split: prepare draws val and test, {by}"
    elif NO_SPLIT in trial.counts:
        yield f"{sum(trial.counts[NO_SPLIT].values()):,} faces have no split: they count as train"
    if trial.num_subjects is None:
        yield "no face has a subject: the same person may learn and test"
    unused = source.labels.keys() - trial.labels.keys()
    if unused and trial.is_all:
        yield f"LABELS or --map name what no face has: {', '.join(sorted(unused)[:MOST_NAMED])}"
    if trial.faces_per_s < SLOW and trial.num_records > SLOW:
        whole = duration(PASSES * trial.num_records / trial.faces_per_s)
        yield f"slow: {trial.faces_per_s:,.0f} faces a second; prepare reads {PASSES} times, for {whole} (--image-size saves one)"
    if not trial.is_all:
        yield f"stopped after {trial.num_records:,} faces: counts are of these alone"


def _reasons(counts: Mapping[str, int]) -> str:
    """The most frequent reasons, and how many faces have others."""
    ordered = Counter(counts).most_common()
    shown = [f"{number:,} × {reason}" for reason, number in ordered[:MOST_NAMED]]
    if rest := ordered[MOST_NAMED:]:
        shown.append(f"{sum(number for _, number in rest):,} for {len(rest):,} other reasons")
    return "; ".join(shown)


def render(trial: Trial) -> Group:
    """A trial for the terminal."""
    shown = table(["label", *trial.counts], 1)
    for label in LABELS:
        if any(label in labels for labels in trial.counts.values()):
            shown.add_row(label, *(f"{labels.get(label, 0):,}" for labels in trial.counts.values()))
    shown.add_section()
    shown.add_row("all", *(f"{sum(labels.values()):,}" for labels in trial.counts.values()), style="bold")
    lines = [f"{trial.num_faces:,} faces of {trial.num_records:,} records, {trial.faces_per_s:,.0f} a second"]
    if trial.num_subjects:
        lines.append(f"subjects: {trial.num_subjects:,}")
    if trial.dropped:
        lines.append(f"dropped: {_reasons(trial.dropped)}")
    renamed = [f"{name} is {label}" for name, label in sorted(trial.labels.items()) if label and name != label]
    if renamed:
        lines.append("labels: " + ", ".join(renamed))
    if trial.num_looked_at:
        sizes = ", ".join(f"{size} ({number:,})" for size, number in list(trial.sizes.items())[:MOST_NAMED])
        lines.append(f"pictures decoded: {trial.num_looked_at:,}; height×width: {sizes or 'none'}")
    return Group(
        Text(f"{trial.reader} reads {trial.source}", style="bold"),
        *([shown] if trial.counts else []),
        *map(Text, lines),
        *(Text(f"note: {note}") for note in trial.notes),
        *(Text(f"fault: {fault}", style="bold") for fault in trial.faults),
        *([] if trial.faults else [Text("no faults: `fersweep prepare SOURCE --reader …` can read it")]),
    )
