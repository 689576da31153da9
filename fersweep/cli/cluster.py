"""Verbs about the machines that a sweep runs on: plan, doctor, and `cluster` (render, up, down, status, submit, logs, stop)."""

from __future__ import annotations

from typing import Annotated

import typer

from fersweep.cli import completion
from fersweep.cli.options import RUNS, Address, AsJson
from fersweep.cli.output import show

app = typer.Typer()
group = typer.Typer(help="Files that start a cluster, and the jobs on it.", no_args_is_help=True)


@app.command(
    rich_help_panel="Cluster",
    epilog="Examples: fersweep doctor\n\nfersweep doctor cnn --data runs/data/fer2013 --address 10.0.0.1:6379",
)
def doctor(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="What is to run: its storage, tracking server and resources are checked, too.",
            metavar="[RECIPE|FILE]",
            autocompletion=completion.recipes,
            show_default=False,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="A dataset that every node is to read.", show_default=False)] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="As for launch.", metavar="A.B=C")] = None,
    address: Address = None,
    home: Annotated[
        str, typer.Option(envvar="FERSWEEP_HOME", help="Where sweeps lie: a directory, or a bucket (s3://…).")
    ] = str(RUNS),
    as_json: AsJson = False,
) -> None:
    """Check every node: versions, GPUs, storage, clock, disk, limits. Exit code 1 if a sweep could not run."""
    from fersweep.cluster.doctor.diagnosis import diagnose
    from fersweep.cluster.doctor.tables import render
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    diagnosis = diagnose(address, home, data, read_sweep(recipe, set_ or []) if recipe else None)
    show(diagnosis, render, as_json)
    if not diagnosis.could_run:
        raise typer.Exit(1)
