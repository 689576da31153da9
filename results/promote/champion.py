"""The champion: show it, and go back to the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.mlflow_store import registry
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL
from fersweep.results.record.home import check_home

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOCK = "promote.lock"  # one change of the champion at a time under one home


@dataclass(frozen=True)
class Champion:
    """The version that has an alias. card: Markdown; moves: the alias's history, newest first."""

    model: str
    version: int
    alias: str
    tags: dict[str, str]
    card: str | None
    moves: list[registry.Move]


@dataclass(frozen=True)
class Rollback:
    """An alias was given to `version`; `before` had it."""

    alias: str
    version: int
    before: int


def same_version(a: ModelVersion | None, b: ModelVersion | None) -> bool:
    return (a and str(a.version)) == (b and str(b.version))


def champion(home: Path, alias: str = CHAMPION) -> Champion:
    """The version that has `alias` now. Raises InputError if there is none."""
    client = registry.open_registry(home)
    version = registry.find_version(client, alias)
    return Champion(
        model=MODEL,
        version=int(version.version),
        alias=alias,
        tags={name: value for name, value in version.tags.items() if name != registry.MOVES},
        card=version.description,
        moves=registry.history(client, alias),
    )


def rollback(home: Path, alias: str = CHAMPION, to: str | None = None) -> Rollback:
    """Give `alias` back to the version that had it before, or to version `to`, and record it.

    Raises InputError if no version had it before.
    """
    client = registry.open_registry(home)
    check_home(home)
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
    return Rollback(alias, int(target.version), int(now.version))


def _before(moves: Sequence[registry.Move]) -> str | None:
    """The version that had the alias before the one that has it now; a second rollback goes a further step back."""
    stack: list[str | None] = []
    for move in reversed(moves):  # the oldest first
        if move.action == "rolled back" and move.version in stack:
            del stack[stack.index(move.version) + 1 :]
            continue
        if not stack:
            stack.append(move.before)
        stack.append(move.version)
    return stack[-2] if len(stack) > 1 else None
