"""Search spaces, one file a trainable, and ready sweep files in `recipes/`.

A space file holds

    space(trial)     a define-by-run function: an Optuna trial → hparams of the trainable of the same name
    POINTS           named points of that space as Optuna parameters: `start_from: [seed_paper]` in a sweep file
"""

from __future__ import annotations

import difflib
import functools
import importlib
from pathlib import Path
from types import ModuleType

from fersweep import trainables
from fersweep.common.own_code.code import asked_as, is_own

RECIPES = Path(__file__).parent / "recipes"


def load(name: str) -> ModuleType:
    """The space of the trainable `name`. Raises ValueError if there is none."""
    if is_own(name):
        return trainables.load(name)
    if name in trainables.more():
        return trainables.import_more(name)
    if name not in _names():
        offered = [other for other in _names() if other != trainables.DOUBLE]
        raise ValueError(f"no search space named {name!r}; known: {', '.join(offered)}")
    return importlib.import_module(f"{__name__}.{name}")


def file_of(name: str) -> str:
    """The file that holds the space of a trainable, for messages."""
    return asked_as(name) if is_own(name) else f"search_spaces/{name}.py"


@functools.cache
def _names() -> list[str]:
    """Of the space files here. `load` is called for every suggestion."""
    names = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in names if name != "__init__" and not name.endswith("_training"))


def recipe(name: str) -> Path:
    """The path of a shipped recipe. Raises ValueError with the nearest known name."""
    known = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"recipes: {', '.join(known)}"
        raise ValueError(f"{name!r} is neither a sweep file nor a recipe; {hint}")
    return known[name]
