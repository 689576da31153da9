"""Read and check a sweep file: `read_sweep("quick", ["stop.max_epochs=20"])`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from fersweep import search_spaces
from fersweep.common.errors import InputError
from fersweep.common.files import regular_file
from fersweep.common.own_code import copies
from fersweep.search_spaces.sweep_file import yaml_file
from fersweep.search_spaces.sweep_file.consistency import refuse_contradictions, refuse_secrets
from fersweep.search_spaces.sweep_file.consistency import replaced as replaced_by
from fersweep.search_spaces.sweep_file.fusing import check_fusing
from fersweep.search_spaces.sweep_file.overrides import change, drop, put, shown
from fersweep.search_spaces.sweep_file.own_code import resolve
from fersweep.search_spaces.sweep_file.population import check_population
from fersweep.search_spaces.sweep_file.problems import first_problem
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import check_space
from fersweep.search_spaces.sweep_file.sections.suitability import refuse_unsearchable
from fersweep.search_spaces.sweep_file.space.layers import spread_lists

OPTIONS = {"name": "--name", "search__num_trials": "--trials", "stop__max_epochs": "--max-epochs"}


def read_sweep(asked: str | Path | Mapping[str, Any], overrides: Sequence[str], **replaced: Any) -> Sweep:
    """The sweep in a YAML file or a shipped recipe, with `a.b=c` overrides; every mistake is an InputError.

    Args:
        asked: a path, the name of a file in search_spaces/recipes, or the content of a sweep file.
        overrides: `key.path=value`, the value read as YAML. Own code that one names is looked for in the working directory,
            that of the file beside it first.
        replaced: `key__path=value` that wins over both where it is not None (the command line's own options).
    """
    if isinstance(asked, Mapping):
        return _checked(yaml_file.plain(asked), "sweep", None, overrides, replaced)
    path, origin = Path(asked), ""
    if "://" in str(asked):
        raise InputError(f"{asked}: a sweep file is on this machine: want its path, or a recipe's name")
    try:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            regular_file(path, "sweep file")
            origin = f"{path}: "
        else:
            path = search_spaces.recipe(str(asked))
        content = yaml_file.read(path)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{origin}{error}") from None
    except OSError as error:
        raise InputError(f"sweep file {path}: {error.strerror}") from None
    what = f"recipe {path.stem}" if path.parent == search_spaces.RECIPES else str(path)
    return _checked(content, what, path.stem, overrides, replaced, path.parent)


def _checked(
    content: Any,
    what: str,
    name: str | None,
    overrides: Sequence[str],
    replaced: Mapping[str, Any],
    beside: Path | None = None,
) -> Sweep:
    """The sweep that the content of a file asks for. what: how its mistakes begin; name: where it says none itself; beside:
    the folder where its own code is looked for first.
    """
    if not isinstance(content, dict):
        raise InputError(
            f"{what}: a sweep file is a mapping of name, task, trainable, …; this is {type(content).__name__}"
        )
    fields = cast(dict[str, Any], content)
    if beside is not None:
        copies.note(beside)  # a job's sweep file has its own code beside it
    keys, given = [override.partition("=")[0] for override in overrides], dict[str, str]()
    for key in keys:
        drop(fields, key)
    _resolve(fields, what, {}, beside)
    _change(fields, [override for override in overrides if override.startswith("trainable=")], given)
    _resolve(fields, what, given, None)
    _spread_lists(fields, what, {})
    replaced_by(fields, keys)
    _change(fields, overrides, given)
    _resolve(fields, what, given, None)
    _spread_lists(fields, what, given)
    for key, value in replaced.items():
        if value is not None:
            put(fields, key.split("__"), value)
            given[key.replace("__", ".")] = OPTIONS.get(key, key)
    if name is not None:
        fields.setdefault("name", name)
    try:
        sweep = _validated(fields)
        refuse_contradictions(sweep)
        refuse_secrets(sweep)
    except ValueError as error:
        raise _blamed(error, what, given) from None
    return sweep


def _change(content: dict[str, Any], overrides: Sequence[str], given: dict[str, str]) -> None:
    for override in overrides:
        change(content, override)
        given[override.partition("=")[0]] = f"--set {shown(override)}"


def _resolve(content: dict[str, Any], origin: str, given: dict[str, str], beside: Path | None) -> None:
    try:
        resolve(content, beside)
    except InputError as error:
        raise _blamed(error, origin, given) from None


def _spread_lists(content: dict[str, Any], origin: str, given: dict[str, str]) -> None:
    space, trainable = content.get("space"), content.get("trainable")
    if isinstance(space, dict) and isinstance(trainable, str):
        try:
            spread_lists(cast(dict[str, Any], space), trainable, given or None)
        except ValueError as error:
            raise _blamed(error, origin, given) from None


def _blamed(error: ValueError, origin: str, given: dict[str, str]) -> InputError:
    """A mistake, said of the option that made it, or else of the file. `given`: key → option."""
    message = str(error)
    for key, option in reversed(given.items()):
        about = message.startswith((f"{key}:", f"space: {key.rpartition('.')[2]} = "))
        if about or ("." in key and re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", message)):
            rest = message if option.startswith("--set") else message.removeprefix(f"{key}: ")
            return InputError(f"{option}: {rest}")
    return InputError(f"{origin}: {message}")


def parse_sweep(content: dict[str, Any], origin: str) -> Sweep:
    """Validate a sweep against the schema, its trainable and its space; `origin`: how a mistake begins."""
    try:
        return _validated(content)
    except ValueError as error:
        raise InputError(f"{origin}: {error}") from None


def _validated(content: dict[str, Any]) -> Sweep:
    """Raises ValueError."""
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise ValueError(first_problem(error, content, Sweep)) from None
    check_space(sweep)
    refuse_unsearchable(sweep)
    check_population(sweep)
    check_fusing(sweep)
    return sweep
