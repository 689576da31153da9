"""The champion: show it, and go back to the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.champion.moves import BY_HAND, MOVES, Move, history, move, settle, version_before
from fersweep.results.mlflow_store import registry
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL
from fersweep.results.models.names import check_alias
from fersweep.results.record.home import check_home

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOCK = "promote.lock"  # one change of the champion at a time under one home


@dataclass(frozen=True)
class Champion(AsJson):
    """The version that has an alias. card: Markdown; moves: the alias's history, newest first."""

    model: str
    version: int
    alias: str
    tags: dict[str, str]
    card: str | None
    moves: list[Move]


@dataclass(frozen=True)
class Rollback(AsJson):
    """An alias was given to `version`; `before` had it."""

    alias: str
    version: int
    before: int


def same_version(a: ModelVersion | None, b: ModelVersion | None) -> bool:
    return (a and str(a.version)) == (b and str(b.version))


def champion(home: Path, alias: str = CHAMPION) -> Champion:
    """The version that has `alias` now. Raises InputError if there is none."""
    client = registry.open_registry(home)
    version = registry.find_version(client, check_alias(alias))
    return Champion(
        model=MODEL,
        version=int(version.version),
        alias=alias,
        tags={name: value for name, value in version.tags.items() if name != MOVES},
        card=version.description,
        moves=history(client, alias),
    )


def moves_of(home: Path, alias: str = CHAMPION) -> list[Move]:
    """The moves of `alias`, newest first; none for an alias that no version had. What was moved in MLflow and is not recorded
    yet is the first, without a time.
    """
    client = registry.open_registry(home)
    moves, now = history(client, check_alias(alias)), registry.holder(client, alias)
    if now is None or (moves and moves[0].current):
        return moves
    tags = dict(now.tags)
    return [Move(str(now.version), alias, len(moves) + 1, None, BY_HAND, "", None, {}, tags, True, False), *moves]


def rollback(
    home: Path, alias: str = CHAMPION, to: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> Rollback:
    """Give `alias` back to the version that had it before, or to version `to`, and record it.

    `tell` gets a line where a move that had broken off is finished first. Raises InputError if no version had the alias
    before, or there is no version `to`.
    """
    client = registry.open_registry(home)
    check_alias(alias)
    check_home(home)
    with lock(home / LOCK):
        if line := settle(client, alias):
            tell(line)
        now = registry.find_version(client, alias)
        if to is None:
            to = version_before(history(client, alias))
            if to is None:
                raise InputError(f"version {now.version} is the first {alias}: there is none to go back to")
        target = registry.find_version(client, to)
        if same_version(now, target):
            raise InputError(f"version {now.version} is {alias} already")
        move(client, alias, str(target.version), "rolled back")
    return Rollback(alias, int(target.version), int(now.version))
