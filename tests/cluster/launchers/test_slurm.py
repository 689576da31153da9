"""The target `slurm` on a Slurm of the test's own: its script submitted, told that its time is up, requeued, and cancelled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fersweep.cluster.launchers.rendering import render
from fersweep.common.text import shell
from fersweep.results.record import journal
from tests.cluster.launchers import slurm
from tests.cluster.launchers.slurm import Slurm
from tests.processes import ROOT, num_lines, wait_until, write_curve

pytestmark = [pytest.mark.clusters, pytest.mark.skipif(slurm.missing() is not None, reason=str(slurm.missing()))]

SLOW = {"trainable": "faulty_curve", "fix": "noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.3"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


class Sweep:
    """A sweep file, a dataset and a home below a directory with a hostile name, and the script made for them."""

    def __init__(self, cluster: Slurm, name: str, dataset: Path):
        self.cluster, self.name = cluster, name
        place = cluster.jobs / f"{name} 'of' $(touch PWNED); `touch PWNED`"
        place.mkdir()
        self.home = place / "runs"
        self.journal = self.home / "sweeps" / name / "journal.jsonl"
        activate = place / "activate"
        variables = {"PYTHONPATH": ROOT, "FERSWEEP_TRAINABLES": "tests.doubles.faulty_curve", "OMP_NUM_THREADS": 1}
        lines = [f"export {key}={shell(value)}" for key, value in variables.items()]
        activate.write_text("\n".join([f"PATH={shell(Path(sys.executable).parent)}:$PATH", *lines]) + "\n")
        sweep = write_curve(place / f"{name}.yaml", **SLOW, trials=6, epochs=20)
        described = {
            "name": name,
            "nodes": 2,
            "cpus": 1,
            "gpus": 1,
            "memory_gb": 4,
            "max_hours": 1,
            "run": shell(sweep, "--data", dataset, "--home", self.home),
            "slurm": {"activate": str(activate)},
        }
        (place / "cluster.yaml").write_text(yaml.safe_dump(described))
        self.script = render("slurm", place / "cluster.yaml", place / "files").written[0]

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.cluster.jobs.glob(f"{self.name}-*.log")))

    def wait(self, state: str, job: str) -> None:
        def reached() -> bool:
            now = self.cluster.state(job)
            assert now in (state, "PENDING", "RUNNING", "COMPLETING", "REQUEUED"), self.log()
            return now == state

        wait_until(reached, timeout_s=200)

    def grows(self, job: str, events: int) -> None:
        """Until the journal has so many events more than now."""
        wanted = num_lines(self.journal) + events

        def reached() -> bool:
            assert self.cluster.state(job) in ("PENDING", "RUNNING", "COMPLETING"), self.log()
            return num_lines(self.journal) >= wanted

        wait_until(reached, timeout_s=200)


def test_time_limit_and_requeue(cluster: Slurm, tiny_dataset: Path) -> None:
    sweep = Sweep(cluster, "requeued", tiny_dataset)
    job = cluster.submit(sweep.script)
    sweep.grows(job, 12)
    cluster.run("scancel", "--batch", "--signal=USR1", job)  # as Slurm does two minutes before the time limit
    wait_until(lambda: "requeued: the next run goes on with it" in sweep.log(), timeout_s=100)
    stopped = journal.read(sweep.journal)
    assert "told to stop (USR1)" in sweep.log()
    assert all(trial.num_epochs for trial in stopped.trials.values())
    sweep.grows(job, 12)
    cluster.run("scontrol", "requeue", job)
    wait_until(lambda: "restart 2" in sweep.log(), timeout_s=100)
    cut = journal.read(sweep.journal)
    sweep.wait("COMPLETED", job)
    assert "2 of 2 nodes are alive" in sweep.log()
    record = journal.read(sweep.journal)
    assert record.count()["finished"] + record.count()["stopped"] == 6
    for before in (stopped, cut):
        for number, trial in before.trials.items():
            assert record.trials[number].epochs[: trial.num_epochs] == trial.epochs, "what was told is never forgotten"
    assert not list(cluster.jobs.rglob("PWNED"))


def test_scancel_leaves_a_resumable_sweep(cluster: Slurm, tiny_dataset: Path) -> None:
    sweep = Sweep(cluster, "cancelled", tiny_dataset)
    job = cluster.submit(sweep.script)
    sweep.grows(job, 12)
    cluster.run("scancel", job)
    sweep.wait("CANCELLED", job)
    before = journal.read(sweep.journal)
    assert before.count()["finished"] < 6
    again = cluster.submit(sweep.script)
    sweep.wait("COMPLETED", again)
    record = journal.read(sweep.journal)
    assert record.count()["finished"] + record.count()["stopped"] == 6
    for number, trial in before.trials.items():
        assert record.trials[number].epochs[: trial.num_epochs] == trial.epochs
