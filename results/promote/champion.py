"""The champion: show it, and go back to the one before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.files import lock
from fersweep.results.mlflow_store import registry
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOCK = "promote.lock"  # one change of the champion at a time under one home


def same_version(one: ModelVersion | None, other: ModelVersion | None) -> bool:
    return (one and str(one.version)) == (other and str(other.version))


def champion(home: Path, alias: str = CHAMPION) -> dict[str, Any]:
    """The standing champion: `version`, `alias`, `tags`, `card` (Markdown), `moves` (its history, newest first)."""
    client = registry.open_registry(home)
    version = registry.find_version(client, alias)
    return {
        "model": MODEL,
        "version": int(version.version),
        "alias": alias,
        "tags": {name: value for name, value in version.tags.items() if name != registry.MOVES},
        "card": version.description,
        "moves": [move.as_json() for move in registry.history(client, alias)],
    }


def rollback(home: Path, alias: str = CHAMPION, to: str | None = None) -> dict[str, Any]:
    """Give `alias` back to the version that had it before, or to version `to`; recorded.

    Returns:
        {alias, version, before}. Raises InputError where there is none to go back to.
    """
    from fersweep.common.errors import InputError

    client = registry.open_registry(home)
    with lock(home / LOCK):
        now = registry.find_version(client, alias)
        if to is None:
            to = _before(registry.history(client, alias))
            if to is None:
                raise InputError(f"version {now.version} is the first {alias}: there is none to go back to")
        target = registry.find_version(client, to)
        if same_version(now, target):
            raise InputError(f"version {now.version} is {alias} already")
        registry.move(client, alias, str(target.version), "rolled back")
    return {"alias": alias, "version": int(target.version), "before": int(now.version)}


def _before(moves: Sequence[registry.Move]) -> str | None:
    """The version that had the alias before the one that has it now; a second rollback goes a further step back."""
    stack: list[str | None] = []
    for one in reversed(moves):  # the oldest first
        if one.action == "rolled back" and one.version in stack:
            del stack[stack.index(one.version) + 1 :]
            continue
        if not stack:
            stack.append(one.before)
        stack.append(one.version)
    return stack[-2] if len(stack) > 1 else None
