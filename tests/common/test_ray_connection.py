"""A wrong address is one line at once, where Ray would wait for many minutes."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from fersweep.common import ray_address
from fersweep.common.errors import InputError
from fersweep.common.ray_address import Address, check, resolve
from fersweep.common.ray_connection import joining, starting


@pytest.fixture(autouse=True)
def no_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:nobody", "want HOST:PORT"),
        ("127.0.0.1:99999", "want HOST:PORT"),
        ("somewhere", "want HOST:PORT"),
        ("ray://127.0.0.1:10001", "Ray Client loses a sweep with its connection"),
        ("http://127.0.0.1:8265", "http:// addresses are for --submit"),
    ],
)
def test_what_is_no_address(address: str, line: str) -> None:
    with pytest.raises(InputError, match=f"^--address {address}: .*{line}"):
        resolve(address)


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "me:secret@10.0.0.1:6379")
    for address, option in (("me:secret@10.0.0.1:6379", "--address"), (None, "RAY_ADDRESS")):
        with pytest.raises(InputError, match=f"^{option}: an address holds no user and no password: want HOST:PORT$"):
            resolve(address)


def test_who_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(None) is None
    assert resolve("10.0.0.1:6379") == Address("10.0.0.1:6379", "--address 10.0.0.1:6379")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert resolve("local") is None
    assert resolve("10.0.0.1:6379") == Address("10.0.0.1:6379", "--address 10.0.0.1:6379")
    for address in (None, "auto"):
        assert resolve(address) == Address("10.0.0.2:6379", "RAY_ADDRESS=10.0.0.2:6379")


def test_auto_joins_no_cluster_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: set[str] = set()
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", lambda: heads)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: None)
    with pytest.raises(InputError, match=r"^--address auto: no Ray cluster answers there: none runs on this machine"):
        resolve("auto")
    heads.add("10.0.0.1:1")
    assert resolve("auto") == Address("10.0.0.1:1", "--address auto")
    heads.add("10.0.0.1:2")
    with pytest.raises(InputError, match=r"several Ray clusters run on this machine \(10.0.0.1:1, 10.0.0.1:2\)"):
        resolve("auto")


def test_a_port_that_nobody_listens_on(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(InputError, match=r"^RAY_ADDRESS=x: no Ray cluster answers there: .*refused"):
        check(Address(f"127.0.0.1:{port}", "RAY_ADDRESS=x"))


def test_a_listener_that_is_no_head(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "PROBE_S", 0.2)
    port = listener.getsockname()[1]
    with pytest.raises(InputError, match=r"nothing within 0\.2 s"):
        check(Address(f"127.0.0.1:{port}", "--address x"))


def test_what_ray_says_of_an_address_is_one_line() -> None:
    expected = r"^--address a:1: this process cannot join the Ray cluster there: none found$"
    with pytest.raises(InputError, match=expected), joining(Address("a:1", "--address a:1")):
        raise ConnectionError("none found\nand much more")


def test_a_fault_of_this_machine_is_no_mistake_of_the_user() -> None:
    with pytest.raises(RuntimeError, match=r"Ray did not start on this machine: broken \(") as caught, starting():
        raise ValueError("broken\nand its stack")
    assert not isinstance(caught.value, InputError)


@pytest.mark.usefixtures("ray_session")
def test_a_ray_of_this_machine_listens_on_loopback_alone() -> None:
    import ray

    assert os.environ["RAY_AUTH_MODE"] == "token"  # others may have an account on this machine
    ray.get(ray.remote(lambda: None).remote())  # a worker listens, too
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    processes = [process for process in processes if process.status() != psutil.STATUS_ZOMBIE]
    ours = [process for process in processes if "ray" in " ".join(process.cmdline()) or process.pid == os.getpid()]
    listening = [
        (process.name(), place.laddr.ip)
        for process in ours
        for place in process.net_connections("inet")
        if place.status == psutil.CONN_LISTEN
    ]
    assert {"raylet", "gcs_server"} <= {name for name, _ in listening}
    assert len(listening) >= 6
    assert [place for place in listening if not ip_address(place[1].removeprefix("::ffff:")).is_loopback] == []


def test_a_token_is_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / ".ray" / "auth_token"
    before = os.umask(0)
    try:
        ray_address.keep_token()
    finally:
        os.umask(before)
    made = path.read_text()
    assert len(made) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["auth_token"]
    assert capsys.readouterr().err == ""
    for use in (ray_address.keep_token, ray_address.token):  # the one that Ray itself made, before it is used
        path.chmod(0o644)
        use()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert capsys.readouterr().err == f"{path}: others could read this token; from now on only you can\n"
    assert path.read_text() == made == ray_address.token()
