"""How tables that people bring name their columns.

    find(("Image Path", "Emotion"), LABEL)      # 1
    numbered(("px_0", "px_1", "label"))         # {"px": {0: 0, 1: 1}}: prefix → number → positions

Case, blanks, "_", "-" and "." in a name do not count.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from fersweep.data_pipeline.sources.labels import label_of

LABEL = (
    "label",
    "emotion",
    "class",
    "expression",
    "labels",
    "emotions",
    "classname",
    "labelname",
    "emotionname",
    "category",
    "target",
)
SPLIT = ("split", "usage", "subset", "partition", "set")
SUBJECT = ("subject", "subjectid", "person", "personid", "identity", "participant", "participantid")
PATH = (
    "path",
    "file",
    "filename",
    "filepath",
    "image",
    "img",
    "imagepath",
    "imgpath",
    "imagefile",
    "imagename",
    "imgname",
)
VOTES = ("votes",)
PIXELS = ("pixels", "pixel", "imagepixels", "pixelvalues")
MOST_NAMED = 8  # columns of a message

_NUMBERED = re.compile(r"(\D*)(\d{1,9})")
_WHOLE = re.compile(r"\d+\.0")
_PUNCTUATION = re.compile(r"[\s_.\-]+")


def folded(name: str) -> str:
    """`name` as it is compared with others."""
    return _PUNCTUATION.sub("", name).casefold()


@lru_cache(maxsize=2)
def _positions(columns: tuple[str, ...]) -> dict[str, list[int]]:
    """Folded name → where it stands. Kept, since all readers ask for the same one: a face's pixels may be 150,000 columns."""
    positions: dict[str, list[int]] = {}
    for position, column in enumerate(columns):
        positions.setdefault(folded(column), []).append(position)
    return positions


def find(columns: tuple[str, ...], spellings: Sequence[str]) -> int | None:
    """Position of the column with the first of `spellings` (folded) that there is."""
    return next(iter(_find_all(columns, spellings)), None)


def _find_all(columns: tuple[str, ...], spellings: Sequence[str]) -> list[int]:
    return [position for spelling in spellings for position in _positions(columns).get(spelling, ())]


def find_label(columns: tuple[str, ...], first: Sequence[str]) -> int | None:
    """As `find` for LABEL; of several columns the one that has a class's name, not a number, in the `first` row."""
    found = _find_all(columns, LABEL)
    named = [position for position in found if position < len(first) and label_of(first[position])]
    return next(iter(named or found), None)


def class_name(cell: str) -> str:
    """The class of a cell: pandas writes 3 as 3.0 where other rows are empty."""
    name = cell.strip()
    return name.removesuffix(".0") if _WHOLE.fullmatch(name) else name


def unread(columns: tuple[str, ...], first: Sequence[str]) -> Iterator[str]:
    """What to say of columns that mean the same as one that is read."""
    for spellings in (LABEL, SPLIT, SUBJECT):
        chosen = find_label(columns, first) if spellings == LABEL else find(columns, spellings)
        for position in _find_all(columns, spellings):
            if chosen is not None and position != chosen:
                yield f"the column {columns[chosen]} is read, {columns[position]} is not"


@lru_cache(maxsize=2)
def numbered(columns: tuple[str, ...]) -> dict[str, list[tuple[int, int]]]:
    """Families of columns named by a prefix and a number, `bs_00` as `bs0`: prefix, folded → [(number, position)]."""
    families: dict[str, list[tuple[int, int]]] = {}
    for position, column in enumerate(columns):
        if column[-1:].isdigit() and (parts := _NUMBERED.fullmatch(column)):
            families.setdefault(folded(parts[1]), []).append((int(parts[2]), position))
    return families


def listed(columns: Sequence[str]) -> str:
    """`columns` for a message; of many, the first and the last."""
    named = columns if len(columns) <= MOST_NAMED else (*columns[: MOST_NAMED - 2], "…", columns[-1])
    return ",".join(column if len(column) <= 40 else f"{column[:39]}…" for column in named)
