"""Run all checks: those of every node by an actor there, the others here. A node that does not answer is a finding."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fersweep.cluster.doctor import checks
from fersweep.cluster.doctor.findings import Asked, Finding, Node, ok, problem, reason, warning
from fersweep.cluster.doctor.software_checks import software
from fersweep.cluster.doctor.storage_checks import manifest_of
from fersweep.common import ray_connection
from fersweep.common.files import nearest_directory
from fersweep.common.stores.buckets import is_address, resolved
from fersweep.data_pipeline.tasks.node_arrays import SENT_BYTES
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import stored_at
from fersweep.search_spaces.sweep_file.schema import Sweep

START_S = 90.0  # for all nodes: each gets our code, and starts a process
EXAMINE_S = 300.0  # for all nodes, which are examined at the same time
CLOCK_WARNING_S, CLOCK_PROBLEM_S = 2.0, 60.0  # from the latter on a driver's heartbeat in a bucket counts as stopped
CLOCK = "clock"


@dataclass(frozen=True)
class Diagnosis:
    """address: of the cluster, None: Ray was started on this machine. nodes: name → Ray's resources."""

    address: str | None
    nodes: Mapping[str, Mapping[str, float]]
    findings: list[Finding]

    @property
    def could_run(self) -> bool:
        return not any(finding.level == "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "could_run": self.could_run,
            "address": self.address,
            "nodes": {name: dict(resources) for name, resources in self.nodes.items()},
            "findings": [finding._asdict() for finding in self.findings],
        }


class Examiner:
    """The actor on a node."""

    def now(self) -> float:
        """This machine's clock: seconds since 1970."""
        return time.time()

    def examine(self, asked: Asked) -> list[Finding]:
        return checks.examine(asked, checks.EVERY_NODE, asked.node.name)


def diagnose(
    address: str | None = None, home: str = "runs", data: str | None = None, sweep: Sweep | None = None
) -> Diagnosis:
    """Examine a cluster, or this machine, where Ray is started for it. InputError where no cluster answers at `address`.

    home: directory of sweeps, or the address of a bucket. data: a dataset. sweep: what is to run; its storage, tracking server and
    resources are checked, too.
    """
    import ray

    with ray_connection.left_as_found():
        joined = ray.is_initialized()
        ray_connection.connect(address)
        here = ray.get_runtime_context().get_node_id()
        alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
        print(f"examining {len(alive)} node{'s' * (len(alive) > 1)}, up to some minutes", file=sys.stderr, flush=True)
        nodes = {node["NodeID"]: Node(_name(node, alive), node["Resources"], node["NodeID"] == here) for node in alive}
        asked = _asked(home, data, sweep, nodes[here], len(nodes))
        findings = checks.examine(asked, checks.DRIVER)
        with _probed(asked):
            findings += _examine_nodes(asked, nodes)
        own = not joined and len(nodes) == 1 and not address
        where = None if own else ray_connection.head_address()
    return Diagnosis(where, {node.name: node.resources for node in nodes.values()}, findings)


def _name(node: Mapping[str, Any], alive: list[dict[str, Any]]) -> str:
    """Its host's name, with its address or a part of its id where several have that."""
    host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    if sum(other["NodeManagerHostname"] == host for other in alive) == 1:
        return str(host)
    if sum(other["NodeManagerAddress"] == address for other in alive) == 1:
        return f"{host} ({address})"
    return f"{host} ({node['NodeID'][:6]})"


def _asked(home: str, data: str | None, sweep: Sweep | None, driver: Node, num_nodes: int) -> Asked:
    from fersweep import trainables

    storage = home if is_address(home) else sweep.storage if sweep else None
    fingerprint, is_sent, probe = None, True, f".fersweep-doctor-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(OSError, ValueError):  # the check on this node says what is wrong
        if data:
            manifest = manifest_of(data)
            fingerprint = manifest["fingerprint"]
            is_sent = sum(part["num_bytes"] for part in manifest["parts"]) <= SENT_BYTES
    return Asked(
        home=None if is_address(home) else str(Path(home).absolute()),
        storage=storage,
        probe=stored_at(storage, probe) if storage else str(nearest_directory(Path(home)) / probe),
        data=None if data is None else str(resolved(data)),
        fingerprint=fingerprint,
        is_sent=is_sent,
        sweep=sweep,
        framework=trainables.framework(sweep.trainable) if sweep else None,
        driver=software(),
        node=driver,
        num_nodes=num_nodes,
    )


@contextlib.contextmanager
def _probed(asked: Asked) -> Iterator[None]:
    """The probe is there, for all nodes to see, and is deleted afterwards."""
    probe = Storage(asked.probe, retry_s=1)
    if probe.path is not None:
        with contextlib.suppress(OSError):  # the check of the home says so
            probe.path.mkdir()
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            probe.remove("")


def _examine_nodes(asked: Asked, nodes: Mapping[str, Node]) -> list[Finding]:
    """`nodes`: Ray's id → node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # GPUs are not hidden from an actor that reserves none.
    variables = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}
    examiner: Any = ray.remote(num_cpus=0, max_restarts=0, runtime_env=variables)(Examiner)
    actors: dict[str, Any] = {}
    for node_id in nodes:
        there: Any = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actors[node_id] = examiner.options(scheduling_strategy=there).remote()
    started, silent = _wait({node_id: actor.now.remote() for node_id, actor in actors.items()}, START_S)
    findings = [_clock(nodes[node_id], actors[node_id]) for node_id in started if not nodes[node_id].is_driver]
    calls = {node_id: actors[node_id].examine.remote(replace(asked, node=nodes[node_id])) for node_id in started}
    examined, silent_later = _wait(calls, EXAMINE_S)
    for found in examined.values():
        findings += found
    for node_id, why in {**silent, **silent_later}.items():
        remedy = (
            "look at its Ray (`ray status`, its logs under /tmp/ray/session_latest/logs), or take it out of the cluster"
        )
        findings.append(problem(why, remedy)._replace(topic="answers", node=nodes[node_id].name))
    for actor in actors.values():
        ray.kill(actor)
    return findings


def _wait(calls: Mapping[str, Any], timeout_s: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Answers by node, and why others gave none."""
    import ray

    answers, silent = dict[str, Any](), dict[str, str]()
    ready, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=timeout_s) if calls else ([], [])
    for node_id, call in calls.items():
        if call not in ready:
            silent[node_id] = f"does not answer: nothing within {timeout_s:g} s"
            continue
        try:
            answers[node_id] = ray.get(call)
        except Exception as error:  # Ray's own, or what the process there raised when it started
            silent[node_id] = f"no worker of ours runs there: {reason(error)}"
    return answers, silent


def _clock(node: Node, actor: Any) -> Finding:
    """How far a node's clock is from the driver's: of three questions the one that was answered fastest tells."""
    import ray

    tries: list[tuple[float, float]] = []
    for _ in range(3):
        began = time.time()
        try:
            theirs: Any = ray.get(actor.now.remote(), timeout=10)
        except Exception as error:
            return warning(f"could not be asked: {reason(error)}", "run the command again")._replace(
                topic=CLOCK, node=node.name
            )
        ended = time.time()
        tries.append((ended - began, theirs - (began + ended) / 2))
    took_s, off_s = min(tries)
    if abs(off_s) - took_s / 2 < CLOCK_WARNING_S:
        found = ok("within 2 s of the driver's" if abs(off_s) < CLOCK_WARNING_S else "near the driver's", off_s=off_s)
    else:
        how = "ahead of" if off_s > 0 else "behind"
        find = problem if abs(off_s) > CLOCK_PROBLEM_S else warning
        remedy = "run a time service on every machine (chrony, systemd-timesyncd: `timedatectl set-ntp true`)"
        found = find(f"{abs(off_s):.0f} s {how} the driver's", remedy, off_s=off_s)
    return found._replace(topic=CLOCK, node=node.name)
