"""What the shell offers when somebody presses Tab: recipes and sweeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer


def recipes(incomplete: str) -> list[str]:
    """Names of shipped recipes."""
    from fersweep.search_spaces import RECIPES

    return sorted(path.stem for path in RECIPES.glob(f"{incomplete}*.yaml"))


def sweeps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps under --home."""
    given: dict[str, Any] = ctx.params
    home = Path(given.get("home") or os.environ.get("FERSWEEP_HOME") or "runs")
    names = [path.parent.name for path in home.glob("sweeps/*/sweep.json")]  # but none that a launch prepares
    return sorted(name for name in names if name.startswith(incomplete) and not name.startswith("."))
