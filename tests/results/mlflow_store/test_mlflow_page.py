"""What people see of a sweep in MLflow's page and in Optuna's dashboard: names, descriptions, views."""

import io
import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.dashboards import mlflow_ui
from fersweep.results.dashboards.optuna_ui import Dashboard
from fersweep.results.mlflow_store import connection, run_fields, saved_view
from fersweep.results.record import journal
from fersweep.results.record.journal import Report, WorkerUsage
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.tracking import recorder_process, report_upload
from tests.recorded import check_all_recorded, history, runs_of
from tests.sweeps import METRIC, NewSweep, write_sweep

pytestmark = pytest.mark.slow

RATE = '{"name": "FloatDistribution", "attributes": {"low": 0.05, "high": 0.5, "log": true, "step": null}}'


@pytest.fixture(scope="module")
def sweep_dir(home: Path, arrays: TaskArrays) -> Path:
    """Six trials: 1 and 5 stopped, 2 failed, the others finished."""
    sweep_dir = write_sweep(home, home / "data" / "tiny", 6, "page")
    path = sweep_dir / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"space": {"rate": RATE}}))
    recorder_process.record(sweep_dir)
    return sweep_dir


def test_runs_have_names_that_sort_and_tags_to_filter_by(sweep_dir: Path) -> None:
    runs, record = check_all_recorded(sweep_dir), journal.read(sweep_dir / "journal.jsonl")
    names = [runs[f"{number:04d}"].info.run_name for number in range(6)]
    value = record.trials[0].value(METRIC, "max")
    assert names[0] == f"0000 {value:.3f} page"
    assert names[2] == "0002 failed page"
    assert names == sorted(names)
    tags = runs["0001"].data.tags
    wanted = {"dataset": "tiny", "features": "blendshapes", "host": "node-1", "state": "stopped", "trainable": "curve"}
    assert {name: tags[f"fersweep.{name}"] for name in wanted} == wanted
    assert runs["0000"].data.metrics["best/epoch"] == record.trials[0].best(METRIC, "max")["epoch"]  # pyright: ignore
    assert runs["0000"].data.metrics["system/rss_mb"] == 400
    assert runs["parent"].data.metrics["epochs/total"] == record.num_epochs


def test_what_a_process_took_under_mlflows_names() -> None:
    worker = WorkerUsage(host="a", pid=1, cpu_percent=99.0, rss_bytes=5_000_000, gpu_memory_bytes=7_000_000)
    system = run_fields.system_metrics(Report(1.0, 2, worker))
    assert system == {"system/cpu_percent": 99, "system/rss_mb": 5, "system/gpu_memory_mb": 7}
    assert run_fields.system_metrics(Report(1.0, 2)) == {}, "a journal of an earlier version"


def test_the_sweeps_description_shows_its_best_trials(sweep_dir: Path) -> None:
    runs, record = runs_of(sweep_dir), journal.read(sweep_dir / "journal.jsonl")
    note = runs["parent"].data.tags["mlflow.note.content"]
    best = record.ranked(METRIC, "max")
    rows = [line for line in note.splitlines() if line.startswith("| ")][2:]
    for trial, row in zip(best, rows, strict=False):
        assert f"[{trial.name}](#/experiments/" in row
        assert f"runs/{runs[trial.name].info.run_id})" in row
        assert f"| {trial.value(METRIC, 'max'):.4f} |" in row
    assert len(rows) == 5 + 1
    assert "baseline" in rows[-1]
    assert "3 finished, 2 stopped, 1 failed" in note
    assert "report.html" not in note, "there is none"


def test_the_description_leads_to_the_report(sweep_dir: Path) -> None:
    """Which is made after the sweep's end is told; once, whoever writes the description again."""
    notes, before = [], runs_of(sweep_dir)["parent"]
    for write in (
        lambda: report_upload.upload(sweep_dir, "<p>"),
        lambda: recorder_process.record(sweep_dir),
    ):
        for _ in range(2):
            assert write()
            notes.append(runs_of(sweep_dir)["parent"].data.tags["mlflow.note.content"])
    place = f"(#/experiments/{before.info.experiment_id}/runs/{before.info.run_id}/artifacts/report.html)"
    assert notes[0].count(place) == 1
    assert notes == [notes[0]] * 4


def test_the_sweeps_view_finds_its_trials_best_first(sweep_dir: Path) -> None:
    """MLflow's store understands what its page would ask it; the envelope is that of MLflow's own saved views."""
    sweep = load_sweep(sweep_dir).sweep
    client, experiment = connection.open_store(sweep)
    view = json.loads(client.get_experiment(experiment).tags[f"mlflow.sharedViewState.{sweep.sweep_id}"])
    assert (view["name"], type(view["createdAt"])) == ("page", int)
    state = json.loads(view["state"])
    order = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    found = client.search_runs([experiment], state["searchFilter"], order_by=order)
    values = {t.number: t.value(METRIC, "max") or 0 for t in journal.read(sweep_dir / "journal.jsonl").trials.values()}
    assert [int(run.data.tags["fersweep.trial"]) for run in found] == sorted(
        values, key=values.__getitem__, reverse=True
    )
    held = {f"metrics.`{name}`" for name in found[0].data.metrics} | {
        f"params.`{name}`" for name in found[0].data.params
    }
    assert {name for name in state["selectedColumns"] if not name.startswith("tags")} <= held
    assert "params.`rate`" in state["selectedColumns"]
    (parallel,) = (chart for chart in state["compareRunCharts"] if chart["type"] == "PARALLEL")
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (["rate"], [f"best/{METRIC}"])
    assert mlflow_ui.view_of(sweep_dir) == saved_view.address(experiment, sweep)
    assert f"viewStateShareKey={sweep.sweep_id}" in mlflow_ui.view_of(sweep_dir)


def test_a_sweep_that_a_server_records_is_looked_at_there(new_sweep: NewSweep) -> None:
    path = new_sweep()[0] / "sweep.json"
    sweep = json.loads(path.read_text())
    sweep["sweep"]["tracking"]["uri"] = "http://tracking.example:5000"
    path.write_text(json.dumps(sweep))
    with pytest.raises(InputError, match=r"is recorded at http://tracking\.example:5000"):
        mlflow_ui.view_of(path.parent)


def test_runs_of_an_earlier_version_get_the_names_of_this_one(
    home: Path, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside their own, which MLflow cannot delete; no run and no epoch comes twice."""
    monkeypatch.setattr("tests.sweeps.WORKER", {})
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 3, "finished")
    driver.run_trial(1, {"rate": 0.2}, 2, "stopped")
    driver.journal.session("finished")
    assert recorder_process.record(sweep_dir)
    before = runs_of(sweep_dir)
    with sqlite3.connect(home / "mlflow.db") as database:
        for name, run in before.items():
            old = [(run.info.run_id, key.replace("best/", "best_"), key) for key in run.data.metrics if "best/" in key]
            for table in ("metrics", "latest_metrics"):
                database.executemany(f"UPDATE {table} SET key = ?2 WHERE run_uuid = ?1 AND key = ?3", old)
            database.execute(
                "DELETE FROM tags WHERE key = ? AND run_uuid = ?", (run_fields.FORMAT_TAG, run.info.run_id)
            )
            database.execute("UPDATE runs SET name = ? WHERE run_uuid = ?", (name, run.info.run_id))
    assert f"best/{METRIC}" not in runs_of(sweep_dir)["parent"].data.metrics
    assert recorder_process.record(sweep_dir)
    runs = check_all_recorded(sweep_dir)
    assert {name: run.info.run_id for name, run in runs.items()} == {n: run.info.run_id for n, run in before.items()}
    assert runs["0000"].data.metrics["best_epoch"] == runs["0000"].data.metrics["best/epoch"]
    for kind in ("best_", "best/"):
        rising = history(sweep_dir, runs["parent"], f"{kind}{METRIC}")
        assert rising == history(sweep_dir, before["parent"], f"best/{METRIC}")
    assert {run.data.tags["fersweep.format"] for run in runs.values()} == {run_fields.FORMAT}
    after = {name: run.to_dictionary() for name, run in runs.items()}
    assert recorder_process.record(sweep_dir)
    assert {name: run.to_dictionary() for name, run in runs_of(sweep_dir).items()} == after


def ask(dashboard: Dashboard, path: str) -> Any:
    """The JSON that Optuna's dashboard answers a request with."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "after=0",
        "SERVER_NAME": "x",
        "HTTP_HOST": "127.0.0.1:8080",
    }
    environ |= {"SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO()}
    return json.loads(b"".join(dashboard(environ, lambda *_: None)))


def test_optunas_dashboard_follows_the_journal(new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep()
    dashboard = Dashboard(sweep_dir)
    assert ask(dashboard, "/api/studies/0")["trials"] == []
    driver.journal.session("started")
    for number, state in enumerate(["finished", "stopped", "failed", "running"]):
        drawn = {"params": {"rate": 0.1}, "distributions": {"rate": RATE}, "point": "start" if number == 0 else None}
        driver.journal.append("sampled", trial=number, hparams={"rate": 0.1}, **drawn)
        driver.report(number, [{"epoch": 1, METRIC: 0.5}])
        if state != "running":
            driver.end(number, state, "why" if state == "failed" else None)
    study = ask(dashboard, "/api/studies/0")
    assert study["name"] == sweep_dir.name
    assert "Importances here are other numbers" in study["note"]["body"]
    assert [trial["state"] for trial in study["trials"]] == ["Complete", "Pruned", "Fail", "Running"]
    assert [trial["user_attrs"] for trial in study["trials"]] == [
        [{"key": "point", "value": "start"}], [], [{"key": "reason", "value": "why"}], []
    ]  # fmt: skip
    began = driver.journal.record.trials[0].sampled_at
    assert datetime.fromisoformat(study["trials"][0]["datetime_start"]).timestamp() == pytest.approx(began, abs=1)
