"""Sweeps as jobs of a cluster with a token: they outlive who sent them, and are watched, stopped and resumed from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fersweep.results.record import checkpoints, journal
from fersweep.results.record.recorded_sweep import load_sweep
from tests.jobs_cluster import JobsCluster
from tests.processes import kill, num_lines, run, start, wait_until, write_curve
from tests.recorded import check_all_recorded

TOKEN = "the-token-of-the-tests"
CLIENT = {"RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN": TOKEN}


def missing() -> str | None:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        return "a node that does not see a directory wants root and unshare"
    return None


pytestmark = [pytest.mark.clusters, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsCluster]:
    directory = tmp_path_factory.mktemp("jobs")
    (directory / "hidden").mkdir()
    with JobsCluster(directory, TOKEN, directory / "hidden") as cluster:
        cluster.add()
        yield cluster


def client(*arguments: object, code: int = 0, env: dict[str, str] = CLIENT) -> tuple[str, str]:
    """`fersweep ARGUMENTS` in a process of its own → stdout, stderr."""
    process = start(str(arguments[0]), *arguments[1:], home=None, env=env)
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, f"{arguments}: {process.returncode}\n{out}\n{err}"
    return out, err


def test_a_job_outlives_who_sent_it(cluster: JobsCluster, tmp_path: Path, tiny_dataset: Path) -> None:
    home, at = tmp_path / "ru 'ns", ["--address", cluster.api]
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = write_curve(tmp_path / "c.yaml", fix="noise: 0.02, epoch_s: 0.5", trials=4, epochs=150)
    places = ["--data", tiny_dataset, "--home", home]

    sender = start("launch", sweep, *places, "--submit", *at, home=None, env=CLIENT)
    assert sender.stderr is not None
    wait_until(lambda: "sent: c is job c@1" in sender.stderr.readline(), sender)
    kill(sender)
    sweep.rename(tmp_path / "moved.yaml")
    wait_until(lambda: num_lines(path) > 20)

    (found,) = json.loads(client("status", "c", "--home", home, "--json")[0])
    assert found["state"] == "running"
    told = json.loads(client("cluster", "status", *at, "--json")[0])
    assert len(told["nodes"]) == 2
    assert [(job["id"], job["state"], job["home"]) for job in told["jobs"]] == [("c@1", "RUNNING", str(home))]
    assert "/4 trials; 2 running" in client("cluster", "logs", "c", *at)[0]
    again = ["cluster", "submit", tmp_path / "moved.yaml", "--name", "c", *places, *at]
    assert "sweep c is job c@1 already, and running" in client(*again, code=2)[1]

    out, _ = client("cluster", "stop", "c", *at)
    assert out.startswith("c is stopped; go on with: fersweep launch ")
    before = load_sweep(path.parent)
    assert [event["action"] for event in journal.read_events(path) if event["event"] == "session"] == [
        "started",
        "interrupted",
    ]
    cut_off = [trial for trial in before.record.trials.values() if trial.state == "running"]
    assert len(cut_off) == 2
    for trial in cut_off:
        assert trial.num_epochs in checkpoints.saved(before.storage, trial.number), "its last report has its checkpoint"

    client(*again)
    log, _ = client("cluster", "logs", "c", "--follow", *at)
    assert "next: fersweep compare c --home" in log
    after = load_sweep(path.parent).record
    assert after.action == "finished"
    for trial in before.record.trials.values():
        assert after.trials[trial.number].epochs[: trial.num_epochs] == trial.epochs
    trained = sum(len(event["epochs"]) for event in journal.read_events(path) if event["event"] == "report")
    assert trained == sum(trial.num_epochs for trial in after.trials.values()), "no epoch twice"
    check_all_recorded(path.parent)  # SIGTERM went to the recorder, too
    assert "does not run: its job c@2 finished" in client("cluster", "stop", "c", *at)[0]


def test_what_only_the_cluster_knows_is_refused_in_a_line(
    cluster: JobsCluster, tmp_path: Path, tiny_dataset: Path
) -> None:
    sweep = write_curve(tmp_path / "h.yaml", trials=1, epochs=3)
    at = ["--submit", "--address", cluster.api]
    _, err = client("launch", sweep, "--data", tiny_dataset, "--home", cluster.hidden / "runs", *at, code=2)
    assert "does not see what this machine writes there: want a directory that all machines share" in err
    assert list(cluster.hidden.iterdir()) == []
    _, err = client("launch", sweep, "--data", "/no/such", "--home", tmp_path / "runs", *at, code=2)
    assert "/no/such is no finished dataset" in err
    assert "this machine does not see --data /no/such" in err


def test_a_token_is_asked_for(cluster: JobsCluster, tmp_path: Path, tiny_dataset: Path) -> None:
    sweep = write_curve(tmp_path / "t.yaml")
    nobody = {**CLIENT, "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}
    wrong = {**CLIENT, "RAY_AUTH_TOKEN": "another"}
    submit = ["launch", sweep, "--data", tiny_dataset, "--home", tmp_path / "runs", "--submit"]
    for verb in (["cluster", "status"], ["cluster", "logs", "c"], ["cluster", "stop", "c"], submit):
        for env, line in ((nobody, "the cluster asks for a token"), (wrong, "has another token than RAY_AUTH_TOKEN")):
            out, err = client(*verb, "--address", cluster.api, code=2, env=env)
            assert line in err
            assert (out, err.count("\n")) == ("", 1), err
    assert not (tmp_path / "runs").exists()


def test_a_driver_joins_with_the_token(cluster: JobsCluster, tmp_path: Path, tiny_dataset: Path) -> None:
    sweep, home = write_curve(tmp_path / "d.yaml", trials=2, epochs=3), tmp_path / "runs"
    run("launch", sweep, "--data", tiny_dataset, "--address", cluster.address, home=home, env=CLIENT)
    assert journal.read(home / "sweeps" / "d" / "journal.jsonl").action == "finished"
    for path in home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
