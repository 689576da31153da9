"""Verbs that remove and rename: rm, mv, gc."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.options import RUNS, AsJson, Home, known_sweeps
from fersweep.cli.output import say, show
from fersweep.common.errors import InputError

app = typer.Typer()
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, with sizes; change nothing.")]


@contextmanager
def _naming_what_is_left(home: Path, *names: str) -> Iterator[None]:
    """After a Ctrl-C, say what has begun and what finishes it."""
    from fersweep.results.record.home import begun

    try:
        yield
    except KeyboardInterrupt:
        for name in names:
            for line in begun(home, name):
                say(line)
        raise


@app.command(rich_help_panel="Sweeps", epilog="Examples: fersweep rm cnn --dry-run\n\nfersweep rm cnn lstm --yes")
def rm(
    names: Annotated[
        list[str], typer.Argument(help="Names of sweeps.", metavar="NAME...", autocompletion=known_sweeps)
    ],
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Leave MLflow and the bucket as they are, e.g. where they are out of reach.")
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Remove sweeps: directory, checkpoints, also those in a bucket, and runs in MLflow; registered versions stay."""
    from fersweep.results.housekeeping import removal, tables

    if dry_run:
        show(removal.plan(names, home, local), tables.render_removals, as_json)
        return
    if not yes:
        planned = removal.plan(names, home, local)
        if not sys.stdin.isatty():
            raise InputError(
                "rm asks before it removes, and here is nobody to ask: --yes removes, --dry-run only shows"
            )
        if not as_json:
            show(planned, tables.render_removals, as_json)
        what = "sweep" if len(planned) == 1 else f"{len(planned)} sweeps"
        if not typer.confirm(f"Remove the {what} for good?", err=True):
            say("nothing is removed")
            raise typer.Exit(1)
    with _naming_what_is_left(home, *names):
        removed = removal.rm(names, home, local=local, tell=say)
    if as_json or yes:
        show(removed, tables.render_removals, as_json)


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep mv cnn cnn-192")
def mv(
    old: Annotated[str, typer.Argument(help="Name of the sweep.", metavar="OLD", autocompletion=known_sweeps)],
    new: Annotated[str, typer.Argument(help="Its new name.", metavar="NEW")],
    dry_run: DryRun = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Rename a sweep, also in its bucket and in MLflow; a resume goes on in the same runs."""
    from fersweep.results.housekeeping import renaming, tables

    with _naming_what_is_left(home, old):
        renamed = renaming.mv(old, new, home, dry_run, say)
    show(renamed, tables.render_renaming, as_json)


@app.command(rich_help_panel="Sweeps", epilog="Examples: fersweep gc --dry-run\n\nfersweep gc --caches")
def gc(
    dry_run: DryRun = False,
    caches: Annotated[
        bool, typer.Option("--caches", help="Also what only saves time: staged data, and what MediaPipe saw in faces.")
    ] = False,
    runs: Annotated[
        bool,
        typer.Option("--runs", help="Also MLflow's runs of sweeps that are not in this home, as after a plain rm -r."),
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Remove what nothing needs: what killed processes have left in the home, in MLflow and on this machine."""
    from fersweep.results.housekeeping import collection, tables

    collected = collection.gc(home, dry_run, caches, runs, say)
    show(collected, tables.render_collected, as_json)
    if collected.failed:
        raise typer.Exit(1)
