"""Files that start a cluster: one module a target, loaded by name.

A target's module holds

    SUMMARY             one line for the list of targets
    render(cluster)     the cluster file (cluster_file.py) → {file name: content}; templates/TARGET/ has what is filled in
    NEXT                what to type next, as a Jinja line over `cluster` and `out`, the directory of the files
"""

from __future__ import annotations

import importlib
from types import ModuleType

from fersweep.common.errors import InputError, hint

TARGETS = {
    "ssh": "fersweep.cluster.launchers.ssh",
    "slurm": "fersweep.cluster.launchers.slurm",
    "sky": "fersweep.cluster.launchers.sky",
    "aws": "fersweep.cluster.launchers.aws",
    "gcp": "fersweep.cluster.launchers.gcp",
    "kuberay": "fersweep.cluster.launchers.kuberay",
    "docker": "fersweep.cluster.launchers.docker",
}


def load(target: str) -> ModuleType:
    """The module of a target. Raises InputError with the nearest known name."""
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}: {hint(target, TARGETS)}")
    return importlib.import_module(TARGETS[target])
