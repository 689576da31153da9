"""What a source holds by its names and tables, and what of it is left out, by reason and class; no image is read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.decode import Kind
from fersweep.data_pipeline.sources.formats.reader import MISSING, RawFace, Reader
from fersweep.data_pipeline.sources.labels import Naming, label_of, unmapped
from fersweep.data_pipeline.sources.own_reader.own_reader import OwnReader
from fersweep.data_pipeline.sources.split_names import MAY_BE, split_in, split_of, split_of_folders
from fersweep.data_pipeline.sources.unrecognised import Seen
from fersweep.data_pipeline.vocabulary import SPLITS, UNKNOWN, Counts

MOST_NAMED = 6  # folders of a note
UNLISTED = "picture that the list does not use"


class ClassCount(NamedTuple):
    """Of a class of a source: our label, None where it is dropped, and all of its faces."""

    label: str | None
    num_faces: int


class Survey(NamedTuple):
    """What a source holds by its names and tables."""

    num_faces: int
    """Without those left out."""
    labels: dict[str, ClassCount]
    """By the source's names of its classes."""
    left_out: Counts
    """Reason → label, or UNKNOWN → rows and pictures."""
    other_files: dict[str, int]
    """Suffix, or what it is → files that hold no faces."""
    warnings: list[str]
    kind: Kind
    has_subjects: bool
    """Every face says who it is."""
    folders: frozenset[str]
    """Names of the folders above those of classes."""

    @property
    def dropped(self) -> dict[str, int]:
        """Reason → rows and pictures that are left out."""
        return {reason: sum(labels.values()) for reason, labels in self.left_out.items()}


def survey(
    path: Path, faces: Iterable[RawFace], format: str, reader: Reader, lists: Iterable[str], labels: Mapping[str, str],
    splits: Mapping[str, str] | None, seen: Seen | None, notes: Iterable[str], own: OwnReader | None = None,
) -> Survey:  # fmt: skip
    """Count the faces of the source `path`. InputError that names all classes that do not map, or folders that may be splits.

    Args:
        format: its name. reader: what reads it.
        lists: the files that hold or name the faces.
        labels: `--map`. splits: `--split-folder`, which is in `faces` already; None: nothing is asked for.
        seen: the files of the source; None: others are read beside it, so that its folder is not all its own.
        notes: what a user should know of the format, and of how its lists are read.
        own: the user's own reader.
    """
    naming, own_splits = Naming(labels), Counter[str | None]()
    classes, unknown = Counter[str](), Counter[str]()
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    has_subjects, splits_of, num_pictures, num_others = True, defaultdict[str, set[str]](set), 0, 0
    kind = reader.kind
    folders: dict[str, str | None] = {}
    for face in faces:
        num_pictures += not isinstance(face.data, bytes)
        own_splits[face.split] += 1
        if face.drop is not None:
            left_out[face.drop][_label(naming, face.label)] += 1
            continue
        num_others += isinstance(face.data, bytes)
        kind = face.kind or kind
        classes[face.label] += 1
        has_subjects = has_subjects and face.subject is not None
        if face.subject is not None and face.split is not None:
            splits_of[face.subject].add(face.split)
        if not reader.listed:
            folders.setdefault(str(PurePosixPath(face.source).parent), face.split)
        for name in face.votes or ():
            if name not in naming and not _maps(naming, name):
                unknown[name] += 0
    unknown.update({name: count for name, count in classes.items() if not _maps(naming, name)})
    if unknown:
        raise unmapped(str(path), unknown, own.code.asked if own else "")
    if left_out and not classes:
        why = ", ".join(f"{sum(counts.values()):,} {reason}" for reason, counts in left_out.items())
        tip = ": give the folder that holds both the list and the images" if left_out[MISSING] else ""
        if own is not None and own.missing:
            tip = f": {own.code.asked} asks for {own.missing!r}, and what is there is called otherwise"
        raise InputError(f"{path} holds no face that can be used ({why}){tip}")
    if splits is not None:
        _ask_for_splits(path, folders, splits)
    found = {name: ClassCount(naming[name], count) for name, count in classes.items()}
    for name, (label, count) in found.items():
        if label is None:
            left_out[f"class {name} dropped"][UNKNOWN] += count
    for reason, count in seen.left_out.items() if seen is not None else ():
        left_out[reason][UNKNOWN] += count
    num_unused = 0 if seen is None else seen.num_pictures - seen.read_pictures[format] - num_pictures
    if reader.kind == "image" and reader.listed and not num_others and num_unused > 0:
        left_out[UNLISTED][UNKNOWN] = num_unused
    num_faces = sum(count for label, count in found.values() if label is not None)
    own_notes = [
        *_official(own_splits, reader.official or {}),
        *(_of_folders(folders, has_subjects) if format == "folders" else ()),
    ]
    warnings = [f"{path}: {text}" for text in [*notes, *own_notes]]
    if num_torn := sum(len(splits) > 1 for splits in splits_of.values()):
        torn = f"{num_torn:,} of {len(splits_of):,} persons are in several of its splits"
        warnings.append(f"{path}: {torn}, so scores on it flatter: --split subject draws new ones")
    others = {} if seen is None else _other_files(seen, format, lists)
    reasons = {reason: dict(counts) for reason, counts in left_out.items() if counts}
    above = frozenset(part for folder in folders for part in PurePosixPath(folder).parts[:-1])
    return Survey(num_faces, found, reasons, others, warnings, kind, has_subjects and num_faces > 0, above)


def _label(naming: Naming, name: str) -> str:
    """Our label of a face that is left out, UNKNOWN where it has none."""
    return (naming[name] if name and _maps(naming, name) else None) or UNKNOWN


def _maps(naming: Naming, name: str) -> bool:
    """Does the class map to a label, or is it dropped?"""
    try:
        naming[name]
    except KeyError:
        return False
    return True


def _ask_for_splits(path: Path, folders: Mapping[str, str | None], known: Mapping[str, str]) -> None:
    """InputError where a folder above class folders may be a split, and does not say which.

    Args:
        folders: folder of faces → their split, None where it names none.
        known: folders that the user named.
    """
    beside: set[tuple[str, ...]] = set()  # the folders that hold those of splits
    for folder in folders:
        parts = PurePosixPath(folder).parts[:-1]
        beside |= {parts[:depth] for depth, name in enumerate(parts) if split_in(name) in SPLITS}
    for folder, split in folders.items():
        parts = PurePosixPath(folder).parts[:-1]
        for depth, name in enumerate(parts) if split is None else ():
            may_be = split_in(name) == MAY_BE
            if name.casefold() not in known and (may_be or parts[:depth] in beside):
                why = "may be a split" if may_be else "is beside folders of splits, and names none"
                raise InputError(
                    f"{path}: the folder {name} {why}: say which it is, --split-folder {name}=train (or val, test, none)"
                )


def _of_folders(folders: Mapping[str, str | None], has_subjects: bool) -> Iterator[str]:
    """How folders above those of classes are read: as splits, or not at all.

    Args:
        folders: folder of faces → their split, None where it names none.
    """
    said: dict[str, str] = {}
    unread: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)  # by the folders above
    by_file_names = False
    for folder, split in folders.items():
        above = PurePosixPath(folder).parts[:-1]
        by_file_names = by_file_names or (split is not None and split_of_folders(PurePosixPath(folder).parts) != split)
        for depth, name in enumerate(above):
            if split is not None and split_in(name) == split:
                said[name] = split
            elif split_in(name) is None and label_of(name) is None:
                unread[above[:depth]].add(name)
    if by_file_names:
        yield "the files' own names say the splits (PublicTest_… is val), or --split-folder does"
    if odd := [f"{name} is {split}" for name, split in said.items() if split_of(name) != split]:
        yield f"{', '.join(odd)}, by the names of the folders"
    names = sorted(max(unread.values(), key=len, default=set[str]()))
    if len(names) > 1 and not has_subjects:
        more = f", … ({len(names):,})" if len(names) > MOST_NAMED else ""
        yield (
            f"the folders above the classes ({', '.join(names[:MOST_NAMED])}{more}) are not read: if they are persons, "
            "give a CSV with the columns path,label,subject, or the same persons learn and test"
        )


def _official(splits: Mapping[str | None, int], published: Mapping[str, int]) -> Iterator[str]:
    """A note where what seems to be a published dataset lacks rows, or has more."""
    is_whole_split = any(splits.get(split) == number for split, number in published.items())
    if None in splits or not (is_whole_split or 2 * sum(splits.values()) > sum(published.values())):
        return
    differing = [
        f"{f'{splits[split]:,}' if splits.get(split) else 'no'} {split} rows where {number:,} were published"
        for split, number in published.items()
        if splits.get(split, 0) != number
    ]
    if differing:
        yield f"it has {', '.join(differing)}"


def _other_files(seen: Seen, format: str, lists: Iterable[str]) -> dict[str, int]:
    """Suffix → files that are neither pictures nor read."""
    others = Counter(seen.suffixes)
    others.subtract(PurePosixPath(name).suffix.lower() or "no suffix" for name in lists)
    others.subtract(seen.read[format])
    counts = {suffix: count for suffix, count in others.most_common() if count > 0}
    return counts | ({"hidden": seen.num_hidden} if seen.num_hidden else {})
