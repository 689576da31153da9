"""Send a sweep to a cluster as a job, which goes on without the machine that sent it: `fersweep launch … --submit`.

The job has the resolved sweep file, and our code (common/shipped_code.py); data and home are places that the
cluster sees. Its command is `fersweep launch … --resume`, so that sending it again goes on with the sweep.
"""

from __future__ import annotations

import os
import shlex
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from fersweep.cluster.jobs.api import open_api, refuse_open
from fersweep.cluster.jobs.jobs import COMMAND, HOME, STOP_WAIT_S, STORAGE, Job, Jobs
from fersweep.cluster.jobs.machines import Node, nodes
from fersweep.cluster.launch import describe
from fersweep.common.errors import InputError
from fersweep.common.files import check_name, is_held
from fersweep.common.own_code import copies
from fersweep.common.shipped_code import shipped
from fersweep.common.text import masked, shell
from fersweep.common.versions import command
from fersweep.results.record.drivers import LOCK
from fersweep.search_spaces.sweep_file.own_code import code_of
from fersweep.search_spaces.sweep_file.schema import Sweep

MAX_UPLOAD_BYTES = 100 * 2**20  # what Ray's dashboard takes (DASHBOARD_CLIENT_MAX_SIZE)
PYTHON = "python3"  # of the head, by its PATH; Debian's own has no `python`
BEGIN_S, CHECK_S = 120.0, 5.0  # for the job's environment and its driver; for what this checks on the cluster


def submit(
    sweep: Sweep,
    data: str,
    home: Path,
    address: str | None,
    say: Callable[[str], None],
    trust_network: bool = False,
) -> Job:
    """Send the sweep → its job, once its driver has joined the cluster, or has ended.

    Everything is checked before anything is sent; what this machine does not see is checked by the job, whose refusal is
    an InputError here, too. `trust_network`: send it also to an API that is open to the network.
    """
    check_places(data, home)
    _check_here(sweep, data, home, say)
    modules = shipped()
    check_size(modules)
    api = open_api(address)
    machines = nodes(api)
    if not trust_network:
        refuse_open(api, next((node.ip for node in machines if node.is_head), None))
    jobs = Jobs(api)
    number = next_number(jobs.of(sweep.name), sweep)
    if is_held(home / "sweeps" / sweep.name / LOCK):
        raise InputError(
            f"sweep {sweep.name} runs already, and not as a job: `fersweep stop` stops it, --name sends another"
        )
    for line in _remarks(sweep, data, home, machines):
        say(line)
    with tempfile.TemporaryDirectory(prefix="fersweep-job-") as directory:
        write_sweep(sweep, Path(directory) / "sweep.yaml")
        metadata = {HOME: str(home), COMMAND: masked(command())}
        metadata |= {STORAGE: sweep.storage} if sweep.storage else {}
        job = jobs.submit(
            number, sweep.name, entrypoint(data, home), runtime_environment(Path(directory), modules), **metadata
        )
    where = f" {shell('--address', api.address)}" if address else ""
    say(f"sent: {sweep.name} is job {job.id} on {api.address}; this machine is not needed any more")
    say(f"watch it: fersweep cluster logs {sweep.name} --follow{where}")
    say(f"stop it:  fersweep cluster stop {sweep.name}{where}")
    job = jobs.wait(job, lambda job: job.joined, BEGIN_S)
    return _begun(jobs, jobs.wait(job, lambda _: False, CHECK_S))


def entrypoint(data: str, home: Path) -> str:
    """The job's command, for /bin/sh. Ray gives the driver the cluster's address in RAY_ADDRESS."""
    arguments = ["sweep.yaml", "--data", data, "--home", str(home), "--resume"]
    return shlex.join([PYTHON, "-m", "fersweep", "launch", *arguments])


def write_sweep(sweep: Sweep, path: Path) -> None:
    """The resolved sweep file, which is read again as the same sweep, and beside it copies of its own code."""
    for code in code_of(sweep):
        copies.write(code, path.parent)
    path.write_text(yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def check_places(data: str, home: Path) -> None:
    """InputError where --data or --home cannot mean the same place on every machine of a cluster."""
    for option, place in (("--data", data), ("--home", str(home))):
        check_name(Path(place), f"{option} {place}")
        if masked(place) != place:
            raise InputError(
                f"{option} {place} holds a key: give it without one; the cluster's nodes read keys from their environment"
            )
        if option == "--data" and "://" in place:
            continue
        if not Path(place).is_absolute():
            raise InputError(
                f"{option} {place}: on the cluster it would be another directory: want an absolute path that all its "
                f"machines see" + (", or a bucket (s3://…, gs://…)" if option == "--data" else "")
            )


def check_size(modules: Sequence[str]) -> None:
    """InputError where the code is more than Ray's API takes."""
    sizes = {
        module: sum(path.stat().st_size for path in [Path(module), *Path(module).rglob("*")] if path.is_file())
        for module in modules
    }
    if sum(sizes.values()) > MAX_UPLOAD_BYTES:
        largest = max(sizes, key=lambda module: sizes[module])
        raise InputError(
            f"{Path(largest).name}: {sizes[largest] >> 20} MiB of code; Ray takes {MAX_UPLOAD_BYTES >> 20} MiB with a job: install "
            f"it on the cluster's machines, and keep data elsewhere (--data)"
        )


def runtime_environment(directory: Path, modules: list[str]) -> dict[str, Any]:
    """The job's runtime environment. Nothing of this process's own environment goes with it: there are secrets in it."""
    variables = {
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # below `uv run ray start` each driver would upload its working directory
        "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # the driver's own, which has the same code, may stand beside this one
    }
    if trainables := os.environ.get("FERSWEEP_TRAINABLES"):
        variables["FERSWEEP_TRAINABLES"] = trainables
    return {"working_dir": str(directory), "py_modules": modules, "env_vars": variables}


def _check_here(sweep: Sweep, data: str, home: Path, say: Callable[[str], None]) -> None:
    """What `launch` checks, as far as this machine sees the places."""
    if "://" in data:
        return
    if not (Path(data) / "manifest.json").is_file():
        say(f"note: this machine does not see --data {data}: the job checks it when it begins")
    elif (sweep.search.older or sweep.search.best_of) and not home.is_dir():
        say(f"note: this machine does not see --home {home}: the job looks there for the older sweeps when it begins")
    else:
        described, _ = describe(sweep, data, home)
        for line in described.without_faces():
            say(line)


def next_number(earlier: Sequence[Job], sweep: Sweep) -> int:
    """The number of the next job of a sweep. InputError where one has not ended."""
    for job in earlier:
        if not job.has_ended:
            raise InputError(
                f"sweep {sweep.name} is job {job.id} already, and {job.state.lower()}: `fersweep cluster logs {sweep.name} "
                f"--follow` watches it, `fersweep cluster stop {sweep.name}` stops it, --name sends another sweep"
            )
    numbers = [int(job.id.rpartition("@")[2]) for job in earlier if job.id.rpartition("@")[2].isdigit()]
    return max(numbers, default=0) + 1


def _remarks(sweep: Sweep, data: str, home: Path, machines: list[Node]) -> list[str]:
    """What may be wrong with the places, and cannot be known here."""
    if len(machines) == 1 and machines[0].host == socket.gethostname():
        return []
    places = {"--data": data} if "://" not in data else {}
    places |= {} if sweep.storage else {"--home": str(home)}
    here = [f"{option} {place}" for option, place in places.items() if Path(place).exists()]
    if not here:
        return []
    return [
        f"note: {' and '.join(here)}: there on this machine; every machine of the cluster must see the same under this name "
        f"(else a bucket: {' and '.join({'--data': '--data s3://…', '--home': 'storage: s3://…'}[option] for option in places)})"
    ]


def _begun(jobs: Jobs, job: Job) -> Job:
    """The job, if its driver has not refused the sweep. Raises InputError, or RuntimeError where it failed."""
    if job.state == "FAILED":
        last = next((line for line in reversed(jobs.log(job).splitlines()) if line.strip()), job.message)
        reason = f"job {job.id}: {last.strip().removeprefix('fersweep: ')}"
        if job.exit_code == 127 or "No module named" in last:
            reason += (
                f" (its driver is what `{PYTHON}` is on the head: start Ray there with PATH=DIRECTORY:$PATH, the directory "
                f"being that of a Python with fersweep's requirements)"
            )
        raise InputError(reason) if job.exit_code == 2 else RuntimeError(reason)
    return job
