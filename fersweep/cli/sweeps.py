"""Verbs about sweeps: recipes, launch, resume, stop, status."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fersweep.cli import completion
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
)
from fersweep.cli.output import complain, say, show
from fersweep.common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fersweep.cluster.driver.run_sweep import Outcome
    from fersweep.search_spaces.sweep_file.schema import Sweep

app = typer.Typer()


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep recipes cnn > my_sweep.yaml")
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="A recipe, to print its sweep file; default: all.", autocompletion=completion.recipes),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes: task, needs, and time; or print one as YAML."""
    from fersweep.search_spaces import recipe
    from fersweep.search_spaces.sweep_file import recipe_list, yaml_file

    if name is None:
        show(recipe_list.recipes(), recipe_list.render, as_json)
        return
    try:
        path = recipe(name)
    except ValueError as error:
        raise InputError(str(error)) from None
    if as_json:
        show(yaml_file.read(path), None, as_json)
    else:
        print(path.read_text(), end="")


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
            autocompletion=completion.recipes,
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
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.launch import dry
    from fersweep.cluster.launch import launch as run
    from fersweep.cluster.launch_or_resume import launch_or_resume
    from fersweep.search_spaces.sweep_file import recipe_list
    from fersweep.search_spaces.sweep_file.consistency import remarks
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    if recipe is None:
        show(recipe_list.recipes(), recipe_list.render, as_json)
        raise InputError("launch wants a recipe or a sweep file, and --data")
    if submit and dry_run:
        raise InputError(
            "--submit with --dry-run: --dry-run checks the sweep on this machine, and sends nothing: want one of them"
        )
    if trust_network and not submit:
        raise InputError("--trust-network without --submit: nothing is sent")
    options = {"name": name, "search__num_trials": trials, "stop__max_epochs": max_epochs}
    sweep = read_sweep(recipe, set_ or [], **options)
    if data is None:
        found = ", ".join(str(path.parent) for path in sorted(home.glob("data/*/manifest.json"))) or "none"
        raise InputError(
            f"--data is missing: a dataset directory made by `fersweep prepare` ({home}/data has: {found})"
        )
    for remark in remarks(sweep):
        say(f"note: {remark}")
    if submit:
        from fersweep.cluster.jobs import submission

        job = submission.submit(sweep, data, home, address, say, trust_network)
        show(job, lambda job: f"{sweep.name}: job {job.id} is {job.state.lower()}", as_json)
        return
    if dry_run:
        with redirect_stdout(sys.stderr):  # what a sampler of one's own prints is no result
            checked = dry(sweep, data, home, address, say)
        if as_json:
            show(checked, None, as_json)
        else:
            print(checked.as_yaml())
        return
    run_and_report(
        lambda: (launch_or_resume if resume else run)(sweep, data, home, address),
        lambda first, following: go_on(first, following, address),
        as_json,
        home,
        address,
    )


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
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.resume import resume as run
    from fersweep.results.record.home import find_sweep

    run_and_report(
        lambda: run(
            find_sweep(home, name),
            address,
            trials=trials,
            max_epochs=max_epochs,
            hours=hours,
            overrides=set_,
            data=data,
            retry_failed=retry_failed,
            accept_code=accept_code,
        ),
        lambda first, following: go_on(first, following, address, data=data, retry_failed=retry_failed),
        as_json,
        home,
        address,
    )


def run_and_report(
    run: Callable[[], Outcome],
    follow: Callable[[Outcome, Sweep], Outcome],
    as_json: bool,
    home: Path,
    address: str | None,
) -> None:
    """Run a sweep, then the one that follows it, if one does, and report each. What prints meanwhile is no result."""
    with redirect_stdout(sys.stderr):
        outcome = run()
    report_sweep(outcome, as_json, home, address)
    if outcome.following is not None:
        with redirect_stdout(sys.stderr):
            second = follow(outcome, outcome.following)
        report_sweep(second, as_json, home, address)


def report_sweep(outcome: Outcome, as_json: bool, home: Path, address: str | None = None) -> None:
    """After a sweep: its best trials and what is next, or why it ended early and how to go on (exit code 1, 130 or 143).

    Of two sweeps (`then:`) JSON has the second one.
    """
    from fersweep.common.display.terminal import forgiving
    from fersweep.common.text import shell
    from fersweep.results.compare.tables import render_sweep
    from fersweep.results.compare.trials import compare
    from fersweep.results.record.home import home_option, resume_command
    from fersweep.results.record.sweep_json import read_sweep_json
    from fersweep.results.record.timeline import planned_and_taken

    sys.stdout = forgiving(sys.stdout)  # a second sweep follows, whoever reads of the first one
    name, where, again = outcome.directory.name, home_option(home), resume_command(outcome.directory)
    again += f" {shell('--address', address)}" if address else ""
    if outcome.missing:
        say(outcome.missing)
    if outcome.all_failed:
        again += " --retry-failed"
    if outcome.state != "finished":
        if outcome.error is not None:
            complain(outcome.error, 1)
        say(f"{outcome.state}; nothing is lost; go on with: {again}")
        raise typer.Exit(1 if outcome.error is not None else 128 + (outcome.signal or 2))
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
    from fersweep.cluster.stop import stop as run
    from fersweep.results.record.home import find_sweep

    stopped = run(find_sweep(home, name), say)
    if as_json:
        show(stopped._asdict(), None, as_json)
    else:
        print(stopped.line)
    if stopped.state == "running":
        raise typer.Exit(1)


@app.command(rich_help_panel="Sweeps", epilog="Examples: fersweep status\n\nfersweep status cnn --watch")
def status(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the sweep; default: all of them.", autocompletion=completion.sweeps),
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

    sweeps, failed = reading.status(home, name), False
    if watch:
        sweeps = watching.watch(home, name, lambda found: tables.render(found, home))
    for index, synced in enumerate(syncing.sync(sweeps) if sync else ()):
        say(synced.line)
        sweeps[index], failed = synced.sweep, failed or synced.failed
    show(sweeps, lambda sweeps: tables.render(sweeps, home), as_json)
    if failed:
        raise typer.Exit(1)
