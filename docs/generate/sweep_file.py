"""The page of the sweep file, made of its schema: every key with its type, default and meaning."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

from markup import cell, table
from models import default, kind, meanings
from pydantic import BaseModel

from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.sections.samplers import SAMPLERS
from fersweep.search_spaces.sweep_file.sections.schedulers import SCHEDULERS

HEAD = """# Sweep file

Every key, made from the schema that checks the file. Unknown keys are refused with the nearest known one named. [Write a sweep file](../how-to/sweep-files.md)
has an example and what is worth knowing. Any key can be set on the command line, too: `--set stop.reduction=4`.
"""
# What the schema says of a section as a whole stands above its table; these are the keys that need a word of their own.
WORDS = {
    "name": "Name of the sweep, and of its directory: letters, digits, `.`, `_` and `-`, 80 at most.",
    "trainable": "The model family: see [trainables](trainables.md).",
    "keep_checkpoints": "Of so many of the best trials of the whole sweep checkpoints are kept; null: of all.",
    "storage": "Where journal and checkpoints go: a bucket (`s3://…`, `gs://…`), or a path that all machines see; null: below the home.",
    "task.features": "What a model sees of a face.",
    "task.blendshapes": "Which of the 52 scores: all, those that vary on train, or those that are named.",
    "task.seed": "Of what is drawn: `balance`, `fraction`.",
    "space.fix": "Parameter → value.",
    "space.range": "Parameter → `[low, high]`, or the list of its choices.",
    "search.sampler": "By name ([which](#samplers)), or a file of your own.",
    "search.sampler_options": "Options of the sampler, below.",
    "search.num_trials": "How many trials.",
    "search.seed": "Of the sampler, and of the trials.",
    "stop.metric": "What ranks trials.",
    "stop.mode": "`min` for `val_loss`, else `max`.",
    "stop.objectives": "Several aims: [how to](../how-to/objectives.md).",
    "stop.scheduler": "By name: [which](#schedulers).",
    "stop.scheduler_options": "Options of the scheduler, below.",
    "stop.unit": "In what rungs are counted.",
    "stop.grace_epochs": "The first rung: no trial is stopped before it.",
    "stop.max_epochs": "Where a trial ends at the latest.",
    "stop.grace_s": "The first rung with `unit: seconds`.",
    "stop.max_s": "The most seconds of a trial with `unit: seconds`.",
    "stop.reduction": "One of so many trials goes on from a rung; rungs are so many times apart.",
    "tracking.uri": "MLflow's server; null: SQLite below the home.",
    "tracking.experiment": "Name of the experiment in MLflow; null: the sweep's.",
    "resources.cpus": "CPU cores of a worker.",
    "resources.gpus": "1, or a share of one GPU.",
    "search.start_from.sweep": "Name of the sweep.",
    "stop.objectives.metric": "A score on val, or a cost of the model.",
    "stop.objectives.mode": "As is natural for the metric where it is left out.",
}


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted key, model) of the file itself ("") and of every section in it."""

    def below(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
        yield prefix, model
        for name, field in model.model_fields.items():
            for inner in _models(field.annotation):
                yield from below(f"{prefix}.{name}".strip("."), inner)

    return below("", Sweep)


def meaning(section: str, model: type[BaseModel], name: str) -> str | None:
    """What a key means; None where it is said nowhere. The text above a section names its keys as `key: …`."""
    key = f"{section}.{name}".strip(".")
    said = meanings(model).get(name) or WORDS.get(key)
    if said is None and any(_models(model.model_fields[name].annotation)):
        return f"[below](#{anchor(key)})"
    alias = model.model_fields[name].alias or name
    above = model.__doc__ or ""
    return "" if said is None and (f"{alias}:" in above or f"`{alias}`" in above) else said


def anchor(key: str) -> str:
    return key.replace(".", "")


def render() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    for section, model in sections():
        parts.append(f"## {section}\n" if section else "## The file\n")
        parts.append(_above(model) + _keys(model, lambda name, of=(section, model): meaning(*of, name)))
    parts.append(
        "## Samplers\n\n`search.sampler` is one of these; [which to take](../how-to/samplers-and-schedulers.md#samplers).\n"
    )
    parts += [_choice(name, model) for name, model in SAMPLERS.items()]
    parts.append(
        "## Schedulers\n\n`stop.scheduler` is one of these; [which to take](../how-to/samplers-and-schedulers.md#schedulers).\n"
    )
    parts += [_choice(name, model) for name, model in SCHEDULERS.items()]
    return "\n".join(parts)


def _choice(name: str, model: type[BaseModel]) -> str:
    keys = _keys(model, lambda key: meanings(model).get(key, "")) if model.model_fields else "No options.\n"
    return f"### {name}\n\n{_above(model)}{keys}"


def _above(model: type[BaseModel]) -> str:
    return f"{inspect.cleandoc(model.__doc__)}\n\n" if model.__doc__ else ""


def _keys(model: type[BaseModel], say: Any) -> str:
    rows = [
        [
            f"`{field.alias or name}`",
            cell(kind(field.annotation, field.metadata)),
            cell(default(field)),
            cell(say(name)),
        ]
        for name, field in model.model_fields.items()
    ]
    return table(["key", "type", "default", ""], rows)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold."""
    if get_origin(annotation) in (Union, UnionType, list):
        return [inner for part in get_args(annotation) for inner in _models(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
