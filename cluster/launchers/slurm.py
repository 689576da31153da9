"""Target `slurm`."""

from __future__ import annotations

from fersweep.cluster.launchers.cluster_file import ClusterFile

SUMMARY = "a batch script for sbatch"
NEXT = ""


def render(cluster: ClusterFile) -> dict[str, str]:
    return {}
