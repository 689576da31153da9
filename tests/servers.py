"""Real servers for tests, each a process of its own on the loopback address: MLflow's, and PostgreSQL under it."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fersweep.results.dashboards.mlflow_ui import SERVER
from fersweep.results.mlflow_store.connection import ENVIRONMENT

START_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MlflowServer:
    """`mlflow server`, which also takes the artifacts; in SQLite below `directory`, or in the database `backend`."""

    def __init__(self, directory: Path, backend: str | None = None):
        self.directory, self.port = directory, free_port()
        self.backend = backend or f"sqlite:///{directory / 'server.db'}"
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.directory / "artifacts")]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **ENVIRONMENT, **SERVER},
                start_new_session=True,  # its workers are ended with it
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        end = time.monotonic() + START_S
        while not self._answers():
            assert self._process is not None
            assert self._process.poll() is None, (self.directory / "server.log").read_text()
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return answer.status == 200
        return False

    def signal(self, number: signal.Signals) -> None:
        """To the server and its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """As a power cut would."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None


def _postgres(program: str) -> str | None:
    """Path of a program of PostgreSQL; Debian keeps them out of PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name))
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, reversed(places))]))


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A throw-away PostgreSQL on a port of its own → its SQLAlchemy address. Skips the test where there is none.

    It refuses to run as root, so root runs it as the user that its package made, or as nobody.
    """
    initdb, server = _postgres("initdb"), _postgres("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (extra postgres)")
    directory, port = Path(tempfile.mkdtemp(prefix="fersweep-postgres-")), free_port()
    user = _unprivileged()
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
    owner: dict = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    data = directory / "data"
    command = [initdb, "-D", str(data), "-U", "fersweep", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"]
    made = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, **owner)
    assert made.returncode == 0, made.stderr
    command = [server, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(directory), "-c", "fsync=off"]
    process = subprocess.Popen(
        command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **owner
    )
    try:
        _wait_for_postgres(port, process)
        yield f"postgresql+psycopg2://fersweep@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for_postgres(port: int, process: subprocess.Popen) -> None:
    import psycopg2

    end = time.monotonic() + START_S
    while True:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="fersweep", dbname="postgres").close()
            return
        except psycopg2.OperationalError:
            assert process.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < end, "PostgreSQL did not start"
            time.sleep(0.1)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom root runs PostgreSQL as; None: this user, who is not root."""
    if os.getuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def post(port: int, given: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(given).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=START_S) as answer:
        return json.load(answer)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.1)
