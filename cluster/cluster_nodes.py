"""What each node of a cluster has, asked before a sweep begins: our code, Python, the packages that trials need, and the
directory that checkpoints go to.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fersweep.cluster.capacity import places_on
from fersweep.common.errors import InputError
from fersweep.common.files import nearest_directory
from fersweep.common.shipped_code import code_fingerprint
from fersweep.common.versions import installed
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.node_arrays import NodeArrays
from fersweep.search_spaces.sweep_file.schema import Resources

ANSWER_S = 60.0  # for all nodes together: each has to start a process first
PACKAGES = ("numpy", "torch", "tensorflow", "keras")


class Software(NamedTuple):
    """What a process has. code: fingerprint of fersweep's; packages: name → version, of those that are installed.

    sees: whether a file that another process has just made is there. obstacle: why it cannot read the data, "" where it can.
    """

    code: str
    python: str
    packages: dict[str, str]
    sees: bool = True
    obstacle: str = ""


def software(mark: str | None = None, arrays: NodeArrays | None = None) -> Software:
    """Of this process; imports none of the packages. `mark`: the file to look for; `arrays`: whose dataset to look for."""
    obstacle = "" if arrays is None else node_arrays.obstacle(arrays)
    sees = mark is None or Path(mark).exists()
    return Software(code_fingerprint(), platform.python_version(), installed(PACKAGES), sees, obstacle)


def check_nodes(resources: Resources, arrays: TaskArrays, shared: Path | None = None) -> None:
    """Ask the live nodes of the cluster that this process has joined, those that hold trials. InputError where one runs other
    code of fersweep, lacks what this process has, does not see the directory `shared`, or does not find the dataset of
    `arrays` that it would have to read; another version of a package is said in a line. A node that joins later gets our
    code.

    Nothing is asked of a Ray on this machine alone.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    machines: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in machines if node["NodeID"] != here and places_on(node["Resources"], resources)]
    if not others:
        return
    ask: Any = ray.remote(num_cpus=0, max_retries=0)(software)
    answers: dict[Any, str] = {}
    told = node_arrays.told(arrays)
    dataset = told if isinstance(told, NodeArrays) else None  # small arrays are sent: no node needs their dataset
    with _marked(shared) as mark:
        for node in others:
            there: Any = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answers[ask.options(scheduling_strategy=there).remote(mark, dataset)] = node["NodeManagerAddress"]
        ready, silent = ray.wait(list(answers), num_returns=len(answers), timeout=ANSWER_S)
    for answer in silent:
        print(f"node {answers[answer]} has not answered within {ANSWER_S:g} s; trials may wait for it", file=sys.stderr)
        ray.cancel(answer)
    ours = software()
    for answer in ready:
        try:
            theirs = ray.get(answer)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise InputError(f"node {answers[answer]}: no worker of ours starts there: {reason}") from None
        _compare(answers[answer], theirs, ours)
        if not theirs.sees:
            raise InputError(
                f"--home {shared}: node {answers[answer]} does not see what this machine writes there: want a directory that all "
                f"machines share, or a bucket (storage: s3://… in the sweep file)"
            )


@contextmanager
def _marked(shared: Path | None) -> Iterator[str | None]:
    """The name of a file in a directory, or in the nearest one above that is there; None without a directory."""
    if shared is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix=".fersweep-", dir=nearest_directory(shared).resolve()) as mark:
        yield mark.name


def _compare(node: str, theirs: Software, ours: Software) -> None:
    if theirs.code != ours.code:
        raise InputError(
            f"node {node} runs other code of fersweep ({theirs.code[:12]}, not {ours.code[:12]}): something there comes before "
            f"what is sent to it; look at PYTHONPATH and sitecustomize"
        )
    if theirs.obstacle:
        raise InputError(f"node {node}: {theirs.obstacle}")
    for name, version in {**ours.packages, "Python": ours.python}.items():
        there = theirs.python if name == "Python" else theirs.packages.get(name)
        if there is None:
            raise InputError(f"node {node} has no {name}: install there what this machine has (requirements.lock)")
        if there != version:
            print(f"node {node} has {name} {there}, this machine {version}", file=sys.stderr)
