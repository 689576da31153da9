"""What this machine, or a cluster, has for a sweep's trials."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fersweep.cluster import capacity
from fersweep.search_spaces.sweep_file.schema import Resources


@dataclass(frozen=True)
class Machines:
    """`nodes`: Ray's resources of each; `hosts`: their names; `where`: in words; `connected`: through Ray."""

    nodes: Sequence[dict[str, float]]
    hosts: Sequence[str]
    where: str
    connected: bool = False

    def places(self, resources: Resources) -> list[int]:
        """Trials at once on each node."""
        return [capacity.places_on(node, resources) for node in self.nodes]

    @property
    def gpus(self) -> int:
        return int(sum(node.get("GPU", 0) for node in self.nodes))

    @property
    def cpus(self) -> float:
        return sum(node.get("CPU", 0) for node in self.nodes)


def this_machine(with_gpus: bool) -> Machines:
    """As Ray would see it. `with_gpus`: look for GPUs, too, which takes Ray's import."""
    node: dict[str, float] = {"CPU": float(os.cpu_count() or 1)}
    if with_gpus:
        from ray._private.accelerators import get_accelerator_manager_for_resource

        manager: Any = get_accelerator_manager_for_resource("GPU")
        node["GPU"] = float(manager.get_current_node_num_accelerators())
        if node["GPU"] and (kind := manager.get_current_node_accelerator_type()):
            node[f"accelerator_type:{kind}"] = 1.0
    return Machines([node], [socket.gethostname()], "this machine")


def cluster(address: str | None) -> Machines:
    """The cluster at `address`, which this process is then connected to. Raises InputError."""
    import ray

    from fersweep.common import ray_connection

    ray_connection.connect(address)
    machines: list[dict[str, Any]] = ray.nodes()
    live = [node for node in machines if node["Alive"]]
    return Machines(
        [node["Resources"] for node in live],
        [node["NodeManagerHostname"] for node in live],
        f"the cluster at {address or os.environ.get('RAY_ADDRESS')}",
        connected=True,
    )
