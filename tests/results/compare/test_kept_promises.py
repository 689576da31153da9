"""What is said of a sweep's budget and its finalists: in compare, status, the report, MLflow, and by `promote`'s choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fersweep.results.compare.page import sweep_page
from fersweep.results.compare.tables import render_sweep
from fersweep.results.compare.trials import compare
from fersweep.results.dashboards.status import status
from fersweep.results.dashboards.tables import render
from fersweep.results.mlflow_store import connection
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.report.page import render as render_report
from fersweep.results.report.page import render_still
from fersweep.results.tracking.recorder_process import record
from tests.sweeps import METRIC, NewSweep


def text_of(renderable: Any) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(renderable)
    return " ".join(capture.get().split())


@pytest.fixture
def sweep_dir(new_sweep: NewSweep) -> Path:
    """Two points, the second of which was stopped; two other seeds each. What the first one promised it does not keep."""
    directory, driver = new_sweep()
    file = directory / "sweep.json"
    content = json.loads(file.read_text())
    content["sweep"]["finalists"] = {"best": 2, "seeds": 2}
    content["sweep"]["stop"]["sweep"] = {"epochs": 6}
    file.write_text(json.dumps(content))
    driver.journal.session("started")
    first, second = {"rate": 0.5, "top": 0.8, "noise": 0.1}, {"rate": 0.6, "top": 0.8, "noise": 0.0}
    driver.run_trial(0, first, 4, "finished")
    driver.run_trial(1, second, 2, "stopped")
    promise = [{"epoch": 5, "val_loss": 0.1, METRIC: 0.99}]
    driver.report(0, promise)
    for number, (of, seed) in enumerate([(0, 1), (1, 1), (0, 2), (1, 2)], 2):
        hparams, epochs = (first, 4) if of == 0 else (second, 9)
        driver.run_trial(number, hparams, epochs, "finished", repeat={"of": of, "seed": seed})
    driver.journal.session("finished", reason="stop.sweep.epochs: 7 of 6 epochs")
    return directory


def test_everybody_says_the_same_of_finalists(
    sweep_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compared, recorded = compare(sweep_dir), load_sweep(sweep_dir)
    final = recorded.final
    assert final is not None
    assert final.winner is not None
    winner, broken = final.finalists
    assert (winner.point.number, broken.point.number, broken.kept_promise) == (1, 0, False)
    assert compared.states == {"running": 0, "finished": 1, "stopped": 1, "failed": 0}
    assert [row.trial for row in compared.trials] == [0, 1]
    shown = text_of(render_sweep(compared))
    said = [
        f"0001 wins {winner.promised:.4f} {winner.result}",
        "2 of 2 did not keep its promise",
        "Budget: 7 of 6 epochs.",
    ]
    said.append("0001: stopped early in the search, trained in full here.")
    assert [words for words in said if words not in shown] == []
    content = json.loads(json.dumps(compared.as_json()))
    assert content["finalists"]["winner"] == 1
    assert content["finalists"]["points"][1]["kept_promise"] is False
    assert list(content["finalists"]["points"][0]["repeats"]) == ["3", "5"]
    for page in (sweep_page(compared), render_report(sweep_dir), render_still(sweep_dir)):
        assert winner.result in page
        assert "did not keep its promise" in page
    assert "budget, spent: stop.sweep.epochs" in render_report(sweep_dir)

    (found,) = status(sweep_dir.parent.parent, sweep_dir.name)
    assert (found.num_ended, found.num_trials, found.resume) == (2, 4, None), "the budget is spent: nothing is left"
    assert f"{sweep_dir.name}: budget, spent: 7 of 6 epochs; finalists: 4 of 4 repeats" in text_of(
        render([found], tmp_path)
    )

    trial, checkpoint = recorded.choose_trial(None)
    assert trial.number == winner.typical_first[0]
    assert trial.repeat_of == 1
    assert checkpoint.parent.name == trial.name
    assert "of 2 finalists the point of trial 0001 has the best mean" in capsys.readouterr().err
    assert recorded.choose_trial(1)[0].number == 1
    assert {repeat.number for repeat in recorded.kept_trials()} >= {2, 3, 4, 5}


def test_mlflow_has_the_repeats_and_what_they_came_to(sweep_dir: Path) -> None:
    for _ in range(2):
        assert record(sweep_dir)
    recorded = load_sweep(sweep_dir)
    client, experiment = connection.open_store(recorded.sweep)
    query = f"tags.`fersweep.sweep_id` = '{recorded.sweep.sweep_id}'"
    runs = client.search_runs([experiment], query)
    by_trial = {run.data.tags.get("fersweep.trial"): run.data for run in runs}
    assert {number: data.tags.get("fersweep.repeat_of") for number, data in by_trial.items()} == {
        None: None, "0": None, "1": None, "2": "0", "3": "1", "4": "0", "5": "1",
    }  # fmt: skip
    assert recorded.final is not None
    for finalist in recorded.final.finalists:
        metrics = by_trial[str(finalist.point.number)].metrics
        assert metrics["finalist/mean"] == pytest.approx(finalist.mean)
        assert metrics["finalist/sd"] == pytest.approx(finalist.sd)
    sweep = by_trial[None]
    assert sweep.metrics[f"best/{METRIC}"] == 0.99
    assert "Finalists, 4 of 4 repeats" in sweep.tags["mlflow.note.content"]
    assert "Budget: 7 of 6 epochs." in sweep.tags["mlflow.note.content"]
