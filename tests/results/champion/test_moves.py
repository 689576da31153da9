"""The chain of an alias's moves: clocks that are set back, moves that break off, moves made by hand, forged tags."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.errors import InputError
from fersweep.results.champion import moves
from fersweep.results.champion.champion import champion, moves_of, rollback
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL, holder


class Killed(BaseException):
    """Nothing catches it."""


def killed(*_: object) -> None:
    raise Killed


def break_off(client: Any, monkeypatch: pytest.MonkeyPatch, where: object, step: str) -> None:
    """Begin to move the alias to version 2, and be killed where the `step` would be."""
    with monkeypatch.context() as patch:
        patch.setattr(where, step, killed)
        with pytest.raises(Killed):
            moves.move(client, CHAMPION, "2", "promoted")


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path)
    return tmp_path


@pytest.fixture
def client(home: Path) -> Any:
    """With three versions of the model."""
    client = connection.open_home(home)
    client.create_registered_model(MODEL)
    for number in range(3):
        client.create_model_version(MODEL, source=f"file:///nowhere/{number}")
    return client


def version_of(client: Any) -> str | None:
    now = holder(client, CHAMPION)
    return now and str(now.version)


def test_a_clock_that_was_set_back_changes_no_order(home: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for version, ahead_s in (("1", 0), ("2", -7200), ("3", -3600)):
        monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: real() + ahead_s)
        moves.move(client, CHAMPION, version, "promoted")
    assert [move.version for move in moves.history(client)] == ["3", "2", "1"]
    assert moves.history(client)[0].current
    assert (rollback(home).version, rollback(home).version) == (2, 1)
    with pytest.raises(InputError, match="version 1 is the first champion"):
        rollback(home)


def test_a_move_that_broke_off_before_the_alias_was_set_is_finished(
    home: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves.move(client, CHAMPION, "1", "promoted")

    break_off(client, monkeypatch, client, "set_registered_model_alias")
    newest, first = moves.history(client)
    assert (newest.version, newest.begun, newest.current) == ("2", True, False)
    assert (first.current, champion(home).version) == (False, 1), "1 has the alias still"

    told: list[str] = []
    assert rollback(home, tell=told.append).version == 1
    assert told == ["the move of champion to version 2 had broken off: it is finished"]
    assert [move.version for move in moves.history(client)] == ["1", "2", "1"]
    assert not any(move.begun for move in moves.history(client))


def test_a_move_that_broke_off_after_the_alias_was_set_is_whole(
    home: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves.move(client, CHAMPION, "1", "promoted")

    break_off(client, monkeypatch, moves, "_done")
    assert moves.history(client)[0].current
    assert rollback(home).version == 1
    assert not any(move.begun for move in moves.history(client))
    assert moves.version_before(moves.history(client)) is None


def test_what_was_moved_in_mlflows_page_is_recorded(home: Path, client: Any) -> None:
    moves.move(client, CHAMPION, "1", "promoted")
    client.set_registered_model_alias(MODEL, CHAMPION, "3")
    shown = moves_of(home)
    assert [(move.version, move.action, move.current) for move in shown] == [
        ("3", moves.BY_HAND, True),
        ("1", "promoted", False),
    ]
    moves.move(client, CHAMPION, "2", "promoted")
    assert [(move.version, move.action, move.before) for move in moves.history(client)] == [
        ("2", "promoted", "3"),
        ("3", moves.BY_HAND, "1"),
        ("1", "promoted", None),
    ]
    assert moves.version_before(moves.history(client)) == "3"
    client.delete_model_version(MODEL, "3")
    assert moves.version_before(moves.history(client)) == "1", "a version that is gone cannot be gone back to"


def test_a_move_of_somebody_else_in_between_holds(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moves.move(client, CHAMPION, "1", "promoted")

    break_off(client, monkeypatch, client, "set_registered_model_alias")
    client.set_registered_model_alias(MODEL, CHAMPION, "3")
    moves.settle(client, CHAMPION)
    assert version_of(client) == "3"
    assert [(move.version, move.details.get("outcome")) for move in moves.history(client)] == [
        ("3", None),
        ("2", "broke off"),
        ("1", None),
    ]
    assert moves.version_before(moves.history(client)) == "1"


@pytest.mark.parametrize("tag", ["", "[", "{}", "[1]", '[{"alias": "champion"}]', "[" * 50_000])
def test_a_tag_that_is_none_of_ours(home: Path, client: Any, tag: str) -> None:
    moves.move(client, CHAMPION, "1", "promoted")
    client.set_model_version_tag(MODEL, "2", moves.MOVES, tag)
    assert [move.version for move in moves.history(client)] == ["1"]
    moves.move(client, CHAMPION, "2", "promoted")
    assert rollback(home).version == 1


def test_older_moves_have_no_numbers_and_long_ones_lose_their_gates_alone(client: Any) -> None:
    old = [{"alias": CHAMPION, "at": 1e9 + k, "action": "promoted", "by": "", "before": None} for k in range(2)]
    client.set_model_version_tag(MODEL, "1", moves.MOVES, json.dumps(old))
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
    for _ in range(4):
        moves.move(client, CHAMPION, "2", "promoted", gates=["x" * 40_000])
    assert [move.number for move in moves.history(client)] == [6, 5, 4, 3, 2, 1]
    assert [bool(move.details.get("gates")) for move in moves.history(client)][:4] == [True, True, False, False]
