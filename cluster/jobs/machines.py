"""The machines of a cluster and its jobs, as its dashboard tells them: `fersweep cluster status`."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from fersweep.cluster.jobs.api import JobsApi
from fersweep.cluster.jobs.jobs import Job, Jobs
from fersweep.common.display.tables import age, table
from fersweep.common.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

NUM_JOBS = 10  # shown
MOST_NODES = 10_000  # Ray tells 100 if not asked for more


@dataclass(frozen=True)
class Node:
    """A machine that is alive. cpus, gpus: Ray's numbers of them, used or not; accelerator: kind of its GPUs by Ray's name."""

    ip: str
    host: str
    is_head: bool
    cpus: float
    gpus: float
    used_cpus: float
    used_gpus: float
    accelerator: str | None


@dataclass(frozen=True)
class ClusterStatus:
    """waiting: what jobs ask for and no machine has free, as Ray has it: {"CPU": 1.0, "GPU": 0.25} → how often."""

    address: str
    ray: str
    has_token: bool
    nodes: list[Node]
    waiting: list[tuple[dict[str, float], int]]
    jobs: list[Job]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cluster_status(api: JobsApi) -> ClusterStatus:
    """Raises RuntimeError where the dashboard does not answer."""
    return ClusterStatus(api.address, api.version, api.has_token, nodes(api), _waiting(api), Jobs(api).all())


def nodes(api: JobsApi) -> list[Node]:
    """The machines that are alive, the head first. Raises RuntimeError. What is used of one is known after some seconds."""
    listed: list[dict[str, Any]] = api.get(f"/api/v0/nodes?detail=1&limit={MOST_NODES}")["data"]["result"]["result"]
    summary: list[dict[str, Any]] = api.get("/nodes?view=summary")["data"]["summary"]
    known = {entry["raylet"].get("nodeId"): entry for entry in summary if entry.get("raylet")}
    found = [_node(node, known.get(node["node_id"], {})) for node in listed if node["state"] == "ALIVE"]
    return sorted(found, key=lambda node: (not node.is_head, node.ip))


def _node(node: dict[str, Any], known: dict[str, Any]) -> Node:
    total: dict[str, float] = node.get("resources_total") or {}
    used: Counter[str] = Counter()
    for worker in known.get("raylet", {}).get("coreWorkersStats", ()):
        for resource, part in worker.get("usedResources", {}).items():
            used[resource] += sum(slot.get("allocation", 0.0) for slot in part.get("resourceSlots", ()))
    kinds = (name.partition(":")[2] for name in total if name.startswith("accelerator_type:"))
    return Node(
        ip=node["node_ip"],
        host=known.get("hostname", ""),
        is_head=bool(node.get("is_head_node")),
        cpus=total.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        used_cpus=round(used["CPU"], 4),
        used_gpus=round(used["GPU"], 4),
        accelerator=next(kinds, None),
    )


def _waiting(api: JobsApi) -> list[tuple[dict[str, float], int]]:
    """What is asked for in vain, by the autoscaler's report; nothing where it has none."""
    with contextlib.suppress(RuntimeError, KeyError, TypeError, ValueError):
        report = api.get("/api/cluster_status")["data"]["clusterStatus"]["loadMetricsReport"]
        demands = cast(list[tuple[dict[str, float], int]], report["resourceDemand"])
        return [(wanted, int(number)) for wanted, number in demands]
    return []


def render(status: ClusterStatus) -> RenderableType:
    """Tables for the terminal: machines, jobs; and what waits."""
    from rich.console import Group
    from rich.text import Text

    machines = table(["machine", "host", "GPU", "GPUs free", "CPUs free"], 3)
    for node in status.nodes:
        name = f"{node.ip} (head)" if node.is_head else node.ip
        gpus = f"{node.gpus - node.used_gpus:g} of {node.gpus:g}"
        cpus = f"{node.cpus - node.used_cpus:g} of {node.cpus:g}"
        machines.add_row(name, node.host, node.accelerator or "–", gpus if node.gpus else "–", cpus)
    jobs = table(["sweep", "job", "state", "home", "begun"], 4)
    now = time.time()
    for job in reversed(status.jobs[-NUM_JOBS:]):
        begun = "–" if job.started_at is None else f"{age(max(now - job.started_at, 0.0))} ago"
        where = job.storage or job.home or "–"
        jobs.add_row(job.sweep or "–", one_line(job.id, 90), job.state.lower(), one_line(where, 200), begun)
    total, used = sum(node.gpus for node in status.nodes), sum(node.used_gpus for node in status.nodes)
    number = f"{len(status.nodes)} machines" if len(status.nodes) != 1 else "1 machine"
    gpus = f"{total - used:g} of {total:g} GPUs free" if total else "no GPUs"
    token = "asks for a token" if status.has_token else "asks for no token"
    lines = [f"{status.address}: Ray {status.ray}, {number}, {gpus}, {token}"]
    lines += [f"waiting for a place: {number} × {_wanted(wanted)}" for wanted, number in status.waiting]
    if (hidden := len(status.jobs) - NUM_JOBS) > 0:
        lines.append(f"and {hidden} older jobs")
    parts: Iterable[RenderableType] = [machines, *([jobs] if status.jobs else [])]
    return Group(*parts, *map(Text, lines))


def _wanted(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
