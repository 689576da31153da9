"""What a Ray that is started here does without, and which of its worker processes are started at once.

Ray starts half a dozen processes of Python beside its workers: a log monitor, an autoscaler, its dashboard's server, and two
agents, for which it waits. No sweep on one machine uses any: they took four of the five seconds of Ray's start, and three
seconds of CPU time (docs/explanation/measurements.md). All of it is by private names of Ray, under tests/test_private_names.py.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersweep.common import processes
from fersweep.common.files import write_whole
from fersweep.common.local_ray import late_agent, new_worker, warm_up, worker_source

PORT = 1  # where nobody listens: below 1024 only root may
NAME = "fersweep_warm_up.json"
IDLE_MS = (
    60_000  # Ray ends idle workers after a second where all CPUs are reserved, as they are for trials about to begin
)
LONGEST_S = 60.0  # for which started workers are waited for
FORKS = sys.platform.startswith("linux")  # elsewhere a fork may break what is imported
OF_RAY = ("pandas", "pyarrow.fs", "requests", "google.protobuf.json_format", "fsspec", "pydantic", "jsonschema")
"""What Ray imports of others."""
PORTS = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
"""Ports of the dashboard's agent: each the name of a file that raylet waits for."""


@dataclass(frozen=True)
class Warm:
    """Workers that are to be started with Ray, and what they import before anybody asks for them.

    Attributes:
        number: how many, of Ray's resources of this machine, e.g. {"CPU": 2, "GPU": 1}.
        modules: what they import, one after another.
        before_ray: what of this, and of what it imports, does not need Ray.
        threads: OMP_NUM_THREADS meanwhile: libraries read it when they are loaded.
    """

    number: Callable[[Mapping[str, float]], int]
    modules: tuple[str, ...]
    threads: int
    before_ray: tuple[str, ...] = ()


@dataclass
class _Source:
    """The process that workers of this machine are forked from: worker_source.py."""

    process: subprocess.Popen[bytes]
    place: Path


_source: _Source | None = None


def begin_imports(warm: Warm | None) -> None:
    """Begin to import what workers of a Ray that is to be started here will need: in a process that they are forked from. It goes
    on until `end_imports`. Where it cannot be started, workers import by themselves.
    """
    global _source
    if _source is None and warm is not None and FORKS:
        with contextlib.suppress(OSError):
            _source = _begun(warm)


def _begun(warm: Warm) -> _Source:
    place = Path(tempfile.mkdtemp(prefix=worker_source.PREFIX), "socket")
    command = processes.module_command(worker_source.__name__, place, *OF_RAY, *warm.before_ray)
    variables = {"OMP_NUM_THREADS": str(warm.threads), "TF_CPP_MIN_LOG_LEVEL": "3", **processes.environment()}
    null = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, env=variables, process_group=0
        )
    except OSError:
        place.parent.rmdir()
        raise
    return _Source(process, place)


def end_imports() -> None:
    """End that process; workers that it has become go on."""
    global _source
    source, _source = _source, None
    if source is None:
        return
    source.process.kill()
    source.process.communicate()
    shutil.rmtree(source.place.parent, ignore_errors=True)


@contextmanager
def lean(warm: Warm | None) -> Iterator[None]:
    """A Ray that is started in the block starts no process that a sweep does without."""
    from ray._private import services
    from ray._private.node import Node

    start_process = services.start_ray_process

    def start(command: list[str], process_type: str, *arguments: Any, **more: Any) -> Any:
        if process_type != "raylet":
            return start_process(command, process_type, *arguments, **more)
        options = _options(command)
        changed = _changed(options, warm)
        told = tell(Path(options["session_dir"]), warm)
        Path(f"{told}.number").write_text(changed["num_prestart_python_workers"])
        variables = {
            "RAY_preload_python_modules": warm_up.__name__,
            "RAY_idle_worker_killing_time_threshold_ms": str(IDLE_MS),
            warm_up.FILE: str(told),
        }
        with environment(variables):
            return start_process([_with(part, changed) for part in command], process_type, *arguments, **more)

    def without_server(node: Any, **_: Any) -> None:
        node._webui_url = ""

    patched: dict[str, Any] = {"start_log_monitor": _nothing, "start_monitor": _nothing}
    patched["start_api_server"] = without_server
    originals = {name: getattr(Node, name) for name in patched}
    for name, function in patched.items():
        setattr(Node, name, function)
    services.start_ray_process = start
    try:
        yield
    finally:
        services.start_ray_process = start_process
        for name, original in originals.items():
            setattr(Node, name, original)


def _nothing(_node: Any) -> None: ...


def _options(command: list[str]) -> dict[str, str]:
    parts = [part.removeprefix("--").partition("=") for part in command if "=" in part]
    return {name: value for name, _, value in parts}


def _changed(options: Mapping[str, str], warm: Warm | None) -> dict[str, str]:
    """Options of raylet: in place of its agents, processes that do nothing until they are wanted."""
    from ray import _raylet

    names: Any = _raylet
    session, node = options["session_dir"], options["node_id"]
    for name in PORTS:
        names.persist_port(session, node, getattr(names, name), PORT)
    port_file = Path(session, names.get_port_filename(node, names.RUNTIME_ENV_AGENT_PORT_NAME))
    late = [sys.executable, "-I", "-S", late_agent.__file__]
    asked = subprocess.list2cmdline([*late, options["node_ip_address"], str(port_file)])
    resources = options["static_resource_list"].split(",")
    amounts = dict(zip(resources[::2], map(float, resources[1::2]), strict=True))
    return {
        "dashboard_agent_command": subprocess.list2cmdline(late),
        "runtime_env_agent_command": f"{asked} {options['runtime_env_agent_command']}",
        "num_prestart_python_workers": str(warm.number(amounts) if warm else 0),
        "python_worker_command": _forking(options["python_worker_command"]),
    }


def _forking(command: str) -> str:
    """Raylet's command for a worker, which begins with Python: one that has the worker forked, if there is what it is forked from."""
    python = subprocess.list2cmdline([sys.executable])
    if _source is None or not command.startswith(f"{python} "):
        return command
    ask = subprocess.list2cmdline([sys.executable, "-I", "-S", new_worker.__file__, str(_source.place)])
    return f"{ask}{command.removeprefix(python)}"


def tell(session: Path, warm: Warm | None) -> Path:
    """Tell the workers that start from now on what to import → the file that says so, in Ray's directory."""
    file = session / NAME
    write_whole(file, json.dumps(None if warm is None else [warm.threads, *warm.modules]).encode())
    return file


def await_warm(session: Path, stop: Callable[[], bool]) -> None:
    """Wait for the workers that were started with Ray, unless `stop` says not to: as long as they import, Ray would start
    another one for each actor that it is asked for.
    """
    deadline = time.monotonic() + LONGEST_S
    file = session / NAME
    try:
        number = int(Path(f"{file}.number").read_text())
    except (OSError, ValueError):
        return
    while len(list(session.glob(f"{NAME}{warm_up.READY}*"))) < number and not stop() and time.monotonic() < deadline:
        time.sleep(0.02)


def _with(part: str, changed: Mapping[str, str]) -> str:
    name = part.removeprefix("--").partition("=")[0]
    return f"--{name}={changed[name]}" if name in changed else part


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """A process that is started in the block has these variables, too, and those that it starts itself."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
