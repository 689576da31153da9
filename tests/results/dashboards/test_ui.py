"""What keeps the page from starting is said in one line."""

import socket
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.results.dashboards.mlflow_ui import HOST, server_command


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
