"""Waits until a Ray cluster that is being started has its nodes: `python -m fersweep.cluster.launchers.wait_for_nodes
HOST:PORT ALL ENOUGH SECONDS`, as batch scripts do on the head. Exit code 1 where there are not enough after that time.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
import time

from fersweep.common import ray_address, ray_connection
from fersweep.common.errors import InputError
from fersweep.common.ray_address import Address


def wait_for_nodes(address: str, wanted: int, enough: int, timeout_s: float) -> int:
    """How many nodes are alive: `wanted`, or, after `timeout_s`, fewer. Says how many, whenever that changes."""
    deadline, alive = time.monotonic() + timeout_s, 0
    while True:
        try:
            ray_address.check(Address(address, address))
            break
        except InputError as error:  # it is starting
            if time.monotonic() > deadline:
                print(f"{error}; after {timeout_s:g} s", flush=True)
                return 0
            time.sleep(0.5)
    import ray

    ray_connection.connect(address)
    try:
        while True:
            now = sum(bool(node["Alive"]) for node in ray.nodes())
            if now != alive:
                print(f"{now} of {wanted} nodes are alive", flush=True)
            alive = now
            if alive >= wanted or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    finally:
        ray.shutdown()
    if alive < wanted:
        print(f"after {timeout_s:g} s {alive} of {wanted} nodes are alive; at least {enough} are wanted", flush=True)
    return alive


if __name__ == "__main__":
    _, address, wanted, enough, timeout_s = sys.argv
    sys.exit(wait_for_nodes(address, int(wanted), int(enough), float(timeout_s)) < int(enough))
