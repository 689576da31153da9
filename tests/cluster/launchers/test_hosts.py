"""The target `ssh` on hosts of this machine: its own script starts Ray on them, and a sweep outlives what happens to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fersweep.cluster.launchers.rendering import render
from fersweep.common.processes import module_command
from fersweep.common.text import shell
from fersweep.results.record import journal
from tests.cluster.launchers import hosts
from tests.cluster.launchers.hosts import Network
from tests.processes import UNRECORDED, num_lines, wait_until, write_curve

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


def hosts_of(events: list[dict[str, Any]]) -> list[str]:
    """The host of each report."""
    return [event["worker"]["host"] for event in events if event["event"] == "report"]


def test_hosts(network: Network, tiny_dataset: Path) -> None:
    """Two of three hosts start; a sweep runs on them. The third joins late, and is used; the second is cut off, which costs
    its trial at most a report, and is used again when it is back. `down` ends all of it, and no process of a neighbour.
    """
    shared = network.shared
    data, home = shutil.copytree(tiny_dataset, shared / "tiny"), shared / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(
        shared / "c.yaml",
        trainable="faulty_curve",
        fix="noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.5",
        trials=26,
        epochs=24,
    )
    cluster_file(network, 3)
    neighbour = network.ssh(1, "exec -a 'ray::IDLE raylet/raylet' sleep 1000")
    said = script(network, "up")
    assert f"{network.address(1)}: started\n{network.address(2)}: started\n2 of 3 hosts run" in said
    assert f"{network.address(3)}: FAILED: ssh: connect to host" in said
    address = f"{network.address(1)}:6379"
    options = [sweep, "--data", data, "--address", address, "--home", home]
    verb = ["launch", *options, "--set", "resources.gpus=1", "--set", "stop.scheduler=none"]
    driver = network.ssh(1, shell(*module_command("tests.doubles.changed_driver", *verb)))

    def used(host: str, after: int = 0) -> bool:
        return path.exists() and host in hosts_of(list(journal.read_events(path))[after:])

    wait_until(lambda: used("h1") and used("h2"), driver)
    network.boot(3)
    said = script(network, "up", "--all")
    assert f"{network.address(1)}: runs already\n{network.address(2)}: runs already\n" in said
    assert f"{network.address(3)}: started\n3 of 3 hosts run" in said
    wait_until(lambda: used("h3"), driver)
    network.cut_off(2)
    wait_until(lambda: any(event["event"] == "fault" for event in journal.read_events(path)), driver)
    assert f"{network.address(2)}: FAILED" in script(network, "status", code=1)
    network.bring_back(2)
    back = num_lines(path)
    wait_until(lambda: used("h2", back), driver)
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert "its machine is lost; goes on after epoch" in err
    record, events = journal.read(path), list(journal.read_events(path))
    assert record.count()["finished"] == 26
    assert sum(trial.retries for trial in record.trials.values()) == 0, "a lost machine is no trial's fault"
    assert {event["kind"] for event in events if event["event"] == "fault"} == {"infrastructure"}
    told = sum(len(event["epochs"]) for event in events if event["event"] == "report")
    assert told == sum(trial.num_epochs for trial in record.trials.values()) == 26 * 24

    token = (shared / "admin" / ".ray" / "auth_token").read_text()
    for number in (1, 2, 3):
        kept = shared / f"h{number}" / "auth_token"
        assert kept.read_text() == token
        assert kept.stat().st_mode & 0o777 == 0o600
    logs = "".join(log.read_text() for log in (shared / "logs of 'hosts'").glob("*.log"))
    assert "Ray runtime started" in logs
    assert token not in logs + err
    assert subprocess.run(["pgrep", "-f", token], check=False).returncode == 1, "it is in no argument list"
    assert script(network, "down").count(": stopped\n") == 3
    assert script(network, "down").count(": did not run\n") == 3
    assert neighbour.poll() is None
    for number in (1, 2, 3):
        out, _ = network.ssh(number, "pgrep -fc raylet").communicate()
        assert int(out) == (number == 1), "the neighbour's alone"
    neighbour.kill()
    neighbour.communicate()
