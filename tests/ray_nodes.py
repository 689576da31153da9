"""Ray clusters of several nodes on this machine's loopback address, whose nodes can be lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.processes import below, kill_all
from tests.servers import free_port

ENVIRONMENT = {  # for the driver too
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_AUTH_MODE": "disabled",
    "RAY_prestart_worker_first_driver": "0",
}
RAY = str(Path(sys.executable).with_name("ray"))


class Cluster:
    """A head; `add` brings further nodes. Each node has `num_cpus` CPUs. Use as a context manager."""

    def __init__(self, directory: Path, num_cpus: int = 1):
        self.num_cpus = num_cpus
        self.address = f"127.0.0.1:{free_port()}"
        self._log = (directory / "ray.log").open("ab")
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.wrap: list[str] = []  # a command that runs the next nodes, e.g. in a namespace

    def __enter__(self) -> Cluster:
        self._start("--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false")
        return self

    def add(self) -> subprocess.Popen[bytes]:
        return self._start(f"--address={self.address}")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            *self.wrap,
            RAY,
            "start",
            *arguments,
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={self.num_cpus}",
            "--disable-usage-stats",
            "--include-log-monitor=false",
            "--block",
        ]
        environment = {**os.environ, **ENVIRONMENT}
        node = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=environment, start_new_session=True)
        self.nodes.append(node)
        deadline = time.monotonic() + 60
        while not below(node.pid, "raylet/raylet"):
            assert time.monotonic() < deadline
            assert node.poll() is None, "ray start failed"
            time.sleep(0.2)
        time.sleep(1)
        return node

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Pull the plug: every process of the node is killed."""
        kill_all(node)
        self.nodes.remove(node)

    def __exit__(self, *exception: object) -> None:
        for node in list(self.nodes):
            self.lose(node)
        self._log.close()
