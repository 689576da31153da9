"""Find the files of a piece of own code: what is asked for, and what it imports from beside it, read from its source.

    collect("my_model.py", "trainable")             # with the modules and packages in its folder that it imports
    collect("mylab.models.vit", "trainable")        # with what it imports of mylab

Nothing is run. An import that is made at run time (`importlib.import_module(name)`) is not seen.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.own_code.code import DIGITS, NAME, Code
from fersweep.common.untrusted import MB, read_regular, why

MOST_BYTES, MOST_FILES = 4 * MB, 500  # of all files; code is smaller
PACKAGES = ("torch", "torchvision", "timm", "tensorflow", "keras", "numpy", "pandas", "scipy", "sklearn", "optuna")
FILE_NAME = re.compile(r"\w[\w .+-]*\.py")
MODULE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def collect(asked: str, what: str, beside: Path | None = None) -> Code:
    """The code that `asked` names: a file, looked for in the folder `beside` and then in the working directory, or a module.

    `asked` may say which content it wants: `my_model.py@3f2a9c81d0e4`. `what` begins each message, e.g. "trainable". Raises
    InputError.
    """
    match = NAME.fullmatch(asked)
    wanted = match["asked"] if match else asked
    code = _of_file(wanted, what, beside) if wanted.endswith(".py") else _of_module(wanted, what)
    if match is not None and code.name != asked:
        raise InputError(
            f"{what}: {code.place} is not the code that {asked} names (its sha256 begins with {code.sha256[:DIGITS]}): put "
            f"that version back, or want {wanted}"
        )
    return code


def _of_file(asked: str, what: str, beside: Path | None) -> Code:
    path = Path(asked).expanduser()
    if beside is not None and not path.is_absolute() and (beside / path).exists():
        path = beside / path
    if not FILE_NAME.fullmatch(path.name):
        raise InputError(
            f"{what}: {path}: the name of a file of code may hold letters, digits, spaces, and . + - _: give it such a name"
        )
    if not path.is_absolute() and not path.exists():
        folders = dict.fromkeys(str(folder.absolute()) for folder in (beside, Path()) if folder is not None)
        raise InputError(f"{what}: {path} cannot be read: No such file or directory in {' or '.join(folders)}")
    main = re.sub(r"\W", "_", path.name.removesuffix(".py"))
    place = os.path.abspath(path)  # a link keeps its name: what is beside it is meant
    files = {path.name: _read(path, what)}
    _follow(files, path.name, Path(place).parent, what, None)
    return Code(path.name, main, files, place)


def _of_module(asked: str, what: str) -> Code:
    if not MODULE_NAME.fullmatch(asked):
        raise InputError(f"{what}: {asked}: want a file, FILE.py, or a module, package.module")
    top = asked.partition(".")[0]
    spec = PathFinder.find_spec(top, [os.getcwd(), *sys.path])
    if spec is None or spec.origin is None:
        raise InputError(f"{what}: no module {top} is found: is its package installed here?")
    is_package = spec.submodule_search_locations is not None
    root = Path(spec.origin).parents[1 if is_package else 0]
    path = _module_path(root, asked)
    if path is None:
        raise InputError(f"{what}: {top} has no module {asked}, as far as its files say ({root})")
    files: dict[str, bytes] = {}
    for number in range(asked.count(".") + 1):  # a package is imported before its modules
        parent = _module_path(root, ".".join(asked.split(".")[: number + 1]))
        if parent is not None and parent not in files:
            files[parent] = _read(root / parent, what)
            _follow(files, parent, root, what, top)
    return Code(asked, asked, files, f"module {asked} ({root / path})")


def _follow(files: dict[str, bytes], first: str, root: Path, what: str, only: str | None) -> None:
    """Add to `files` what the file `first` imports that is below `root`, and what that imports; of `only`, a package, if any."""
    waiting = [first]
    while waiting:
        path = waiting.pop()
        for dotted in _imports(path, files[path], root, what):
            top = dotted.partition(".")[0]
            if top == "fersweep" or (only is not None and top != only):
                continue
            for parent in _with_parents(dotted):
                found = _module_path(root, parent)
                if found is not None and only is None and top in PACKAGES:
                    raise InputError(
                        f"{what}: {root / found} hides the package {top}, which {path} imports: give it another name"
                    )
                if found is not None and found not in files:
                    files[found] = _read(root / found, what)
                    waiting.append(found)
        if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
            raise InputError(
                f"{what}: {root / first} imports more than {MOST_FILES} files or {MOST_BYTES // MB} MiB from beside it, too much "
                "for code: give it a folder of its own, and keep data elsewhere"
            )


def _with_parents(dotted: str) -> Iterator[str]:
    parts = dotted.split(".")
    for number in range(1, len(parts) + 1):
        yield ".".join(parts[:number])


def _module_path(root: Path, dotted: str) -> str | None:
    """Where a module is below `root`; None where it is not there, or is no Python source."""
    path = dotted.replace(".", "/")
    for candidate in (f"{path}/__init__.py", f"{path}.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def _imports(path: str, content: bytes, root: Path, what: str) -> Iterator[str]:
    """Dotted names that a file may import, from anywhere in it; `from a import b` may mean a.b."""
    for node in ast.walk(parsed(path, content, f"{what}: {root / path}")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folders = path.split("/")[: -node.level]
                base = ".".join([*folders, *([base] if base else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names if alias.name != "*")


def parsed(path: str, content: bytes, place: str) -> ast.Module:
    """The syntax tree. InputError where it is no Python."""
    try:
        return ast.parse(content, path)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise InputError(f"{place}{line} is no Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte; too deep
        raise InputError(f"{place} is no Python: {why(error)}") from None


def _read(path: Path, what: str) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(f"{what}: {path} cannot be read: {why(error)}") from None
