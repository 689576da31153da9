"""The MLflow page over the embedded store, on this machine only: `fersweep ui`."""

# Parts of MLflow have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.results.mlflow_store.addresses import artifacts_uri, tracking_uri
from fersweep.results.mlflow_store.connection import ENVIRONMENT, open_home, open_store, sweep_store
from fersweep.results.mlflow_store.other_homes import follow_move
from fersweep.results.mlflow_store.saved_view import RUNS, address
from fersweep.results.record.home import check_home
from fersweep.results.record.sweep_json import read_sweep_json

HOST = "127.0.0.1"
SERVER = {
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # background jobs of MLflow's GenAI side
    "PYTHONWARNINGS": "ignore",
}
ALLOWED_HOSTS = (
    "127.0.0.1,localhost,127.0.0.1:*,localhost:*"  # MLflow's own list has names of the web in it, as 10.a.com
)
EXPERIMENTS = f"/#/experiments{RUNS}"


def ui(home: Path, port: int = 5000, sweep_dir: Path | None = None) -> None:
    """Replace this process by MLflow's server, its address on stderr: the page of all sweeps, or a sweep's view.

    Raises InputError if it cannot start, or if the sweep is recorded elsewhere.
    """
    command = server_command(home, port)
    page = sweeps_page(home) if sweep_dir is None else view_of(sweep_dir)
    print(f"MLflow: http://{HOST}:{port}{page} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    os.execve(command[0], command, {**os.environ, **ENVIRONMENT, **SERVER})


def sweeps_page(home: Path) -> str:
    """Path of MLflow's page of all runs of the experiment that has any; the list of experiments if several have.

    MLflow itself begins with its own experiment, Default, which is empty. It stays: whoever logs a run without naming an
    experiment gets it there.
    """
    client = open_home(home)
    known = [experiment.experiment_id for experiment in client.search_experiments()]
    used = [experiment for experiment in known if client.search_runs([experiment], max_results=1)]
    return f"/#/experiments/{used[0]}/runs{RUNS}" if len(used) == 1 else EXPERIMENTS


def view_of(sweep_dir: Path) -> str:
    """Path of MLflow's page of a sweep's trials, below the server's address; brings MLflow level with its journal.

    Raises InputError if the sweep is recorded by a server, and NotRecorded.
    """
    from fersweep.results.tracking.recorder_process import record

    sweep = read_sweep_json(sweep_dir)
    uri = sweep_store(sweep)[0]
    if uri != tracking_uri(Path(sweep.home)):
        raise InputError(f"sweep {sweep.asked.name!r} is recorded at {uri}: look there, menu Views")
    record(sweep_dir)
    return address(open_store(sweep)[1], sweep)


def check_port(port: int) -> None:
    """Raises InputError if nothing can listen on `port` of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is no hindrance
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None


def server_command(home: Path, port: int) -> list[str]:
    """The command of the server. Raises InputError if there is nothing to show yet or the port is taken."""
    if not (Path(home) / "mlflow.db").exists():
        raise InputError(f"nothing is recorded under {home} yet: launch a sweep first")
    check_home(home)  # MLflow's server writes
    check_port(port)
    follow_move(home)
    server = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    if "MLFLOW_SERVER_ALLOWED_HOSTS" not in os.environ:  # as for a proxy before it
        server += ["--allowed-hosts", ALLOWED_HOSTS]
    return [*server, "--backend-store-uri", tracking_uri(home), "--default-artifact-root", artifacts_uri(home)]
