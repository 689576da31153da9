"""Read and check a sweep file: `read_sweep("quick", ["stop.max_epochs=20"])`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from fersweep import search_spaces
from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file import yaml_file
from fersweep.search_spaces.sweep_file.overrides import change, put
from fersweep.search_spaces.sweep_file.problems import first_problem
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import check_space


def read_sweep(recipe_or_file: str, overrides: list[str], **replaced: Any) -> Sweep:
    """The sweep in a YAML file or a shipped recipe, with `a.b=c` overrides; every mistake is an InputError.

    Args:
        recipe_or_file: a path, or the name of a file in search_spaces/recipes.
        overrides: `key.path=value`, the value read as YAML.
        replaced: `key__path=value` that wins over both where it is not None (the command line's own options).
    """
    path, origin = Path(recipe_or_file), ""
    try:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            origin = f"{path}: "
        else:
            path = search_spaces.recipe(recipe_or_file)
        content = yaml_file.read(path)
    except ValueError as error:
        raise InputError(f"{origin}{error}") from None
    except OSError as error:
        raise InputError(f"sweep file {path}: {error.strerror}") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: a sweep file is a mapping of name, task, trainable, …; this is {type(content).__name__}"
        )
    fields = cast(dict[str, Any], content)
    for override in overrides:
        change(fields, override)
    for key, value in replaced.items():
        if value is not None:
            put(fields, key.split("__"), value)
    fields.setdefault("name", path.stem)
    return parse_sweep(fields, str(path))


def parse_sweep(content: dict[str, Any], origin: str) -> Sweep:
    """Validate a sweep against the schema, its trainable and its space."""
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{origin}: {first_problem(error, content, Sweep)}") from None
    try:
        check_space(sweep)
    except ValueError as error:
        raise InputError(f"{origin}: {error}") from None
    return sweep
