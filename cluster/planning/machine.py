"""What this machine, or a cluster, has for a sweep's trials."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersweep.cluster import capacity
from fersweep.common.ray_address import Address
from fersweep.search_spaces.sweep_file.schema import Resources

MANY_CPUS = 1e6


@dataclass(frozen=True)
class Machines:
    """`nodes`: Ray's resources of each; `hosts`: their names; `where`: in words; `connected`: through Ray;
    `groups`: what an autoscaler may add.
    """

    nodes: Sequence[dict[str, float]]
    hosts: Sequence[str]
    where: str
    connected: bool = False
    groups: Sequence[capacity.Group] = ()

    def places(self, resources: Resources) -> list[int]:
        """Trials at once on each node."""
        return [capacity.places_on(node, resources) for node in self.nodes]

    def grown(self, resources: Resources) -> int:
        """Trials at once when an autoscaler has added all that it may."""
        more = sum(group.most * capacity.places_on(group.resources, resources) for group in self.groups)
        return sum(self.places(resources)) + more

    @property
    def gpus(self) -> int:
        return int(sum(node.get("GPU", 0) for node in self.nodes))

    @property
    def cpus(self) -> float:
        return sum(node.get("CPU", 0) for node in self.nodes)


def price_of(cluster_file: Path) -> float | None:
    """A GPU's price for an hour, in a cluster file; None where there is no file, or no price in it. Raises InputError."""
    if not cluster_file.is_file():
        return None
    from fersweep.cluster.launchers.cluster_file import read_cluster_file

    return read_cluster_file(cluster_file).price_per_gpu_hour


def places_on_gpus(number: int, resources: Resources) -> int:
    """Trials at once on so many GPUs, if there are CPUs enough beside them."""
    node = {"CPU": MANY_CPUS, "GPU": float(number), f"accelerator_type:{resources.accelerator}": 1.0}
    return capacity.places_on(node, resources)


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


def cluster(address: Address) -> Machines:
    """The cluster at `address`, which this process is then connected to. Raises InputError."""
    import ray

    from fersweep.common import ray_connection

    ray_connection.connect(address.where)
    machines: list[dict[str, Any]] = ray.nodes()
    live = [node for node in machines if node["Alive"]]
    return Machines(
        [node["Resources"] for node in live],
        [node["NodeManagerHostname"] for node in live],
        f"cluster {address.where}",
        connected=True,
        groups=capacity.groups(),
    )
