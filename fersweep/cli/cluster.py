"""Verbs about the machines that a sweep runs on: plan, doctor, and `cluster` (render, up, down, status, submit, logs, stop)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli import completion
from fersweep.cli.options import RUNS, Address, AsJson, Home
from fersweep.cli.output import say, show

app = typer.Typer()
group = typer.Typer(help="Files that start a cluster, and the jobs on it.", no_args_is_help=True)


@app.command(
    rich_help_panel="Cluster",
    epilog="Examples: fersweep plan cnn --data runs/data/fer2013\n\nfersweep plan fer_sota --data runs/data/fer2013 --gpus 8 --price-per-gpu-hour 1.5",
)
def plan(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe's name or a sweep file (YAML).", metavar="RECIPE|FILE", autocompletion=completion.recipes
        ),
    ],
    data: Annotated[Path, typer.Option(help="A dataset directory made by `fersweep prepare`.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name of the sweep; default: the file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials (search.num_trials).", min=1)] = None,
    max_epochs: Annotated[int | None, typer.Option(help="Epochs of a trial (stop.max_epochs).", min=1)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key, e.g. stop.scheduler=none", metavar="A.B=C")
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="Say it for this many GPUs, too.", min=1)] = None,
    price_per_gpu_hour: Annotated[
        float | None, typer.Option(help="Of one GPU, in any currency; default: that of ./cluster.yaml.", min=0)
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure, even where past sweeps say what trials take.")
    ] = False,
    address: Address = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say what a sweep will take before it runs: time, cost, epochs, memory, disk, and what holds it up."""
    from fersweep.cluster.planning.machine import price_of
    from fersweep.cluster.planning.plan import Options
    from fersweep.cluster.planning.plan import plan as run
    from fersweep.cluster.planning.tables import render
    from fersweep.search_spaces.sweep_file.consistency import remarks
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    sweep = read_sweep(recipe, set_ or [], name=name, search__num_trials=trials, stop__max_epochs=max_epochs)
    for remark in remarks(sweep):
        say(f"note: {remark}")
    price = price_of(Path("cluster.yaml")) if price_per_gpu_hour is None else price_per_gpu_hour
    show(run(sweep, data, home, address, Options(gpus, price, calibrate), say), render, as_json)
