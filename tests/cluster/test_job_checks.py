"""What is refused before a sweep is sent to a cluster, and what is sent: without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fersweep.cluster.jobs import api, machines, submission, up_down
from fersweep.cluster.jobs.api import open_api, refuse_open
from fersweep.cluster.jobs.jobs import Job
from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.servers import free_port

NAMES = ["/data/of 'them' $HOME `x` \"y\"", "/r;un&s|(1)\n#!*?~\\", "/données"]


@contextmanager
def dashboard(token: str | None, answer: object = None, host: str = "127.0.0.1") -> Iterator[tuple[str, list[str]]]:
    """A server that answers as the Jobs API does → its address, and the tokens that it was sent."""
    sent: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            sent.append(given or "")
            code = 200 if token is None or given == f"Bearer {token}" else 403 if given else 401
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps({"ray_version": "2.60.0"} if answer is None else answer).encode())

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No address and no token of this user's."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "auth_token"))


def test_a_jobs_command_quotes_every_name(tmp_path: Path) -> None:
    """Ray hands it to /bin/sh."""
    (tmp_path / submission.PYTHON).write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    (tmp_path / submission.PYTHON).chmod(0o755)
    places = [(data, home) for data in NAMES for home in NAMES[:2]]
    command = " ; ".join(submission.entrypoint(data, Path(home)) for data, home in places)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = subprocess.run(["/bin/sh", "-c", command], capture_output=True, env=env, text=True, check=True).stdout
    expected = [
        word
        for data, home in places
        for word in ["-m", "fersweep", "launch", "sweep.yaml", "--data", data, "--home", home, "--resume"]
    ]
    assert told.split("\0")[:-1] == expected


@pytest.mark.parametrize(
    ("data", "home", "message"),
    [
        ("data/fer", "/runs", "--data data/fer: on the cluster it would be another directory: want an absolute path"),
        ("/data", "runs", "--home runs: on the cluster it would be another directory"),
        ("/data", "s3://bucket/runs", "--home s3:/bucket/runs: on the cluster it would be another directory"),
        ("/d\udcff", "/runs", "the name is not UTF-8"),
        ("s3://faces/fer?secret_key=abc", "/runs", "--data s3://faces/fer?secret_key=*** holds a key"),
    ],
)
def test_places_that_a_cluster_cannot_mean(data: str, home: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        submission.check_places(data, Path(home))
    assert message in str(refused.value)
    submission.check_places("s3://faces/fer2013", Path("/shared/runs"))


def test_a_resolved_sweep_file_is_read_again_as_it_was(tmp_path: Path) -> None:
    for recipe in ("quick", "reduced_first", "happy_sad_unknown"):
        sweep = read_sweep(recipe, ["storage=s3://sweeps/ü"])
        submission.write_sweep(sweep, tmp_path / "sweep.yaml")
        assert read_sweep(str(tmp_path / "sweep.yaml"), []) == sweep


def test_what_is_sent_holds_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "FERSWEEP_TRACKING_URI"):
        monkeypatch.setenv(name, "a-secret")
    sent = submission.runtime_environment(tmp_path, ["module"])
    assert "a-secret" not in json.dumps(sent, default=str)
    assert int(sent["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 30


def test_code_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "module").mkdir()
    with (tmp_path / "module" / "weights.bin").open("wb") as file:
        file.truncate(submission.MAX_UPLOAD_BYTES + 1)
    with pytest.raises(InputError, match=r"^module: 100 MiB of code; Ray takes 100 MiB with a job"):
        submission.check_size([str(tmp_path / "module")])


def test_a_job_of_the_same_sweep() -> None:
    sweep = read_sweep("quick", [])

    def number(*states: str) -> int:
        return submission.next_number([Job(f"quick@{n}", "quick", state) for n, state in enumerate(states, 1)], sweep)

    assert number() == 1
    assert number("FAILED", "STOPPED", "SUCCEEDED") == 4
    with pytest.raises(
        InputError, match=r"^sweep quick is job quick@2 already, and running: `fersweep cluster logs quick"
    ):
        number("STOPPED", "RUNNING")


def test_a_token_is_sent_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with dashboard("right") as (address, sent):
        with pytest.raises(
            InputError, match=f"^--address {address}: the cluster asks for a token: put that of its head"
        ):
            open_api(address)
        (tmp_path / "auth_token").write_text("wrong\n")
        with pytest.raises(InputError, match=r"has another token than .*auth_token: want the one of its head"):
            open_api(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
        assert open_api(address).has_token
        assert sent[-1] == "Bearer right"
    with dashboard(None) as (address, sent):
        assert not open_api(address).has_token
        assert sent == [""], "a cluster that asks for none does not learn it"


def test_which_api_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard(None) as (address, _):
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # of the head, not of its API
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
        assert open_api(None).named == f"RAY_API_SERVER_ADDRESS={address}"
        assert open_api(address.removeprefix("http://")).address == address
        monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert open_api(None).named == f"RAY_ADDRESS={address}"
    dead = f"127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=f"^--address {dead}: no Jobs API answers there: Connection refused"):
        open_api(dead)
    for wrong in ("ftp://head", "http://[::1", "http://head:x", "http://user:secret@head", "http://a b"):
        with pytest.raises(InputError, match="want the address of the cluster's Jobs API"):
            open_api(wrong)
    for answer in ("hello", [], {"version": 1}):
        with dashboard(None, answer) as (address, _), pytest.raises(InputError, match="is no Jobs API of Ray"):
            open_api(address)


def test_an_api_open_to_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "is_loopback", lambda host: host == "127.0.0.1")  # 127.0.0.2 stands for the network
    with dashboard(None) as (address, _):
        refuse_open(open_api(address), "127.0.0.2")
    with dashboard(None, host="0.0.0.0") as (address, _):
        opened = open_api(address.replace("127.0.0.1", "127.0.0.2"))
        for found, head in ((opened, None), (open_api(address), "127.0.0.2")):
            with pytest.raises(
                InputError, match=r"listens beyond loopback and asks for no token; make one on the head with"
            ):
                refuse_open(found, head)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    with dashboard("right", host="0.0.0.0") as (address, _):
        refuse_open(open_api(address), "127.0.0.2")


def test_a_machine_as_the_dashboard_tells_it() -> None:
    def worker(**used: float) -> dict[str, Any]:
        return {"usedResources": {name: {"resourceSlots": [{"allocation": part}]} for name, part in used.items()}}

    listed = [
        {
            "node_id": "b",
            "node_ip": "10.0.0.2",
            "state": "ALIVE",
            "resources_total": {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0},
        },
        {"node_id": "c", "state": "DEAD"},
        {"node_id": "a", "node_ip": "10.0.0.9", "state": "ALIVE", "is_head_node": True, "resources_total": None},
    ]
    raylet = {"nodeId": "b", "coreWorkersStats": [worker(GPU=0.25, CPU=1.0), worker(GPU=0.25), {}]}
    answer = {"data": {"result": {"result": listed}, "summary": [{"hostname": "host", "raylet": raylet}, {}]}}
    with dashboard(None, answer) as (address, _):
        found = machines.nodes(api.JobsApi(address, address, {}, "2.60.0"))
    assert [node.is_head for node in found] == [True, False]
    assert found[1] == machines.Node("10.0.0.2", "host", False, 8.0, 2.0, 1.0, 0.5, "A100")


def test_up_and_down_are_the_targets_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no rendered cluster is here"):
        up_down.step("up", None, False, True)
    place = tmp_path / "fer-ssh"
    place.mkdir()
    (place / up_down.RENDERED).write_text("{}")
    with pytest.raises(InputError, match=r"^fer-ssh: none of cluster\.sh, ray\.yaml, .* is there"):
        up_down.step("up", None, False, True)
    (place / "ray.yaml").write_text("")
    with pytest.raises(InputError, match="Ray asks before it starts machines that cost money, and nobody can answer"):
        up_down.step("up", None, False, False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (place / "ray.yaml").write_text("file_mounts: {~/fersweep: code, ~/.ray/auth_token: ~/.ray/auth_token}")
    with pytest.raises(
        InputError, match=r"ray\.yaml: code goes to every machine, and is not there: its first lines say"
    ):
        up_down.step("up", None, True, False)
    (place / "code").mkdir()
    with pytest.raises(
        InputError, match="auth_token goes to every machine, and is not there: `ray get-auth-token --gen"
    ):
        up_down.step("up", None, True, False)
    (tmp_path / ".ray").mkdir()
    (token := tmp_path / ".ray" / "auth_token").touch(0o644)
    assert up_down.step("up", None, True, False).line == "ray up fer-ssh/ray.yaml --no-config-cache --yes"
    assert token.stat().st_mode & 0o777 == 0o600  # Ray's own command makes it with the rights that the umask leaves
    assert up_down.step("down", None, False, True).line == "ray down fer-ssh/ray.yaml"
    (place / "cluster.sh").write_text('printf %s "$*" > "$PWD/told"; exit 3\n')
    with pytest.raises(RuntimeError, match=r"^bash fer-ssh/cluster\.sh up: exit code 3$"):
        up_down.run(up_down.step("up", None, False, False))
    assert (place / "told").read_text() == "up"
    assert up_down.step("up", place / "ray.yaml", True, False).line.startswith("ray up ")
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "raycluster.yaml").write_text("")
    by_hand = up_down.step("down", Path("k8s"), False, False)
    assert (by_hand.command, by_hand.line) == (None, "kubectl delete -f k8s/raycluster.yaml")
