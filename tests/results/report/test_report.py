"""The page of a sweep: whatever state the sweep is in, it is made, it is whole, and it is where it should be."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from fersweep.cli.main import app
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints, timeline
from fersweep.results.record.journal import read_events
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.report import learning_curves, parameters, still_pictures, workers
from fersweep.results.report import page as report
from fersweep.results.report.data import ReportData
from fersweep.results.scores import charts, feature_charts, intervals
from fersweep.results.tracking import recorder_process, report_upload
from tests.recorded import client_of, runs_of
from tests.sweeps import METRIC, UP_TO_1, FakeDriver, NewSweep, write_journal, write_sweep_json

pytestmark = pytest.mark.slow


class Loaded(HTMLParser):
    """What a page has in it, and what it would load from elsewhere."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.elsewhere: list[str] = []
        self.headings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        addresses = [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]
        self.elsewhere += [value for value in addresses if not value.startswith(("#", "data:"))]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "h2" and data.strip():
            self.headings.append(data)


def look(sweep_dir: Path) -> tuple[str, Loaded]:
    """The page of a sweep without plotly.js, and what is in it; it loads nothing, and every figure in it can be drawn."""
    page = report.render(sweep_dir)
    loaded = Loaded(page)
    assert loaded.elsewhere == []
    assert page.count("* plotly.js v") == (1 if 'class="plot"' in page else 0)
    for part in page.split('<script type="application/json">')[1:]:
        assert json.loads(part.split("</script>")[0])["data"]
    head, _, rest = page.partition("<script>")
    return head + rest.partition("</script>")[2], loaded


def test_a_finished_sweep(new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    for trial in range(9):
        ends = {1: (2, "stopped"), 2: (1, "failed")}.get(trial, (9, "finished"))
        driver.run_trial(trial, {"rate": 0.1 + 0.02 * trial, "top": 0.8, "noise": 0.01 * (trial % 3)}, *ends)
    driver.journal.session("finished")
    page, loaded = look(sweep_dir)
    wanted = (
        "At a glance",
        "Best trials",
        "Parameter importances",
        "Slices",
        "Parallel coordinates",
        "Workers",
        "Failures",
    )
    assert set(wanted) < set(loaded.headings)
    assert loaded.headings[-1] == "Where it comes from"
    assert "0008" in page
    assert ">hparam<" in page
    assert "The sweep is finished" in page
    assert "<td" in page
    assert "1 of 9 trials failed" in page
    assert loaded.tags.count("img") > 0
    assert "happy → " in page or "sad → " in page
    without = Loaded(report.render(sweep_dir, faces=False))
    assert without.tags.count("img") == 0


@pytest.mark.parametrize("state", ["not begun", "sampled", "one epoch", "one trial", "all failed"])
def test_a_sweep_in_any_state(new_sweep: NewSweep, state: str) -> None:
    sweep_dir, driver = new_sweep()
    if state != "not begun":
        driver.journal.session("started")
        driver.sample(0, {"rate": 0.1, "top": 0.8})
    if state == "one epoch":
        driver.report(0, [{"epoch": 1, "train_loss": 0.5, "val_macro_f1": 0.4}])
    if state == "one trial":
        driver.report(0, [{"epoch": 1, "val_macro_f1": 0.4, "epoch_s": 1.0}])
        driver.end(0, "finished")
    if state == "all failed":
        driver.report(0, [{"epoch": 1, "val_macro_f1": float("nan")}])
        driver.end(0, "failed", "val_loss is <b>nan</b>")
    page, loaded = look(sweep_dir)
    assert "What the search learnt of the space" in loaded.headings
    assert "Needs 2 ended trials with a value" in page
    if state == "all failed":
        assert "val_loss is &lt;b&gt;nan&lt;/b&gt;" in page
        assert "No trial has a value yet." in page
    if state in ("one epoch", "one trial"):
        assert "best val_macro_f1, trial 0000, epoch 1" in page
        assert "Its answers on val are not there, or not yet." in page


def test_a_sweep_of_pixels(new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep("pixel_mlp")
    driver.run_trial(0, {"units": [4]}, 1, "finished")
    _, loaded = look(sweep_dir)
    assert "Most certain mistakes" in loaded.headings
    assert "Blendshapes of right and wrong answers" not in loaded.headings


def test_without_its_dataset(new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep()
    driver.run_trial(0, {"rate": 0.1}, 2, "finished")
    sweep = json.loads((sweep_dir / "sweep.json").read_text())
    for dataset, why in (
        ({**sweep["dataset"], "fingerprint": "0" * 64}, "Not shown: .*its fingerprint"),
        ({**sweep["dataset"], "path": "/nowhere"}, "Not shown: /nowhere"),
    ):
        (sweep_dir / "sweep.json").write_text(json.dumps({**sweep, "dataset": dataset}))
        page, loaded = look(sweep_dir)
        assert "Confusion matrix" in loaded.headings
        assert loaded.tags.count("img") == 0

        assert re.search(why, page)


def test_names_are_escaped(home: Path, arrays: TaskArrays, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    sweep_dir = write_sweep_json(tmp_path, home / "data" / "tiny", arrays)
    sweep = json.loads((sweep_dir / "sweep.json").read_text())
    sweep |= {"classes": [bad, "sad", "neutral"], "command": bad}
    sweep["dataset"]["name"] = sweep["baseline"]["majority_class"] = bad
    (sweep_dir / "sweep.json").write_text(json.dumps(sweep))
    choices = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [bad, "b"]}})
    write_journal(
        sweep_dir,
        [
            {"hparams": {bad: word}, "params": {bad: word}, "distributions": {bad: choices}}
            for word in (bad, "b", bad, "b", "b", bad, "b", bad, "b", bad)
        ],
    )
    answers = np.eye(3, dtype=np.float32)[np.roll(arrays.val.y, 1)]
    for trial in range(10):
        checkpoints.save_predictions(Storage(sweep_dir), trial, 1, arrays.val.y, answers)
    page, loaded = look(sweep_dir)
    assert bad not in page
    assert "alert(1)" in page
    assert loaded.headings


def test_rungs_by_seconds(home: Path, arrays: TaskArrays, tmp_path: Path) -> None:
    """Curves by seconds of training, their ends and the rungs with them; the trials were to train 90 s each."""
    sweep_dir = write_sweep_json(tmp_path, home / "data" / "tiny", arrays)
    content = json.loads((sweep_dir / "sweep.json").read_text())
    content["sweep"]["stop"] |= {"unit": "seconds", "grace_s": 10.0, "max_s": 90.0, "scheduler": "hyperband"}
    content["sweep"]["stop"] |= {"grace_epochs": None, "max_epochs": 400}
    (sweep_dir / "sweep.json").write_text(json.dumps(content))
    driver = FakeDriver(sweep_dir, arrays)
    for trial, num_epochs in enumerate((20, 5, 5)):
        driver.sample(trial, {"rate": 0.1})
        rows = [{"epoch": epoch, METRIC: 0.5 - 0.1 * trial, "epoch_s": 5.0} for epoch in range(1, num_epochs + 1)]
        driver.report(trial, rows)
        driver.end(
            trial, "stopped" if trial else "finished", f"below the best 1/3 of bracket 0, 0.5, at {10 * trial} s"
        )
    driver.journal.close()
    driven = timeline.Timeline(read_events(sweep_dir / "journal.jsonl"))
    data = ReportData(load_sweep(sweep_dir), driven, {})
    assert [row[:3] for row in workers._rungs(data)] == [["10", 3, 1], ["30", 1, 0]]
    curves = learning_curves._all_curves(data, list(data.record.trials.values()), None)
    assert (curves.layout.xaxis.title.text, [line.x0 for line in curves.layout.shapes]) == (
        "seconds of training",
        [10, 30],
    )
    assert [max(trace.x) for trace in curves.data] == [25, 100, 25]
    assert "value by seconds of training" in still_pictures.sections(data)[0].note
    page = learning_curves._curves(data)
    assert "Hyperband compares trials at 10, 30 s of training" in page.note
    saved = workers._saved(data)
    assert "30 epochs were run where 3 trials of 90 s would have taken 56" in saved.note  # 20, and 90 / 5 twice


def test_two_hundred_trials_stay_light(home: Path, arrays: TaskArrays, tmp_path: Path) -> None:
    sweep_dir = write_sweep_json(tmp_path, home / "data" / "tiny", arrays)
    sweep = json.loads((sweep_dir / "sweep.json").read_text())
    sweep["sweep"]["stop"] |= {"grace_epochs": 5, "max_epochs": 400}
    (sweep_dir / "sweep.json").write_text(json.dumps(sweep))
    names, rng = [f"p{index}" for index in range(12)], np.random.default_rng(0)
    params = [dict(zip(names, values, strict=True)) for values in rng.random((200, 12)).tolist()]
    write_journal(
        sweep_dir,
        [{"hparams": values, "params": values, "distributions": dict.fromkeys(names, UP_TO_1)} for values in params],
    )
    written = report.write_report(sweep_dir)
    page = Path(written.report).read_text()
    assert len(page.encode()) == written.bytes < 1e6
    assert len(report.render_still(sweep_dir).encode()) < 0.5e6
    (script,) = re.findall(r'<script src="([^"]+)">', page)
    library = (sweep_dir / script).resolve()
    assert library.parent == tmp_path / "assets", "one for all sweeps of the home"
    assert library.read_text().startswith("/**\n* plotly.js v")
    assert f"need {script} beside it" in page
    assert page.count('class="plot"') < 30
    drawn = timeline.Timeline(read_events(sweep_dir / "journal.jsonl"))
    assert drawn.num_at_once == 2
    assert drawn.workers_known
    assert {lane for _, lane in drawn.lanes()} == {"node-1, process 100", "node-1, process 101"}
    assert 0 < drawn.idle_share() < 0.05
    assert drawn.training_share() > 0.85


def test_the_command_and_mlflow(
    new_sweep: NewSweep, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run yet: the page alone. Then the recorder's process has it made, and the command replaces it."""
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 3, "finished")
    driver.journal.session("finished")
    out = tmp_path / "deep" / "page.html"
    asked = ["report", sweep_dir.name, "--home", str(home), "--json"]
    done = CliRunner().invoke(app, [*asked, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["mlflow"] is False
    assert out.stat().st_size == json.loads(done.stdout)["bytes"]
    assert Loaded(out.read_text()).elsewhere == [], "one file, to pass on"
    assert not (sweep_dir / "report.html").exists()

    started: list[list[str]] = []
    popen = SimpleNamespace(Popen=lambda command, **_: started.append(command), DEVNULL=None)
    monkeypatch.setattr(report_upload, "subprocess", popen)
    monkeypatch.setattr(recorder_process, "yield_to_the_sweep", lambda: None)
    monkeypatch.setattr(recorder_process, "LEFT_ALONE_S", 5.0)
    assert recorder_process.main([str(sweep_dir)]) == 0
    assert started == [], "FERSWEEP_REPORT=0"
    monkeypatch.delenv("FERSWEEP_REPORT")
    assert recorder_process.main([str(sweep_dir)]) == 0
    assert [command[1:] for command in started] == [
        ["-P", "-m", "fersweep.results.tracking.report_upload", str(sweep_dir)]
    ]
    assert report_upload.main([str(sweep_dir)]) == 0
    parent = runs_of(sweep_dir)["parent"].info.run_id
    artifacts = [file.path for file in client_of(sweep_dir).list_artifacts(parent)]
    assert artifacts == ["report.html"]
    done = CliRunner().invoke(app, [*asked, "--no-faces"])
    assert json.loads(done.stdout)["mlflow"] is True
    kept = Path(client_of(sweep_dir).download_artifacts(parent, "report.html", str(tmp_path))).read_text()
    assert Loaded(kept).tags.count("img") == 2, "history and curves; no face"
    assert Loaded(kept).elsewhere == []
    assert "<script" not in kept, "MLflow's frame can load nothing"
    assert f"{sweep_dir / 'report.html'}; as one file: fersweep report" in kept


def test_a_report_that_fails_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_upload.main([str(tmp_path)]) == 0, "a sweep that was removed meanwhile"
    (tmp_path / "sweep.json").write_text("{")
    assert report_upload.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("report.html was not made: ")


def test_the_course_of_an_interrupted_sweep(tmp_path: Path) -> None:
    """Worked out by hand: a trial that is interrupted after 10 s, a break of 990 s, and the same trial for 6 s more."""
    row = {"val_macro_f1": 0.5, "epoch_s": 4.0}
    events = [
        {"event": "session", "time": 0.0, "action": "started"},
        {"event": "sampled", "time": 1.0, "trial": 0, "suggest_s": 0.016},
        {"event": "report", "time": 6.0, "trial": 0, "epochs": [{"epoch": 1, **row}]},
        {"event": "session", "time": 10.0, "action": "interrupted"},
        {"event": "session", "time": 1000.0, "action": "started"},
        {"event": "report", "time": 1005.0, "trial": 0, "epochs": [{"epoch": 1, **row}, {"epoch": 2, **row}]},
        {"event": "report", "time": 1005.9, "trial": 0, "epochs": [{"epoch": 2, **row}]},
        {"event": "ended", "time": 1006.0, "trial": 0, "state": "finished"},
    ]
    course = timeline.Timeline(events)
    assert (course.active_s, course.breaks, course.num_at_once) == (16.0, [10.0], 1)
    attempts = [
        (attempt.start, attempt.end, attempt.epochs, attempt.train_s, attempt.how) for attempt in course.attempts
    ]
    assert attempts == [
        (1.0, 10.0, 1, 4.0, "open"),
        (11.0, 16.0, 1, 4.0, "finished"),
    ]
    assert course.epochs == {0: [(6.0, 1), (15.0, 2)]}
    assert (course.suggest_s, course.most_reports) == ([0.016], 2)
    assert course.idle_share() == pytest.approx(2 / 16)
    assert course.training_share() == pytest.approx(8 / 16)


def test_importances_find_what_matters(home: Path, arrays: TaskArrays, tmp_path: Path) -> None:
    """The value is one parameter's; the trials that ASHA stopped count."""
    from fersweep.results.record.optuna_study import study_of

    sweep_dir = write_sweep_json(tmp_path, home / "data" / "tiny", arrays)
    write_journal(sweep_dir, [{"hparams": {}, "params": {}, "distributions": {}}] * 60)
    record = load_sweep(sweep_dir).record
    for trial in record.trials.values():
        value = trial.value("val_macro_f1", "max") or 0.0
        rng = np.random.default_rng(trial.number)
        trial.params |= {"matters": min(value, 1.0), "noise": rng.random()}
        trial.distributions |= {"matters": UP_TO_1, "noise": UP_TO_1}
    study = study_of(record, "val_macro_f1", "max", judge_stopped=True)
    num = len(record.ranked("val_macro_f1", "max"))
    assert sum(trial.state.name == "COMPLETE" for trial in study.trials) == num > record.count()["finished"]
    importances = parameters.importances(study, num, ["noise", "matters"])
    assert list(importances) == ["matters", "noise"]
    assert sum(importances.values()) == pytest.approx(1)
    assert parameters.importances(study, 7, ["noise", "matters"]) == {}


def test_the_most_certain_mistakes_and_what_explains_the_classes(home: Path) -> None:
    task = Task(home / "data" / "tiny")
    val = task.load("val")
    answers = np.full((len(val.y), 3), 0.1, np.float32)
    answers[np.arange(len(val.y)), val.y] = 0.8
    for row, sure in ((3, 0.9), (5, 0.95)):
        answers[row] = (1 - sure) / 2
        answers[row, (val.y[row] + 1) % 3] = sure
    assert charts.most_certain_mistakes(val.y, answers).tolist() == [5, 3]
    sections = {section.heading: section for section in charts.sections(task.classes, val.y, answers, task)}
    assert sections["Most certain mistakes"].html.count("<img") == 2
    figures = intervals.score_faces(intervals.count(val.y, answers.argmax(axis=1), 3), task.classes)
    for name in intervals.SCORES:
        assert str(figures.score(name)) in sections["Scores by class"].html, "the interval that the terminal shows"
    assert task.pictures("val", [5])[1][0] in sections["Most certain mistakes"].html
    shares = feature_charts.explained(val.x, val.y)
    best = {task.feature_names[index].removesuffix("Left").removesuffix("Right") for index in np.argsort(-shares)[:6]}
    assert best == {"mouthSmile", "mouthFrown", "browInnerUp", "browOuterUp"}
    with pytest.raises(ValueError, match="of other faces than those of val"):
        charts.sections(task.classes, np.roll(val.y, 1), answers, task)
