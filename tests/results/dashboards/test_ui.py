"""What keeps the page from starting is said in one line, and where it opens."""

import socket
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.results.dashboards.mlflow_ui import HOST, server_command, sweeps_page
from fersweep.results.dashboards.optuna_ui import Dashboard
from fersweep.results.mlflow_store import connection
from tests.servers import free_port


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


HERE = ("127.0.0.1:5000", "localhost:8080", "localhost", "127.0.0.1")
ELSEWHERE = (
    "",
    "evil.example:5000",
    "10.evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example:80",
    "0.0.0.0",
)


def test_a_name_of_the_web_that_leads_here_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a page in the same browser would read the sweeps, and change them in MLflow."""
    from mlflow.server.security_utils import is_allowed_host_header

    answers = Dashboard(tmp_path)
    monkeypatch.setattr(answers, "_current", lambda: lambda *_: [b"the page"])
    told: list[str] = []
    (tmp_path / "mlflow.db").touch()
    command = server_command(tmp_path, free_port())
    allowed = command[command.index("--allowed-hosts") + 1].split(",")
    for host in (*HERE, *ELSEWHERE):
        page = answers({"HTTP_HOST": host}, lambda status, _headers: told.append(status))
        assert (page == [b"the page"]) == (host in HERE)
        assert is_allowed_host_header(allowed, host) == (host in HERE)
    assert answers({}, lambda status, _headers: told.append(status)) != [b"the page"]
    assert told == ["403 Forbidden"] * (len(ELSEWHERE) + 1)
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "proxy.example")
    assert "--allowed-hosts" not in server_command(tmp_path, free_port())


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
