"""What the verbs share: their common options, and how a dataclass of options becomes options of the command line."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, get_args, get_origin, get_type_hints

import typer

from fersweep.common.options import Option

RUNS = Path("runs")


def known_recipes(incomplete: str) -> list[str]:
    """Names of shipped recipes, which the shell offers when somebody presses Tab."""
    from fersweep.search_spaces import RECIPES

    return sorted(path.stem for path in RECIPES.glob(f"{incomplete}*.yaml"))


def known_sweeps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps under --home."""
    from fersweep.results.record.home import sweep_names

    given: dict[str, Any] = ctx.params
    home = Path(given.get("home") or os.environ.get("FERSWEEP_HOME") or "runs")
    return [name for name in sweep_names(home) if name.startswith(incomplete)]


Home = Annotated[
    Path, typer.Option(envvar="FERSWEEP_HOME", help="Where sweeps and MLflow records lie.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Dataset = Annotated[str, typer.Argument(help="A dataset directory, or its address in a bucket.", metavar="DATASET")]
Name = Annotated[
    str, typer.Argument(help="Name of the sweep, or its address in a bucket.", autocompletion=known_sweeps)
]
Recipe = Annotated[
    str,
    typer.Argument(
        help="A recipe's name (fersweep recipes lists them) or a sweep file (YAML).",
        metavar="RECIPE|FILE",
        autocompletion=known_recipes,
        show_default=False,
    ),
]
SweepName = Annotated[str | None, typer.Option(help="Name of the sweep; default: the file's.")]
NumTrials = Annotated[int | None, typer.Option(help="How many trials (search.num_trials).", min=1)]
MaxEpochs = Annotated[int | None, typer.Option(help="Epochs of a trial (stop.max_epochs).", min=1)]
Override = Annotated[list[str] | None, typer.Option("--set", help="Any key, e.g. stop.scheduler=none", metavar="A.B=C")]
Model = Annotated[
    str,
    typer.Argument(
        help="A sweep (its best trial), SWEEP:TRIAL, an alias or version of the registry, a checkpoint's directory, "
        "FILE.onnx, or FILE.py:FUNCTION."
    ),
]
Alias = Annotated[str, typer.Option(help="Alias of the registered version.")]
TrialNumber = Annotated[int | None, typer.Option(help="Number of the trial; default: the best.")]
Address = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of a Ray cluster's head, auto (the cluster on this machine), or local; default: RAY_ADDRESS, else local."
    ),
]
TrustNetwork = Annotated[
    bool,
    typer.Option(
        "--trust-network", help="With --submit: also to a Jobs API that is open to its network without a token."
    ),
]
Landmarker = Annotated[
    Path | None, typer.Option(help="Path of face_landmarker.task; default: cache, package, download.")
]
Trees = Annotated[bool, typer.Option("--trees", help="Also train gradient-boosted trees as a baseline.")]


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with an option for each field of its parameters that are dataclasses (common/options.py).

    It takes keywords alone; what is left out is its default.
    """
    given = inspect.signature(verb, eval_str=True).parameters
    classes = {name: parameter.annotation for name, parameter in given.items() if _is_class(parameter.annotation)}
    flat: list[Parameter] = []
    for name, parameter in given.items():
        flat += _parameters(classes[name]) if name in classes else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
    signature = inspect.Signature(flat)

    @wraps(verb)
    def call(**values: Any) -> None:
        bound = signature.bind(**values)
        bound.apply_defaults()
        own = {name: value for name, value in bound.arguments.items() if name in given}
        verb(**own, **{name: _build(kind, bound.arguments) for name, kind in classes.items()})

    call.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return call


def _is_class(annotation: Any) -> TypeGuard[type]:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options(kind: type) -> Iterator[tuple[Field[Any], type, Option | None]]:
    """(field, type, Option or None) of each field that the command line has: an option, or a dataclass of them."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        if _is_class(hint):
            yield field, hint, None
        elif get_origin(hint) is Annotated:
            yield field, get_args(hint)[0], get_args(hint)[1]


def _parameters(kind: type) -> Iterator[Parameter]:
    """A parameter for Typer for each option of a dataclass; its default is None where the dataclass makes one."""
    for field, hint, option in _options(kind):
        if option is None:
            yield from _parameters(hint)
            continue
        default = None if field.default is MISSING else field.default
        flag = option.flag or f"--{field.name.replace('_', '-')}"
        hint = option.given or (str if get_origin(hint) is Literal else hint)
        typed = Annotated[
            hint,
            typer.Option(
                *([flag] if option.flag or default is False else []),
                help=option.help,
                rich_help_panel=option.group,
                metavar=option.metavar,
                min=option.min,
            ),
        ]
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=typed)


def _build(kind: type, given: Mapping[str, Any]) -> Any:
    """The dataclass, of what was given."""
    values: dict[str, Any] = {}
    for field, hint, option in _options(kind):
        if option is None:
            values[field.name] = _build(hint, given)
        elif given[field.name] is not None:
            values[field.name] = option.read(given[field.name]) if option.read else given[field.name]
    return kind(**values)
