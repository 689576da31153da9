"""How many trials a cluster holds at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.schema import Resources


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


def bundle(resources: Resources) -> dict[str, float]:
    """What Ray reserves for a trial, e.g. {"CPU": 1, "GPU": 0.25, "accelerator_type:A100": 0.001}."""
    wanted = {"CPU": float(resources.cpus)}
    if resources.gpus:
        wanted["GPU"] = float(resources.gpus)
    if resources.accelerator:
        wanted[f"accelerator_type:{resources.accelerator}"] = 0.001
    return wanted


def places_on(node: Mapping[str, float], resources: Resources) -> int:
    """How many trials a node with these of Ray's resources holds at once."""
    if resources.accelerator and not node.get(f"accelerator_type:{resources.accelerator}"):
        return 0
    by_cpus = int(node.get("CPU", 0) / resources.cpus)
    if not resources.gpus:
        return by_cpus
    return min(by_cpus, int(node.get("GPU", 0)) * int(1 / resources.gpus))


def nodes() -> list[dict[str, float]]:
    """Ray's resources of each live node of the connected cluster."""
    import ray

    machines = cast(list[dict[str, Any]], ray.nodes())
    return [node["Resources"] for node in machines if node["Alive"]]
