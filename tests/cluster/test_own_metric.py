"""A metric of somebody's own: what is refused before a sweep, what it is in a trial, and what becomes of its values."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cli.main import main
from fersweep.cluster.launch import describe
from fersweep.cluster.worker.trial_settings import trial_settings
from fersweep.common.own_code import copies, named
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.own_code import OF_TRIALS, code_of
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.trainables import metric_trial, own_metrics
from fersweep.trainables.metrics import fold_metric
from tests.datasets import write_tiny_dataset
from tests.one_trial import OneTrial
from tests.sweeps import FakeDriver, write_sweep_json

FINE = "def cost(y, probabilities, classes=None):\n    return float((probabilities.argmax(axis=1) != y).mean())\n"
SWEEP = "trainable: curve\nsearch: {num_trials: 2}\nresources: {cpus: 1}\nstop: {max_epochs: 4, grace_epochs: 1, report_s: 0, mode: min, STOP}\n"
CALLBACK = "class Mine:\n    def __init__(self, path=None): ...\n    def ended(self, trial): ...\n"
ENDLESS = "while True: pass"


def body(*lines: str) -> str:
    return "def cost(y, probabilities):\n" + "".join(f"    {line}\n" for line in lines)


def write(folder: Path, metric: str | bytes = FINE, stop: str = "metric: m.py:cost", more: str = "") -> Path:
    """A sweep file, with m.py and c.py beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "m.py").write_bytes(metric.encode() if isinstance(metric, str) else metric)
    (folder / "c.py").write_text(CALLBACK)
    file = folder / "s.yaml"
    file.write_text(SWEEP.replace("STOP", stop) + more)
    return file


REFUSED: dict[str, tuple[str | bytes, str, str, str]] = {  # m.py, in `stop`, other lines, the message
    "no Python": ("def cost(y, probabilities):\n  return (", "metric: m.py:cost", "", "m.py, line 2 is no Python"),
    "binary": (b"\x00\xff\xfe" * 10, "metric: m.py:cost", "", "is no Python"),
    "empty": ("", "metric: m.py:cost", "", "m.py has no cost; it has none"),
    "another name": (FINE, "metric: m.py:csot", "", "m.py has no csot; did you mean 'cost'?"),
    "30 MB": ("#" * 30_000_000, "metric: m.py:cost", "", "larger than 4 MiB"),
    "no such file": (FINE, "metric: gone.py:cost", "", "gone.py cannot be read: No such file"),
    "a directory": (FINE, "metric: .py:cost", "", ".py: the name of a file of code"),
    "an odd name": (FINE, "metric: 'm;rm.py:cost'", "", "the name of a file of code may hold"),
    "without a function": (FINE, "metric: m.py", "", "m.py names no function: want FILE.py:FUNCTION"),
    "no module": (FINE, "metric: no_such_package.x:cost", "", "no module no_such_package is found"),
    "a class": ("class cost: ...", "metric: m.py:cost", "", "m.py:cost is a class: want a function"),
    "a number": ("cost = 3", "metric: m.py:cost", "", "m.py:cost is a int: want a function"),
    "one parameter": ("def cost(y): ...", "metric: m.py:cost", "", "m.py:cost(y) cannot be called with"),
    "three others": ("def cost(y, p, names): ...", "metric: m.py:cost", "", "missing a required argument: 'names'"),
    "None": (body("pass"), "metric: m.py:cost", "", "val_cost is None, and no number (m.py, line 1), of random answers"),
    "a text": (body("return '0.5'"), "metric: m.py:cost", "", "val_cost is a str, and no number"),
    "an array": (body("return probabilities[0]"), "metric: m.py:cost", "", "val_cost is a ndarray"),
    "a boolean": (body("return True"), "metric: m.py:cost", "", "val_cost is a bool"),
    "NaN": (body("return float('nan')"), "metric: m.py:cost", "", "val_cost is nan (m.py, line 1)"),
    "infinite": (
        body("import numpy", "return -numpy.log(probabilities[range(len(y)), y]).mean()"),
        "metric: m.py:cost", "", "val_cost is inf (m.py, line 1), of always ",
    ),
    "raises": (body("x = 1", "return x / 0"), "metric: m.py:cost", "", "ZeroDivisionError: division by zero (m.py, line 3)"),
    "raises at import": ("import no_such_thing", "metric: m.py:cost", "", "No module named 'no_such_thing' (m.py, line 1)"),
    "exits": (body("import sys", "sys.exit(0)"), "metric: m.py:cost", "", "SystemExit: 0 (m.py, line 3)"),
    "exits at import": ("raise SystemExit(1)", "metric: m.py:cost", "", "cannot be imported: SystemExit: 1"),
    "ends the process": (body("import os", "os._exit(7)"), "metric: m.py:cost", "", "it ended the process that tried it (exit code 7): os._exit(7) was called (m.py, line 3)"),
    "async": (f"async {body('return 0.5')}", "metric: m.py:cost", "", "m.py:cost is an `async def` (m.py, line 1), which nobody awaits"),
    "an async method": ("class A:\n    async def ended(self, trial): ...", "metric: val_loss", "callbacks: m.py:A", "m.py:A: ended is an `async def` (m.py, line 2)"),
    "endless": (body(ENDLESS), "metric: m.py:cost", "", "faces of val, and it is computed after each epoch (m.py, line 2)"),
    "endless at import": (ENDLESS, "metric: m.py:cost", "", "to be imported (m.py, line 1)"),
    "changes y": (body("y[:] = 0", "return probabilities.max()"), "metric: m.py:cost", "", "it changes its y, which it must not (m.py, line 1)"),
    "changes probabilities": (body("probabilities *= 2", "return probabilities.max()"), "metric: m.py:cost", "", "it changes its probabilities"),
    "random": (body("import random", "return random.random()"), "metric: m.py:cost", "", "for the same answers: seed what is random"),
    "constant": (body("return 0.5"), "metric: m.py:cost", "", "it ranks no trials"),
    "a name of ours": (FINE.replace("cost", "accuracy"), "metric: m.py:accuracy", "", "would be called val_accuracy, as one of ours is"),
    "a fold's name": (FINE.replace("cost", "f1_fold2"), "metric: m.py:f1_fold2", "", "would be called val_f1_fold2"),
    "a long name": (FINE, f"metric: m.py:{'c' * 61}", "", "more than 60 characters"),
    "two of one name": (FINE, "metric: m.py:cost, metrics: [c.py:cost]", "", "would both be val_cost"),
    "no metrics": (FINE, "metrics: m.py:cost", "", "stop.metrics: Input should be a valid list"),
    "a number among them": (FINE, "metrics: [3]", "", "stop.metrics.0: Input should be a valid string"),
    "not its digits": (FINE, "metric: 'm.py@000000000000:cost'", "", "is not the code that m.py@000000000000 names"),
    "unknown": (FINE, "metric: val_macro_f2", "", "there is no metric 'val_macro_f2'; did you mean 'val_macro_f1'?"),
    "an objective without mode": (
        FINE, "objectives: [{metric: m.py:cost}, {metric: latency_ms}]", "", "one of your own wants its mode beside it",
    ),
    "an unknown objective": (
        FINE, "objectives: [{metric: val_cost, mode: min}, {metric: latency_ms}]", "", "there is no metric 'val_cost'",
    ),
    "another target": (FINE, "metric: m.py:cost, sweep: {target: {val_accuracy: 1}}", "", "trials are ranked by val_cost"),
    "no class": (FINE, "metric: val_loss", "callbacks: [c.py:Nobody]", "c.py has no Nobody; it has: Mine"),
    "no callback": (FINE, "metric: val_loss", "callbacks: [m.py:cost]", "m.py:cost is a function (m.py, line 1): want a class"),
    "no methods": ("class A:\n    def end(self, trial): ...", "metric: val_loss", "callbacks: m.py:A", "did you mean 'ended'?"),
    "other parameters": ("class A:\n    def report(self, trial): ...", "metric: val_loss", "callbacks: m.py:A", "want report(self, trial, epochs)"),
    "unknown options": (FINE, "metric: val_loss", "callbacks: {class: c.py:Mine, options: {to: x}}", "does not take its options"),
    "an unknown key": (FINE, "metric: val_loss", "callbacks: [{clas: c.py:Mine}]", "'callbacks.0.class' is missing"),
    "no list": (FINE, "metric: val_loss", "callbacks: 3", "callbacks: Input should be a valid list"),
    "no name": (FINE, "metric: val_loss", "callbacks: [[c.py:Mine]]", "callbacks.0: Input should be"),
    "too many": (FINE, "metric: val_loss", f"callbacks: [{', '.join(['c.py:Mine'] * 17)}]", "at most 16"),
    "a secret": (FINE, "metric: val_loss", "callbacks: {class: c.py:Mine, options: {path: 'http://me:key@host'}}", "holds a password"),
    "a module that cannot": ("raise OSError('no')", "metric: val_loss", "callbacks: m.py:Mine", "cannot be imported: OSError: no"),
}  # fmt: skip


@pytest.mark.processes
@pytest.mark.parametrize("name", REFUSED)
def test_bad_ones_are_refused_in_a_line(
    name: str, tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    metric, stop, more, message = REFUSED[name]
    monkeypatch.setattr(metric_trial, "CALL_S", 0.5)
    monkeypatch.setattr(metric_trial, "LOAD_S", 0.5)
    file = write(tmp_path / "asked", metric, str(stop), str(more))
    monkeypatch.setattr(
        sys, "argv", ["fersweep", "launch", str(file), "--data", str(tiny_dataset), "--home", str(tmp_path / "runs")]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if ": runs the code of " not in line]
    assert (ended.value.code, out, len(lines)) == (2, "", 1), err
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "asked"]


def test_the_mode_is_not_guessed(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text().replace("mode: min, ", ""))
    with pytest.raises(ValueError, match=r"stop\.mode is missing: want max or min, .* \(by its name: mode: min\)"):
        read_sweep(str(file), [])
    assert read_sweep(str(file), ["stop.mode=max"]).stop.mode == "max"


def test_what_a_sweep_file_says_is_read_as_a_column_and_its_code(tmp_path: Path) -> None:
    """Wherever a metric can stand; and the resolved file is read as itself."""
    objectives = (
        "objectives: [{metric: m.py:cost, mode: min}, {metric: val_accuracy}], sweep: {target: {m.py:cost: 0.1}}"
    )
    sweep = read_sweep(str(write(tmp_path, stop=objectives)), [f"callbacks={tmp_path}/c.py:Mine"])
    stop = sweep.stop
    assert (stop.metric, stop.mode, stop.own_metric) == ("val_cost", "min", stop.metrics[0])
    assert stop.sweep is not None
    assert stop.sweep.target == {"val_cost": 0.1}
    assert [each.metric for each in stop.objectives] == ["val_cost", "val_accuracy"]
    dumped = sweep.model_dump(mode="json")
    assert dumped["callbacks"][0]["class"].startswith("c.py@")
    assert type(sweep).model_validate(dumped) == sweep
    others = read_sweep(str(write(tmp_path, stop="metric: val_loss, metrics: [m.py:cost]")), []).stop
    assert (others.metric, others.metrics, others.own_metric) == ("val_loss", stop.metrics, None)


def test_a_module_and_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "lab_of_mine", stop="metric: lab_cost")
    file.with_name("__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("lab_cost", "lab_of_mine.m:cost", own_metrics.GROUP)
    for module in (own_metrics, named):
        monkeypatch.setattr(module, "entry_points", lambda group: [entry] if group == own_metrics.GROUP else [])
    by_entry = read_sweep(str(file), []).stop
    by_module = read_sweep(str(file), ["stop.metric=lab_of_mine.m:cost"]).stop
    assert by_entry.metrics == by_module.metrics
    assert (by_entry.metric, by_entry.metrics[0].partition("@")[0]) == ("val_cost", "lab_of_mine.m")


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., OneTrial]:
    """Begins trial 0 of a sweep with a metric of one's own, as a worker does: with the code that it is sent."""

    def begin(metric: str, dataset: Path, task: str = "", monkeypatch: Any = None) -> OneTrial:
        sweep = read_sweep(str(write(tmp_path / "asked", metric, more=task)), [])
        arrays = Task(dataset, sweep.task).arrays()
        settings = trial_settings(sweep, tmp_path, Storage(tmp_path))
        assert settings.code == tuple(code_of(sweep, OF_TRIALS))
        settings = replace(settings, max_epochs=3, rungs=(), timeout_s=None)
        copies._known.clear()  # pyright: ignore[reportPrivateUsage]
        return OneTrial(settings, arrays, 0, {"top": 0.9, "rate": 0.3, "noise": 0.0}, 0)

    return begin


def test_each_epoch_has_its_value(begin: Callable[..., OneTrial], tiny_dataset: Path) -> None:
    session = begin(FINE, tiny_dataset)
    report, y = session.run(), session.arrays.val.y
    wrong = float((session.trainable.val_probabilities.argmax(axis=1) != y).mean())
    assert (report.status, [row["val_cost"] for row in report.epochs]) == ("running", [wrong])
    assert {"val_macro_f1", "val_loss"} <= report.epochs[0].keys()


def test_with_folds_it_is_the_mean_of_each_folds(begin: Callable[..., OneTrial], tmp_path: Path) -> None:
    dataset = write_tiny_dataset(tmp_path / "folds", folds=3)
    session = begin(FINE, dataset, "task: {fold: all}")
    row, answers = session.run().epochs[0], session.trainable.val_probabilities
    y, folds = session.arrays.val.y, session.arrays.folds
    each = [float((answers[fold.val].argmax(axis=1) != y[fold.val]).mean()) for fold in folds]
    assert [row[fold_metric("val_cost", number)] for number in range(3)] == each
    assert row["val_cost"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("return float('inf') if len(CALLS) > 1 else 0.5", "val_cost is inf (m.py, line 2)"),
        ("return 10**400 if len(CALLS) > 1 else 0.5", "val_cost is larger than a float can be (m.py, line 2)"),
        ("while len(CALLS) > 1: pass", "val_cost: it takes longer than 0.2 s for an epoch (m.py, line 4)"),
        ("return 1 / (2 - len(CALLS))", "val_cost: ZeroDivisionError: division by zero (m.py, line 4)"),
        ("raise SystemExit(3) if len(CALLS) > 1 else ValueError('so')", "val_cost: ValueError: so (m.py, line 4)"),
    ],
)
def test_a_trial_fails_and_says_where(
    begin: Callable[..., OneTrial], tiny_dataset: Path, line: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_metrics, "LIMIT_S", 0.2)
    session = begin(f"CALLS = []\n{body('CALLS.append(1)', line, 'return 0.5')}", tiny_dataset)
    reports = [session.run()]
    while reports[-1].status == "running":
        reports.append(session.run())
    assert (reports[-1].status, reports[-1].reason) == ("failed", reason)


@pytest.mark.processes
def test_its_baseline_is_recorded_and_a_likely_slip_is_said(
    tmp_path: Path, tiny_dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noisy = FINE.replace("    return", "    print('noise')\n    return")
    sweep = read_sweep(str(write(tmp_path, noisy)), ["stop.mode=max"])
    described, arrays = describe(sweep, tiny_dataset, tmp_path / "runs")
    majority = np.bincount(arrays.train.y).argmax()
    assert described.baseline.score("val_cost") == pytest.approx(float((arrays.val.y != majority).mean()))
    out, err = capfd.readouterr()
    assert (out, err.count("noise")) == ("", 0)
    assert "note: stop.mode: max, but val_cost is 0 of right answers" in err


@pytest.mark.processes
def test_values_of_other_code_are_never_learned_but_points_are(tmp_path: Path, tiny_dataset: Path) -> None:
    """The older sweep's best is by its own metric, where it does not know this one's."""
    directory = write_sweep_json(tmp_path / "runs", tiny_dataset, Task(tiny_dataset).arrays(), "old")
    content = json.loads((directory / "sweep.json").read_text())
    content["sweep"]["stop"] |= {"metric": "val_cost", "mode": "min", "metrics": ["m.py@000000000000:cost"]}
    (directory / "sweep.json").write_text(json.dumps(content))
    driver = FakeDriver(directory, Task(tiny_dataset).arrays())
    with contextlib.closing(driver.journal):
        for number, value in enumerate((0.5, 0.25)):
            driver.sample(number, {"top": 0.5, "rate": 0.1 * (number + 1), "noise": 0.0})
            driver.report(number, [{"epoch": 1, "val_cost": value, "val_macro_f1": 0.5}])
            driver.end(number, "finished")
    file = write(tmp_path / "asked")
    with pytest.raises(
        ValueError, match=r"of sweep 'old' are min val_cost \(m\.py@0{12}\), and this sweep's are min val_cost \(m"
    ):
        describe(read_sweep(str(file), ["search.start_from=[{sweep: old}]"]), tiny_dataset, tmp_path / "runs")
    best = read_sweep(str(file), ["search.start_from=[{sweep: old, best: 1}]"])
    described, _ = describe(best, tiny_dataset, tmp_path / "runs")
    assert [point.name for point in described.points] == ["old/0001"]
