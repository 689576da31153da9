"""Sources of faces: whatever format and container, one stream of faces under one set of labels.

    source = open_source(Path("fer2013.csv.zip"))      # open_source(path, format="ferplus", labels={"joy": "happy"})
    print(source.survey())                             # faces per class, what is dropped and why; decodes nothing
    for face in source.faces():
        pixels = decode(face)                          # (H, W) uint8

Everything is streamed: one face is in memory at a time, archives are never unpacked, and the names of their members
are never used as paths. The formats are in formats/.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.sources.containers import Member, is_archive, opened, reading
from fersweep.data_pipeline.sources.decode import MAX_IMAGE_BYTES, TOO_LARGE, UNREADABLE, Face, Kind
from fersweep.data_pipeline.sources.formats import READERS
from fersweep.data_pipeline.sources.formats.csv_files import header
from fersweep.data_pipeline.sources.formats.folders import is_image
from fersweep.data_pipeline.sources.formats.reader import MISSING, Clue, RawFace, Reader
from fersweep.data_pipeline.sources.labels import Naming, check_map, unmapped
from fersweep.data_pipeline.vocabulary import LABELS


class ClassCount(NamedTuple):
    """Of a class of a source: our label, None where it is dropped, and all of its faces."""

    label: str | None
    num_faces: int


class Survey(NamedTuple):
    """What a source holds by its names and tables; no image was read."""

    num_faces: int
    """Without those dropped."""
    labels: dict[str, ClassCount]
    """By the source's names of its classes."""
    dropped: dict[str, int]
    """Reason → faces that are left out."""
    warnings: list[str]
    kind: Kind
    has_subjects: bool
    """Every face says who it is."""


@dataclass(frozen=True)
class Source:
    """A readable source: where it is, its format (a key of READERS), and the user's names of its classes (`--map`)."""

    path: Path
    format: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    root: Path = Path()
    """What is read: `path`, or the folder of a list that names files beside it."""
    lists: tuple[str, ...] = ()
    """The files of `root` that hold or name the faces; none where every image is one."""

    def faces(self, every: int = 1) -> Iterator[Face]:
        """Every face that is not dropped, in the order of the CSV, the sorted names (folder, zip) or the archive (tar).

        every: of these the first, and each that comes so many later; the contents of the others are not read.

        InputError at a class that does not map. A file that cannot be read is a face of the kind "broken".
        """
        naming, kind = Naming(self.labels), READERS[self.format].kind
        number = 0
        for face in self._raw_faces():
            if face.drop is not None:
                continue
            try:
                label = naming[face.label]
                votes = None if face.votes is None else _votes(face.votes, naming)
            except KeyError as error:
                raise unmapped(face.source, {error.args[0]: 0}) from None
            if label is None:
                continue
            number += 1
            if (number - 1) % every == 0:
                data, how = (face.data, kind) if isinstance(face.data, bytes) else _content(face.data)
                yield Face(face.source, label, face.split, data, how, face.subject, votes, face.box)

    def survey(self) -> Survey:
        """Count classes and what is dropped, without decoding. InputError that names all classes that do not map."""
        naming = Naming(self.labels)
        classes, dropped, unknown = Counter[str](), Counter[str](), Counter[str]()
        has_subjects = True
        for face in self._raw_faces():
            if face.drop is not None:
                dropped[face.drop] += 1
                continue
            classes[face.label] += 1
            has_subjects = has_subjects and face.subject is not None
            for name in face.votes or ():
                if name not in naming and not _maps(naming, name):
                    unknown[name] += 0
        unknown.update({name: count for name, count in classes.items() if not _maps(naming, name)})
        if unknown:
            raise unmapped(str(self.path), unknown)
        if dropped and not classes:
            why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
            tip = ": give the folder that holds both the list and the images" if dropped[MISSING] else ""
            raise InputError(f"{self.path} holds no face that can be used ({why}){tip}")
        labels = {name: ClassCount(naming[name], count) for name, count in classes.items()}
        for name, (label, count) in labels.items():
            if label is None:
                dropped[f"class {name} dropped"] += count
        num_faces = sum(count for label, count in labels.values() if label is not None)
        reader = READERS[self.format]
        warnings = [f"{self.path}: {reader.warning}"] if reader.warning else []
        return Survey(num_faces, labels, dict(dropped), warnings, reader.kind, has_subjects and num_faces > 0)

    def sha256(self) -> str:
        """sha256 (hex) of the file; of a folder's names and contents; of a list and of all that is read beside it."""
        if self.root.is_file():
            with reading(str(self.root)), open(self.root, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        if self.root == self.path:
            with opened(self.root) as files:
                for member in files:
                    whole.update(member.name.encode() + b"\0" + _digest(member))
        else:
            whole.update(hashlib.sha256(self.path.read_bytes()).digest())
            for face in self._raw_faces():
                content = _digest(face.data) if isinstance(face.data, Member) else face.data
                whole.update(face.source.encode() + b"\0" + content)
        return whole.hexdigest()

    def _raw_faces(self) -> Iterator[RawFace]:
        with opened(self.root) as files:
            yield from READERS[self.format].read(files, self.lists)


def open_source(path: Path, format: str | None = None, labels: Mapping[str, str] | None = None) -> Source:
    """Find out what `path` holds.

    Args:
        path: a CSV, a list of images, a folder, or an archive.
        format: a key of READERS; None: the one that it looks like.
        labels: the source's names of classes → ours or "drop", before all known spellings; see labels.py.

    InputError where the source is missing, broken, empty or not of that format, or where it may be of several.
    """
    path, labels = Path(path), check_map(labels or {})
    if format is not None and format not in READERS:
        raise InputError(f"--format {format}: no such format; {hint(format, READERS)}")
    fitting, claimed = _recognise(path, READERS if format is None else {format: READERS[format]})
    if format is None:
        format = _decide(path, fitting, claimed)
    elif format not in fitting:
        raise InputError(f"{path} holds nothing of the format {format}: expected {READERS[format].expects}")
    reader = READERS[format]
    if not reader.listed:
        return Source(path, format, labels, path)
    seen = claimed.get(format) or fitting[format]
    if seen.count > 1 and not reader.several:
        raise InputError(f"{path} is ambiguous: it holds {' and '.join(seen.names[:3])}; give the one that you mean")
    beside = reader.beside and path.is_file() and not is_archive(path)
    return Source(path, format, labels, path.parent if beside else path, tuple(seen.names))


EVERY_IMAGE = "folders"
MOST_LISTS = 100  # CSVs or lists of one source


class _Seen:
    """Files that a reader may read, and the names of the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        if self.count <= MOST_LISTS:
            self.names.append(name)


def _recognise(path: Path, readers: Mapping[str, Reader]) -> tuple[dict[str, _Seen], dict[str, _Seen]]:
    """Format → the files that its reader could read, and those that it takes for its own."""
    fitting, claimed = defaultdict[str, _Seen](_Seen), defaultdict[str, _Seen](_Seen)
    with opened(path) as files:
        above = path.resolve().name
        for member in files:
            clue = Clue(member.name, f"{above}/{member.name}", header(member), is_image(member.name))
            for name, reader in readers.items():
                if reader.fits(clue):
                    fitting[name].add(member.name)
                    if (reader.claims or reader.fits)(clue):
                        claimed[name].add(member.name)
    return dict(fitting), dict(claimed)


def _decide(path: Path, fitting: dict[str, _Seen], claimed: dict[str, _Seen]) -> str:
    """The one format of a source; folders whose files all have special names are more than folders."""
    images = fitting[EVERY_IMAGE].count if EVERY_IMAGE in fitting else 0
    if any(seen.count == images and not READERS[name].listed for name, seen in claimed.items() if name != EVERY_IMAGE):
        claimed = {name: seen for name, seen in claimed.items() if name != EVERY_IMAGE}
    if not claimed and images:
        return EVERY_IMAGE
    if not claimed:
        known = "; ".join(f"{reader.expects} ({name})" for name, reader in READERS.items())
        raise InputError(f"{path} holds no faces; expected is one of: {known}")
    if len(claimed) > 1:
        formats = " and ".join(f"{name} ({seen.names[0]})" for name, seen in claimed.items())
        which = " or ".join(f"--format {name}" for name in claimed)
        raise InputError(f"{path} is ambiguous: it may be {formats}; say which: {which}")
    return next(iter(claimed))


def _maps(naming: Naming, name: str) -> bool:
    """Does the class map to a label, or is it dropped?"""
    try:
        naming[name]
    except KeyError:
        return False
    return True


def _votes(votes: Mapping[str, float], naming: Naming) -> tuple[float, ...]:
    """Counts over LABELS; those for dropped classes are left out."""
    counts: dict[str, float] = dict.fromkeys(LABELS, 0.0)
    for name, count in votes.items():
        if (label := naming[name]) is not None:
            counts[label] += count
    return tuple(counts.values())


def _digest(member: Member) -> bytes:
    with reading(member.name), member.open() as file:
        return hashlib.file_digest(file, "sha256").digest()  # pyright: ignore[reportArgumentType]


def _content(member: Member) -> tuple[bytes, Kind]:
    if member.num_bytes > MAX_IMAGE_BYTES:
        return TOO_LARGE.encode(), "broken"
    try:
        with reading(member.name), member.open() as file:
            return file.read(), "image"
    except InputError:
        return UNREADABLE.encode(), "broken"
