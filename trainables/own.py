"""Trainables of people's own: a file, a module, or an entry point of the group `fersweep.trainables`.

    name = resolve("my_model.py")          # my_model.py@3f2a9c81d0e4: its code, as it is now
    load(name)                             # a trainable's module, see protocol.py, with `space` and `POINTS` in it

A file of the short form has `space(trial)` and `net(hparams, …)`, and our training loops train its net (short_form/). One of
the full form has what protocol.py says, and `space`.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code, is_own
from fersweep.common.own_code.collect import collect, parsed
from fersweep.common.own_code.importing import imported
from fersweep.common.own_code.named import check_runs
from fersweep.common.text import one_line
from fersweep.common.untrusted import is_object

GROUP = "fersweep.trainables"
WHAT = "trainable"
FULL = ("space", "Hparams", "build", "restore")
OPTIONAL = ("FRAMEWORK", "FEATURES", "POINTS", "PERTURBABLE", "LEARNS_PROBABILITIES", "fetch", "expect")
REQUIRED = ("torch", "tensorflow", "numpy")
FRAMEWORKS = {
    "torch": "torch",
    "torchvision": "torch",
    "timm": "torch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
}


def resolve(asked: str, beside: Path | None = None) -> str:
    """The name of the code that `asked` means, which `load` knows from then on. Raises InputError.

    `asked`: FILE.py, looked for in the folder `beside` and then in the working directory; package.module; the name of an
    entry point; or such a name with its digits, of which a copy may be known already.
    """
    if is_own(asked) and copies.is_known(asked):
        return asked
    plain = asked.partition("@")[0]
    if not plain.endswith(".py"):
        entries = {entry.name: entry.value for entry in entry_points(group=GROUP)}
        if plain in entries:
            asked = entries[plain].partition(":")[0] + asked.removeprefix(plain)
    code = collect(asked, WHAT, beside)
    copies.register(code)
    return code.name


def installed() -> list[str]:
    """Names of the entry points of the group."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


@functools.cache
def load(name: str) -> ModuleType:
    """The trainable whose code has this name. Raises InputError where its copy is none, or what it holds is no trainable."""
    code = copies.find(name, WHAT)
    framework = framework_of(code)
    if framework == "tensorflow":
        from fersweep.trainables.keras_training.runtime import import_keras

        import_keras()  # quietly, with its share of the GPU, before the file does
    module = imported(code, WHAT)
    if not callable(getattr(module, "space", None)):
        raise InputError(f"{WHAT}: {code.asked} has no function space(trial): it says which hparams are searched")
    for part in ("space", "net", "build", "restore"):
        check_runs(getattr(module, part, None), f"{WHAT}: {code.asked}: {part}")
    if hasattr(module, "build"):
        if lacking := [part for part in FULL if not hasattr(module, part)]:
            raise InputError(f"{WHAT}: {code.asked} has build, and lacks {', '.join(lacking)} (trainables/protocol.py)")
        offered: object = module
    elif hasattr(module, "net"):
        offered = _of_the_short_form(code, module, framework)
    else:
        raise InputError(
            f"{WHAT}: {code.asked} has neither net(hparams, …), which our loops train, nor Hparams, build and restore "
            "(trainables/protocol.py); `fersweep new trainable FILE.py` writes an example"
        )
    trainable = ModuleType(name, module.__doc__)
    parts: dict[str, Any] = {"FEATURES": None, "POINTS": {}, "FRAMEWORK": framework}
    parts |= {part: getattr(offered, part) for part in (*FULL, *OPTIONAL) if hasattr(offered, part)}
    vars(trainable).update(parts, space=_checked(module.space, code.asked))
    return trainable


def _of_the_short_form(code: Code, module: ModuleType, framework: str) -> object:
    if framework == "numpy":
        raise InputError(f"{WHAT}: {code.asked} imports neither torch nor keras, and its net must be of one of them")
    from fersweep.trainables.short_form.adapted import adapted

    try:
        return adapted(code.name, module, framework)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{WHAT}: {error}") from None  # which begins with the file


def _checked(space: Callable[[Any], Any], file: str) -> Callable[[Any], dict[str, Any]]:
    """The space, which gives hparams or raises ValueError."""

    @functools.wraps(space)
    def checked(trial: Any) -> dict[str, Any]:
        hparams = space(trial)
        if not is_object(hparams):
            raise ValueError(f"space(trial) of {file} gives {one_line(repr(hparams), 80)}: want a dict, hparam → value")
        return hparams

    return checked


def framework_of(code: Code) -> str:
    """The framework that its files import, or that FRAMEWORK in one of them says. InputError where they import two, and do not
    say which one they train with.
    """
    said = [value for path in code.files for value in _said(code, path)]
    if said:
        if said[0] not in REQUIRED:
            raise InputError(f"{WHAT}: {code.asked}: FRAMEWORK is {said[0]!r}: want one of {', '.join(REQUIRED)}")
        return said[0]
    frameworks = {FRAMEWORKS[top] for top in imported_tops(code) if top in FRAMEWORKS}
    if len(frameworks) > 1:
        raise InputError(
            f'{WHAT}: {code.asked} imports both torch and keras: want FRAMEWORK = "torch" or FRAMEWORK = "tensorflow" in it, what '
            "its net is of"
        )
    return frameworks.pop() if frameworks else "numpy"


def requirements(name: str) -> list[str]:
    """The installed distributions that the files of own code import."""
    of_module = packages_distributions()
    tops = imported_tops(copies.find(name, WHAT)) - {"fersweep"}
    return sorted({distribution for top in tops for distribution in of_module.get(top, [])[:1]})


def imported_tops(code: Code) -> set[str]:
    """The packages that its files import, from anywhere in them: `torch` of `import torch.nn`."""
    tops = set[str]()
    for path, content in code.files.items():
        for node in ast.walk(parsed(path, content, f"{WHAT}: {path}")):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                tops.add(node.module.partition(".")[0])
    own = {path.partition("/")[0].removesuffix(".py") for path in code.files}
    return tops - own


def _said(code: Code, path: str) -> list[str]:
    """What `FRAMEWORK = "…"` in a file says, if it has such a line."""
    tree = parsed(path, code.files[path], f"{WHAT}: {path}")
    return [
        str(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and any(isinstance(target, ast.Name) and target.id == "FRAMEWORK" for target in node.targets)
    ]
