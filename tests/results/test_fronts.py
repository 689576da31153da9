"""A sweep of two objectives with a constraint, wherever its trials are shown, recorded, promoted and taken over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fersweep.cluster.driver import live_view
from fersweep.cluster.search import older_sweeps
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.compare.page import sweep_page
from fersweep.results.compare.tables import render_sweep
from fersweep.results.compare.trials import compare
from fersweep.results.dashboards.optuna_ui import named_study
from fersweep.results.dashboards.status import status
from fersweep.results.promote.promotion import promote
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.report.page import render, render_still
from fersweep.results.tracking import recorder_process
from tests.recorded import runs_of
from tests.sweeps import METRIC, FakeDriver, write_sweep_json

pytestmark = pytest.mark.slow

# rate, latency_ms: 3 is best but too slow; 2, 1 and 0 are the front, 1 its knee; 4 is worse than 1 in both.
TRIALS = [(0.1, 1.0), (0.3, 1.5), (0.4, 5.0), (0.6, 9.0), (0.2, 2.0)]


@pytest.fixture(scope="module")
def sweep_dir(home: Path, arrays: TaskArrays) -> Path:
    directory = write_sweep_json(home, home / "data" / "tiny", arrays, "two")
    content = json.loads((directory / "sweep.json").read_text())
    content["sweep"]["stop"]["objectives"] = [
        {"metric": METRIC, "mode": "max"},
        {"metric": "latency_ms", "mode": "min"},
    ]
    content["sweep"]["search"]["constraints"] = ["latency_ms <= 6"]
    content["sweep"]["keep_checkpoints"] = 1
    (directory / "sweep.json").write_text(json.dumps(content))
    driver = FakeDriver(directory, arrays)
    driver.journal.session("started")
    for number, (rate, latency) in enumerate(TRIALS):
        costs = {"latency_ms": latency, "weights": 156.0, "checkpoint_bytes": 2_000.0}
        driver.run_trial(number, {"rate": rate, "top": 0.8}, 3, "stopped" if number == 3 else "finished", costs=costs)
    driver.journal.session("finished")
    driver.journal.close()
    return directory


def shown(renderable: Any) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(renderable)
    return " ".join(capture.get().split())


def test_compare_puts_the_front_first_and_marks_what_is_infeasible(sweep_dir: Path) -> None:
    compared = compare(sweep_dir)
    assert [row.trial for row in compared.trials] == [2, 1, 0, 4, 3]
    assert [row.front for row in compared.trials] == [0, 0, 0, 1, None]
    assert compared.trials[-1].infeasible == "latency_ms 9 > 6"
    found = json.loads(json.dumps(compared.as_json(), allow_nan=False))
    assert (found["front"]["trials"], found["front"]["knee"]) == ([2, 1, 0], 1)
    assert found["front"]["best"] == {METRIC: 2, "latency_ms": 0}
    assert found["constraints"] == ["latency_ms <= 6"]
    text = shown(render_sweep(compared))
    assert "0003 is infeasible: latency_ms 9 > 6" in text
    assert "The front of max val_macro_f1 and min latency_ms has 3 trials: knee 0001, best val_macro_f1 0002" in text
    assert "★ knee" in text
    assert "ms a face" in sweep_page(compared)


def test_the_report_draws_the_front_and_names_what_can_be_picked(sweep_dir: Path) -> None:
    page, still = render(sweep_dir, faces=False), render_still(sweep_dir)
    for html in (page, still):
        assert "The front" in html
        assert "promote --pick knee" in html
    assert "best latency_ms" in page
    assert "infeasible: latency_ms 9 &gt; 6" in page
    assert "Front of 3 trials" in still


def test_status_the_live_view_and_optunas_dashboard_know_the_front(sweep_dir: Path) -> None:
    (content,) = [sweep for sweep in status(sweep_dir.parents[1]) if sweep.sweep == "two"]
    assert content.front == 3
    assert content.best is not None
    assert content.best.trial == 2
    recorded = load_sweep(sweep_dir)
    summary = live_view.summary(recorded.sweep.asked, recorded.record, 1.0, 5, 15, None)
    assert any("· front 3" in part for part in summary)
    frame = live_view.frame("two", summary, recorded.sweep.asked, recorded.record, 120, 20)
    assert any("front" in line and "latency_ms" in line for line in frame)
    study = named_study(recorded)
    assert study.metric_names == [METRIC, "latency_ms"]
    assert sorted(trial.number for trial in study.best_trials) == [0, 1, 2]
    assert study.trials[3].user_attrs["infeasible"] == "latency_ms 9 > 6"
    assert study.trials[3].state.name == "COMPLETE", "Optuna stops none where there are several objectives"


def test_mlflow_has_costs_fronts_and_what_is_infeasible(sweep_dir: Path) -> None:
    recorder_process.record(sweep_dir)
    runs = runs_of(sweep_dir)
    assert runs["0001"].data.metrics["cost/latency_ms"] == 1.5
    assert runs["0001"].data.metrics["cost/train_s"] == 0
    tags = {name: run.data.tags for name, run in runs.items()}
    fronts = {name: tags[name].get("fersweep.front") for name in tags if name != "parent"}
    assert fronts == {"0000": "0", "0001": "0", "0002": "0", "0004": "1", "0003": None}
    assert tags["0003"]["fersweep.infeasible"] == "latency_ms 9 > 6"
    assert runs["parent"].data.metrics["front/size"] == 3
    best = load_sweep(sweep_dir).record.trials[2].value(METRIC, "max")
    assert runs["parent"].data.metrics[f"best/{METRIC}"] == best, "an infeasible trial is never the best"
    assert "infeasible: latency_ms 9 &gt; 6" in tags["parent"]["mlflow.note.content"].replace(">", "&gt;")


def test_promote_picks_from_the_front_and_refuses_what_is_infeasible(sweep_dir: Path, home: Path) -> None:
    recorder_process.record(sweep_dir)
    for pick, message in [
        ("kne", "--pick: there is no 'kne'; did you mean 'knee'?"),
        ("weights", "--pick: there is no 'weights'; want one of: knee, val_macro_f1, latency_ms"),
    ]:
        with pytest.raises(InputError, match=message):
            promote(sweep_dir, gates={}, pick=pick)
    with pytest.raises(
        InputError, match="trial 0003 of sweep 'two' is infeasible: latency_ms 9 > 6; it is no champion"
    ):
        promote(sweep_dir, trial=3, gates={}, pick="knee")
    assert promote(sweep_dir, gates={}, pick="knee").trial == 1
    recorded = load_sweep(sweep_dir)
    assert [recorded.pick("latency_ms"), recorded.pick(METRIC), recorded.choose_trial(None)[0].number] == [0, 2, 2]

    strict = home / "sweeps" / "strict"
    shutil.copytree(sweep_dir, strict)
    content = (strict / "sweep.json").read_text().replace("latency_ms <= 6", "latency_ms <= 0.5")
    (strict / "sweep.json").write_text(content.replace('"name": "two"', '"name": "strict"'))
    with pytest.raises(
        InputError, match=r"no trial with a checkpoint keeps to search\.constraints; of the best, trial 0003"
    ):
        promote(strict, gates={})
    with pytest.raises(
        InputError, match=r"--pick knee: sweep 'strict' has no front: no trial keeps to search\.constraints"
    ):
        promote(strict, gates={}, pick="knee")
    assert "no trial keeps to the constraints" in shown(render_sweep(compare(strict)))
    content = json.loads((strict / "sweep.json").read_text())
    del content["sweep"]["stop"]["objectives"]
    (strict / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="--pick knee: sweep 'strict' has one objective, val_macro_f1"):
        promote(strict, gates={}, pick="knee")


def test_a_later_sweep_takes_the_points_of_the_front_first(sweep_dir: Path) -> None:
    def later(start: dict[str, Any]) -> Any:
        search = {"start_from": {"sweep": "two", **start}, "constraints": ["latency_ms <= 6"]}
        asked = load_sweep(sweep_dir).sweep.asked
        fixed = asked.space.model_copy(update={"fix": {"noise": 0.0, "top": 0.8}})
        return asked.model_copy(update={"search": asked.search.model_validate(search), "space": fixed})

    points = older_sweeps.best_points(later({"best": 2}), sweep_dir.parents[1])
    assert [point.name for point in points] == ["two/0002", "two/0001"]
    known = older_sweeps.history(later({}), sweep_dir.parents[1], load_sweep(sweep_dir).sweep.dataset)
    assert known[0].costs["latency_ms"] == 1.0
