"""Launch and resume sweeps: `fersweep.launch`, `fersweep.resume`, `fersweep.dry_run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from fersweep.api.running import outcomes
from fersweep.api.settings import (
    Data,
    Overrides,
    Place,
    as_options,
    asked_sweep,
    data_of,
    home_of,
    quiet_process,
    say,
    wanted_data,
)
from fersweep.common.errors import InputError
from fersweep.common.ray_connection import is_connected, left_as_found
from fersweep.common.versions import call, called

if TYPE_CHECKING:
    from fersweep.api.background import Running
    from fersweep.api.sweep import Sweep
    from fersweep.cluster.driver.run_sweep import Outcome
    from fersweep.cluster.launch import DryRun
    from fersweep.search_spaces.sweep_file.schema import Sweep as SweepFile


@overload
def launch(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    overrides: Overrides | None = None,
    home: Place | None = None,
    address: str | None = None,
    resume: bool = False,
    wait: Literal[True] = True,
) -> Sweep: ...
@overload
def launch(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    overrides: Overrides | None = None,
    home: Place | None = None,
    address: str | None = None,
    resume: bool = False,
    wait: Literal[False],
) -> Running: ...
def launch(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    overrides: Overrides | None = None,
    home: Place | None = None,
    address: str | None = None,
    resume: bool = False,
    wait: bool = True,
) -> Sweep | Running:
    """Run a sweep: search the hparams of a trainable on a dataset. One with `then:` is followed by a second one.

        sweep = fersweep.launch("quick", data="runs/data/fer2013")
        sweep = fersweep.launch("cnn", "runs/data/fer2013", name="mine", trials=20, overrides={"stop.reduction": 4})
        running = fersweep.launch("cnn", "runs/data/fer2013", name="mine", wait=False)

    What prints meanwhile goes to stderr; a terminal and a notebook's cell show the trials as they run. A Ray that it starts
    ends with it; one that is connected already (`ray.init`) is used, and stays.

    Args:
        recipe: a recipe's name (`fersweep.recipes()` lists them), the path of a sweep file (YAML), or the content of one
            as a mapping, as `fersweep.recipe("cnn")` returns it.
        data: a dataset's directory, its address in a bucket (s3://…, gs://…), or what `fersweep.prepare` returned.
        name: of the sweep; default: the file's. A mapping without a `name` needs it.
        trials: how many (`search.num_trials`).
        max_epochs: of a trial (`stop.max_epochs`).
        overrides: any key of the sweep file, `{"stop.scheduler": "none"}` or `["stop.scheduler=none"]`.
        home: where sweeps and MLflow's records lie; default: FERSWEEP_HOME, else `runs`.
        address: HOST:PORT of a Ray cluster's head, "auto" (the cluster on this machine), or "local"; default:
            RAY_ADDRESS, else local.
        resume: go on with the sweep if it is there, start it if not.
        wait: False: run it in a process of its own, which outlives this one, and return at once.

    Returns:
        The sweep, of two (`then:`) the second one; with `wait=False` a `Running`, whose `wait()` returns it.

    Raises:
        InputError: the sweep, the data or the place is wrong, or of a wrong type; or another thread of this process runs a
            sweep, or another process one of this name. Nothing was written.
        SweepFailed: a fault at run time ended it, such as more failed trials than it allows.
        SweepInterrupted (a KeyboardInterrupt): Ctrl-C, or the interrupt of a notebook's kernel: trials that run report once
            more, so nothing is lost; the text says how to go on. A second Ctrl-C ends it at once.
        SweepStopped: `fersweep.stop`, or a signal such as SIGTERM.
    """
    options: dict[str, Any] = {"name": name, "trials": trials, "max_epochs": max_epochs, "overrides": overrides}
    more: dict[str, Any] = {"home": home, "address": address, "resume": resume}
    if not wait:
        from fersweep.api.background import start

        return start(recipe, data, **options, **more)
    with called(call("launch", recipe, data=data_of(data), **options, **more)):
        return _last(launched(recipe, data, **options, **more))


def launched(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data | None = None,
    *,
    home: Place | None = None,
    address: str | None = None,
    resume: bool = False,
    **options: Any,
) -> Iterator[Outcome]:
    """How the sweep ended, then how the one that follows it ended; as `launch`, an outcome at a time."""
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.launch import launch as new
    from fersweep.cluster.launch import start_ray
    from fersweep.cluster.launch_or_resume import launch_or_resume

    quiet_process()
    sweep, place, where = *_asked(recipe, data, home, **options), home_of(home)

    def run() -> Outcome:
        if resume:
            return launch_or_resume(sweep, place, where, address)
        start_ray(sweep, place, where, address)
        return new(sweep, place, where, address)

    yield from _on_ray(
        run,
        lambda first, following: go_on(first, following, address),
        address,
    )


def resume(
    name: str,
    *,
    trials: int | str | None = None,
    max_epochs: int | None = None,
    hours: float | str | None = None,
    retry_failed: bool = False,
    overrides: Overrides | None = None,
    data: Data | None = None,
    accept_code: bool | None = None,
    address: str | None = None,
    home: Place | None = None,
) -> Sweep:
    """Go on with an interrupted sweep where it stopped, or extend a finished one.

        fersweep.resume("mine")
        fersweep.resume("mine", trials="+16", hours="+1")

    Args:
        name: of the sweep, or its address in a bucket.
        trials: how many in all, or "+N" more.
        max_epochs: of a trial; finished ones whose checkpoint was kept go on.
        hours: of the sweep's budget in all, or "+N" more.
        retry_failed: run failed trials once more.
        overrides: what may change, e.g. `{"resources.cpus": 2}`.
        data: where the dataset is, if it was moved.
        accept_code: where own code has changed since the launch: True: go on with it, False: with the sweep's copy; None: that
            is an InputError.
        address, home: as of `launch`.

    Returns and raises what `launch` does; InputError, too, for what its trials so far rest on and that may not change.
    """
    options: dict[str, Any] = {"trials": trials, "max_epochs": max_epochs, "hours": hours, "overrides": overrides}
    more: dict[str, Any] = {"retry_failed": retry_failed, "data": data_of(data), "address": address, "home": home}
    more["accept_code"] = accept_code
    with called(call("resume", name, **options, **more)):
        return _last(resumed(name, **options, **more))


def resumed(
    name: str,
    *,
    trials: int | str | None = None,
    max_epochs: int | None = None,
    hours: float | str | None = None,
    retry_failed: bool = False,
    overrides: Overrides | None = None,
    data: Data | None = None,
    accept_code: bool | None = None,
    address: str | None = None,
    home: Place | None = None,
) -> Iterator[Outcome]:
    """As `resume`, an outcome at a time."""
    from fersweep.cluster.follow_up import go_on
    from fersweep.cluster.resume import resume as run
    from fersweep.results.record.home import find_sweep

    quiet_process()
    place, directory, changes = data_of(data), find_sweep(home_of(home), name), as_options(overrides) or None
    yield from _on_ray(
        lambda: run(
            directory,
            address,
            trials=None if trials is None else str(trials),
            max_epochs=max_epochs,
            hours=None if hours is None else f"{hours}",
            overrides=changes,
            data=place,
            retry_failed=retry_failed,
            accept_code=accept_code,
        ),
        lambda first, following: go_on(first, following, address, data=place, retry_failed=retry_failed),
        address,
    )


def dry_run(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    overrides: Overrides | None = None,
    home: Place | None = None,
    address: str | None = None,
) -> DryRun:
    """Check everything that `launch` checks, and start nothing: `fersweep launch --dry-run`. Arguments as of `launch`.

    Returns:
        `sweep`, the resolved sweep file as a dict; `facts`, lines about its data and its schedule; `as_yaml()`.

    Raises InputError where `launch` would, but for a cluster without room for a trial: stderr warns of that.
    """
    from fersweep.cluster.launch import dry

    quiet_process()
    options: dict[str, Any] = {"name": name, "trials": trials, "max_epochs": max_epochs, "overrides": overrides}
    sweep, place = _asked(recipe, data, home, **options)
    with left_as_found(), redirect_stdout(sys.stderr):  # what a sampler of one's own prints is no result
        _refuse_other_ray(address)
        return dry(sweep, place, home_of(home), address, say)


def _asked(
    recipe: Place | Mapping[str, Any] | SweepFile, data: Any, home: Place | None, **options: Any
) -> tuple[SweepFile, str]:
    """The sweep and its data. InputError where either is wrong, or there is none."""
    return asked_sweep(recipe, **options), wanted_data(data, home)


def _on_ray(
    run: Callable[[], Outcome], follow: Callable[[Outcome, SweepFile], Outcome], address: str | None
) -> Iterator[Outcome]:
    with left_as_found():
        _refuse_other_ray(address)
        yield from outcomes(run, follow, address)


def _refuse_other_ray(address: str | None) -> None:
    """InputError where this process has joined another Ray than the one that `address` names: it would be used instead."""
    if address is None or not is_connected():
        return
    from fersweep.common.ray_address import resolve
    from fersweep.common.ray_connection import head_address

    named = resolve(address)
    if named is not None and named.where != (joined := head_address()):
        raise InputError(f"{named.named}: this process has joined another Ray, at {joined}: ray.shutdown() leaves it")


def _last(ended: Iterator[Outcome]) -> Sweep:
    from fersweep.api.sweep import Sweep

    directories = [outcome.directory for outcome in ended]
    return Sweep(Path(directories[-1]))
