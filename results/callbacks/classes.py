"""Load the class of a callback, and see that it is one, before a sweep begins."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError, hint
from fersweep.common.own_code import copies
from fersweep.common.own_code.importing import place_of, said, say, where
from fersweep.common.own_code.named import check_runs, part_of
from fersweep.common.own_code.separate import TooLong, ask, reply, time_limit
from fersweep.results.callbacks.facts import METHODS
from fersweep.search_spaces.sweep_file.own_code import CALLBACKS, code_of
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.sections.callbacks import Callback

LIMIT_S, LOAD_S = 120.0, 60.0  # of all of them, of one


def check_callbacks(asked: Sweep) -> None:
    """Raises InputError where one of the sweep's callbacks cannot be loaded, or is none. Nothing is made or called."""
    if not asked.callbacks:
        return
    codes = code_of(asked, [CALLBACKS])
    for code in codes:
        say(code, CALLBACKS)
    with tempfile.TemporaryDirectory(prefix="fersweep-") as place:
        for code in codes:
            copies.write(code, Path(place))
        each = [callback.model_dump(mode="json") for callback in asked.callbacks]
        shown = ", ".join(callback.shown for callback in asked.callbacks)
        ask(__name__, {"place": place, "callbacks": each, "load_s": LOAD_S}, f"callbacks: {shown}", LIMIT_S)


def _answer(request: Mapping[str, Any]) -> None:
    """In the other process."""
    copies.note(Path(request["place"]))
    for each in request["callbacks"]:
        callback = Callback.model_validate(each)
        try:
            with time_limit(request["load_s"]):
                load(callback)
        except TooLong as error:
            raise InputError(f"callbacks: {callback.shown}: {error} to be imported{where(error)}") from None


def load(callback: Callback) -> type[Any]:
    """The class, whose code is run. Raises InputError where it is none, or does not take the options."""
    what, kind = f"callbacks: {callback.shown}", part_of(callback.kind, CALLBACKS)
    if not inspect.isclass(kind):
        raise InputError(f"{what} is a {type(kind).__name__}{place_of(kind)}: want a class")
    methods = {name: getattr(kind, name) for name in METHODS if callable(getattr(kind, name, None))}
    if not methods:
        own = [name for name in vars(kind) if not name.startswith("_")]
        near = f" ({hint(own[0], METHODS)})" if len(own) == 1 else ""
        raise InputError(f"{what} has none of the methods {', '.join(METHODS)}{near}")
    for name, method in methods.items():
        check_runs(method, f"{what}: {name}")
        try:
            inspect.signature(method).bind(None, *METHODS[name])
        except TypeError as error:
            wanted = f"{name}(self, {', '.join(METHODS[name])})"
            raise InputError(f"{what}: want {wanted}{place_of(method)}: {error}") from None
        except ValueError:  # of a method in C
            pass
    try:
        inspect.signature(kind).bind(**callback.options)
    except TypeError as error:
        raise InputError(f"{what} does not take its options{place_of(kind)}: {error}") from None
    except ValueError:
        pass
    return kind


def made(callback: Callback) -> Any:
    """One of the class. Raises InputError."""
    kind = load(callback)
    try:
        return kind(**callback.options)
    except BaseException as error:
        raise InputError(f"callbacks: {callback.shown} cannot be made: {said(error)}") from error


if __name__ == "__main__":
    reply(_answer)
