"""A wrong address is one line at once, where Ray would wait for many minutes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fersweep.common.errors import InputError
from fersweep.common.ray_connection import reaching


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("address", ["127.0.0.1:nobody", "127.0.0.1:99999", "ray://127.0.0.1:x"])
def test_nobody_there(address: str) -> None:
    expected = f"^--address {address}: no Ray cluster answers there: .+$"
    with pytest.raises(InputError, match=expected), reaching(address):
        pytest.fail("the block must not run")


def test_a_port_that_nobody_listens_on(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(InputError, match="refused"), reaching(f"127.0.0.1:{port}"):
        pytest.fail("the block must not run")


def test_somebody_there(listener: socket.socket) -> None:
    ran = []
    with reaching(f"ray://127.0.0.1:{listener.getsockname()[1]}"):
        ran.append(True)
    assert ran


def test_what_ray_says_of_an_address_is_one_line() -> None:
    expected = r"^--address auto: no Ray cluster answers there: none found$"
    with pytest.raises(InputError, match=expected), reaching("auto"):
        raise ConnectionError("none found\nand much more")


def test_a_fault_of_this_machine_is_no_mistake_of_the_user() -> None:
    with pytest.raises(RuntimeError, match=r"Ray did not start on this machine: broken \(") as caught, reaching(None):
        raise ValueError("broken\nand its stack")
    assert not isinstance(caught.value, InputError)
