"""Our code on its way to the other machines of a cluster, in Ray's runtime environment: they need not have the same checkout.

What is shipped is the package as this process runs it, some 2 MB, and the modules that FERSWEEP_TRAINABLES names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fersweep.common.errors import InputError

PACKAGE = Path(__file__).absolute().parents[1]  # fersweep/, where a checkout has links to its rooms
MAX_BYTES = 20 * 2**20  # Ray takes 100 MiB; code is smaller
_places: list[tempfile.TemporaryDirectory[str]] = []  # until this process ends


def _files(directory: Path) -> Iterator[Path]:
    """Files of a package, sorted; links are followed, what Python and editors leave is not among them."""
    for place, folders, names in os.walk(directory, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(names):
            if not name.endswith((".pyc", "~")) and not name.startswith("."):
                yield Path(place) / name


@cache
def code_fingerprint() -> str:
    """sha256 over names and contents of the files of fersweep that this process runs."""
    digest = hashlib.sha256()
    for path in _files(PACKAGE):
        digest.update(f"{path.relative_to(PACKAGE)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def shipped() -> list[str]:
    """Directories and files for `py_modules` of a runtime environment. They are copies, and last as long as this process.

    InputError where a module of FERSWEEP_TRAINABLES is not found, or is larger than code is.
    """
    place = tempfile.TemporaryDirectory(prefix="fersweep-code-")
    _places.append(place)
    modules = [_copied(PACKAGE, Path(place.name) / "fersweep")]
    dotted = os.environ.get("FERSWEEP_TRAINABLES", "").split()
    for top in sorted({name.partition(".")[0] for name in dotted} - {"fersweep"}):
        spec = find_spec(top)
        if spec is None or not (spec.origin or spec.submodule_search_locations):
            raise InputError(f"FERSWEEP_TRAINABLES: no module {top} is found")
        if spec.submodule_search_locations:
            (source, *_) = spec.submodule_search_locations
            modules.append(_copied(Path(source), Path(place.name) / top))
        else:
            modules.append(str(spec.origin))
    return modules


def _copied(package: Path, target: Path) -> str:
    num_bytes = 0
    for path in _files(package):
        num_bytes += path.stat().st_size
        if num_bytes > MAX_BYTES:
            raise InputError(
                f"{package}: more than {MAX_BYTES >> 20} MiB, too much to send to the workers as code: keep data elsewhere"
            )
        copy = target / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return str(target)
