"""The one connection to Ray: a cluster that is running already, or this machine."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fersweep.common import ray_address
from fersweep.common.display import terminal
from fersweep.common.errors import InputError
from fersweep.common.local_ray import start
from fersweep.common.processes import python_path, silent_stderr, usable_home
from fersweep.common.ray_address import Address
from fersweep.common.shipped_code import shipped

OBJECT_STORE_BYTES = 512 * 2**20
_own: Path | None = None  # directory of the Ray that this process has started
_in_use = threading.RLock()  # by the thread that is in `left_as_found`


@contextmanager
def starting() -> Iterator[None]:
    """Around a `ray.init` that starts Ray on this machine: RuntimeError where it does not start."""
    try:
        yield
    except Exception as error:  # Ray raises a bare one, of several lines
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        logs = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "session_latest", "logs")
        raise RuntimeError(
            f"Ray did not start on this machine: {reason} (is it busy, or short of memory? run the command again; "
            f"Ray's logs are in {logs})"
        ) from error


@contextmanager
def joining(address: Address) -> Iterator[None]:
    """Around a `ray.init` that joins a cluster which has just answered: InputError where that fails."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{address.named}: this process cannot join the Ray cluster there: {reason}") from None


def connect(
    address: str | None,
    num_cpus: int | None = None,
    object_store_bytes: int | None = None,
    warm: start.Warm | None = None,
) -> None:
    """Join the Ray cluster at `address` (ray_address.resolve), or start Ray here; an earlier connection of this process is kept.

    num_cpus, object_store_bytes, warm: of Ray on this machine; None: what Ray takes, and no worker before it is wanted.
    Workers of a cluster get our code with their runtime environment; those of this machine have this process's
    environment. InputError if no cluster answers.
    """
    usable_home()  # Ray keeps a token there
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side warns about Ray's own libraries
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # below `uv run` Ray would upload the working directory
    with terminal.deferred():  # an exception in the middle of Ray's start ends in a segmentation fault
        if not is_connected():
            cluster = ray_address.resolve(address)
            if cluster is None:
                start.begin_imports(warm)
            import ray  # noqa: F401 – now, so that its own `atexit` comes after ours

            atexit.register(_end_at_once_when_interrupted)  # before Ray's own, which ends Ray
            _connect(cluster, num_cpus, object_store_bytes, warm)
        elif is_own():
            start.tell(_session(), warm)


def begin_imports(warm: start.Warm) -> None:
    """Begin to import what workers will need, where `connect` will start Ray on this machine, and has not yet."""
    if not is_connected():
        start.begin_imports(warm)


def _end_at_once_when_interrupted() -> None:
    """Ctrl-C while Python ends, and Ray with it. The processes of Ray on this machine end with this one."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, terminal.end_at_once)


def _session() -> Path:
    """Ray's directory of this session."""
    from ray._private import worker

    node: Any = worker._global_node
    return Path(node.get_session_dir_path())


def is_own() -> bool:
    """Whether this process has started the Ray that it is connected to: its workers have the same environment."""
    return is_connected() and _session() == _own


def await_workers(stop: Callable[[], bool]) -> None:
    """Wait for the workers that were started with a Ray of this process, unless `stop` says not to."""
    if is_own():
        start.await_warm(_session(), stop)


def _connect(
    cluster: Address | None, num_cpus: int | None, object_store_bytes: int | None, warm: start.Warm | None
) -> None:
    global _own
    import ray

    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
    if trainables := os.environ.get("FERSWEEP_TRAINABLES"):
        variables["FERSWEEP_TRAINABLES"] = trainables
    if cluster is None:
        if (
            os.environ.get("RAY_AUTH_MODE", "token") == "token"
        ):  # else anybody on this machine could run code as this user
            ray_address.keep_token()
        variables["PYTHONPATH"] = python_path()
        with starting(), silent_stderr(), start.lean(warm), _loopback_as_it_is(), start.environment(variables):
            ray.init(
                address="local",  # not one that happens to run here
                num_cpus=num_cpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        _own = _session()
        return
    if ray_address.check(cluster):
        from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

        os.environ["RAY_AUTH_MODE"] = "token"  # which Ray, when it was imported, has read already
        Config.initialize("")
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"  # in a job, ours replaces what the job was sent with
    runtime_env = {"env_vars": variables, "py_modules": shipped()}
    with joining(cluster), silent_stderr(), _loopback_as_it_is():
        ray.init(address=cluster.where, log_to_driver=False, logging_level=logging.CRITICAL, runtime_env=runtime_env)


@contextmanager
def _loopback_as_it_is() -> Iterator[None]:
    """A Ray that is started in the block listens on 127.0.0.1 alone, all of its processes; and one that does so can be
    joined. Ray's own constant says so on a Mac; elsewhere it puts this machine's address into the network instead.
    """
    from ray._private import ray_constants

    original = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)  # private: may go
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = original


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


def is_connected() -> bool:
    """Whether this process has joined a Ray, or started one."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@contextmanager
def left_as_found() -> Iterator[None]:
    """Ray that is started or joined in the block is left at its end; one that was there before it stays.

    A process has one Ray: InputError where another thread is in such a block.
    """
    if not _in_use.acquire(blocking=False):
        raise InputError(
            "another thread of this process runs a sweep, or works with Ray: one at a time in a process; wait for it, launch "
            "with wait=False, or start a process of its own"
        )
    try:
        before = is_connected()
        try:
            yield
        finally:
            if not before and is_connected():
                import ray

                ray.shutdown()
            if not before:
                start.end_imports()
    finally:
        _in_use.release()


def raylet_connection() -> socket.socket | None:
    """A connection to the raylet of this machine, which this process is connected to: nothing comes of it, and it ends
    with the raylet. None where there is no such connection.
    """
    from ray._private import worker

    node: Any = worker._global_node
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(node.raylet_socket_name)
    except (OSError, AttributeError, TypeError):  # Ray has no such name: then its death is noticed later
        connection.close()
        return None
    return connection


def head_address() -> str:
    """HOST:PORT of the head of the cluster that this process is connected to."""
    import ray

    return ray.get_runtime_context().gcs_address
