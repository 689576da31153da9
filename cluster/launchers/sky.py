"""Target `sky`: a SkyPilot task, for the clouds, Kubernetes, Slurm and hosts that Sky knows."""

from __future__ import annotations

import math

from fersweep.cluster.launchers.clouds import OVERRIDES, SYSTEM_LIBRARIES, driver, wants_buckets, wants_free_port
from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.cluster.launchers.templates import fill
from fersweep.common.errors import InputError

SUMMARY = "a SkyPilot task: the cheapest place that has the GPUs, spot with recovery"
NEXT = (
    "cd {{ out | shell }} && sky {{ (['jobs', 'launch'] if cluster.spot else 'launch') | shell }} --secret RAY_AUTH_TOKEN sky.yaml"
    "  (its first lines say what comes before)"
)

SKY_NAMES = {"A100-40G": "A100", "A100-80G": "A100-80GB"}  # where Sky has another name than Ray
# Without this file Sky leaves out what a .gitignore names: `uv build` writes one beside the wheel, and it names everything.
IGNORED = ".gitignore\n"
SHARED = ("k8s", "kubernetes", "slurm", "ssh")  # kinds of place where machines may share a directory


def render(cluster: ClusterFile) -> dict[str, str]:
    """Raises InputError where Sky could not find machines, or the sweep would be lost with them."""
    if cluster.gpus and cluster.accelerator is None:
        raise InputError("sky: accelerator: null: Sky finds machines by the kind of GPU, e.g. accelerator: L4")
    if cluster.sky.infra is None or cluster.sky.infra.split("/")[0] not in SHARED:
        wants_buckets(cluster, "sky")
    wants_free_port(cluster, "sky", 6380, 8266, 10011)
    kind = SKY_NAMES.get(cluster.accelerator or "", cluster.accelerator)
    text = fill(
        "sky/sky.yaml.jinja",
        cluster=cluster,
        command=driver(cluster, "sky", "")[:-1],
        accelerators=f"{kind}:{cluster.gpus}" if kind else None,
        memory_gb=math.ceil(cluster.memory_gb),
        libraries=SYSTEM_LIBRARIES,
    )
    return {"sky.yaml": text} | ({} if cluster.image else {"code/overrides.txt": OVERRIDES, "code/.skyignore": IGNORED})
