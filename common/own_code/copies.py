"""Copies of own code, below `code/` in the directory of a sweep, of a checkpoint, of a registered model.

    files = as_files(code)          # code/my_model.py@3f2a9c81d0e4/my_model.py, …/code.json
    note(directory)                 # what is below its `code/` is known in this process from now on; nothing is read yet
    find("my_model.py@3f2a9c81d0e4")

`code.json` has the sha256 of each file. A copy that is not what its name says is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.own_code.code import Code, asked_as, is_own
from fersweep.common.own_code.collect import MOST_BYTES, MOST_FILES
from fersweep.common.untrusted import is_object, is_plain_path, parse_json, read_regular, why

DIRECTORY, SUMS = "code", "code.json"

_known: dict[str, Code | Path] = {}


def register(code: Code) -> None:
    """Have `find` know it."""
    _known[code.name] = code


def note(directory: Path) -> None:
    """Have `find` know the copies in a directory, if there are any."""
    copies = directory / DIRECTORY
    if not copies.is_dir():
        return
    for copy in copies.iterdir():
        if is_own(copy.name) and not isinstance(_known.get(copy.name), Code):
            _known[copy.name] = copy


def is_known(name: str) -> bool:
    """Whether `find` has its content, or a place where that should be."""
    return name in _known


def find(name: str, what: str) -> Code:
    """The code of a name. Raises InputError where no copy is known here, or it is not what was copied."""
    known = _known.get(name)
    if known is None:
        raise InputError(
            f"{what}: no copy of the code {name} is known here: put back the directory {DIRECTORY}/{name} beside what "
            f"needs it, or want {asked_as(name)}, a file or a module of today's"
        )
    if isinstance(known, Path):
        known = _known[name] = read(known, what)
    return known


def read(copy: Path, what: str) -> Code:
    """The code in a copy's directory, checked. Raises InputError."""
    try:
        content = parse_json(read_regular(copy / SUMS, MOST_BYTES))
        main, sums = _checked(content)
        files = {path: read_regular(copy / path, MOST_BYTES) for path in sums}
    except (OSError, ValueError) as error:
        raise InputError(f"{what}: {copy} is no copy of code: {why(error)}; put a copy of it back") from None
    code = Code(asked_as(copy.name), main, files, str(copy))
    changed = next((path for path, sha256 in code.sums.items() if sums[path] != sha256), None)
    if changed is not None or code.name != copy.name:
        raise InputError(
            f"{what}: {copy / (changed or SUMS)} is not what was copied there (sha256 {code.sha256[:12]}): put a copy of it back"
        )
    return code


def _checked(content: Any) -> tuple[str, dict[str, str]]:
    """main, path → sha256. Raises ValueError."""
    if not is_object(content) or not is_object(content.get("files")) or not isinstance(content.get("main"), str):
        raise ValueError(f"{SUMS} wants main and files")
    files = content["files"]
    if not 0 < len(files) <= MOST_FILES:
        raise ValueError(f"{SUMS} names {len(files)} files")
    for path, sha256 in files.items():
        if not is_plain_path(path) or not path.endswith(".py") or not isinstance(sha256, str):
            raise ValueError(f"{SUMS} names {path!r}, which is no file of code")
    return content["main"], files


def as_files(code: Code) -> dict[str, bytes]:
    """path, below the directory that is to have the copy → content."""
    sums = json.dumps({"main": code.main, "files": code.sums}, indent=1).encode()
    return {f"{DIRECTORY}/{code.name}/{path}": content for path, content in {**code.files, SUMS: sums}.items()}


def write(code: Code, directory: Path) -> None:
    """Copy it below `directory`."""
    for path, content in as_files(code).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(directory / path, content)
