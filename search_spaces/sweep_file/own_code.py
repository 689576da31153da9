"""Which keys of a sweep file name somebody's own code, and that code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from fersweep import trainables
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code, is_own, split_part
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.sections.callbacks import resolve_callbacks
from fersweep.search_spaces.sweep_file.sections.own_metrics import resolve_metrics

TRAINABLE, METRICS, CALLBACKS = "trainable", "stop.metrics", "callbacks"  # the keys
OF_TRIALS = (TRAINABLE, METRICS)


class Named(NamedTuple):
    """Own code that a sweep file names. key: where; name: with its digits."""

    key: str
    name: str


def resolve(content: dict[str, Any], beside: Path | None) -> None:
    """Name own code in a sweep file's content with the digits of what it is now. Raises InputError.

    `beside`: the folder in which its files are looked for first.
    """
    if isinstance(asked := content.get("trainable"), str):
        content["trainable"] = trainables.resolve(asked, beside)
    if isinstance(stop := content.get("stop"), dict):
        resolve_metrics(cast("dict[str, Any]", stop), beside)
    resolve_callbacks(content, beside)


def own_code(sweep: Sweep, keys: Iterable[str] = (*OF_TRIALS, CALLBACKS)) -> list[Named]:
    """The code that these keys name, each once a key."""
    named = {
        TRAINABLE: [sweep.trainable] if is_own(sweep.trainable) else [],
        METRICS: [split_part(name)[0] for name in sweep.stop.metrics],
        CALLBACKS: [split_part(callback.kind)[0] for callback in sweep.callbacks],
    }
    return [Named(key, name) for key in keys for name in dict.fromkeys(named[key])]


def code_of(sweep: Sweep, keys: Iterable[str] = (*OF_TRIALS, CALLBACKS)) -> list[Code]:
    """The code that a sweep needs. Raises InputError where a copy is missing, or is another than its name says."""
    return list({name: copies.find(name, key) for key, name in own_code(sweep, keys)}.values())


def renamed(sweep: Sweep, key: str, before: str, now: str) -> Sweep:
    """The sweep with other code for a key, wherever that names it."""
    content = sweep.model_dump(mode="json")
    if key == TRAINABLE:
        content["trainable"] = now
    elif key == METRICS:
        content["stop"]["metrics"] = [_renamed(name, before, now) for name in content["stop"]["metrics"]]
    else:
        for callback in content["callbacks"]:
            callback["class"] = _renamed(callback["class"], before, now)
    return Sweep.model_validate(content)


def _renamed(name: str, before: str, now: str) -> str:
    code, part = split_part(name)
    return f"{now}:{part}" if code == before else name
