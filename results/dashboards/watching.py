"""`fersweep status --watch`: the state of sweeps, again and again, until none of them runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.results.dashboards.status import SweepStatus, status

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_S, BUCKET_S = 2.0, 10.0  # from a bucket the whole journal is read


def watch(home: Path, name: str | None, render: Callable[[list[SweepStatus]], RenderableType]) -> list[SweepStatus]:
    """Show it on stderr's terminal while one of the sweeps runs → what is known of them then.

    Where there is no terminal, nothing is shown. Raises InputError if there is no sweep `name`.
    """
    from rich.console import Console
    from rich.live import Live

    found = status(home, name)
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while any(sweep.state == "running" for sweep in found):
            if sys.stderr.isatty():
                live.update(render(found), refresh=True)
            time.sleep(BUCKET_S if name and found[0].storage else REFRESH_S)
            found = status(home, name)
    return found
