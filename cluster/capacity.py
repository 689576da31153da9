"""How many trials a cluster holds at once."""

from __future__ import annotations

from typing import Any, cast

from fersweep.common.errors import InputError


def check_resources(cpus: float, gpus: float) -> int:
    """How many trials of this size the cluster holds at once. Raises InputError if no node holds even one."""
    import ray

    machines = cast(list[dict[str, Any]], ray.nodes())
    nodes: list[dict[str, float]] = [node["Resources"] for node in machines if node["Alive"]]
    for key, name, wanted in (("cpus", "CPU", cpus), ("gpus", "GPU", gpus)):
        most = max((node.get(name, 0) for node in nodes), default=0)
        if wanted > most:
            raise InputError(f"resources.{key}: a trial wants {wanted:g} {name}s, but the largest node has {most:g}")
    return sum(
        int(min(node.get("CPU", 0) / cpus, node.get("GPU", 0) / gpus if gpus else float("inf"))) for node in nodes
    )
