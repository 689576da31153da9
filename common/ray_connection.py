"""The one connection to Ray: a cluster that is running already, or this machine."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.processes import python_path, silent_stderr, usable_home

OBJECT_STORE_BYTES = 512 * 2**20

PROBE_S = 10.0


@contextmanager
def reaching(address: str | None) -> Iterator[None]:
    """Around `ray.init(address=address)`: InputError where no cluster answers. None is this machine, where Ray is started:
    RuntimeError where it does not start.

    HOST:PORT is tried first: without a listener there, Ray itself waits for many minutes.
    """
    if address is None:
        try:
            yield
        except Exception as error:  # Ray raises a bare one, of several lines
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise RuntimeError(
                f"Ray did not start on this machine: {reason} (is it busy, or short of memory? run the command again; "
                "Ray's logs are in /tmp/ray/session_latest/logs)"
            ) from error
        return
    try:
        if ":" in address:
            host, _, port = address.split("://")[-1].rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
        yield
    except (OSError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--address {address}: no Ray cluster answers there: {reason}") from None


def connect(address: str | None, num_cpus: int | None = None, object_store_bytes: int | None = None) -> None:
    """Connect to the Ray cluster at `address`, or start Ray here; an earlier connection of this process is kept.

    num_cpus, object_store_bytes: of Ray on this machine; None: what Ray takes. Workers find `fersweep` as this process
    does: installed, or at the same path on every node. Raises InputError if no cluster answers.
    """
    usable_home()  # Ray keeps a token there
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side warns about Ray's own libraries
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # they lack our runtime_env: no trial could use them
    if address and (Path.home() / ".ray" / "auth_token").exists():  # a head with a token asks for it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if ray.is_initialized():
        return
    of_this_machine: dict[str, Any] = {
        "num_cpus": num_cpus,
        "object_store_memory": object_store_bytes,
        "include_dashboard": False,
    }
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "PYTHONPATH": python_path()}
    if trainables := os.environ.get("FERSWEEP_TRAINABLES"):
        variables["FERSWEEP_TRAINABLES"] = trainables
    with reaching(address), silent_stderr(), _no_idle_monitors():
        ray.init(
            address=address or "local",  # not one that happens to run here
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": variables},
            **({} if address else of_this_machine),
        )


@contextmanager
def _no_idle_monitors() -> Iterator[None]:
    """A Ray that is started in the block does without its log monitor (no driver prints what workers write) and without its
    autoscaler (this machine is all there is): each is a Python process, a second of CPU time in all.
    """
    from ray._private.node import Node

    def not_started(_node: Node) -> None: ...

    names = [name for name in ("start_log_monitor", "start_monitor") if hasattr(Node, name)]  # private: may go
    originals = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, not_started)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Node, name, original)


@contextmanager
def ray_session(workers: int | None, address: str | None) -> Iterator[Any]:
    """Ray: the one that runs already, a cluster's, or a local one of `workers` CPUs that ends with the block."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    connect(address, workers or os.cpu_count(), OBJECT_STORE_BYTES)
    try:
        yield ray
    finally:
        ray.shutdown()


def head_address() -> str:
    """HOST:PORT of the head of the cluster that this process is connected to."""
    import ray

    return ray.get_runtime_context().gcs_address
