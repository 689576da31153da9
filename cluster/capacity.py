"""How many trials a cluster holds at once, and whether it can hold one at all.

Ray counts resources in ten-thousandths. A share of a GPU is of one GPU: shares never straddle two.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fersweep import trainables
from fersweep.common.errors import InputError, hint
from fersweep.common.local_ray.start import Warm
from fersweep.search_spaces.sweep_file.consistency import refuse_amounts
from fersweep.search_spaces.sweep_file.fusing import in_populations
from fersweep.search_spaces.sweep_file.schema import Resources, Sweep

UNITS = 10_000  # Ray's smallest amount is 1 / UNITS
MANY = 10**6
REPORT_S = 2.0  # for an autoscaler that has just begun to say what there is
A_LITTLE = 0.001  # of an accelerator_type: each node of that kind has 1


class Group(NamedTuple):
    """A kind of node that an autoscaler may add: what one has, and how many there may be."""

    resources: dict[str, float]
    most: int


def bundle(resources: Resources) -> dict[str, float]:
    """What Ray reserves for a trial, e.g. {"CPU": 1, "GPU": 0.25, "accelerator_type:A100": 0.001}."""
    wanted = {"CPU": float(resources.cpus)}
    if resources.gpus:
        wanted["GPU"] = float(resources.gpus)
    if resources.accelerator:
        wanted[f"accelerator_type:{resources.accelerator}"] = A_LITTLE
    return wanted


def places_on(node: Mapping[str, float], resources: Resources) -> int:
    """How many trials a node with these of Ray's resources holds at once."""
    if resources.accelerator and not node.get(f"accelerator_type:{resources.accelerator}"):
        return 0
    by_cpus = _units(node.get("CPU", 0)) // _units(resources.cpus)
    if not resources.gpus:
        return by_cpus
    return min(by_cpus, int(node.get("GPU", 0)) * (UNITS // _units(resources.gpus)))


def warm(sweep: Sweep) -> Warm:
    """The workers that a sweep will want on a machine of its own at once, and what its trials import."""
    trials, resources = sweep.search.num_trials, sweep.resources
    framework = trainables.loads(sweep.trainable, in_populations(sweep))
    modules = ("fersweep.cluster.worker.actor", *framework)
    return Warm(lambda node: min(places_on(node, resources), trials), modules, max(int(resources.cpus), 1), framework)


def _units(amount: float) -> int:
    return round(amount * UNITS)


def check(resources: Resources) -> None:
    """InputError where no live node holds a trial, and no autoscaler may bring one that does."""
    try:
        refuse_amounts(resources)
    except ValueError as error:
        raise InputError(str(error)) from None
    refuse_accelerator(resources.accelerator)
    live, more = nodes(), groups()
    if any(places_on(node, resources) for node in live):
        return
    if any(group.most and places_on(group.resources, resources) for group in more) or (not more and autoscales()):
        return
    kinds = [*live, *(group.resources for group in more if group.most)]
    whose = "the largest node has" if not more else "the largest node that the cluster may have has"
    for key, name in (("cpus", "CPU"), ("gpus", "GPU")):
        wanted, most = bundle(resources).get(name, 0.0), max((node.get(name, 0) for node in kinds), default=0)
        if wanted > most:
            raise InputError(f"resources.{key}: a trial wants {wanted:g} {name}s, but {whose} {most:g}")
    kind = f" of kind {resources.accelerator}" if resources.accelerator else ""
    raise InputError(
        f"resources: a trial wants {resources.cpus:g} CPUs and {resources.gpus:g} GPUs{kind}, which no node has together"
    )


def refuse_accelerator(accelerator: str | None) -> None:
    """InputError for a kind of GPU that Ray has no name for."""
    if accelerator is None:
        return
    from ray.util.accelerators import accelerators

    known = sorted({value for name, value in vars(accelerators).items() if name.isupper() and isinstance(value, str)})
    if accelerator not in known:
        raise InputError(
            f"resources.accelerator: {accelerator!r} is no kind that Ray knows: {hint(accelerator, known)}"
        )


def nodes() -> list[dict[str, float]]:
    """Ray's resources of each live node of the connected cluster."""
    import ray

    machines: list[dict[str, Any]] = ray.nodes()
    return [node["Resources"] for node in machines if node["Alive"]]


def groups() -> list[Group]:
    """The kinds of nodes that the cluster's autoscaler may add; [] without one."""
    from ray._private.state import state

    config: Any = state.get_cluster_config()
    if config is None:
        return []
    return [
        Group(dict(group.resources), group.max_count if group.max_count >= 0 else MANY)
        for group in config.node_group_configs
    ]


def autoscales() -> bool:
    """Whether the connected cluster has an autoscaler, which does not say what kinds of nodes it may add.

    Ray's first one reports the kinds that run: a cluster without an autoscaler has a kind `node_ID` for each node.
    """
    from ray import _raylet
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    names: Any = _raylet
    key, namespace = names.GCS_AUTOSCALER_V2_ENABLED_KEY, names.GCS_AUTOSCALER_STATE_NAMESPACE
    if _internal_kv_get(key.encode(), namespace=namespace.encode()) == b"1":
        return True
    deadline = time.monotonic() + REPORT_S
    while time.monotonic() < deadline:
        report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or b"{}").get("autoscaler_report")
        if report:
            return not all(kind.startswith("node_") for kind in report["active_nodes"])
        time.sleep(0.2)
    return False


def places(resources: Resources) -> int:
    """How many trials the live nodes hold at once."""
    return sum(places_on(node, resources) for node in nodes())


def shortage(resources: Resources) -> str:
    """What a sweep waits for whose trials have no place, in a line."""
    live, more = nodes(), [group for group in groups() if group.most and places_on(group.resources, resources)]
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in bundle(resources).items() if amount != A_LITTLE)
    kind = f" on {resources.accelerator}" if resources.accelerator else ""
    has = f"{len(live)} node{'s' * (len(live) != 1)} with {_total(live, 'CPU'):g} CPUs and {_total(live, 'GPU'):g} GPUs"
    if sum(places_on(node, resources) for node in live):
        return f"waiting for a place: a trial wants {wanted}{kind}; the cluster has {has}, and others use them"
    if more:
        num = sum(group.most for group in more)
        return f"waiting for a node: a trial wants {wanted}{kind}; the cluster has {has}, and may add {num} that hold trials"
    return f"waiting for a node: a trial wants {wanted}{kind}; the cluster has {has}"


def _total(live: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(node.get(name, 0) for node in live)
