"""One connection to Ray: a cluster that is running already, or this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from data_pipeline.address import reaching
from data_pipeline.errors import InputError
from data_pipeline.quiet import silent_stderr

ROOT = Path(__file__).resolve().parents[1]


def connect(address: str | None, num_cpus: int | None = None) -> None:
    """Connect to the Ray cluster at `address`, or start Ray here; an earlier connection of this process is kept.

    Workers find the rooms of this project through PYTHONPATH and stay quiet. Raises InputError if no cluster answers.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side warns about what Ray's own libraries do
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address and (Path.home() / ".ray" / "auth_token").exists():  # a head that finds a token asks for it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if ray.is_initialized():
        return
    env_vars = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
    with reaching(address), silent_stderr():
        ray.init(
            address=address or "local",
            num_cpus=None if address else num_cpus,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": {**quiet, **env_vars}},
        )


def check_resources(cpus: float, gpus: float) -> int:
    """How many trials of this size the cluster holds at once. Raises InputError if not even one fits on any node."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, name, wanted in (("cpus", "CPU", cpus), ("gpus", "GPU", gpus)):
        most = max((node.get(name, 0) for node in nodes), default=0)
        if wanted > most:
            raise InputError(f"resources.{key}: a trial wants {wanted:g} {name}s, but the largest node has {most:g}")
    return sum(
        int(min(node.get("CPU", 0) / cpus, node.get("GPU", 0) / gpus if gpus else float("inf"))) for node in nodes
    )


def head_address() -> str:
    """HOST:PORT of the head of the cluster that this process is connected to."""
    import ray

    return ray.get_runtime_context().gcs_address
