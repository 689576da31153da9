"""What an own reader yields, a dict for each face, checked and made a RawFace.

    {"face": files["images/1.png"], "label": "joy", "split": "train", "subject": "S01"}

A record that is wrong raises `Wrong`, whose text says what is wrong and what would be right.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from fersweep.common.errors import hint
from fersweep.common.text import one_line
from fersweep.data_pipeline.sources.containers import Member, printable
from fersweep.data_pipeline.sources.decode import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, TOO_LARGE, Kind
from fersweep.data_pipeline.sources.formats.blendshape_csv import BAD_SCORE, NO_SCORE
from fersweep.data_pipeline.sources.formats.columns import class_name
from fersweep.data_pipeline.sources.formats.reader import MISSING, NO_LABEL, RawFace
from fersweep.data_pipeline.sources.own_reader.given_files import File, GivenFiles
from fersweep.data_pipeline.sources.split_names import split_of
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

KEYS = ("face", "blendshapes", "label", "split", "subject", "votes", "box", "name", "drop")
EXAMPLE = "{'face': files['images/1.png'], 'label': 'happy'}"
FACE = "a file of the source (files['images/1.png']), the bytes of a picture, or an array (H, W) or (H, W, 3) of uint8"
LONGEST_NAME, LONGEST_REASON = 500, 100  # characters
MAX_BOX = 2**20  # pixels


class Wrong(ValueError):
    """A record is wrong."""


class Data(NamedTuple):
    """What a record shows."""

    data: bytes | Member = b""
    kind: Kind = "image"
    drop: str | None = None
    name: str | None = None


def raw_face(record: object, number: int, files: GivenFiles) -> RawFace:
    """The record that is yielded as the `number`-th, from 1, as a face. Raises Wrong."""
    if not isinstance(record, Mapping):
        raise Wrong(f"yields {_shown(record)}, want a dict: {EXAMPLE}")
    record = cast(Mapping[Any, Any], record)
    for key in record:
        if key not in KEYS:
            raise Wrong(f"unknown key {key!r}; {hint(str(key), KEYS)}")
    shown = [key for key in ("face", "blendshapes") if key in record]
    reason = _reason(record.get("drop"))
    if len(shown) != 1 and not (reason and not shown):
        what = "both face and blendshapes: give one of them" if shown else f"no face: want {EXAMPLE}"
        raise Wrong(f"the record has {what}")
    if "label" not in record and "drop" not in record:
        raise Wrong("the record has no label: want 'label': the class's name, or None where there is none")
    label = _text(record.get("label"), "label") or ""
    is_empty = reason is not None and (not shown or record[shown[0]] is None)
    shows = Data() if is_empty else _data(shown[0], record, files)
    return RawFace(
        source=_name(record.get("name"), shows.name or f"record {number}"),
        label=label,
        data=shows.data,
        split=_split(record.get("split")),
        subject=_text(record.get("subject"), "subject"),
        votes=_votes(record.get("votes")),
        box=_box(record.get("box")),
        drop=reason or shows.drop or (None if label else NO_LABEL),
        kind=shows.kind,
    )


def _data(key: str, record: Mapping[Any, Any], files: GivenFiles) -> Data:
    if key == "blendshapes":
        return _scores(record[key])
    face = record[key]
    if isinstance(face, File):
        if not face.belongs_to(files):
            raise Wrong(f"face is a file of an earlier call ({face.name}): take it from `files` in each call of read")
        return Data(b"" if face.member is None else face.member, drop=None if face.exists else MISSING, name=face.name)
    if isinstance(face, bytes | bytearray):
        content = bytes(face)
        return Data(drop=TOO_LARGE) if len(content) > MAX_IMAGE_BYTES else Data(content)
    if isinstance(face, np.ndarray):
        return _array(cast(Any, face))
    if isinstance(face, str):
        raise Wrong(
            f"face is the text {_shown(face)}: want files[{one_line(face, 60)!r}], which is the file of that name"
        )
    convert = {"PIL": "np.asarray(picture)", "torch": "face.numpy()", "tensorflow": "face.numpy()"}
    how = convert.get(type(face).__module__.partition(".")[0])
    raise Wrong(f"face is {_shown(face)}: want {how or FACE}")


def _array(face: np.ndarray) -> Data:
    """A picture in its plainest encoding: PGM or PPM, that is, a header before the pixels."""
    shape = face.shape
    if face.ndim == 3 and shape[2] == 1:
        face = face[:, :, 0]
    if not (face.ndim == 2 or (face.ndim == 3 and shape[2] == 3)) or 0 in shape:
        raise Wrong(f"face is an array of shape {shape}: want (H, W) or (H, W, 3){_other_shape(shape)}")
    if face.dtype != np.uint8:
        raise Wrong(f"face is an array of {face.dtype}: want uint8, 0 to 255{_as_uint8(face)}")
    height, width = face.shape[:2]
    if height * width > MAX_IMAGE_PIXELS:
        return Data(drop=TOO_LARGE)
    kind = "P5" if face.ndim == 2 else "P6"
    return Data(f"{kind} {width} {height} 255\n".encode() + face.tobytes())


def _other_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[2] == 4:
        return ", so face[..., :3]"
    if len(shape) == 3 and shape[0] in (1, 3):
        return ", so face.transpose(1, 2, 0)"
    if len(shape) == 4:
        return ", so one face at a time"
    if len(shape) == 1 and (side := math.isqrt(shape[0])) ** 2 == shape[0] > 0:
        return f", so face.reshape({side}, {side})"
    return ""


def _as_uint8(face: np.ndarray) -> str:
    """How its values become 0 to 255."""
    if face.dtype.kind not in "fiub":
        return ""
    if face.dtype.kind == "f" and not np.isfinite(face).all():
        return "; some of its values are NaN or infinite"
    low, high = (0, 1) if face.dtype == bool else (face.min(), face.max())
    if low < 0 or high > 255:
        return f"; its values go from {low:.4g} to {high:.4g}"
    if high <= 1:
        return ", so (face * 255).round().astype(np.uint8)"
    return ", so face.round().astype(np.uint8)" if face.dtype.kind == "f" else ", so face.astype(np.uint8)"


def _scores(given: Any) -> Data:
    """52 float32 in BLENDSHAPES order; those that are not named are unknown."""
    if isinstance(given, Mapping):
        named = cast(Mapping[Any, Any], given)
        for name in named:
            if name not in BLENDSHAPES:
                raise Wrong(f"blendshapes: there is no score {name!r}; {hint(str(name), BLENDSHAPES, 'MediaPipe has')}")
        given, asked = [named.get(name, math.nan) for name in BLENDSHAPES], [name in named for name in BLENDSHAPES]
    else:
        asked = [True] * len(BLENDSHAPES)
    try:
        scores = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        raise Wrong(f"blendshapes are {_shown(given)}: want {len(BLENDSHAPES)} numbers from 0 to 1") from None
    if scores.shape != (len(BLENDSHAPES),):
        raise Wrong(
            f"blendshapes have the shape {scores.shape}: want {len(BLENDSHAPES)} numbers in MediaPipe's order, or a dict "
            "of its names"
        )
    known = scores[asked]
    bad = NO_SCORE if np.isnan(known).any() else None if ((known >= 0) & (known <= 1)).all() else BAD_SCORE
    return Data(scores.astype("<f4").tobytes(), "scores", bad)


def _text(value: Any, key: str) -> str | None:
    """Text, or a whole number as text; None where there is none."""
    if value is None:
        return None
    if isinstance(value, str):
        return class_name(printable(value)) or None
    if _is_number(value) and float(value).is_integer():  # pandas writes 3 as 3.0 where other rows are empty
        return str(int(value))
    raise Wrong(f"{key} is {_shown(value)}: want text or a whole number, or None where there is none")


def _split(value: Any) -> str | None:
    if value is None or value == "":
        return None
    split = split_of(value) if isinstance(value, str) else None
    if split is None:
        raise Wrong(f"split is {_shown(value)}: want train, val or test, or None where there is none")
    return split


def _name(value: Any, otherwise: str) -> str:
    if value is None:
        return otherwise
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
        raise Wrong(f"name is {_shown(value)}: want a text of 1 to {LONGEST_NAME} characters")
    return printable(value)


def _reason(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_REASON or not value.isprintable():
        raise Wrong(f"drop is {_shown(value)}: want a reason to count by, a short text like 'blurred', or None")
    return value.strip()


def _votes(value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise Wrong(f"votes are {_shown(value)}: want a dict, label to votes: {{'happy': 7, 'neutral': 3}}")
    votes = {_text(name, "a label of votes"): count for name, count in cast(Mapping[Any, Any], value).items()}
    for name, count in votes.items():
        if name is None or not _is_number(count) or not 0 <= count < math.inf:
            raise Wrong(f"votes for {name!r} are {_shown(count)}: want a number, 0 or more")
    if not sum(votes.values()) > 0:
        raise Wrong("votes are none for any label: want None where there are none")
    return {str(name): float(count) for name, count in votes.items()}


def _box(value: Any) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    wanted = "want (left, top, right, bottom) in pixels"
    numbers = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(cast(Sequence[Any], numbers)) != 4:
        raise Wrong(f"box is {_shown(value)}: {wanted}, or None")
    four = list(cast(Sequence[Any], numbers))
    if not all(_is_number(number) and abs(number) < MAX_BOX for number in four):
        raise Wrong(f"box is {_shown(value)}: {wanted}, four numbers below {MAX_BOX:,}")
    left, top, right, bottom = (round(float(number)) for number in four)
    if right <= left or bottom <= top:
        raise Wrong(f"box is {_shown(value)}: {wanted}, so right > left and bottom > top; is it width and height?")
    return left, top, right, bottom


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value of a user's for a message."""
    if value is None or isinstance(value, str | int | float | tuple | list):
        return one_line(repr(cast(object, value)), 60)
    return f"a {type(value).__name__}"
