"""Verbs about sweeps: launch, resume, status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fersweep.cli.options import RUNS, Address, AsJson, Data, Home, Name
from fersweep.cli.output import complain, say, show

if TYPE_CHECKING:
    from fersweep.cluster.driver.run_sweep import Outcome

app = typer.Typer()


@app.command()
def launch(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a sweep file (YAML).", metavar="RECIPE|FILE")],
    data: Data,
    name: Annotated[str | None, typer.Option(help="Name of the sweep; default: the file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="search.num_trials")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="stop.max_epochs")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key, e.g. stop.scheduler=none", metavar="A.B=C")
    ] = None,
    address: Address = None,
    home: Home = RUNS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the resolved sweep, stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a sweep: search the hparams of a trainable on a dataset. One with `then:` is followed by a second one."""
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.launch import dry
    from fersweep.cluster.launch import launch as run
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    options = {"name": name, "search__num_trials": trials, "stop__max_epochs": max_epochs}
    sweep = read_sweep(recipe, set_ or [], **options)
    if dry_run:
        print(dry(sweep, data, home, address))
        return
    outcome = run(sweep, data, home, address)
    report_sweep(outcome, as_json, home)
    if outcome.following is not None:
        report_sweep(go_on(outcome, outcome.following, address), as_json, home)


@app.command()
def resume(
    name: Name,
    trials: Annotated[str | None, typer.Option(help="How many trials in all, or +N more.")] = None,
    max_epochs: Annotated[
        int | None, typer.Option(help="Epochs of a trial; finished ones whose checkpoint was kept go on.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials once more.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="What may change, e.g. resources.cpus=2", metavar="A.B=C")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset's directory, if it was moved.")] = None,
    address: Address = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Go on with an interrupted sweep where it stopped, or extend a finished one."""
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.resume import resume as run
    from fersweep.results.record.home import find_sweep

    outcome = run(
        find_sweep(home, name),
        address,
        trials=trials,
        max_epochs=max_epochs,
        overrides=set_,
        data=data,
        retry_failed=retry_failed,
    )
    report_sweep(outcome, as_json, home)
    if outcome.following is not None:
        second = go_on(outcome, outcome.following, address, data=data, retry_failed=retry_failed)
        report_sweep(second, as_json, home)


def report_sweep(outcome: Outcome, as_json: bool, home: Path) -> None:
    """After a sweep: its best trials and what is next, or why it ended early and how to go on (exit code 1, 130 or 143).

    Of two sweeps (`then:`) JSON has the second one.
    """
    from fersweep.results.compare.tables import render_sweep
    from fersweep.results.compare.trials import compare
    from fersweep.results.record.home import home_option, resume_command

    name, where, again = outcome.directory.name, home_option(home), resume_command(outcome.directory)
    if outcome.missing:
        say(outcome.missing)
    if outcome.state != "finished":
        if outcome.error is not None:
            complain(outcome.error, 1)
        say(f"{outcome.state}; nothing is lost; go on with: {again}")
        raise typer.Exit(1 if outcome.error is not None else 128 + (outcome.signal or 2))
    following = outcome.following
    if following is None or not as_json:
        show(compare(outcome.directory, top=5), render_sweep, as_json)
    if following is not None:
        share = "all" if following.task.fraction == 1 else f"{following.task.fraction:g}"
        best, epochs = following.search.num_trials, following.stop.max_epochs
        say(f"then: {following.name}, the best {best} on {share} of train, {epochs} epochs at most")
        return
    say("next: " + " · ".join(f"fersweep {verb} {name}{where}" for verb in ("compare", "report", "promote", "ui")))


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of the sweep; default: all of them.")] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="Bring MLflow level with the journal of each sweep that is not running.")
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say where each sweep stands: running, interrupted, failed or finished; its trials, and how to go on."""
    from fersweep.results.dashboards import status as reading
    from fersweep.results.dashboards import sync as syncing
    from fersweep.results.dashboards import tables

    sweeps, failed = reading.status(home, name), False
    for index, synced in enumerate(syncing.sync(sweeps) if sync else ()):
        say(synced.line)
        sweeps[index], failed = synced.sweep, failed or synced.failed
    show(sweeps, lambda sweeps: tables.render(sweeps, home), as_json)
    if failed:
        raise typer.Exit(1)
