"""What the functions of the API share: where the home is, what is said on stderr, files that are written whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from fersweep.common.display.as_json import as_json
from fersweep.common.errors import InputError
from fersweep.common.processes import usable_home
from fersweep.common.text import masked, printable, printable_lines

if TYPE_CHECKING:
    from fersweep.data_pipeline.describe.description import Description
    from fersweep.search_spaces.sweep_file.schema import Sweep

Place: TypeAlias = "str | os.PathLike[str]"
Data: TypeAlias = "Place | Description"
Overrides: TypeAlias = "Mapping[str, Any] | Sequence[str]"
T = TypeVar("T")


class Results(list[T]):
    """A list of results."""

    def as_json(self) -> list[Any]:
        """What `--json` prints of them."""
        return as_json(list(self))


def home_of(home: Place | None) -> Path:
    """The directory that holds sweeps and MLflow's records; None: FERSWEEP_HOME, else `runs`."""
    return Path(os.environ.get("FERSWEEP_HOME") or "runs") if home is None else Path(home)


def data_of(data: Any) -> str | None:
    """A dataset's directory or address, of that or of what `prepare` or `describe` returned."""
    return None if data is None else str(getattr(data, "directory", data))


def wanted_data(data: Any, home: Place | None) -> str:
    """`data_of`; InputError, naming the datasets of the home, where none is given."""
    place = data_of(data)
    if place is None:
        where = home_of(home)
        found = ", ".join(str(path.parent) for path in sorted(where.glob("data/*/manifest.json"))) or "none"
        raise InputError(
            f"--data is missing: a dataset directory made by `fersweep prepare` ({where}/data has: {found})"
        )
    return place


def asked_sweep(
    recipe: Place | Mapping[str, Any] | Sweep,
    overrides: Overrides | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
) -> Sweep:
    """The sweep that is asked for, checked; stderr hears what is odd about it. Raises InputError."""
    from fersweep.search_spaces.sweep_file.consistency import remarks
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
    from fersweep.search_spaces.sweep_file.schema import Sweep

    if isinstance(recipe, Sweep):
        recipe = recipe.model_dump(mode="json")
    elif not isinstance(recipe, Mapping):
        recipe = os.fspath(recipe)
    elif name is None and "name" not in recipe:
        raise InputError("name: a sweep that is no file has none; want name=…, or the key in it")
    replaced = {"name": name, "search__num_trials": trials, "stop__max_epochs": max_epochs}
    sweep = read_sweep(recipe, as_options(overrides), **replaced)
    for remark in remarks(sweep):
        say(f"note: {remark}")
    return sweep


def as_options(overrides: Overrides | None) -> list[str]:
    """`{"stop.max_epochs": 20}` as `["stop.max_epochs=20"]`; such a list as it is."""
    if isinstance(overrides, Mapping):
        from fersweep.search_spaces.sweep_file.yaml_file import dump

        return [f"{key}={dump(value)}" for key, value in overrides.items()]
    if isinstance(overrides, str):
        raise InputError(f"overrides: want a mapping such as {{'stop.max_epochs': 20}}, but got {overrides!r}")
    return list(overrides or ())


def listed(values: T | Sequence[T]) -> list[T]:
    """Several, or one alone, as a list."""
    several = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    return list(cast("Sequence[T]", values)) if several else [cast("T", values)]


def path_of(path: Place | None) -> Path | None:
    return None if path is None else Path(path)


def quiet_process() -> None:
    """What a process needs before it loads Ray, MLflow or a framework: a HOME that can be written, and no chatter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")
    usable_home()


def say(line: object) -> None:
    """Print a line, or several, on stderr, without the passwords in addresses."""
    print(masked(printable_lines(line)), file=sys.stderr)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so."""
    from fersweep.common.files import cannot_write, write_whole

    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise cannot_write(path, error) from None
    say(f"written: {printable(path)}")
