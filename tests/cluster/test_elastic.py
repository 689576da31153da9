"""Clusters that grow: a node that joins late, shares of GPUs, an autoscaler that begins with no worker at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fersweep.cluster.driver.progress import PLACE_S
from fersweep.results.record import journal
from tests.processes import UNRECORDED, below, num_lines, start, wait_until, write_curve
from tests.ray_nodes import ENVIRONMENT, AutoscalingCluster, Cluster

pytestmark = [pytest.mark.clusters]
SLOW = {"trainable": "faulty_curve", "fix": "noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.15"}


def most_at_once(path: Path) -> int:
    """Trials that had been sampled and had not ended, at most."""
    running = most = 0
    for event in journal.read_events(path):
        running += (event["event"] == "sampled") - (event["event"] == "ended")
        most = max(most, running)
    return most


def test_a_node_that_joins_late_is_used(tmp_path: Path, tiny_dataset: Path) -> None:
    home = tmp_path / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(tmp_path / "c.yaml", **SLOW, trials=12, epochs=20)
    with Cluster(tmp_path) as cluster:
        options = (sweep, "--data", tiny_dataset, "--address", cluster.address)
        process = start("launch", *options, home=home, env={**ENVIRONMENT, **UNRECORDED})
        wait_until(lambda: num_lines(path) > 8, process)
        assert most_at_once(path) == 1
        second = cluster.add()
        wait_until(lambda: below(second.pid, "ray::_Inner"), process)
        wait_until(lambda: most_at_once(path) == 2, process)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert journal.read(path).num_ended == 12
    assert most_at_once(path) == 2, "no trial is sampled before there is a place for it"


def test_a_share_of_a_gpu_never_straddles_two(tmp_path: Path, tiny_dataset: Path) -> None:
    home = tmp_path / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(tmp_path / "c.yaml", **SLOW, trials=6, epochs=6, cpus=0.5)
    with Cluster(tmp_path, num_cpus=4, num_gpus=2) as cluster:
        options = (sweep, "--data", tiny_dataset, "--address", cluster.address, "--set", "resources.gpus=0.6")
        process = start("launch", *options, home=home, env={**ENVIRONMENT, **UNRECORDED})
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert most_at_once(path) == 2


def test_an_autoscaling_cluster_from_zero(tmp_path: Path, tiny_dataset: Path) -> None:
    """No node holds a trial when the sweep begins: it waits, says for what, and runs."""
    home = tmp_path / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(tmp_path / "c.yaml", **SLOW, trials=6, epochs=8)
    with AutoscalingCluster(tmp_path) as cluster:
        options = (sweep, "--data", tiny_dataset, "--address", cluster.address, "--set", "resources.gpus=1")
        process = start("launch", *options, home=home, env={**ENVIRONMENT, **UNRECORDED})
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    times = {event["event"]: event["time"] for event in reversed(list(journal.read_events(path)))}
    if times["sampled"] - times["session"] > PLACE_S + 2:  # a node that came sooner was not waited for
        assert "waiting for a node: a trial wants 1 CPU, 1 GPU; the cluster has 1 node with 0 CPUs and 0 GPUs" in err
    assert journal.read(path).num_ended == 6
    assert most_at_once(path) == 2


def test_all_workers_come_to_work_though_trials_are_shorter_than_their_start(
    tmp_path: Path, tiny_dataset: Path
) -> None:
    home = tmp_path / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    fast = {**SLOW, "fix": "noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.1"}
    sweep = write_curve(tmp_path / "c.yaml", **fast, trials=120, epochs=5)
    with Cluster(tmp_path, num_cpus=4) as cluster:
        options = (sweep, "--data", tiny_dataset, "--address", cluster.address)
        process = start("launch", *options, home=home, env={**ENVIRONMENT, **UNRECORDED})
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    workers = {event["worker"]["pid"] for event in journal.read_events(path) if event["event"] == "report"}
    assert len(workers) == 4
