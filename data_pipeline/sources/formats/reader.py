"""What a reader of one format is, how it recognises the format, and what it yields."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fersweep.data_pipeline.sources.containers import Files, Member
from fersweep.data_pipeline.sources.decode import Kind

MISSING = "image is missing"
NO_LABEL = "no label"


class RawFace(NamedTuple):
    """A row or a file of a source under the source's own names; an image's content is not read yet."""

    source: str
    """File and row, or path within the source: what an error names."""
    label: str
    """The source's own name of the class."""
    data: bytes | Member
    """What is decoded later, or the file with it."""
    split: str | None = None
    subject: str | None = None
    votes: Mapping[str, float] | None = None
    """The source's own name of a class → votes (counts)."""
    box: tuple[int, int, int, int] | None = None
    drop: str | None = None
    """Why it does not become a face of a dataset: one of a few reasons to count by. None: it does."""
    kind: Kind | None = None
    """What `data` is. None: as of all faces of its reader."""


class Clue(NamedTuple):
    """What a format is recognised by: a file's name and, of a CSV, its header."""

    name: str
    """Within the source."""
    place: str
    """The source's own name and `name`."""
    columns: tuple[str, ...]
    """Of a CSV, stripped; empty for any other file."""
    first: tuple[str, ...]
    """Cells of its first row."""
    is_image: bool
    """Is it named as an image, and not hidden?"""


@dataclass(frozen=True)
class Reader:
    """How one format is recognised and read."""

    kind: Kind
    expects: str
    """What a source of it is, for messages: "… expected …"."""
    fits: Callable[[Clue], bool]
    """Is it a file of this format, once the user says --format?"""
    read: Callable[[Files, tuple[str, ...]], Iterator[RawFace]]
    """The faces of a source; of its files the names of those that `fits`, where the format is `listed`."""
    claims: Callable[[Clue], bool] | None = None
    """Does it look like this format and no other? None: as `fits`."""
    listed: bool = False
    """A CSV or a list contains or names the faces; else every image is one."""
    several: bool = False
    """There may be more than one such list in a source."""
    by_split: bool = False
    """There may be several where their names tell the splits apart."""
    beside: bool = False
    """Other files are read beside the list: where the list alone is given, they are looked for in its folder."""
    reads: Callable[[str], bool] | None = None
    """By its name: is it a file that is read beside the faces, or a copy of one?"""
    official: Mapping[str, int] | None = None
    """Split → faces, as published."""
    warning: str | None = None
    """What a user of this format should know."""
    notes: Callable[[Member], Iterator[str]] | None = None
    """What a user should know of how one list is read: assumptions, columns that are not read."""
