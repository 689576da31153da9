"""Sources of faces: whatever format and container, one stream of faces under one set of labels.

    source = open_source(Path("fer2013.csv.zip"))      # open_source(path, format="ferplus", labels={"joy": "happy"})
    print(source.survey())                             # faces per class, what is dropped and why; decodes nothing
    for face in source.faces():
        pixels = decode(face)                          # (H, W) uint8

Everything is streamed: one face is in memory at a time, archives are never unpacked, and the names of their members
are never used as paths. The formats are in formats/.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.sources.containers import Member, reading
from fersweep.data_pipeline.sources.decode import MAX_IMAGE_BYTES, TOO_LARGE, UNREADABLE, Face, Kind
from fersweep.data_pipeline.sources.formats import READERS
from fersweep.data_pipeline.sources.formats.csv_files import Head, chosen, head, splits_by_name
from fersweep.data_pipeline.sources.formats.reader import Clue, RawFace, Reader
from fersweep.data_pipeline.sources.labels import Naming, check_map, unmapped
from fersweep.data_pipeline.sources.opening import is_archive, opened
from fersweep.data_pipeline.sources.own_reader.own_reader import OwnReader
from fersweep.data_pipeline.sources.pictures import is_picture
from fersweep.data_pipeline.sources.split_names import NO_SPLIT, check_split_folders
from fersweep.data_pipeline.sources.survey import Survey, survey
from fersweep.data_pipeline.sources.unrecognised import Seen
from fersweep.data_pipeline.vocabulary import LABELS


@dataclass(frozen=True)
class Source:
    """A readable source: where it is, its format, and the user's names of its classes (`--map`).

    `format`: a key of READERS, or the name of a reader of the user's own.
    """

    path: Path
    format: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    root: Path = Path()
    """What is read: `path`, or the folder of a list that names files beside it."""
    lists: tuple[str, ...] = ()
    """The files of `root` that hold or name the faces; none where every image is one."""
    split_folders: Mapping[str, str] | None = None
    """Folder → the split of the faces below it, or "none" (`--split-folder`); None: splits do not matter."""
    seen: Seen | None = field(default=None, compare=False, repr=False)
    """The files of `path`."""
    own: OwnReader | None = field(default=None, compare=False, repr=False)
    """The user's own reader."""

    @property
    def reader(self) -> Reader:
        return READERS[self.format] if self.own is None else self.own.as_reader()

    def faces(self, every: int = 1) -> Iterator[Face]:
        """Every face that is not dropped, in the order of the CSV, the sorted names (folder, zip) or the archive (tar).

        every: of these the first, and each that comes so many later; the contents of the others are not read.

        InputError at a class that does not map. A file that cannot be read is a face of the kind "broken".
        """
        naming, kind = Naming(self.labels), self.reader.kind
        number = 0
        for face in self.raw_faces():
            if face.drop is not None:
                continue
            try:
                label = naming[face.label]
                votes = None if face.votes is None else _votes(face.votes, naming)
            except KeyError as error:
                raise unmapped(face.source, {error.args[0]: 0}, self.own.code.asked if self.own else "") from None
            if label is None:
                continue
            number += 1
            if (number - 1) % every == 0:
                data, how = (face.data, face.kind or kind) if isinstance(face.data, bytes) else content(face.data)
                yield Face(face.source, label, face.split, data, how, face.subject, votes, face.box)

    def survey(self) -> Survey:
        """Count classes and what is left out, without decoding. InputError that names all classes that do not map."""
        seen = self.seen if self.root == self.path else None
        return survey(
            self.path,
            self.raw_faces(),
            self.format,
            self.reader,
            self.lists if self.own is None else self.own.opened,
            self.labels,
            None if self.split_folders is None else self._known_folders,
            seen,
            self._notes(),
            self.own,
        )

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
            for face in self.raw_faces():
                content = _digest(face.data) if isinstance(face.data, Member) else face.data
                whole.update(face.source.encode() + b"\0" + content)
        return whole.hexdigest()

    def _notes(self) -> Iterator[str]:
        """What a user should know of the format, and of how these lists are read."""
        reader = self.reader
        if reader.warning:
            yield reader.warning
        if splits := splits_by_name(self.lists) if reader.by_split else {}:
            yield (
                ", ".join(f"{name} is {split}" for name, split in splits.items())
                + ", by their names, where a row does not say"
            )
        if reader.notes is not None:
            with opened(self.root) as files:
                for member in chosen(files, self.lists):
                    yield from reader.notes(member)

    def raw_faces(self) -> Iterator[RawFace]:
        """Every row or file, under the source's own names, with those that are dropped."""
        known, reader = self._known_folders, self.reader
        with opened(self.root) as files:
            for face in reader.read(files, self.lists):
                yield face if reader.listed or not known else _with_split(face, known)

    @property
    def _known_folders(self) -> dict[str, str]:
        return {name.casefold(): split for name, split in (self.split_folders or {}).items()}


def open_source(
    path: Path,
    format: str | None = None,
    labels: Mapping[str, str] | None = None,
    split_folders: Mapping[str, str] | None = None,
) -> Source:
    """Find out what `path` holds.

    Args:
        path: a CSV, a list of images, a folder, or an archive.
        format: a key of READERS; None: the one that it looks like.
        labels: the source's names of classes → ours or "drop", before all known spellings; see labels.py.
        split_folders: folder → the split of the faces below it, or "none", before all known names; None: the splits do
            not matter, so that the survey asks for none.

    InputError where the source is missing, broken, empty or not of that format, or where it may be of several.
    """
    path, labels = Path(path), check_map(labels or {})
    check_split_folders(split_folders or {})
    if format is not None and format not in READERS:
        raise InputError(f"--format {format}: no such format; {hint(format, READERS)}")
    fitting, claimed, seen = _recognise(path, READERS if format is None else {format: READERS[format]})
    if format is None:
        format = _decide(path, fitting, claimed, seen)
    elif format not in fitting:
        expected = READERS[format].expects
        raise InputError(f"{path} holds nothing of the format {format}: expected {expected}, but {seen.told()}")
    reader = READERS[format]
    if not reader.listed:
        return Source(path, format, labels, path, (), split_folders, seen)
    lists = claimed.get(format) or fitting[format]
    if lists.count > 1 and not reader.several and not (reader.by_split and splits_by_name(lists.names)):
        or_name = ", or name them by their splits: train.csv, val.csv, test.csv" if reader.by_split else ""
        names = " and ".join(lists.names[:3])
        raise InputError(f"{path} is ambiguous: it holds {names}; give the one that you mean{or_name}")
    beside = reader.beside and path.is_file() and not is_archive(path)
    return Source(path, format, labels, path.parent if beside else path, tuple(lists.names), split_folders, seen)


def open_with(path: Path, reader: OwnReader, labels: Mapping[str, str] | None = None) -> Source:
    """A source that a user's own reader reads, whatever it holds. InputError as `open_source`, and where LABELS is wrong.

    labels: `--map`, before the reader's own LABELS.
    """
    path, own, seen = Path(path), reader.for_another_source(), Seen()
    names = own.labels | check_map(labels or {})
    with opened(path) as files:
        for member in files:
            seen.add(member.name, Head(), is_picture(member))
        seen.left_out = dict(files.left_out)
    return Source(path, own.name, names, path, seen=seen, own=own)


EVERY_IMAGE = "folders"
MOST_LISTS = 100  # CSVs or lists of one source


class _Lists:
    """Files that a reader may read, and the names of the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        if self.count <= MOST_LISTS:
            self.names.append(name)


def _recognise(path: Path, readers: Mapping[str, Reader]) -> tuple[dict[str, _Lists], dict[str, _Lists], Seen]:
    """Format → the files that its reader could read, and those that it takes for its own; and all that there is."""
    seen = Seen()
    fitting, claimed = defaultdict[str, _Lists](_Lists), defaultdict[str, _Lists](_Lists)
    with opened(path) as files:
        above = path.resolve().name
        for member in files:
            begin, pictured = head(member), is_picture(member)
            seen.add(member.name, begin, pictured)
            clue = Clue(member.name, f"{above}/{member.name}", begin.columns, begin.first, pictured)
            for name, reader in readers.items():
                if reader.reads is not None and reader.reads(member.name):
                    seen.read[name][PurePosixPath(member.name).suffix.lower() or "no suffix"] += not pictured
                    seen.read_pictures[name] += pictured
                if reader.fits(clue):
                    fitting[name].add(member.name)
                    if (reader.claims or reader.fits)(clue):
                        claimed[name].add(member.name)
        seen.left_out = dict(files.left_out)
    return dict(fitting), dict(claimed), seen


def _decide(path: Path, fitting: dict[str, _Lists], claimed: dict[str, _Lists], seen: Seen) -> str:
    """The one format of a source; folders whose files all have special names are more than folders."""
    images = fitting[EVERY_IMAGE].count if EVERY_IMAGE in fitting else 0
    if any(its.count == images and not READERS[name].listed for name, its in claimed.items() if name != EVERY_IMAGE):
        claimed = {name: its for name, its in claimed.items() if name != EVERY_IMAGE}
    if not claimed and images:
        return EVERY_IMAGE
    if not claimed:
        raise seen.refusal(path)
    if len(claimed) > 1:
        formats = " and ".join(f"{name} ({lists.names[0]})" for name, lists in claimed.items())
        which = " or ".join(f"--format {name}" for name in claimed)
        raise InputError(f"{path} is ambiguous: it may be {formats}; say which: {which}")
    return next(iter(claimed))


def _with_split(face: RawFace, known: Mapping[str, str]) -> RawFace:
    """The face with the split of the innermost folder that the user named."""
    above = PurePosixPath(face.source).parent.parts
    named = next((known[name.casefold()] for name in reversed(above) if name.casefold() in known), None)
    return face if named is None else face._replace(split=None if named == NO_SPLIT else named)


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


def content(member: Member) -> tuple[bytes, Kind]:
    """What a picture's file holds, and its kind; or why it is broken."""
    if member.num_bytes > MAX_IMAGE_BYTES:
        return TOO_LARGE.encode(), "broken"
    try:
        with reading(member.name), member.open() as file:
            return file.read(), "image"
    except InputError:
        return UNREADABLE.encode(), "broken"
