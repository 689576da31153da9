"""Verbs about the machines that a sweep runs on: plan, doctor, and `cluster` (render, up, down, status, submit, logs, stop)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fersweep.cli.options import (
    RUNS,
    Address,
    AsJson,
    Home,
    MaxEpochs,
    NumTrials,
    Override,
    Recipe,
    SweepName,
    TrustNetwork,
    known_recipes,
)
from fersweep.cli.output import say, show

if TYPE_CHECKING:
    from fersweep.cluster.jobs.up_down import Step

app = typer.Typer()
group = typer.Typer(help="Files that start a cluster, and the jobs on it.", no_args_is_help=True)


@app.command(
    rich_help_panel="Cluster",
    epilog="Examples: fersweep plan cnn --data runs/data/fer2013\n\nfersweep plan fer_sota --data runs/data/fer2013 --gpus 8 --price-per-gpu-hour 1.5",
)
def plan(
    recipe: Recipe,
    data: Annotated[
        str,
        typer.Option(
            help="A dataset made by `fersweep prepare`, a directory or s3://…, gs://….",
            metavar="DATASET",
            show_default=False,
        ),
    ],
    name: SweepName = None,
    trials: NumTrials = None,
    max_epochs: MaxEpochs = None,
    set_: Override = None,
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
    from fersweep.api import machines
    from fersweep.cluster.planning.tables import render

    planned = machines.plan(
        recipe,
        data,
        name=name,
        trials=trials,
        max_epochs=max_epochs,
        overrides=set_,
        gpus=gpus,
        price_per_gpu_hour=price_per_gpu_hour,
        calibrate=calibrate,
        address=address,
        home=home,
    )
    show(planned, render, as_json)


@app.command(
    rich_help_panel="Cluster",
    epilog="Examples: fersweep doctor\n\nfersweep doctor cnn --data runs/data/fer2013 --address 10.0.0.1:6379",
)
def doctor(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="What is to run: its storage, tracking server and resources are checked, too.",
            metavar="RECIPE|FILE",
            autocompletion=known_recipes,
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
    from fersweep.api import machines
    from fersweep.cluster.doctor.tables import render

    diagnosis = machines.doctor(recipe, data, overrides=set_, address=address, home=home)
    show(diagnosis, render, as_json)
    if not diagnosis.could_run:
        raise typer.Exit(1)


@group.command(
    "render", epilog="Examples: fersweep cluster render example\n\nfersweep cluster render slurm --out my-slurm"
)
def cluster_render(
    target: Annotated[str | None, typer.Argument(help="Kind of cluster; without it, they are listed.")] = None,
    file: Annotated[Path, typer.Option("--file", "-f", help="The cluster file.")] = Path("cluster.yaml"),
    out: Annotated[Path | None, typer.Option(help="Directory of the files; default: NAME-TARGET.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were changed.")] = False,
) -> None:
    """Write the files that start a cluster, from one cluster.yaml; `render example` writes a commented cluster.yaml."""
    from fersweep.api import machines
    from fersweep.cluster import launchers
    from fersweep.common.text import printable

    if target is None:
        print("example  a commented cluster.yaml to begin with")
        for name in launchers.TARGETS:
            print(f"{name:8} {launchers.load(name).SUMMARY}")
        return
    done = machines.cluster_render(target, file=file, out=out, force=force)
    for path in done.unchanged:
        say(f"unchanged: {path}")
    for path in done.written:
        print(f"written: {printable(path)}")
    print(f"next: {printable(done.next)}")


JobsAddress = Annotated[
    str | None,
    typer.Option(
        help="The cluster's Jobs API, http://HEAD:8265; default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, this machine's.",
        show_default=False,
    ),
]
JobName = Annotated[str, typer.Argument(help="Name of the sweep.", metavar="SWEEP")]


@group.command("submit", epilog="Example: fersweep cluster submit cnn --data /shared/fer2013 --home /shared/runs")
def cluster_submit(
    recipe: Recipe,
    data: Annotated[
        str,
        typer.Option(help="A dataset directory that the cluster sees, or its address in a bucket.", show_default=False),
    ],
    name: SweepName = None,
    trials: NumTrials = None,
    max_epochs: MaxEpochs = None,
    set_: Override = None,
    address: JobsAddress = None,
    home: Home = RUNS,
    trust_network: TrustNetwork = False,
    as_json: AsJson = False,
) -> None:
    """Send a sweep to a cluster as a job, which goes on when this machine is off; the same as `fersweep launch --submit`."""
    from fersweep.cli.sweeps import launch

    launch(
        recipe,
        data,
        name,
        trials,
        max_epochs,
        set_,
        address,
        home,
        submit=True,
        trust_network=trust_network,
        as_json=as_json,
    )


@group.command("status", epilog="Example: fersweep cluster status --address http://10.0.0.1:8265")
def cluster_status(address: JobsAddress = None, as_json: AsJson = False) -> None:
    """Show a cluster's machines, its free GPUs, and the sweeps that run there as jobs."""
    from fersweep.api import machines
    from fersweep.cluster.jobs.machines import render

    show(machines.cluster_status(address), render, as_json)


@group.command("logs", epilog="Example: fersweep cluster logs cnn --follow")
def cluster_logs(
    name: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    address: JobsAddress = None,
) -> None:
    """Print what the driver of a sweep that runs as a job has printed."""
    from fersweep.cluster.jobs.api import open_api
    from fersweep.cluster.jobs.jobs import Jobs
    from fersweep.common.text import printable_lines

    jobs = Jobs(open_api(address))
    job = jobs.newest(name)
    for text in jobs.follow(job) if follow else [jobs.log(job)]:
        print(printable_lines(text.expandtabs()), end="", flush=True)
    if follow and (job := jobs.look(job)).state != "SUCCEEDED":
        say(f"{name}: job {job.id} is {job.state.lower()}")
        raise typer.Exit(1)


@group.command("stop", epilog="Example: fersweep cluster stop cnn")
def cluster_stop(name: JobName, address: JobsAddress = None, as_json: AsJson = False) -> None:
    """Stop a sweep that runs as a job: its trials are saved, and it can be submitted again."""
    from fersweep.api import machines

    stopped = machines.cluster_stop(name, address=address)
    show(stopped, lambda stopped: stopped.line, as_json)
    if stopped.state == "running":
        raise typer.Exit(1)


Place = Annotated[
    Path | None,
    typer.Argument(help="What `cluster render` wrote: a directory, or a file of it; default: the only one here."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer Ray's questions with yes.")]


@group.command("up", epilog="Example: fersweep cluster up fer-ssh")
def cluster_up(place: Place = None, yes: Yes = False) -> None:
    """Start the cluster whose files `cluster render` wrote, by the tool that they are for."""
    from fersweep.api import machines

    _type_it(machines.cluster_up(place, yes=yes))


@group.command("down", epilog="Example: fersweep cluster down fer-ssh")
def cluster_down(place: Place = None, yes: Yes = False) -> None:
    """End that cluster and its machines. Sweeps that ran there can be resumed from their home or bucket."""
    from fersweep.api import machines

    _type_it(machines.cluster_down(place, yes=yes))


def _type_it(step: Step) -> None:
    """Say what a person has to type, where that is theirs to do."""
    if step.command is None:
        print(f"type: {step.line}")
