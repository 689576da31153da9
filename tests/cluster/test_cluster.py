"""Clusters of more than one node, and buckets: machines that are lost, storage that outlives them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.cluster.worker.trial_session import verdict
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare
from fersweep.data_pipeline.sources.demo_faces import make_faces
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.dashboards.status import status
from fersweep.results.record import checkpoints, journal
from fersweep.results.record.home import find_sweep
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from tests.processes import UNRECORDED, below, kill, num_lines, run, start, wait_until, write_curve
from tests.ray_nodes import ENVIRONMENT, Cluster
from tests.recorded import check_all_recorded
from tests.servers import free_port
from tests.sweeps import write_sweep_json

IMPATIENT = {**ENVIRONMENT, **UNRECORDED, "LOST_S": "3"}
SLOW = {"trainable": "faulty_curve", "fix": "noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.15"}


def works(path: Path, processes: list[int]) -> bool:
    """Whether the trial that reported last in one of these processes still runs: one that only starts loses nothing."""
    reports = [event for event in journal.read_events(path) if event["event"] in ("report", "ended")]
    there = [event["trial"] for event in reports if event.get("worker", {}).get("pid") in processes]
    return bool(there) and not any(event["event"] == "ended" and event["trial"] == there[-1] for event in reports)


@pytest.mark.processes
def test_a_lost_machine(tmp_path: Path, tiny_dataset: Path) -> None:
    """Two raylets, one killed with its worker: its trial goes on from its checkpoint on the other."""
    home = tmp_path / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(tmp_path / "c.yaml", **SLOW, trials=8, epochs=20)
    with Cluster(tmp_path) as cluster:
        second = cluster.add()
        process = start(
            "launch", sweep, "--data", tiny_dataset, "--address", cluster.address, home=home, env=ENVIRONMENT
        )
        wait_until(lambda: num_lines(path) > 12 and works(path, below(second.pid, "ray::_Inner")), process)
        cluster.lose(second)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "its machine is lost; goes on after epoch" in err
    record = journal.read(path)
    assert len(record.trials) == 8
    assert record.count()["failed"] == 0
    assert sum(trial.retries for trial in record.trials.values()) == 0, "a lost machine is no trial's fault"
    lost = [event for event in journal.read_events(path) if event["event"] == "fault"]
    assert [event["kind"] for event in lost] == ["infrastructure"]
    epochs = [event["epochs"] for event in journal.read_events(path) if event["event"] == "report"]
    assert sum(len(rows) for rows in epochs) == sum(trial.num_epochs for trial in record.trials.values())
    check_all_recorded(path.parent)


@pytest.mark.processes
def test_prepare_on_two_machines(tmp_path: Path) -> None:
    """Workers on both, one cache on shared storage, and the dataset is the one that a single machine makes."""
    faces, cache = make_faces(tmp_path / "faces", 90), tmp_path / "readings"
    prepare([faces], tmp_path / "alone", Options(image_size=(48, 48)), workers=1, cache=tmp_path / "other")
    options = ["--image-size", 48, "--workers", 2, "--cache", cache]
    with Cluster(tmp_path) as cluster:
        second = cluster.add()
        address = ["--address", cluster.address]
        process = start("prepare", faces, "--out", tmp_path / "two", *options, *address, home=None, env=ENVIRONMENT)
        wait_until(
            lambda: below(second.pid, "ray::MapWorker") and below(cluster.nodes[0].pid, "ray::MapWorker"), process
        )
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert read_manifest(tmp_path / "two")["fingerprint"] == read_manifest(tmp_path / "alone")["fingerprint"]
    (ids,) = cache.rglob("*.ids.npy")  # the workers' files, merged
    assert len(np.load(ids)) == 90


def test_a_lost_head(tmp_path: Path, tiny_dataset: Path, ray_address: str) -> None:
    """The driver says so and ends; on another cluster, at another address, the sweep goes on."""
    home = tmp_path / "runs"
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(tmp_path / "c.yaml", **SLOW, trials=4, epochs=20)
    with Cluster(tmp_path) as cluster:
        process = start("launch", sweep, "--data", tiny_dataset, "--address", cluster.address, home=home, env=IMPATIENT)
        wait_until(lambda: num_lines(path) > 12, process)
        cluster.lose(cluster.nodes[0])
        _, err = process.communicate(timeout=100)
    assert process.returncode == 1, err
    assert f"go on with: fersweep resume c --home {home}" in err
    before = journal.read(path)
    run("resume", "c", "--address", ray_address, home=home, env=UNRECORDED)
    after = journal.read(path)
    assert after.count()["finished"] + after.count()["stopped"] == 4
    for number, trial in before.trials.items():
        assert after.trials[number].epochs[: trial.num_epochs] == trial.epochs


def stored(bucket: str, sweep: Sweep) -> Storage:
    prefix, _, options = bucket.partition("?")
    return Storage(f"{prefix}/{sweep.name}?{options}")


def test_a_sweep_in_a_bucket_outlives_its_machine(
    tmp_path: Path, tiny_dataset: Path, bucket: str, ray_address: str
) -> None:
    """Killed, its home deleted, and resumed from its address elsewhere; checkpoints, journal and record are all there."""
    home, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    path = home / "sweeps" / "c" / "journal.jsonl"
    options, where = (
        (write_curve(tmp_path / "c.yaml", trials=8, epochs=9), "--data", tiny_dataset),
        ("--address", ray_address),
    )
    process = start("launch", *options, *where, "--set", f"storage='{bucket}'", home=home, env=UNRECORDED)
    wait_until(lambda: num_lines(path) > 25, process)
    kill(process)
    told = journal.read(path)
    sweep = load_sweep(path.parent).sweep.asked
    storage = stored(bucket, sweep)
    shutil.rmtree(home)
    with pytest.raises(InputError, match="a sweep is there"):
        launch(sweep, tiny_dataset, elsewhere)
    beat = storage.read("heartbeat")
    storage.write("heartbeat", f"{time.time() - 3600} 7 elsewhere".encode())  # whose clock is behind
    assert "process 7 on elsewhere ran this sweep" in run("resume", storage.address, home=elsewhere, code=2)
    assert [found.state for found in status(elsewhere, storage.address)] == ["running"]
    storage.write("heartbeat", beat)  # of this machine, where that process is gone
    (elsewhere / "sweeps" / "c" / "journal.jsonl").write_bytes(b"")
    (found,) = status(elsewhere, "c")
    assert (found.state, found.epochs) == ("interrupted", told.num_epochs), "as it is in the bucket by now"
    run("resume", storage.address, *where, home=elsewhere)
    assert storage.read("heartbeat").startswith(b"0.0 ")
    directory = find_sweep(elsewhere, "c")
    recorded = load_sweep(directory)
    record = recorded.record
    assert record.count()["finished"] + record.count()["stopped"] == 8
    for number, trial in told.trials.items():
        assert record.trials[number].epochs[: trial.num_epochs] == trial.epochs, "what was told is never forgotten"
    assert (
        b"".join(storage.read(f"journal/{name}") for name in storage.names("journal"))
        == (directory / "journal.jsonl").read_bytes()
    )
    kept = recorded.kept_trials()
    for trial in record.trials.values():
        assert bool(checkpoints.saved(storage, trial.number)) == (trial in kept)
    assert json.loads((recorded.best_checkpoint(kept[0]) / "model.json").read_text())["epoch"]  # type: ignore[operator]
    check_all_recorded(directory)


def test_a_bucket_that_is_not_there_is_refused(tmp_path: Path, tiny_dataset: Path, bucket: str) -> None:
    sweep = str(write_curve(tmp_path / "c.yaml"))
    with pytest.raises(InputError, match=r"storage: .*must be a bucket's address"):
        read_sweep(sweep, ["storage=/tmp/x"])
    missing = bucket.replace("s3://sweeps", "s3://nowhere")
    with pytest.raises(InputError, match="storage s3://nowhere/team/c"):
        launch(read_sweep(sweep, [f"storage='{missing}'"]), tiny_dataset, tmp_path / "runs")
    both = read_sweep(sweep, [f"storage='{bucket}'", "then={best: 2}"], name="d")
    assert both.following is not None
    stored(bucket, both.following).write("sweep.json", b"{}")
    with pytest.raises(InputError, match=r"team/d-full.*: a sweep is there"):
        launch(both, tiny_dataset, tmp_path / "runs")
    assert stored(bucket, both).names("") == []
    assert not (tmp_path / "runs").exists()
    with pytest.raises(InputError, match="no sweep is stored there"):
        resume(find_sweep(tmp_path / "runs", bucket))
    ours = write_sweep_json(tmp_path / "runs", tiny_dataset, Task(tiny_dataset).arrays(), "e") / "sweep.json"
    theirs = {**json.loads(ours.read_text()), "sweep_id": "0" * 32}
    Storage(bucket).write("sweep.json", json.dumps(theirs).encode())
    with pytest.raises(InputError, match=r"sweeps/e is another sweep of this name: want another --home"):
        find_sweep(tmp_path / "runs", bucket)


def test_a_bucket_that_stays_away_is_no_trials_fault() -> None:
    away = Storage(f"s3://sweeps/c?endpoint_override=127.0.0.1:{free_port()}&scheme=http&region=us-east-1", retry_s=0)
    with pytest.raises(OSError, match="AWS") as caught:
        away.write("sweep.json", b"{}")
    assert verdict(caught.value)[0] == "storage"
