"""Which columns of a CSV hold blendshapes: named as MediaPipe names them, or numbered in its order.

    mouthSmileLeft   MouthSmileLeft   mouth_smile_left   mouthSmile_L   bs_mouthSmileLeft   bsMouthSmileLeft
    blend44   bs_44   BS44   anything_00 … anything_51

A family is the columns of one prefix. A few numbers are enough where the prefix speaks of blendshapes; of any other,
there must be all 52 (or 51: the first is `_neutral`). Numbers that begin elsewhere than MediaPipe's are refused.
"""

import re
from functools import lru_cache

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.formats.columns import folded, numbered
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

PREFIXES = ("blend", "blends", "blendshape", "blendshapes", "bs")
LEAST = 2  # columns
_ALL = len(BLENDSHAPES)
_INDEX = {folded(name): index for index, name in enumerate(BLENDSHAPES)}
_SIDE = re.compile(r"[_.\- ]([LR])$")
_SIDES = {"L": "Left", "R": "Right"}
_CUT = re.compile(r"[\s_.\-/:]+")

Family = list[tuple[int, int]]
"""(index into BLENDSHAPES, position in the CSV)."""


@lru_cache(maxsize=2)
def families(columns: tuple[str, ...]) -> list[Family]:
    """The columns that are blendshapes, or are meant to be, by their prefixes."""
    by_name: dict[str, Family] = {}
    for position, column in enumerate(columns):
        if not column[-1:].isdigit() and (named := _named(column)):
            by_name.setdefault(named[0], []).append((named[1], position))
    by_number = [family for prefix, family in numbered(columns).items() if _is_numbered(prefix, family)]
    return by_number + [family for family in by_name.values() if family[1:] or family[0][0]]  # not `neutral` alone


def scores(columns: tuple[str, ...], where: str) -> dict[int, int]:
    """Index into BLENDSHAPES → position. InputError where a number is none of MediaPipe's, or two columns are one score."""
    positions: dict[int, int] = {}
    for family in families(columns):
        numbers = sorted(number for number, _ in family)
        first, last = (columns[min(family)[1]], columns[max(family)[1]])
        if numbers in (list(range(1, _ALL + 1)), list(range(_ALL - 1))):
            raise InputError(
                f"{where}: columns {first} … {last} are {len(numbers)} scores numbered from {numbers[0]}; MediaPipe's are "
                f"numbered 0 (_neutral) to {_ALL - 1} ({BLENDSHAPES[-1]}): name them so, or by MediaPipe's names"
            )
        for index, position in family:
            if index >= _ALL:
                raise InputError(f"{where}: column {columns[position]}: blendshapes are numbered from 0 to {_ALL - 1}")
            if index in positions:
                both = f"{columns[positions[index]]} and {columns[position]}"
                raise InputError(f"{where}: columns {both} both are {BLENDSHAPES[index]}; leave one of them in")
            positions[index] = position
    return positions


def _is_numbered(prefix: str, family: Family) -> bool:
    numbers = sorted({number for number, _ in family})
    whole = numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] < 2
    return prefix in PREFIXES or (whole and len(numbers) in (_ALL, _ALL - 1))


def _named(column: str) -> tuple[str, int] | None:
    """(prefix, index) of `bs_jawOpen`."""
    written = _SIDE.sub(lambda side: _SIDES[side[1]], column)
    parts = _CUT.split(written)
    for cut in range(len(parts)):
        if (index := _INDEX.get("".join(parts[cut:]).casefold())) is not None:
            return "".join(parts[:cut]).casefold(), index
    name = "".join(parts).casefold()
    for prefix in PREFIXES:
        if name.startswith(prefix) and (index := _INDEX.get(name.removeprefix(prefix))) is not None:
            return prefix, index
    return None
