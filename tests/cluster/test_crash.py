"""Real processes, killed for good (SIGKILL) and resumed: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.launch import launch
from fersweep.results.record import journal
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.processes import UNRECORDED, below, kill, num_lines, run, start, wait_until, write_curve
from tests.recorded import check_all_recorded

NUM_KILLS, NUM_TRIALS, METRIC = 6, 24, "val_macro_f1"


def check_journal(path: Path, num_trials: int) -> journal.SweepRecord:
    """Every trial ended exactly once, every epoch came exactly once, and ASHA judged each report as its rule says of all
    that was reported before. Written without the search's own code.
    """
    events = list(journal.read_events(path))
    stop = json.loads((path.parent / "sweep.json").read_text())["sweep"]["stop"]
    rungs = [stop["grace_epochs"] * stop["reduction"] ** k for k in range(10)]
    rungs = [level for level in rungs if level < stop["max_epochs"]]
    values: dict[int, list[float]] = {}
    ended: dict[int, str] = {}
    doomed: int | None = None
    for event in (event for event in events if event["event"] in ("sampled", "report", "ended")):
        number = event["trial"]
        assert number not in ended, f"trial {number} goes on after its end"
        assert doomed in (None, number), f"trial {doomed} should have been stopped"
        if event["event"] == "sampled":
            assert number == len(values)
            values[number] = []
        elif event["event"] == "report":
            assert event["worker"].keys() == {"host", "pid", "cpu_percent", "rss_bytes"}
            before = len(values[number])
            assert [row["epoch"] for row in event["epochs"]] == list(
                range(before + 1, before + 1 + len(event["epochs"]))
            ), f"trial {number}: an epoch is missing or came twice"
            values[number] += [row[METRIC] for row in event["epochs"]]
            for level in rungs:
                if before < level <= len(values[number]):
                    table = [max(rows[:level]) for rows in values.values() if len(rows) >= level]
                    survives = max(values[number][:level]) >= np.quantile(table, 1 - 1 / stop["reduction"])
                    doomed = doomed if survives else number
        else:
            assert (event["state"] == "stopped") == (doomed == number), f"trial {number}: {event}"
            ended[number], doomed = event["state"], None
    record = journal.read(path)
    assert len(ended) == len(record.trials) == num_trials
    assert record.action == "finished"
    return record


@pytest.mark.parametrize("fuse", [1, 4])
def test_a_driver_killed_six_times(tmp_path: Path, tiny_dataset: Path, ray_address: str, fuse: int) -> None:
    """24 trials with ASHA and MLflow, alone or up to four at once in a worker; killed after a random number of events, or some time after its start.

    Every third driver has a Ray of its own and takes its recorder along; the others meet on one cluster, and all but the
    first leave what they write to the recorders of later ones. What comes after a kill at any other event is played
    through in test_search.py, and benchmarks/sweeps/soak.py kills a hundred times.
    """
    home, rng = tmp_path / "runs", np.random.default_rng(11)
    path = home / "sweeps" / "c" / "journal.jsonl"
    first = ("launch", write_curve(tmp_path / "c.yaml", trials=NUM_TRIALS, fuse=fuse), "--data", tiny_dataset)
    before = b""
    for round_ in range(NUM_KILLS):
        alone = round_ % 3 == 2
        verb: tuple[Any, ...] = ("resume", "c") if path.parent.exists() else first
        where = () if alone else ("--address", ray_address)
        process = start(*verb, *where, home=home, env=UNRECORDED if round_ in (1, 3, 4) else None)
        if round_ in (1, 5):  # somewhere in its start-up
            with pytest.raises(Exception, match="timed out"):
                process.communicate(timeout=float(rng.uniform(0.5, 6 if alone else 3)))
        else:
            target = num_lines(path) + 2 + int(rng.integers(25))
            wait_until(lambda target=target: num_lines(path) >= target, process)
        if alone:
            for pid in below(process.pid, "fersweep.results.tracking.recorder_process"):
                os.kill(pid, signal.SIGKILL)
        kill(process)
        after = path.read_bytes() if path.exists() else b""
        assert after.startswith(before[: before.rfind(b"\n") + 1]), "what was written is never changed"
        before = after
    assert journal.read(path).count()["running"] or len(journal.read(path).trials) < NUM_TRIALS, "killed before its end"
    run("resume", "c", "--address", ray_address, home=home)
    check_journal(path, NUM_TRIALS)
    runs = check_all_recorded(path.parent)
    assert runs["parent"].info.status == "FINISHED"
    assert len(runs) == 1 + NUM_TRIALS

    run("resume", "c", home=home)  # a finished sweep: nothing is done
    assert len(journal.read(path).trials) == NUM_TRIALS


def results(path: Path) -> list[tuple]:
    """All that a sweep found out, without times."""
    return [
        (t.number, t.params, t.state, t.reason, [{k: v for k, v in row.items() if k != "epoch_s"} for row in t.epochs])
        for t in journal.read(path).trials.values()
    ]


ALONE = (
    "trainable: pixel_mlp\n"
    "task: {features: pixels}\n"
    "space: {fix: {num_layers: 1, image_size: 24, batch_size: 32, dropout: 0.2, batch_norm: true, optimizer: sgd},\n"
    "        range: {units_0: [16, 32], learning_rate: [1e-4, 1e-3]}}\n"
    "search: {num_trials: 8, seed: 5}\n"
    "stop: {grace_epochs: 2, max_epochs: 48, reduction: 2, report_s: 0}\n"
    "resources: {cpus: 2}\n"
)
TOGETHER = (
    "trainable: blendshape_dense\n"
    "space: {fix: {num_layers: 1, batch_size: 8, dropout: 0.3, batch_norm: true, optimizer: adamw, schedule: cosine},\n"
    "        range: {units_0: [16, 18], learning_rate: [1e-4, 1e-3]}}\n"
    "search: {sampler: random, num_trials: 8, seed: 5}\n"
    "stop: {scheduler: none, max_epochs: 12, report_s: 0}\n"
    "resources: {cpus: 2, fuse: 4}\n"
)


@pytest.mark.usefixtures("nothing_is_recorded")
@pytest.mark.parametrize("asked", [ALONE, TOGETHER], ids=["alone", "together"])
def test_a_real_sweep_killed_three_times_gives_the_same_numbers(
    tmp_path: Path, tiny_dataset: Path, ray_address: str, asked: str
) -> None:
    """Same seed, same data, one worker: nets with dropout, broken three times and not at all. Alone with ASHA and TPE; together what
    these decide depends on who has reported first, so all have all their epochs, in stacks that a break puts together anew.
    """
    home = tmp_path / "runs"
    (tmp_path / "mlp.yaml").write_text(asked)
    where = ("--address", ray_address)
    options = (tmp_path / "mlp.yaml", "--data", tiny_dataset, *where)
    assert launch(read_sweep(str(options[0]), [], name="whole"), tiny_dataset, home).state == "finished"
    path = home / "sweeps" / "broken" / "journal.jsonl"
    for lines in (9, 25, 42):
        verb: tuple[Any, ...] = ("launch", *options, "--name", "broken") if lines == 9 else ("resume", "broken", *where)
        process = start(*verb, home=home, env=UNRECORDED)
        wait_until(lambda lines=lines: num_lines(path) >= lines, process)
        kill(process)
    run("resume", "broken", *where, home=home, env=UNRECORDED)
    whole, broken = (results(home / "sweeps" / name / "journal.jsonl") for name in ("whole", "broken"))
    assert broken == whole
    assert {state for _, _, state, _, _ in whole} == ({"finished", "stopped"} if asked is ALONE else {"finished"})
    assert sum(len(rows) for *_, rows in whole) > 60
