"""Target `gcp`: Ray's cluster launcher on Google Compute Engine."""

from __future__ import annotations

import re

from fersweep.cluster.launchers.clouds import Library, ray_up_files, wants_cpus, wants_kind
from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.common.errors import InputError

SUMMARY = "Google Cloud by Ray's launcher (`ray up`): workers from none to `nodes`"
NEXT = "fersweep cluster up {{ out | shell }}  (the first lines of its ray.yaml say what comes before)"

ATTACHED = {"T4": "nvidia-tesla-t4"}  # to machines of the N1 series; others that can be are too old for CUDA 13
BUILT_IN = ("a2-", "a3-", "a4-", "a4x-", "g2-", "g4-")  # series whose machines have their GPUs
KINDS = {"g2-": "L4", "a2-": "A100", "a3-highgpu": "H100", "a3-megagpu": "H100", "a3-ultragpu": "H200"}  # Ray's names


def render(cluster: ClusterFile) -> dict[str, str]:
    """Raises InputError where a machine would be refused, or would have no GPU."""
    if cluster.gcp is None:
        raise InputError("gcp: gcp.project is missing, e.g. gcp: {project: my-project}")
    machine = cluster.gcp.worker_instance
    size = re.fullmatch(r"[a-z0-9]+-(?:standard|highmem|highcpu)-(\d+)", machine)
    wants_cpus(cluster, "gcp", machine, int(size[1]) if size else None)
    wants_kind(cluster, "gcp", machine, KINDS)
    library = Library("google-api-python-client", "googleapiclient.discovery")
    return ray_up_files(cluster, "gcp", library, gcp=cluster.gcp, attached=_attached(cluster, machine))


def _attached(cluster: ClusterFile, machine: str) -> str | None:
    """The kind of GPU to attach, by Google's name; None where the machine has its own, or none is wanted."""
    if not cluster.gpus or machine.startswith(BUILT_IN):
        return None
    if not machine.startswith("n1-"):
        raise InputError(
            f"gcp: gcp.worker_instance: {machine} has no GPU, and none can be attached; "
            "take n1-… with accelerator T4, or g2-…, a2-…, a3-… with their own"
        )
    if cluster.accelerator not in ATTACHED:
        raise InputError(
            f"gcp: accelerator: {cluster.accelerator or 'null'}: to {machine} a T4 is attached; "
            "others come with g2-… (L4), a2-… (A100), a3-… (H100)"
        )
    return ATTACHED[cluster.accelerator]
