"""Credentials come from the environment alone: a secret is put into every documented place, and looked for in all outputs."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from fersweep.cli import main as command_line
from fersweep.cluster.doctor.diagnosis import Diagnosis
from fersweep.cluster.doctor.findings import ok, problem
from fersweep.cluster.doctor.tables import render
from fersweep.cluster.driver.worker_log import FATAL, read_words
from fersweep.cluster.launch import launch
from fersweep.cluster.launchers.cluster_file import read_cluster_file
from fersweep.cluster.launchers.rendering import EXAMPLE
from fersweep.cluster.resume import _changed
from fersweep.common.display.console import SafeConsole
from fersweep.common.errors import InputError
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.report.page import write_report
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.processes import below, start, write_curve

ENVIRONMENT = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "RAY_AUTH_TOKEN",
)
USER, PASSWORD = "sesame-user", "sesame-pass/word"
LITERAL = (f"tracking.uri=http://{USER}:{PASSWORD}@127.0.0.1:9", f"storage=s3://{USER}:{PASSWORD}@bucket/team")


class Refusing(BaseHTTPRequestHandler):
    """A tracking server, a bucket and a webhook that take nothing."""

    protocol_version = "HTTP/1.1"

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(503 if "/mlflow/" in self.path else 403)  # a tracking server that is away stops no sweep
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _refuse

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def refusing_server() -> Iterator[str]:
    """HOST:PORT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def plant(directory: Path, server: str) -> dict[str, str]:
    """Environment variables with a secret each; those of files and addresses, too."""
    key = directory / "google.json"
    key.write_text(json.dumps({"type": "service_account", "private_key": "sesame-google"}))
    return {
        **{name: f"sesame-{name.lower()}-0123456789abcdef" for name in ENVIRONMENT},
        "AWS_ACCESS_KEY_ID": "nobody",
        "MLFLOW_TRACKING_USERNAME": "promoter",  # no secret: MLflow notes who promoted a model
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "FERSWEEP_TRACKING_URI": f"http://{USER}:{quote(PASSWORD, safe='')}@{server}",
        "HOOK": f"http://{server}/services/sesame-hook",
    }


def needles(planted: dict[str, str]) -> list[bytes]:
    """What must not be found: all secrets have a word in common, but where they are encoded."""
    pairs = [
        f"{planted['MLFLOW_TRACKING_USERNAME']}:{planted['MLFLOW_TRACKING_PASSWORD']}",
        f"{USER}:{PASSWORD}",
        f"Bearer {planted['MLFLOW_TRACKING_TOKEN']}",
    ]
    return [b"sesame", *(base64.b64encode(pair.encode())[:-4] for pair in pairs)]


def leaks(planted: dict[str, str], texts: Iterable[str], *directories: Path) -> list[str]:
    """Where a secret stands: files, and the outputs that begin so."""
    wanted = needles(planted)
    found = [text[:200] for text in texts if any(needle in text.encode() for needle in wanted)]
    for directory in directories:
        assert directory.exists()
        for path in directory.rglob("*"):
            if path.is_file() and not path.is_symlink() and any(needle in path.read_bytes() for needle in wanted):
                found.append(str(path))
    return found


def session() -> Path:
    """Where the shared Ray keeps its logs, its sockets, and what it makes for workers."""
    import ray

    return Path(ray._private.worker._global_node.get_session_dir_path())


@pytest.mark.usefixtures("ray_session", "recorded_here")
def test_a_sweep_of_this_process_leaves_no_secret(
    home: Path, tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    with refusing_server() as server:
        planted = plant(tmp_path, server)
        for name, value in planted.items():
            if name != "RAY_AUTH_TOKEN":  # the Ray that all tests share has none
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["fersweep", "launch", *(f"--set={setting}" for setting in LITERAL)])
        path = str(write_curve(tmp_path / "c.yaml", trials=2, epochs=2))
        sweep = read_sweep(path, ["notify.url=${HOOK}"])
        directory = launch(sweep, tiny_dataset, home).directory
    write_report(directory)
    assert read_sweep_json(directory).command.count("***") == 2
    assert "not get through (HTTP 403)" in (told := "".join(capfd.readouterr()))
    began = (directory / "sweep.json").stat().st_mtime
    left = [path for path in session().rglob("*") if path.is_file() and path.stat().st_mtime >= began]
    assert left
    assert (
        leaks(planted, [told, json.dumps(ray.get_runtime_context().runtime_env), *(str(p) for p in left)], home) == []
    )
    assert [path for path in left if b"sesame" in path.read_bytes()] == []


def typed(secret: str, sweep: str, data: str, known: str) -> list[list[str]]:
    """Commands with a secret in each place where one can be typed: `known` is a sweep's name. (`--address` is in
    test_ray_connection.py: it is not looked at where Ray is connected already.)
    """
    bucket, server = f"s3://KEY:{secret}@bucket/team", f"http://{USER}:{secret}@127.0.0.1:9"
    launch = ["launch", sweep, "--data", data]
    settings = [
        f"tracking.uri={server}",
        f"tracking.uri=https://{secret}@127.0.0.1:9/mlflow",
        f"tracking.uri=postgresql://{USER}:{secret}@127.0.0.1:9/db",
        f"tracking.uri=postgresql://127.0.0.1:9/db?password={secret}",
        f"tracking.uri={USER}:{secret}@127.0.0.1:9/db",
        f"tracking.uri=[{server}]",
        f"tracking.experiment={server}",
        f"storage={bucket}",
        f"storage=s3://bucket/team?secret_key={secret}",
        f"storage=s3://bucket/team?endpoint_override=http://{USER}:{secret}@127.0.0.1:9",
        f"storage=gs://{secret}@bucket/team",
        f"storage=abfss://{USER}:{secret}@account.dfs.core.windows.net/team",
        f"storage={{AWS_SECRET_ACCESS_KEY: '{secret}'}}",
        f"notify.url=https://hooks.example.com/{secret}",
        f"search.start_from=['{bucket}']",
        f"search.start_from={{sweep: '{bucket}'}}",
        f"search.num_trials={server}",
        f"space.fix.top={server}",
        f"then={server}",
        f"nothing={server}",
        f"{server}=1",
    ]
    return [
        *([*launch, "--set", setting] for setting in settings),
        ["launch", sweep, "--data", bucket],
        ["launch", server, "--data", data],
        [*launch, "--name", server],
        ["plan", sweep, "--data", bucket],
        ["resume", known, "--data", bucket],
        ["resume", known, "--set", f"tracking.uri={server}"],
        *([verb, bucket] for verb in ("resume", "status", "stop", "report", "compare", "promote", "evaluate", "ui")),
        ["evaluate", known, "--data", bucket],
        ["predict", f"rtsp://{USER}:{secret}@camera/1", "--model", known],
        ["export", bucket, "--out", "model.onnx"],
    ]


def without_a_home(secret: str, sweep: str, data: str) -> list[list[str]]:
    bucket, jobs = f"s3://KEY:{secret}@bucket/team", f"http://{USER}:{secret}@127.0.0.1:9"
    return [
        ["launch", sweep, "--data", data, "--home", bucket],
        ["prepare", f"{jobs}/faces.zip", "--out", "new"],
        ["prepare", data, "--out", bucket],
        ["describe", bucket],
        ["data", "verify", bucket],
        ["data", "diff", bucket, data],
        ["cluster", "submit", sweep, "--data", bucket, "--home", "/shared/runs", "--address", "http://127.0.0.1:9"],
        ["cluster", "submit", sweep, "--data", "/shared/x", "--home", bucket, "--address", "http://127.0.0.1:9"],
        ["cluster", "submit", sweep, "--data", "/shared/x", "--home", "/shared/runs", "--address", jobs],
        ["cluster", "status", "--address", jobs],
    ]


def test_a_secret_that_is_typed_is_refused_and_shown_nowhere(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line that, of an address, names the environment variable instead."""
    from tests.sweeps import write_sweep

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERSWEEP_HOME", raising=False)
    known = write_sweep(tmp_path / "runs", num_trials=1).name
    before = sorted(tmp_path.rglob("*"))
    path = str(write_curve(tmp_path / "c.yaml"))
    garbled = tmp_path / "garbled.yaml"
    garbled.write_text(f"{(tmp_path / 'c.yaml').read_text()}\ntracking: uri: http://{USER}:{PASSWORD}@127.0.0.1:9\n")
    data, home = str(tiny_dataset), ["--home", str(tmp_path / "runs")]
    commands = [[*command, *home] for command in typed("sesame-typed", path, data, known)]
    commands += [["launch", str(garbled), "--data", data, *home], *without_a_home("sesame-typed", path, data)]
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["fersweep", *command])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        told = "".join(capsys.readouterr())
        assert ended.value.code == 2, (command, told)
        assert "sesame" not in told, command
        assert len([line for line in told.splitlines() if not line.startswith("note: ")]) == 1, command
        if command[0] in ("resume", "status") or any(
            "uri=http" in word for word in command[2:] if command[0] == "launch"
        ):
            assert "environment" in told or "rest on that" in told, told
    (tmp_path / "c.yaml").unlink()
    garbled.unlink()
    left = [file for file in tmp_path.rglob("*") if file.is_file() and b"sesame" in file.read_bytes()]
    assert left == []
    assert sorted(path for path in tmp_path.rglob("*") if "s3:" in str(path)) == []
    assert [path for path in before if not path.exists()] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("storage", f"s3://{USER}:{PASSWORD}@bucket/x"),
        ("run", f"cnn --set tracking.uri=http://{USER}:{PASSWORD}@h"),
    ],
)
def test_a_cluster_file_with_a_secret_is_refused(tmp_path: Path, key: str, value: str) -> None:
    content = {**yaml.safe_load(EXAMPLE.read_text()), key: value}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"(storage|run): holds a password.* environment") as told:
        read_cluster_file(tmp_path / "cluster.yaml")
    assert "sesame" not in str(told.value)


def test_what_a_worker_said_before_it_died_shows_no_secret() -> None:
    """It goes into the journal, and from there into everything."""
    log = [f"cannot reach http://{USER}:{PASSWORD}@h", f"at s3://KEY:{PASSWORD}@bucket", f"{FATAL}Aborted"]
    wrote = read_words(log)
    assert wrote.cause == " (Aborted); its last line: at s3://***@bucket"
    assert "sesame" not in str(wrote)


def test_a_record_of_an_earlier_version_shows_no_secret(tmp_path: Path) -> None:
    """Its sweep.json may hold one, and is read."""
    from tests.sweeps import write_sweep

    directory = write_sweep(tmp_path, num_trials=1)
    content = json.loads((directory / "sweep.json").read_text())
    content["sweep"]["tracking"]["uri"] = f"http://{USER}:{PASSWORD}@127.0.0.1:9"
    content["command"] = f"fersweep launch quick --set tracking.uri=http://{USER}:{PASSWORD}@127.0.0.1:9"
    (directory / "sweep.json").write_text(json.dumps(content))
    from fersweep.results.mlflow_store import run_fields
    from fersweep.results.mlflow_store.description import sweep_note

    sweep = read_sweep_json(directory)
    assert sweep.asked.tracking.uri is not None
    assert "sesame" in sweep.asked.tracking.uri
    assert _changed(sweep.asked, "+1", None, None, []).tracking == sweep.asked.tracking  # it goes on
    params = run_fields.params(run_fields.flat(sweep.asked.model_dump(mode="json")))
    write_report(directory)
    shown = [sweep.command, sweep_note(sweep), str(run_fields.parent_tags(sweep)), str([p.value for p in params])]
    assert [text for text in [*shown, (directory / "report.html").read_text()] if "sesame" in text] == []
    uri = f"http://{USER}:{PASSWORD}@h"
    diagnosis = Diagnosis(None, {"n": {}}, [problem(f"{uri} is away", f"look at {uri}"), ok(uri)])
    console = SafeConsole()
    with console.capture() as shown_by_doctor:
        console.print(render(diagnosis))
    assert "sesame" not in shown_by_doctor.get() + json.dumps(diagnosis.as_json())


@pytest.mark.clusters
def test_the_command_line_leaves_no_secret(tmp_path: Path, tiny_dataset: Path) -> None:
    """A Ray of its own that asks for a token, a recorder's process, a report, an exported model; everything refuses us."""
    home, temporary = tmp_path / "runs", Path("/tmp") / f"secrets-{os.getpid()}"  # sockets' paths are short
    temporary.mkdir()
    told: list[str] = []

    def call(verb: str, *arguments: object, code: int = 0) -> None:
        process = start(verb, *arguments, home=None if verb == "recipes" else home, env=environment)
        out, err = process.communicate(timeout=400)
        told.extend([out, err])
        assert process.returncode == code, err

    with refusing_server() as server:
        planted = plant(tmp_path, server)
        environment = {**planted, "RAY_TMPDIR": str(temporary), "RAY_AUTH_MODE": "token", "FERSWEEP_REPORT": "1"}
        quick = ("launch", "quick", "--data", tiny_dataset, "--trials", 2, "--max-epochs", 2)
        hook = ("--set", "notify.url=${HOOK}")
        call(*quick, "--name", "away", *hook, "--set", f"tracking.uri=http://{server}")
        for recorder in below(1, str(home)):  # it would go on trying for ten minutes
            os.kill(recorder, signal.SIGKILL)
        call("status", "away", "--sync", code=1)
        bucket = f"s3://bucket/team?endpoint_override={server}&scheme=http&region=us-east-1"
        call(*quick, "--name", "bucket", "--set", f"storage='{bucket}'", code=2)
        call(
            "doctor",
            "quick",
            "--set",
            f"storage='{bucket}'",
            "--set",
            f"tracking.uri=http://{server}",
            *hook,
            "--json",
            code=1,
        )
        call(*quick, "--name", "kept", *hook)
        for verb in ("status", "compare"):
            call(verb, "kept", "--json")
        call("report", "kept")
        call("export", "kept", "--out", tmp_path / "model.onnx")
        call("promote", "kept")
        call("champion", "show", code=1)  # asked of the server that FERSWEEP_TRACKING_URI names
    assert told
    (tmp_path / "google.json").unlink()
    assert leaks(planted, told, tmp_path, temporary) == []
