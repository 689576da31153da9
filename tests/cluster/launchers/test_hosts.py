"""The target `ssh` on hosts of this machine: its own script starts Ray on them, and a sweep outlives what happens to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fersweep.cluster.launchers.rendering import render
from tests.cluster.launchers import hosts
from tests.cluster.launchers.hosts import Network
from tests.processes import UNRECORDED

pytestmark = [
    pytest.mark.clusters,
    pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())),
]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path, UNRECORDED) as network:
        network.boot(1)
        network.boot(2)
        yield network


def script(network: Network, *arguments: str, code: int = 0) -> str:
    """Run cluster.sh on this machine → its output."""
    environment = {**os.environ, "PATH": f"{network.bin}:{os.environ['PATH']}", "HOME": str(network.shared / "admin")}
    call = [network.shared / "files" / "cluster.sh", *arguments]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def cluster_file(network: Network, num_hosts: int, **changes: object) -> None:
    """And the files made of it."""
    addresses = [network.address(number) for number in range(1, num_hosts + 1)]
    cluster = {
        "name": "hosts",
        "nodes": num_hosts,
        "cpus": 1,
        "gpus": 1,  # logical: Ray counts them, and no trial looks
        "memory_gb": 4,
        "ssh": {"hosts": addresses, "path": str(network.shared / "logs of 'hosts'"), "python": sys.executable},
        **changes,
    }
    (network.shared / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    render("ssh", network.shared / "cluster.yaml", network.shared / "files")


def test_hosts(network: Network, tiny_dataset: Path) -> None:
    cluster_file(network, 3)
    said = script(network, "up")
    print(said)
    print(script(network, "status", code=1))
    print(script(network, "down", code=1))
