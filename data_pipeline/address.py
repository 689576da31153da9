"""The address of a Ray cluster: is there anybody?"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from data_pipeline.errors import InputError

PROBE_S = 10.0


@contextmanager
def reaching(address: str | None) -> Iterator[None]:
    """Around `ray.init(address=address)`: InputError where no cluster answers. None is this machine, always there.

    HOST:PORT is tried first: at an address where nobody listens Ray itself waits for many minutes.
    """
    if address is None:
        yield
        return
    try:
        if ":" in address:
            host, _, port = address.split("://")[-1].rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
        yield
    except (OSError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--address {address}: no Ray cluster answers there: {reason}") from None
