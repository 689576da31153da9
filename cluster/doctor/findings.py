"""What a check is told, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from fersweep.common.errors import LONGEST
from fersweep.common.text import masked, one_line
from fersweep.search_spaces.sweep_file.schema import Sweep

Level = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """Made by `ok`, `warning` and `problem`, which leave passwords in addresses out. level: with a "problem" a sweep could not run. values: what was measured, for programs. topic and node are filled by
    whoever runs the check; node is "" for what is of no single node.
    """

    level: Level
    text: str
    remedy: str = ""
    values: Mapping[str, Any] = {}
    topic: str = ""
    node: str = ""


def ok(text: str, **values: Any) -> Finding:
    return Finding("ok", masked(text), values=values)


def warning(text: str, remedy: str, **values: Any) -> Finding:
    """A sweep runs all the same, or something else does not: a verb, the records in MLflow."""
    return Finding("warning", masked(text), masked(remedy), values)


def problem(text: str, remedy: str, **values: Any) -> Finding:
    """A sweep could not run."""
    return Finding("problem", masked(text), masked(remedy), values)


def reason(error: BaseException) -> str:
    """An error in one line, without passwords."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(masked(lines[-1].strip()), LONGEST // 4)


@dataclass(frozen=True)
class Software:
    """What a process has. code: fingerprint of fersweep's; packages: name → version of those that are installed."""

    code: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Node:
    """A node of the cluster: its name, and Ray's resources of it. is_driver: the doctor's own machine."""

    name: str
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    is_driver: bool = True


@dataclass(frozen=True)
class Asked:
    """What is to be checked, and against what. Can be pickled.

    Attributes:
        home: directory of sweeps; None where they are in a bucket.
        storage: address of a bucket, or None.
        probe: a directory that all nodes are to see, or its address in the bucket: it may be written to, and is deleted later.
        data: directory or address of the dataset, or None; fingerprint: as the driver's machine reads it; is_sent: it is
            small enough that the driver sends its faces to trials, else each node reads it.
        sweep: what is to run, or None.
        framework: of the sweep's trainable: torch, tensorflow or numpy.
        driver: software of the driver.
        node: where the check runs.
        num_nodes: of the cluster.
    """

    home: str | None
    storage: str | None
    probe: str
    data: str | None
    fingerprint: str | None
    is_sent: bool
    sweep: Sweep | None
    framework: str | None
    driver: Software
    node: Node
    num_nodes: int = 1


Check = Callable[[Asked], Iterator[Finding]]
