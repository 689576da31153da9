"""The moves of an alias: which version got it when, by whom and why. The chain of versions, each with the one before.

    move(client, "champion", "3", "promoted")
    history(client, "champion")            # newest first
    settle(client, "champion")             # a move that broke off is finished

A move is written into the tags of the version that gets the alias, before the alias is set, and marked as done after it.
So one that was broken off in between can be seen, and finished. Moves are ordered by their numbers, not by the clock.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fersweep.results.mlflow_store.registry import CHAMPION, MODEL, holder, user_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MOVES = "fersweep.moves"  # tag of a version: JSON list of the times that it was given an alias
RECORDED = ("alias", "at", "action", "by", "before")  # what each entry of that list has
LONGEST = 90_000  # characters of the tag; MLflow takes 100,000
BY_HAND = "moved in MLflow"  # an action that was not ours


@dataclass(frozen=True)
class Move:
    """An alias was given to a version.

    Attributes:
        number: of the alias's moves, from 1.
        at: when, seconds since 1970, by the clock of the machine that did it; None: not known.
        action: "promoted", "forced", "rolled back", or BY_HAND: found to have been done elsewhere.
        by: name of the user.
        before: the version that had the alias before.
        details: what else was recorded, e.g. `gates`.
        tags: of the version.
        current: the version has the alias now, through this move.
        begun: it is not marked as done: it is being made, or broke off before or after the alias was set.
    """

    version: str
    alias: str
    number: int
    at: float | None
    action: str
    by: str
    before: str | None
    details: dict[str, Any]
    tags: dict[str, str]
    current: bool
    begun: bool

    def as_json(self) -> dict[str, Any]:
        recorded = {name: getattr(self, name) for name in ("version", "number", *RECORDED)}
        return {**recorded, **self.details, "tags": self.tags, "current": self.current, "begun": self.begun}


def move(client: MlflowClient, alias: str, version: str, action: str, **details: Any) -> None:
    """Give `alias` to a version and record that in the version's tags. action, details: see Move; JSON-able.

    What broke off before is settled first: see `settle`.
    """
    settle(client, alias)
    before, moves = holder(client, alias), history(client, alias)
    entry = {
        "alias": alias,
        "number": moves[0].number + 1 if moves else 1,
        "at": time.time(),
        "action": action,
        "by": user_name(),
        "before": before and str(before.version),
        "begun": True,
        **details,
    }
    _write(client, version, [*_entries(client, version), entry])
    client.set_registered_model_alias(MODEL, alias, version)
    _done(client, alias, version)


def settle(client: MlflowClient, alias: str) -> str | None:
    """Finish the move that was begun last, if its version does not have the alias yet; record what was moved elsewhere.

    Returns a line that says what was done, or None. Where somebody else has moved the alias since, theirs holds.
    """
    moves, now = history(client, alias), holder(client, alias)
    if not moves:
        return None
    newest, held_by = moves[0], None if now is None else str(now.version)
    broke_off = newest.begun and held_by == newest.before
    if broke_off:
        client.set_registered_model_alias(MODEL, alias, newest.version)
        held_by = newest.version
    if newest.begun:
        _done(client, alias, newest.version, None if held_by == newest.version else "broke off")
    if broke_off:
        return f"the move of {alias} to version {newest.version} had broken off: it is finished"
    if held_by is None or held_by == newest.version:
        return None
    entry = {"alias": alias, "number": newest.number + 1, "at": time.time(), "action": BY_HAND, "by": ""}
    had_it = newest.before if newest.begun else newest.version
    _write(client, held_by, [*_entries(client, held_by), {**entry, "before": had_it}])
    return f"{alias} was given to version {held_by} elsewhere, after version {had_it} had it: recorded"


def history(client: MlflowClient, alias: str = CHAMPION) -> list[Move]:
    """The moves of an alias, newest first."""
    now = holder(client, alias)
    entries = [
        (version, entry)
        for version in client.search_model_versions(f"name = '{MODEL}'")
        for entry in _read(version.tags.get(MOVES))
        if entry["alias"] == alias
    ]
    entries.sort(key=lambda pair: (pair[1].get("number", 0), pair[1]["at"]))  # older versions wrote no number
    moves: list[Move] = []
    for place, (version, entry) in enumerate(entries, 1):
        recorded = {name: entry.pop(name) for name in RECORDED}
        number, begun = max(entry.pop("number", place), place), bool(entry.pop("begun", False))
        current = place == len(entries) and now is not None and str(version.version) == str(now.version)
        moves.append(
            Move(
                version=str(version.version),
                number=number,
                **recorded,
                details=entry,
                tags=dict(version.tags),
                current=current,
                begun=begun,
            )
        )
    return moves[::-1]


def version_before(moves: Sequence[Move]) -> str | None:
    """The version that had the alias before the one that has it now; a second rollback goes a further step back.

    moves: newest first. Versions that were deleted since are no longer among them.
    """
    known = {move.version for move in moves}
    chain: list[str] = []
    for move in reversed(moves):
        if (move.begun and not move.current) or move.details.get("outcome"):
            continue
        if move.action == "rolled back" and move.version in chain:
            del chain[chain.index(move.version) + 1 :]
            continue
        if move.before is not None and move.before in known and chain[-1:] != [move.before]:
            chain.append(move.before)
        if chain[-1:] != [move.version]:
            chain.append(move.version)
    return chain[-2] if len(chain) > 1 else None


def _done(client: MlflowClient, alias: str, version: str, outcome: str | None = None) -> None:
    """Take the mark from the moves of `alias` to `version` that were begun; `outcome`: what became of them instead."""
    entries = _entries(client, version)
    for entry in entries:
        if entry["alias"] == alias and entry.pop("begun", False) and outcome:
            entry["outcome"] = outcome
    _write(client, version, entries)


def _entries(client: MlflowClient, version: str) -> list[dict[str, Any]]:
    return _read(client.get_model_version(MODEL, version).tags.get(MOVES))


def _read(tag: str | None) -> list[dict[str, Any]]:
    """The entries of a tag; those that are none of ours, as somebody else wrote them, are left out."""
    try:
        entries: Any = json.loads(tag or "[]")
    except (ValueError, RecursionError):
        return []
    if not isinstance(entries, list):
        return []
    return [
        entry
        for entry in cast(list[Any], entries)
        if isinstance(entry, dict) and _is_entry(cast(dict[str, Any], entry))
    ]


def _is_entry(entry: dict[str, Any]) -> bool:
    kinds = {"alias": str, "at": (int, float), "action": str, "by": str, "before": (str, type(None))}
    return all(isinstance(entry.get(name, ...), kind) for name, kind in kinds.items()) and isinstance(
        entry.get("number", 0), int
    )


def _write(client: MlflowClient, version: str, entries: list[dict[str, Any]]) -> None:
    """What is too long loses first the gates of the oldest moves, never a move."""
    entries = [dict(entry) for entry in entries]
    for entry in entries:
        if len(json.dumps(entries)) <= LONGEST:
            break
        entry.pop("gates", None)
    client.set_model_version_tag(MODEL, version, MOVES, json.dumps(entries))
