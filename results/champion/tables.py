"""The moves of an alias as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fersweep.common.display.tables import table
from fersweep.results.champion.moves import Move
from fersweep.results.mlflow_store.run_fields import ASKED_TAG

if TYPE_CHECKING:
    from rich.console import RenderableType


def render(moves: Sequence[Move]) -> RenderableType:
    """Newest first; `asked`: the how manieth time it was that the faces of test were judged, when the version was made."""
    shown = table(["when", "version", "", "sweep", "macro-F1", "asked", "before", "by"], 8)
    for move in moves:
        when = "–" if move.at is None else f"{datetime.fromtimestamp(move.at):%Y-%m-%d %H:%M}"
        action = str(move.details.get("outcome") or ("broke off" if move.begun and not move.current else move.action))
        sweep = f"{move.tags.get('fersweep.sweep', '')}:{move.tags.get('fersweep.trial', '')}"
        macro_f1 = move.tags.get("test_macro_f1", "").split(" ")[0]
        asked = move.tags.get(ASKED_TAG, "–")
        marked = f"{action}{' ←' if move.current else ''}"
        shown.add_row(when, move.version, marked, sweep, macro_f1, asked, move.before or "–", move.by)
    return shown
