"""The machines that sweeps run on: `plan`, `doctor`, and `cluster_…` for clusters and the jobs on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.api.settings import (
    Data,
    Overrides,
    Place,
    as_options,
    asked_sweep,
    data_of,
    home_of,
    path_of,
    quiet_process,
    say,
    wanted_data,
)
from fersweep.common.errors import InputError
from fersweep.common.ray_connection import left_as_found
from fersweep.common.versions import call, called

if TYPE_CHECKING:
    from fersweep.cluster.doctor.diagnosis import Diagnosis
    from fersweep.cluster.jobs.jobs import Job
    from fersweep.cluster.jobs.machines import ClusterStatus
    from fersweep.cluster.jobs.stop import StoppedJob
    from fersweep.cluster.jobs.up_down import Step, Verb
    from fersweep.cluster.launchers.rendering import Rendered
    from fersweep.cluster.planning.plan import Plan
    from fersweep.search_spaces.sweep_file.schema import Sweep as SweepFile


def plan(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    overrides: Overrides | None = None,
    gpus: int | None = None,
    price_per_gpu_hour: float | None = None,
    calibrate: bool = False,
    address: str | None = None,
    home: Place | None = None,
) -> Plan:
    """What a sweep will take before it runs: time, cost, epochs, memory, disk, and what holds it up.

    Args:
        recipe, data, name, trials, max_epochs, overrides, address, home: as of `fersweep.launch`.
        gpus: say it for this many GPUs, too.
        price_per_gpu_hour: of one GPU, in any currency; default: that of ./cluster.yaml.
        calibrate: measure, even where past sweeps say what trials take.

    Raises InputError where `launch` would, and where every trial that is tried fails.
    """
    from fersweep.cluster.planning.machine import price_of
    from fersweep.cluster.planning.plan import Options
    from fersweep.cluster.planning.plan import plan as run

    quiet_process()
    sweep = asked_sweep(recipe, overrides, name=name, trials=trials, max_epochs=max_epochs)
    price = price_of(Path("cluster.yaml")) if price_per_gpu_hour is None else price_per_gpu_hour
    with left_as_found(), redirect_stdout(sys.stderr):
        return run(sweep, str(data_of(data)), home_of(home), address, Options(gpus, price, calibrate), say)


def doctor(
    recipe: Place | Mapping[str, Any] | SweepFile | None = None,
    data: Data | None = None,
    *,
    overrides: Overrides | None = None,
    address: str | None = None,
    home: Place | None = None,
) -> Diagnosis:
    """Check every node: versions, GPUs, storage, clock, disk, limits: `could_run`, `findings`.

    Args:
        recipe: what is to run: its storage, tracking server and resources are checked, too.
        data: a dataset that every node is to read.
        overrides, address: as of `fersweep.launch`.
        home: where sweeps lie, a directory or a bucket (s3://…).
    """
    from fersweep.cluster.doctor.diagnosis import diagnose
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
    from fersweep.search_spaces.sweep_file.schema import Sweep

    quiet_process()
    where = str(home_of(None) if home is None else home)
    asked = recipe.model_dump(mode="json") if isinstance(recipe, Sweep) else recipe
    named = str(asked) if asked is not None and not isinstance(asked, Mapping) else asked
    return diagnose(address, where, data_of(data), read_sweep(named, as_options(overrides)) if named else None)


def cluster_submit(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Data | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    overrides: Overrides | None = None,
    address: str | None = None,
    home: Place | None = None,
    trust_network: bool = False,
) -> Job:
    """Send a sweep to a cluster as a job, which goes on when this machine is off: `fersweep launch --submit`.

    Args:
        recipe, name, trials, max_epochs, overrides: as of `fersweep.launch`.
        data, home: places that the cluster sees.
        address: the cluster's Jobs API, http://HEAD:8265; default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, this machine's.
        trust_network: also to a Jobs API that is open to its network without a token.
    """
    from fersweep.cluster.jobs import submission

    options: dict[str, Any] = {"name": name, "trials": trials, "max_epochs": max_epochs, "overrides": overrides}
    where = {"address": address, "home": home, "trust_network": trust_network}
    sweep = asked_sweep(recipe, **options)
    place = wanted_data(data, home)
    with called(call("cluster_submit", recipe, data=place, **options, **where)):
        return submission.submit(sweep, place, home_of(home), address, say, trust_network)


def cluster_status(address: str | None = None) -> ClusterStatus:
    """A cluster's machines, its free GPUs, and the sweeps that run there as jobs. `address`: as of `cluster_submit`."""
    from fersweep.cluster.jobs import machines
    from fersweep.cluster.jobs.api import open_api, refuse_open

    api = open_api(address)
    status = machines.cluster_status(api)
    try:
        refuse_open(api, next((node.ip for node in status.nodes if node.is_head), None))
    except InputError as error:
        say(f"warning: {error}")
    return status


def cluster_logs(name: str, *, follow: bool = False, address: str | None = None) -> Iterator[str]:
    """What the driver of a sweep that runs as a job has printed, in pieces; `follow`: until the job ends."""
    from fersweep.cluster.jobs.api import open_api
    from fersweep.cluster.jobs.jobs import Jobs

    jobs = Jobs(open_api(address))
    job = jobs.newest(name)
    return iter(jobs.follow(job)) if follow else iter([jobs.log(job)])


def cluster_stop(name: str, *, address: str | None = None) -> StoppedJob:
    """Stop a sweep that runs as a job: its trials are saved, and it can be submitted again."""
    from fersweep.cluster.jobs.api import open_api
    from fersweep.cluster.jobs.jobs import Jobs
    from fersweep.cluster.jobs.stop import stop_job

    return stop_job(Jobs(open_api(address)), name, say)


def cluster_render(
    target: str, *, file: Place = "cluster.yaml", out: Place | None = None, force: bool = False
) -> Rendered:
    """Write the files that start a cluster, from one cluster file.

    Args:
        target: the kind of cluster: ssh, slurm, aws, gcp, kuberay, sky, docker; or "example": a commented cluster file.
        file: the cluster file.
        out: directory of the files; default: NAME-TARGET.
        force: overwrite files that were changed.

    Returns:
        `written` and `unchanged`, paths; `next`, the command that starts it. Raises InputError before anything is written.
    """
    from fersweep.cluster.launchers import rendering

    if target == "example":
        return rendering.example(Path(file), force)
    return rendering.render(target, Path(file), path_of(out), force)


def cluster_up(place: Place | None = None, *, yes: bool = False) -> Step:
    """Start the cluster whose files `cluster_render` wrote, by the tool that they are for, which prints what it does.

    Args:
        place: the directory of the files, or one of them; default: the only one in the working directory.
        yes: answer Ray's questions with yes.

    Returns:
        `line`, what was run; where `command` is None, it was not: it is for a person to type.

    Raises InputError where there is nothing to start, RuntimeError where that fails.
    """
    return _step("up", place, yes)


def cluster_down(place: Place | None = None, *, yes: bool = False) -> Step:
    """End that cluster and its machines. Sweeps that ran there can be resumed from their home or bucket. As `cluster_up`."""
    return _step("down", place, yes)


def _step(verb: Verb, place: Place | None, yes: bool) -> Step:
    from fersweep.cluster.jobs import up_down

    step = up_down.step(verb, path_of(place), yes, sys.stdin.isatty())
    if step.command is not None:
        say(step.line)
        up_down.run(step)
    return step
