"""Ray clusters of several nodes on this machine's loopback address, whose nodes can be lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
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
        self.environment = {**os.environ, **ENVIRONMENT}
        self._log = (directory / "ray.log").open("ab")
        self.nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        self._start("--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false")
        return self

    def add(self) -> subprocess.Popen[bytes]:
        return self._start(f"--address={self.address}")

    def _start(self, *arguments: str, below_command: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        command = [
            *below_command,
            RAY,
            "start",
            *arguments,
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={self.num_cpus}",
            "--disable-usage-stats",
            "--include-log-monitor=false",
            "--block",
        ]
        node = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=self.environment, start_new_session=True
        )
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


class JobsCluster(Cluster):
    """One with a Jobs API on loopback, and a token. Its workers do not see what is in the directory `hidden`."""

    def __init__(self, directory: Path, token: str, hidden: Path):
        super().__init__(directory)
        self.hidden, self.api = hidden, f"http://127.0.0.1:{free_port()}"
        self._temporary: list[str] = []
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self.environment["PATH"] = f"{Path(RAY).parent}:{os.environ['PATH']}"  # a job's `python`
        self.environment.pop("PYTHONPATH", None)  # nodes get our code from who joins them

    def __enter__(self) -> JobsCluster:
        of_head = [
            f"--port={self.address.rpartition(':')[2]}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
        ]
        self._start("--head", *of_head, f"--dashboard-port={self.api.rpartition(':')[2]}", *self._own())
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, "the Jobs API does not answer"
            time.sleep(0.2)
        return self

    def add(self) -> subprocess.Popen[bytes]:
        hide = 'mount -t tmpfs none "$0" && exec "$@"'
        private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, str(self.hidden)]
        return self._start(f"--address={self.address}", *self._own(), below_command=private)

    def _own(self) -> list[str]:
        """Options that two nodes on one machine may not share. Sockets lie in the directory: its name is short."""
        self._temporary.append(tempfile.mkdtemp(prefix="ray-"))
        ports = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
        return [f"--temp-dir={self._temporary[-1]}", *(f"--{name}={free_port()}" for name in ports)]

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.api}/api/version", timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        for directory in self._temporary:
            shutil.rmtree(directory, ignore_errors=True)
