"""The inputs of `predict` (pictures, folders of pictures, videos, cameras), and where an annotated copy of each goes.

inputs = sort_inputs(["photo.jpg", "folder", "clip.mp4", "0"])
place_outputs(inputs, Path("drawn"))    # {Path("photo.jpg"): Path("drawn/photo.jpg"), …, 0: Path("drawn/camera-0.mp4")}
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import check_target, check_writable, regular_file
from fersweep.data_pipeline.sources.containers import Folder, as_member
from fersweep.data_pipeline.sources.labels import label_of
from fersweep.data_pipeline.sources.pictures import is_hidden, is_picture, picture_suffixes
from fersweep.data_pipeline.vocabulary import FORMATS
from fersweep.results.predict.outputs import CODECS, PICTURES
from fersweep.results.predict.video_frames import Clip


class Picture(NamedTuple):
    """A file of one picture."""

    path: Path
    place: Path  # relative: where a copy of it goes in a directory of results
    folder: bool  # found in a folder, not named by the user
    true: str | None = None  # label, as the folder in which it was found says
    pixels: np.ndarray | None = None  # (H, W, 3) uint8 RGB, of one that is no file; `path` is its number


class Inputs(NamedTuple):
    pictures: list[Picture]
    clips: list[Path | int]  # files, and numbers of cameras
    left_out: Counter[str]  # suffix, or what it is → files and links of folders that are no pictures

    @property
    def alone(self) -> bool:
        """It is one file or camera, so that its result is one file as well."""
        return len(self.pictures) + len(self.clips) == 1 and not any(picture.folder for picture in self.pictures)


def sort_inputs(names: Sequence[str]) -> Inputs:
    """Pictures and clips by name. Raises InputError for what does not exist, is neither, or is a folder without pictures."""
    inputs = Inputs([], [], Counter())
    for name in names:
        path = Path(name)
        if name.isdecimal() and len(name) <= 3 and not os.path.lexists(path):
            inputs.clips.append(int(name))
        elif os.path.isdir(path):
            inputs.pictures.extend(_in_folder(path, inputs.left_out))
        elif regular_file(path).suffix.lower() in picture_suffixes() or _opens(path):
            inputs.pictures.append(Picture(path, Path(path.name), folder=False))
        else:
            Clip(path).close()
            inputs.clips.append(path)
    return inputs


def _in_folder(folder: Path, left_out: Counter[str]) -> list[Picture]:
    """All pictures in a folder and the folders in it, by name; those in a folder called like a class have its label.

    What is a picture, `prepare` decides in the same way. `left_out` gets what is none.
    """
    files, pictures, others = Folder(folder), list[Picture](), Counter[str]()
    try:
        for name, path in files.files():
            place = Path(name)
            if is_picture(as_member(name, path)):
                pictures.append(Picture(folder / place, place, folder=True, true=label_of(place.parent.name)))
            else:
                others["hidden" if is_hidden(name) else place.suffix.lower() or "without a suffix"] += 1
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None
    others.update(files.left_out)
    if not pictures:
        has = ", ".join(f"{number:,} {what}" for what, number in others.most_common()) or "nothing"
        raise InputError(f"{folder}: there are no pictures in it, but {has}")
    left_out.update(others)
    return pictures


def _opens(path: Path) -> bool:
    """Whether Pillow can open it; of a video it reads the first bytes alone."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True  # read_photo says what is wrong with it
    except Exception:  # whatever Pillow raises
        return False


def place_outputs(inputs: Inputs, out: Path) -> dict[Path | int, Path]:
    """Input → file of its annotated copy: `out` itself for a single input, otherwise a file in the directory `out`.

    Raises InputError if a place cannot be written to, is an input itself, or belongs to two inputs.
    """
    if inputs.alone and out.suffix and not out.is_dir():
        suffixes = PICTURES if inputs.pictures else tuple(CODECS)
        check_target(out, "--out", suffixes)
        return _checked({(*(p.path for p in inputs.pictures), *inputs.clips)[0]: out})
    if out.suffix.lower() in (*PICTURES, *CODECS) and not out.is_dir():
        raise InputError(f"--out {out}: of several inputs or a folder, the results need a directory")
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    check_writable(nearest, f"--out {out}")
    targets: dict[Path | int, Path] = {}
    for picture in inputs.pictures:
        targets[picture.path] = out / _suffixed(picture.place, PICTURES)
    for clip in inputs.clips:
        name = Path(f"camera-{clip}.mp4") if isinstance(clip, int) else Path(clip.name)
        targets[clip] = out / _suffixed(name, tuple(CODECS))
    return _checked(targets)


def _suffixed(place: Path, suffixes: Sequence[str]) -> Path:
    """A name that can be written to: as the input's, or with .png or .mp4 after it."""
    default = ".png" if ".png" in suffixes else ".mp4"
    return place if place.suffix.lower() in suffixes else place.with_name(place.name + default)


def _checked(targets: dict[Path | int, Path]) -> dict[Path | int, Path]:
    sources = {source.resolve() for source in targets if isinstance(source, Path)}
    seen: set[Path] = set()
    for source, target in targets.items():
        if target.resolve() in sources:
            raise InputError(f"--out: {target} is an input, and would be overwritten")
        if target in seen:
            raise InputError(f"--out: {source} is the second input that would be written to {target}")
        seen.add(target)
    return targets
