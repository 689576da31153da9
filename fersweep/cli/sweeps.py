"""Verbs about sweeps: recipes, launch, resume, stop, status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fersweep.cli.options import (
    RUNS,
    Address,
    AsJson,
    Home,
    MaxEpochs,
    Name,
    NumTrials,
    Override,
    SweepName,
    TrustNetwork,
    known_recipes,
    known_sweeps,
)
from fersweep.cli.output import complain, say, show
from fersweep.common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fersweep.cluster.driver.run_sweep import Outcome

app = typer.Typer()


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep recipes cnn > my_sweep.yaml")
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="A recipe, to print its sweep file; default: all.", autocompletion=known_recipes),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes: task, needs, and time; or print one as YAML."""
    from fersweep.api import sweeps
    from fersweep.search_spaces.sweep_file import recipe_list

    if name is None:
        show(sweeps.recipes(), recipe_list.render, as_json)
    elif as_json:
        show(sweeps.recipe(name), None, as_json)
    else:
        print(sweeps.recipe_path(name).read_text(), end="")


@app.command(
    rich_help_panel="Sweeps",
    epilog="Examples: fersweep launch blendshape_dense --data runs/data/fer2013\n\nfersweep launch cnn --data runs/data/fer2013 --name mine --trials 20 --set stop.reduction=4",
)
def launch(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name (fersweep recipes lists them) or a sweep file (YAML).",
            metavar="RECIPE|FILE",
            autocompletion=known_recipes,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A dataset made by `fersweep prepare`, a directory or s3://…, gs://…; needed.",
            metavar="DATASET",
            show_default=False,
        ),
    ] = None,
    name: SweepName = None,
    trials: NumTrials = None,
    max_epochs: MaxEpochs = None,
    set_: Override = None,
    address: Address = None,
    home: Home = RUNS,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the sweep if it is there, start it if not.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the resolved sweep, stop.")
    ] = False,
    submit: Annotated[
        bool, typer.Option("--submit", help="Send it as a job to the cluster whose Jobs API --address names.")
    ] = False,
    trust_network: TrustNetwork = False,
    as_json: AsJson = False,
) -> None:
    """Run a sweep: search the hparams of a trainable on a dataset. One with `then:` is followed by a second one."""
    from fersweep.api import launching, machines
    from fersweep.search_spaces.sweep_file import recipe_list

    if recipe is None:
        show(recipe_list.recipes(), recipe_list.render, as_json)
        raise InputError("launch wants a recipe or a sweep file, and --data")
    if submit and dry_run:
        raise InputError(
            "--submit with --dry-run: --dry-run checks the sweep on this machine, and sends nothing: want one of them"
        )
    if trust_network and not submit:
        raise InputError("--trust-network without --submit: nothing is sent")
    asked: dict[str, Any] = {"name": name, "trials": trials, "max_epochs": max_epochs, "overrides": set_}
    where: dict[str, Any] = {"home": home, "address": address}
    if submit:
        job = machines.cluster_submit(recipe, data, **asked, **where, trust_network=trust_network)
        show(job, lambda job: f"{job.sweep}: job {job.id} is {job.state.lower()}", as_json)
    elif dry_run:
        checked = launching.dry_run(recipe, data, **asked, **where)
        if as_json:
            show(checked, None, as_json)
        else:
            print(checked.as_yaml())
    else:
        report(launching.launched(recipe, data, **asked, **where, resume=resume), as_json, home, address)


@app.command(rich_help_panel="Sweeps", epilog="Examples: fersweep resume cnn\n\nfersweep resume cnn --trials +16")
def resume(
    name: Name,
    trials: Annotated[str | None, typer.Option(help="How many trials in all, or +N more.")] = None,
    max_epochs: Annotated[
        int | None, typer.Option(help="Epochs of a trial; finished ones whose checkpoint was kept go on.", min=1)
    ] = None,
    hours: Annotated[
        str | None, typer.Option(help="Hours of the sweep's budget in all, or +N more.", metavar="H|+H")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials once more.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="What may change, e.g. resources.cpus=2", metavar="A.B=C")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the dataset is, if it was moved.", metavar="DATASET")] = None,
    accept_code: Annotated[
        bool | None,
        typer.Option(
            "--accept-code/--keep-code", help="If own code has changed: go on with it, or with the sweep's copy."
        ),
    ] = None,
    address: Address = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Go on with an interrupted sweep where it stopped, or extend a finished one."""
    from fersweep.api.launching import resumed

    ended = resumed(
        name,
        trials=trials,
        max_epochs=max_epochs,
        hours=hours,
        retry_failed=retry_failed,
        overrides=set_,
        data=data,
        accept_code=accept_code,
        address=address,
        home=home,
    )
    report(ended, as_json, home, address)


def report(ended: Iterator[Outcome], as_json: bool, home: Path, address: str | None) -> None:
    """Report each sweep as soon as it has ended: its best trials and what is next, or why it ended early and how to go on (exit
    code 1, 130 or 143).
    """
    from fersweep.api.running import SweepFailed, SweepInterrupted, SweepStopped
    from fersweep.common.text import shell
    from fersweep.results.record.home import resume_command, retry_options
    from fersweep.results.record.sweep_json import read_sweep_json

    try:
        for outcome in ended:
            report_sweep(outcome, as_json, home)
    except (SweepFailed, SweepStopped, SweepInterrupted) as early:
        again = resume_command(early.directory)
        again += f" {shell('--address', address)}" if address else ""
        again += f" {retry_options(read_sweep_json(early.directory).asked.trainable)}" if early.all_failed else ""
        if early.error is not None:
            complain(early.error, 1)
        say(f"{early.state}; nothing is lost; go on with: {again}")
        raise typer.Exit(1 if early.error is not None else 128 + (early.signal or 2)) from None


def report_sweep(outcome: Outcome, as_json: bool, home: Path) -> None:
    """After a sweep that has finished: its best trials, and what is next. Of two sweeps (`then:`) JSON has the second one."""
    from fersweep.common.display.terminal import forgiving
    from fersweep.results.compare.tables import render_sweep
    from fersweep.results.compare.trials import compare
    from fersweep.results.record.home import home_option
    from fersweep.results.record.sweep_json import read_sweep_json
    from fersweep.results.record.timeline import planned_and_taken

    sys.stdout = forgiving(sys.stdout)  # a second sweep follows, whoever reads of the first one
    name, where = outcome.directory.name, home_option(home)
    following = outcome.following
    if following is None or not as_json:
        show(compare(outcome.directory, top=5), render_sweep, as_json)
    if planned := planned_and_taken(read_sweep_json(outcome.directory), outcome.directory):
        say(planned)
    if following is None:
        say("next: " + " · ".join(f"fersweep {verb} {name}{where}" for verb in ("compare", "report", "promote", "ui")))
    elif outcome.directory.with_name(following.name).exists():
        say(
            f"then: {following.name} goes on with the points that were the best when it began; "
            f"for those of now launch another sweep, with search.start_from: {{sweep: {name}, values: false}}"
        )
    else:
        share = "all" if following.task.fraction == 1 else f"{following.task.fraction:g}"
        best, epochs = following.search.num_trials, following.stop.max_epochs
        folds = " of every fold" if following.task.fold == "all" else ""
        say(f"then: {following.name}, the best {best} on {share} of train{folds}, {epochs} epochs at most")


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep stop cnn")
def stop(name: Name, home: Home = RUNS, as_json: AsJson = False) -> None:
    """Stop a running sweep, from any machine that sees its home or bucket; its trials are saved, and it can be resumed."""
    from fersweep.api import sweeps

    stopped = sweeps.stop(name, home=home)
    show(stopped, lambda stopped: stopped.line, as_json)
    if stopped.state == "running":
        raise typer.Exit(1)


@app.command(rich_help_panel="Sweeps", epilog="Examples: fersweep status\n\nfersweep status cnn --watch")
def status(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the sweep; default: all of them.", autocompletion=known_sweeps),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until no sweep runs.")] = False,
    sync: Annotated[
        bool,
        typer.Option(
            "--sync", help="Bring MLflow and callbacks level with the journal of each sweep that is not running."
        ),
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say where each sweep stands: running, interrupted, failed or finished; its trials, and how to go on."""
    from fersweep.results.dashboards import status as reading
    from fersweep.results.dashboards import sync as syncing
    from fersweep.results.dashboards import tables, watching
    from fersweep.results.record.home import begun

    sweeps, failed = reading.status(home, name), False
    for line in begun(home, name):
        say(line)
    if watch:
        sweeps = watching.watch(home, name, lambda found: tables.render(found, home))
    for index, synced in enumerate(syncing.sync(sweeps) if sync else ()):
        say(synced.line)
        sweeps[index], failed = synced.sweep, failed or synced.failed
    show(sweeps, lambda sweeps: tables.render(sweeps, home), as_json)
    if failed:
        raise typer.Exit(1)
