"""A Ray cluster with a Jobs API and a token, one of whose nodes does not see a directory of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.processes import wait_until
from tests.ray_nodes import RAY, Cluster
from tests.servers import free_port


class JobsCluster(Cluster):
    """The API listens on loopback. Workers do not see what is in the directory `hidden`; only root can do that."""

    def __init__(self, directory: Path, token: str, hidden: Path):
        super().__init__(directory)
        self.hidden, self.api = hidden, f"http://127.0.0.1:{free_port()}"
        self._temporary: list[str] = []
        self._environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "PATH": f"{Path(RAY).parent}:{os.environ['PATH']}",  # a job's `python`
            "PYTHONPATH": "",  # nodes get our code from who joins them
        }

    def __enter__(self) -> JobsCluster:
        ports = [f"--port={self.address.rpartition(':')[2]}", f"--dashboard-port={self.api.rpartition(':')[2]}"]
        options = [*ports, "--include-dashboard=true", "--dashboard-host=127.0.0.1", *self._own()]
        self._start("--head", *options, environment=self._environment)
        wait_until(self._answers, timeout_s=60)
        return self

    def add(self) -> subprocess.Popen[bytes]:
        hide = 'mount -t tmpfs none "$0" && exec "$@"'
        private = ("unshare", "--mount", "--propagation", "private", "sh", "-c", hide, str(self.hidden))
        options = [f"--address={self.address}", *self._own()]
        return self._start(*options, environment=self._environment, runs_it=private)

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
