"""Target `ssh`."""

from __future__ import annotations

from fersweep.cluster.launchers.cluster_file import ClusterFile

SUMMARY = "hosts that ssh reaches: a start script, and Ray's own YAML"
NEXT = ""


def render(cluster: ClusterFile) -> dict[str, str]:
    return {}
