"""The MLflow page over the embedded store, on this machine only: `fersweep ui`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from data_pipeline.errors import InputError
from results.store import ENVIRONMENT, follow_move, tracking_uri

HOST = "127.0.0.1"
SERVER = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # background jobs of MLflow's GenAI side
    "PYTHONWARNINGS": "ignore",
}


def ui(home: Path, port: int = 5000) -> None:
    """Replace this process by MLflow's server, its address on stderr. Raises InputError if it cannot start."""
    command = server_command(home, port)
    print(f"MLflow: {address(port)} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    os.execve(command[0], command, {**os.environ, **ENVIRONMENT, **SERVER})


def address(port: int) -> str:
    """Where to look: MLflow's page opens on its GenAI side unless told otherwise."""
    return f"http://{HOST}:{port}/#/experiments?workflowType=machine_learning"


def server_command(home: Path, port: int) -> list[str]:
    """The command of the server. Raises InputError if there is nothing to show yet or the port is taken."""
    if not (Path(home) / "mlflow.db").exists():
        raise InputError(f"nothing is recorded under {home} yet: launch a sweep first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is no hindrance
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None
    follow_move(home)
    server = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    artifacts = (Path(home).resolve() / "artifacts").as_uri()
    return [*server, "--backend-store-uri", tracking_uri(home), "--default-artifact-root", artifacts]
