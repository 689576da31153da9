"""Where a sweep is to be recorded is checked before it begins: the address itself, and what answers there."""

import io
import json
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fersweep.cluster.launch import dry, launch
from fersweep.common.errors import InputError
from fersweep.results.dashboards.status import status
from fersweep.results.dashboards.sync import sync
from fersweep.results.tracking import address
from fersweep.results.tracking.address import Answer
from fersweep.results.tracking.recorder_process import NotRecorded, record
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.sweeps import NewSweep

NO_FILE = "want http.*sqlite:////PATH/mlflow.db, .*null: the store under --home"


class Handler(BaseHTTPRequestHandler):
    """Answers a path as its first part says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.path.split("/")[1]
        status, body = ANSWERS.get(kind, (302, b""))
        self.send_response(status)
        if kind == "redirect":
            self.send_header("Location", self.path)
        if kind == "endless":
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 100_000)
            except OSError:
                self.close_connection = True
                return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None: ...


ANSWERS = {
    "mlflow": (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No Experiment"}'),
    "empty": (200, b"{}"),
    "page": (200, b"<html>\nWelcome</html>"),
    "list": (200, b"[1]"),
    "other": (200, b'{"experiments": 7}'),
    "strange": (200, b'{"experiments": [{"name": 3, "tags": "x"}], "experiment": {"experiment_id": [1]}}'),
    "deep": (200, b"[" * 99_000),
    "endless": (200, b""),
    "missing": (404, b"not here"),
    "credentials": (401, b"who are you"),
    "forbidden": (403, b""),
    "busy": (503, b"<html>busy"),
    "often": (429, b""),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000: it has no scheme: want http://127.0.0.1:5000$"),
        ("mlruns", f"mlruns: a path is no address: {NO_FILE}"),
        ("", f"a path is no address: {NO_FILE}"),
        ("${SERVER}", "a path is no address"),
        ("/tmp/mlflow.db", "a path is no address"),
        ("file:///tmp/mlruns", NO_FILE),
        ("sqlite://", NO_FILE),
        ("sqlite:///mlflow.db", "another one in each working directory: want sqlite:////.*/mlflow.db"),
        ("sqlite:////none/mlflow.db", "there is no directory /none"),
        ("sqlite:////dev", "it is no SQLite file"),
        ("sqlite:////dev/zero", "it is no SQLite file"),
        (f"sqlite:///{Path(__file__).resolve()}", "it is no SQLite file"),
        ("http://", "it names no server"),
        ("http://host:99999", "it names no server"),
        ("http://ho st", "it names no server"),
        ("ftp://host", "MLflow knows no ftp://: want http"),
        ("http://user:word@host", r"http://\*\*\*@host holds a password.*MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_what_is_no_address(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        address.check(uri, None, pytest.fail)
    assert "\n" not in str(refused.value)
    assert "word@" not in str(refused.value)


@pytest.mark.parametrize("name", ["", " ", "x" * 501, "a\nb"])
def test_what_is_no_experiment(name: str) -> None:
    with pytest.raises(InputError, match="is no name of an experiment in MLflow: want 1 to 500 printable characters"):
        address.check(None, name, pytest.fail)


def test_addresses_that_are_some(tmp_path: Path, empty_store: Path) -> None:
    for uri in (
        None,
        f"sqlite:///{tmp_path}/new.db",
        f"sqlite:///{empty_store}",
        "https://host/mlflow",
        "postgresql+psycopg2://h/d",
    ):
        address.check(uri, "faces: öß 😀", pytest.fail, ask=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_answers(server: str) -> None:
    def asked(kind: str) -> Answer:
        return address.asked(f"http://{server}/{kind}")

    assert asked("mlflow") == Answer("mlflow")
    for kind, said in [
        ("page", r"200: <html>\nWelcome<"),
        ("list", "200: [1]"),
        ("empty", "200: {}"),
        ("other", "200"),
        ("deep", "200: [[[["),
        ("missing", "404: not here"),
    ]:
        assert asked(kind).kind == "wrong", kind
        assert asked(kind).why.startswith(f"http://{server}/{kind}: what answers is no MLflow server ({said}")
    for kind in ("endless", "redirect"):
        assert asked(kind).kind == "wrong", kind
    for kind in ("credentials", "forbidden"):
        assert asked(kind).kind == "wrong"
        assert "does not let this user in (40" in asked(kind).why
        assert "MLFLOW_TRACKING_TOKEN" in asked(kind).why
    assert asked("busy") == Answer("away", f"http://{server}/busy answers 503 (<html>busy)")
    assert asked("often").kind == "away"
    assert address.asked("http://127.0.0.1:9") == Answer(
        "away", "http://127.0.0.1:9 does not answer (Connection refused)"
    )
    assert address.asked(f"https://{server}").kind == "wrong", "a server without TLS"
    assert address.asked("mysql+none://h/d").kind == "wrong"


def test_strange_answers_to_whoever_records(
    server: str, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what is wrong with the server; nothing of it is taken for an experiment."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.journal.session("finished")
    path = sweep_dir / "sweep.json"
    content = json.loads(path.read_text())
    for kind in ("page", "list", "empty", "strange", "missing"):
        content["sweep"]["tracking"]["uri"] = f"http://{server}/{kind}"
        path.write_text(json.dumps(content))
        (synced,) = sync(status(sweep_dir.parents[1], sweep_dir.name))
        assert synced.failed
        assert "what answers is no MLflow server" in str(synced.sweep.sync), kind
        with pytest.raises(
            NotRecorded, match=r"MLflow lacks a part of this sweep: .*what answers is no MLflow server"
        ) as raised:
            record(sweep_dir, patience_s=0)
        assert "\n" not in str(raised.value)
    assert capsys.readouterr().err == ""


def test_a_server_that_hangs_or_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by a process of its own, which is given some seconds."""
    monkeypatch.setattr(address, "ASK_S", 0.2)
    assert address.asked_elsewhere("http://slow") == Answer("away", "http://slow does not answer within 0.2 s")
    monkeypatch.setattr(address, "ASK_S", 30)
    monkeypatch.setattr(address, "module_command", lambda _: ["sh", "-c", "echo broken >&2"])
    assert address.asked_elsewhere("http://x") == Answer("away", "http://x cannot be asked (broken)")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_process_that_asks(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"http://{server}/mlflow"))
    runpy.run_module(address.__name__, run_name="__main__")
    assert json.loads(capsys.readouterr().out) == ["mlflow", ""]


def test_a_launch_is_refused_or_told(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no MLflow answers it is refused, and nothing is written; where nobody does, a line says so."""

    class Went(Exception):
        """The launch went on."""

    def connect(*_: Any, **__: Any) -> None:
        raise Went

    home, sweep = tmp_path / "runs", read_sweep("quick", ["tracking.uri=http://server"])
    monkeypatch.setattr("fersweep.common.ray_connection.connect", connect)
    for run in (launch, dry):
        monkeypatch.setattr(
            address, "asked_elsewhere", lambda _: Answer("wrong", "http://server: what answers is none")
        )
        with pytest.raises(InputError, match=r"tracking\.uri: http://server: what answers is none"):
            run(sweep, tiny_dataset, home)
        monkeypatch.setattr(address, "asked_elsewhere", lambda _: Answer("away", "http://server does not answer"))
        with pytest.raises(Went):
            run(sweep, tiny_dataset, home)
        assert (
            "note: tracking.uri: http://server does not answer: the sweep is recorded when it is back"
            in capsys.readouterr().err
        )
        with pytest.raises(InputError, match="a path is no address"):
            run(read_sweep("quick", ["tracking.uri=mlruns"]), tiny_dataset, home)
    assert not home.exists()
