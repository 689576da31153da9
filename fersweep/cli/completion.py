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
    from fersweep.results.record.home import sweep_names

    given: dict[str, Any] = ctx.params
    home = Path(given.get("home") or os.environ.get("FERSWEEP_HOME") or "runs")
    return [name for name in sweep_names(home) if name.startswith(incomplete)]
