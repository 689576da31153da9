"""The page of the trainables, made of their hparams' models and of their spaces."""

from __future__ import annotations

import inspect
import json

from markup import cell, table
from models import default, kind, meanings

from fersweep import search_spaces, trainables
from fersweep.search_spaces.sweep_file.space import whole_space
from fersweep.search_spaces.sweep_file.space.narrowing import Call

HEAD = """# Trainables and their hparams

A trainable is a model family. Each hparam can be fixed in a sweep file (`space.fix`), searched or not. *Searched* is what its space file draws from where a sweep file
says nothing else; `space.range` narrows or widens it.
"""


def render() -> str:
    """The page, as Markdown."""
    names = [name for name in trainables.NAMES if name != trainables.DOUBLE]
    return "\n".join([HEAD, *map(_trainable, names)])


def _trainable(name: str) -> str:
    module = trainables.load(name)
    features = ", ".join(f"`{each}`" for each in module.FEATURES or ())
    calls, lists = dict(whole_space.parameters(name)), whole_space.lists(name)
    said, searched = meanings(module.Hparams), {}
    for field in module.Hparams.model_fields:
        own = [call for each, call in calls.items() if field in lists and lists[field].has(each)]
        if field in calls or own:
            searched[field] = _drawn(calls[field] if field in calls else own[0]) + (" each" if own else "")
    rows = [
        [
            f"`{key}`",
            cell(kind(field.annotation, field.metadata)),
            cell(default(field)),
            cell(searched.get(key, "")),
            cell(said.get(key)),
        ]
        for key, field in module.Hparams.model_fields.items()
    ]
    parts = [f"## {name}\n", inspect.cleandoc(module.__doc__ or "") + "\n"]
    parts.append(f"Learns from: {features}. Framework: {module.FRAMEWORK}.\n")
    parts.append(table(["hparam", "type", "default", "searched", ""], rows))
    others = [
        each
        for each in calls
        if each not in module.Hparams.model_fields and not any(layers.has(each) for layers in lists.values())
    ]
    if others:
        shown = [[f"`{each}`", _drawn(calls[each])] for each in others]
        parts.append("Parameters of the space that decide about hparams:\n\n" + table(["parameter", "searched"], shown))
    if points := search_spaces.load(name).POINTS:
        parts.append(f"Named points (`search.start_from`): {', '.join(f'`{point}`' for point in points)}.\n")
    return "\n".join(parts)


def _drawn(call: Call) -> str:
    if call.method == "suggest_categorical":
        return ", ".join(f"`{_as_yaml(value)}`" for value in call.arguments[0])
    low, high = call.arguments
    return f"{low:g} to {high:g}" + (", log scale" if call.log else "")


def _as_yaml(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool | list | tuple) else str(value)
