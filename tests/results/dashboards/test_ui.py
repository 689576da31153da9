"""What keeps the page from starting is said in one line, and where it opens."""

import socket
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.results.dashboards.mlflow_ui import HOST, server_command, sweeps_page
from fersweep.results.mlflow_store import connection


def test_the_server_stays_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is recorded"):
        server_command(tmp_path, 5000)
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} .*--port"):
            server_command(tmp_path, port)
    command = server_command(tmp_path, port)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_page_opens_at_the_sweeps(home: Path) -> None:
    """Where there is one experiment with runs; with several, at their list."""
    client = connection.open_home(home)
    pages = [sweeps_page(home)]
    for name in ("fersweep", "other"):
        experiment = connection.experiment_id(client, name, home)
        client.create_run(experiment)
        pages.append(sweeps_page(home))
    first = connection.experiment_id(client, "fersweep", home)
    runs = f"/#/experiments/{first}/runs?workflowType=machine_learning"
    assert pages == [
        "/#/experiments?workflowType=machine_learning",
        runs,
        "/#/experiments?workflowType=machine_learning",
    ]
