"""The schema of a cluster file, from which `fersweep cluster render TARGET` makes what starts the cluster.

templates/cluster.yaml is a commented one: `fersweep cluster render example` writes it.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fersweep.common.errors import InputError
from fersweep.common.files import regular_file
from fersweep.common.text import masked
from fersweep.search_spaces.sweep_file import yaml_file
from fersweep.search_spaces.sweep_file.problems import first_problem

MAX_NAME = 40  # characters; a RayJob's name has at most 47, and targets add to it
FIRST_PORT, LAST_PORT = 1024, 65500  # below it only root may listen; targets take some ports after it
MAX_MEMORY_GB = 100_000
MAX_HOURS = 1000  # 24:00, which YAML reads as 1,440, is more


SCRIPTS_OWN = {
    *(
        "--job-name",
        "--nodes",
        "--ntasks",
        "--ntasks-per-node",
        "--cpus-per-task",
        "--mem",
        "--gpus",
        "--gpus-per-node",
    ),
    *(
        "--time",
        "--partition",
        "--account",
        "--output",
        "--open-mode",
        "--signal",
        "--requeue",
        "--no-requeue",
        "--array",
    ),
}


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must be text in one line")
    if masked(value) != value:
        raise ValueError(
            "holds a password, a key or a token, which would stand in every file: leave it out, and set it in the environment "
            "of each machine"
        )
    return value


def _one_word(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.,:/@+=-]*", value):
        raise ValueError("may hold letters (a to z), digits and . , : / @ + = _ -, and begins with none of these but _")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path: it is the same on every machine")
    return value


def _bucket_or_path(value: str) -> str:
    if not value.startswith("/") and not re.fullmatch(r"(s3|gs|abfss?)://[^/?\s]+\S*", value):
        raise ValueError("must be a bucket's address (s3://…, gs://…) or an absolute path that all machines see")
    return value


Text = Annotated[str, AfterValidator(_printable)]  # goes into files quoted
Word = Annotated[str, AfterValidator(_one_word)]  # may stand in a file as it is
AbsolutePath = Annotated[str, AfterValidator(_printable), AfterValidator(_absolute)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Head(_Part):
    """The machine of the driver: without a GPU, never spot. No trial runs there."""

    cpus: int = Field(2, ge=1)
    memory_gb: float = Field(8, ge=1, le=MAX_MEMORY_GB)


class Host(_Part):
    """host: as ssh knows it. address: by which the other hosts reach it; null: what host stands for there.

    cpus, gpus: of this host, where they are not the cluster's.
    """

    host: str
    address: str | None = None
    cpus: int | None = Field(None, ge=0)
    gpus: int | None = Field(None, ge=0)

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9_.-]*", value):
            raise ValueError("must be HOST or USER@HOST, as ssh takes it; ports and jumps belong into ~/.ssh/config")
        return value

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", value):
            raise ValueError("must be an IPv4 address or a host's name")
        return value


class Ssh(_Part):
    """hosts: the first is the head, and works, too. key: ssh's private key; null: what ssh takes. python: on each host,
    one that has fersweep. path: a directory that all hosts see, where logs go to.
    """

    hosts: list[Host] = Field(min_length=1)
    key: Text | None = None
    python: Text = "python3"
    path: AbsolutePath

    @field_validator("hosts", mode="before")
    @classmethod
    def _name_alone(cls, hosts: Any) -> Any:
        if not isinstance(hosts, list):
            return hosts
        return [{"host": host} if isinstance(host, str) else host for host in cast(list[Any], hosts)]

    @model_validator(mode="after")
    def _check(self) -> Ssh:
        names = [host.host for host in self.hosts]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"ssh.hosts: {double!r} is there twice")
        users = sorted({name.rpartition("@")[0] for name in names})
        if len(users) > 1:
            raise ValueError(f"ssh.hosts: one user on all hosts, not {', '.join(user or 'none' for user in users)}")
        return self


class Slurm(_Part):
    """gpu_type: the site's own word for a kind of GPU; null: any. activate: a file that each job sources first, e.g. a
    virtual environment's bin/activate, or one with `module load` lines. options: more of sbatch's, e.g. --qos=high.
    """

    partition: Word | None = None
    account: Word | None = None
    gpu_type: Word | None = None
    activate: AbsolutePath | None = None
    options: list[str] = Field(default_factory=list)

    @field_validator("options")
    @classmethod
    def _are_options(cls, options: list[str]) -> list[str]:
        for option in options:
            if not re.fullmatch(r"--[a-z][a-z-]*(=[A-Za-z0-9_.,:/@+=%*!|&()\[\]-]+)?", option):
                raise ValueError(f"{option!r} is no option of the form --name=value, without spaces and quotes")
            if option.partition("=")[0] in SCRIPTS_OWN:
                raise ValueError(f"{option!r}: the script sets that itself; change it there, or in the cluster file")
        return options


class Aws(_Part):
    """ami: the image of head and workers, with NVIDIA's driver. instance_profile: the rights of head and workers."""

    ami: Word | None = None
    instance_profile: Word | None = None
    region: Word = "us-west-2"
    head_instance: Word = "m7i.large"
    worker_instance: Word = "g6.2xlarge"
    disk_gb: int = Field(100, ge=1)


class Gcp(_Part):
    """source_image: of head and workers, with NVIDIA's driver and Docker."""

    source_image: Word = (
        "projects/deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2404-nvidia-580"
    )
    project: Word
    region: Word = "us-central1"
    zone: Word = "us-central1-a"
    head_instance: Word = "n2-standard-2"
    worker_instance: Word = "n1-standard-8"
    disk_gb: int = Field(100, ge=1)


class Kubernetes(_Part):
    """claim: a PersistentVolumeClaim that all pods mount. secret: a Secret whose keys become variables of all pods."""

    namespace: Word = "default"
    claim: Word | None = None
    secret: Word | None = None


class Sky(_Part):
    infra: Word | None = None
    disk_gb: int = Field(100, ge=1)


class ClusterFile(_Part):
    name: str = Field(max_length=MAX_NAME)
    nodes: int = Field(ge=1)
    gpus: int = Field(ge=0)
    cpus: int = Field(ge=1)
    memory_gb: float = Field(ge=1, le=MAX_MEMORY_GB)
    min_nodes: int = Field(0, ge=0)
    accelerator: Word | None = None
    head: Head = Field(default_factory=lambda: Head.model_validate({}))
    spot: bool = False
    idle_minutes: int = Field(10, ge=1)
    max_hours: float | None = Field(24, gt=0, le=MAX_HOURS)
    price_per_gpu_hour: float | None = Field(None, ge=0)
    image: Word | None = None
    run: Text | None = None
    storage: Annotated[str, AfterValidator(_printable), AfterValidator(_bucket_or_path)] | None = None
    port: int = Field(6379, ge=FIRST_PORT, le=LAST_PORT)
    ssh: Ssh | None = None
    slurm: Slurm = Slurm()
    aws: Aws = Field(default_factory=lambda: Aws.model_validate({}))
    gcp: Gcp | None = None
    kubernetes: Kubernetes = Kubernetes()
    sky: Sky = Field(default_factory=lambda: Sky.model_validate({}))

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", value):
            raise ValueError(
                "may hold small letters (a to z), digits and '-', begins with a letter, and does not end with '-'"
            )
        return value

    @field_validator("run")
    @classmethod
    def _is_a_launch(cls, value: str | None) -> str | None:
        _launch_arguments(value or "x --data x")
        return value

    @model_validator(mode="after")
    def _check(self) -> ClusterFile:
        if self.min_nodes > self.nodes:
            raise ValueError(f"min_nodes: {self.min_nodes} is more than nodes, {self.nodes}")
        if self.accelerator is not None and not self.gpus:
            raise ValueError(f"accelerator: {self.accelerator} wants gpus, the number that a worker has")
        return self

    @property
    def arguments(self) -> list[str]:
        """Of `fersweep launch`, with `storage`; `--resume --address …` is added. Raises InputError where `run` is not given."""
        if self.run is None:
            raise InputError(
                "the cluster file has no `run`: the arguments of `fersweep launch`, "
                "e.g. run: cnn --data /shared/fer2013 --home /shared/runs"
            )
        words = _launch_arguments(self.run)
        options = [word.partition("=")[0] for word in words]
        if self.storage is None:
            return words
        if self.storage.startswith("/"):
            return words if "--home" in options else [*words, "--home", self.storage]
        given = any(word.removeprefix("--set=").startswith("storage=") for word in words)
        return words if given else [*words, "--set", f"storage={self.storage}"]


def _launch_arguments(run: str) -> list[str]:
    try:
        words = shlex.split(run)
    except ValueError as error:
        raise ValueError(f"no words of a command ({str(error).lower()})") from None
    if words[0] in ("fersweep", "launch", "python"):
        raise ValueError("holds the arguments of `fersweep launch` alone, e.g. cnn --data /shared/fer2013")
    options = [word.partition("=")[0] for word in words]
    for option in ("--address", "--resume", "--submit"):
        if option in options:
            raise ValueError(f"without {option}: the target adds what it needs")
    for option in ("--dry-run", "--help", "-h"):
        if option in options:
            raise ValueError(f"without {option}: with it, no sweep would run")
    if "--data" not in options:
        raise ValueError("lacks --data: a dataset directory that all machines see")
    return words


def read_cluster_file(path: Path) -> ClusterFile:
    """The cluster in a YAML file. Every mistake is an InputError."""
    if not path.exists():
        raise InputError(f"{path}: no such file; `fersweep cluster render example` writes one")
    regular_file(path, "cluster file")
    try:
        content = yaml_file.read(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"cluster file {path}: {error.strerror}") from None
    if not isinstance(content, dict):
        kind = "empty" if content is None else type(content).__name__
        raise InputError(f"{path}: a cluster file is a mapping of name, nodes, gpus, …; this is {kind}")
    try:
        return ClusterFile.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, cast(dict[str, Any], content), ClusterFile)}") from None
