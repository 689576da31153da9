"""Callbacks beside a real journal, without Ray: each event at least once and in order, whatever becomes of their processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.own_code import copies
from fersweep.common.own_code.collect import collect
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.callbacks import delivered, delivery, processes
from fersweep.results.callbacks.classes import load
from fersweep.results.callbacks.delivered import keyed, trouble
from fersweep.results.callbacks.processes import Callbacks
from fersweep.results.dashboards import sync
from fersweep.results.dashboards.status import status
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.search_spaces.sweep_file.sections.callbacks import Callback
from tests.processes import ROOT, wait_until
from tests.sweeps import FakeDriver, write_sweep_json

LOG = """
import os, time
class Log:
    def __init__(self, path): self.path = path
    def write(self, *words):
        with open(self.path, "a") as file: print(*words, file=file)
    def started(self, sweep): self.write("started", sweep.session, sweep.state)
    def sampled(self, trial): self.write("sampled", trial.number, sorted(trial.hparams))
    def report(self, trial, epochs): self.write("report", trial.number, *(int(row["epoch"]) for row in epochs))
    def best(self, trial): self.write("best", trial.number, trial.best_epoch, trial.value == trial.best["val_macro_f1"])
    def ended(self, trial): self.write("ended", trial.number, trial.state, trial.epochs)
    def finished(self, sweep): self.write("finished", sweep.state, sweep.trials["finished"], sweep.best.number)
class Raising(Log):
    def report(self, trial, epochs): raise KeyError(f"trial {trial.number}")
class Exiting(Log):
    def sampled(self, trial):
        super().sampled(trial)
        if trial.number == 0: os._exit(3)
class Hanging(Log):
    def sampled(self, trial):
        while trial.number == 0: time.sleep(0.01)
class Eating(Log):
    def sampled(self, trial): self.much = bytearray(1 << 45)
"""
RISING = {"top": 0.9, "rate": 0.3, "noise": 0.0}
WHOLE = [
    "started 1 running",
    "sampled 0 ['noise', 'rate', 'top']", "report 0 1 2", "best 0 2 True", "report 0 3", "best 0 3 True", "ended 0 finished 3",
    "sampled 1 ['noise', 'rate', 'top']", "report 1 1 2", "report 1 3", "ended 1 stopped 3",
    "finished finished 1 0",
]  # fmt: skip


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset).arrays()


class Sweep:
    """A sweep's directory whose callbacks are classes of LOG, each of which writes NAME.txt."""

    def __init__(self, tmp_path: Path, dataset: Path, arrays: TaskArrays, *kinds: str):
        self.directory = write_sweep_json(tmp_path / "runs", dataset, arrays)
        (tmp_path / "mine.py").write_text(LOG)
        code = collect(str(tmp_path / "mine.py"), "callbacks")
        copies.write(code, self.directory)
        content = json.loads((self.directory / "sweep.json").read_text())
        content["sweep"]["callbacks"] = [
            {"class": f"{code.name}:{kind}", "options": {"path": str(tmp_path / f"{kind}.txt")}} for kind in kinds
        ]
        (self.directory / "sweep.json").write_text(json.dumps(content))
        self.place, self.arrays, self.driver = tmp_path, arrays, FakeDriver(self.directory, arrays)
        self.asked = read_sweep_json(self.directory).asked

    def run(self) -> None:
        """The whole of a sweep: what WHOLE says."""
        self.driver.journal.session("started")
        self.driver.run_trial(0, RISING, 3, "finished")
        self.driver.run_trial(1, {**RISING, "top": 0.5}, 3, "stopped")
        self.driver.journal.session("finished")

    def callbacks(self, driven: bool = False) -> Callbacks:
        return Callbacks(self.directory, self.asked, Storage(self.directory), driven)

    def deliver(self, kind: str) -> None:
        delivery.deliver(self.directory, f"mine.py-{kind}")

    def heard(self, kind: str) -> list[str]:
        path = self.place / f"{kind}.txt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def make(tmp_path: Path, tiny_dataset: Path, arrays: TaskArrays) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def make(*kinds: str) -> Sweep:
            sweep = Sweep(tmp_path, tiny_dataset, arrays, *kinds)
            stack.callback(sweep.driver.journal.close)
            return sweep

        yield make


def test_each_event_comes_once_and_in_order(make: Any) -> None:
    """However often it is told, and beside another driver's session."""
    sweep = make("Log")
    sweep.run()
    sweep.deliver("Log")
    sweep.deliver("Log")
    assert sweep.heard("Log") == WHOLE
    sweep.driver.journal.session("started")
    sweep.deliver("Log")
    assert sweep.heard("Log") == [*WHOLE, "started 2 running"]


def test_one_that_is_interrupted_hears_the_event_again(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make("Log")
    sweep.run()
    calls: list[int] = []
    whole = delivered.write

    def stop(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise OSError("as a kill")
        whole(*arguments)

    monkeypatch.setattr(delivered, "write", stop)
    with pytest.raises(OSError, match="as a kill"):
        sweep.deliver("Log")
    first = sweep.heard("Log")
    sweep.deliver("Log")
    heard = sweep.heard("Log")[len(first) :]
    assert first == WHOLE[: len(first)]
    assert heard == WHOLE[len(WHOLE) - len(heard) :]
    assert 0 <= len(first) + len(heard) - len(WHOLE) <= 2, "an event twice: a report, and the best that follows"


def test_one_that_raises_goes_on_and_is_said_once(make: Any, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = make("Raising")
    sweep.run()
    sweep.deliver("Raising")
    assert sweep.heard("Raising") == [line for line in WHOLE if not line.startswith("report")]
    assert capfd.readouterr().err.count("mine.py:Raising: report: KeyError: 'trial 0' (mine.py, line 14)") == 1
    (found,) = status(sweep.place / "runs", "tiny")
    assert found.callbacks == [
        "mine.py:Raising: report: KeyError: 'trial 0' (mine.py, line 14) (callbacks.log in the sweep's directory)"
    ]


@pytest.mark.parametrize("kind", ["Hanging", "Eating"])
def test_one_that_hangs_or_eats_memory_goes_on(
    make: Any, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(delivery, "CALL_S", 0.3)
    sweep = make(kind)
    sweep.run()
    sweep.deliver(kind)
    assert sweep.heard(kind)[-1] == WHOLE[-1]
    said = capfd.readouterr().err
    assert "sampled: it takes longer than 0.3 s" in said if kind == "Hanging" else "sampled: MemoryError" in said


@pytest.mark.processes
def test_processes_that_die_are_started_again(
    make: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One exits whenever it hears of trial 0, one is killed: no event is lost but the one that ends its process each time."""
    monkeypatch.setattr("fersweep.common.processes.Restarted.FIRST_S", 0.0)
    monkeypatch.setattr("fersweep.common.processes.Restarted.MOST_S", 0.0)
    sweep = make("Log", "Exiting")
    callbacks = sweep.callbacks(driven=True)
    callbacks.start()
    sweep.driver.journal.session("started")
    sweep.driver.run_trial(0, RISING, 3, "finished")
    wait_until(lambda: len(sweep.heard("Log")) >= 3)
    os.kill(callbacks._children["mine.py-Log"].pid or 0, signal.SIGKILL)  # pyright: ignore[reportPrivateUsage]
    sweep.driver.run_trial(1, {**RISING, "top": 0.5}, 3, "stopped")
    sweep.driver.journal.session("finished")
    assert callbacks.finish(60.0) == []
    assert list(dict.fromkeys(sweep.heard("Log"))) == WHOLE
    sampled = WHOLE[1]
    assert sweep.heard("Exiting") == [WHOLE[0], *[sampled] * 3, *WHOLE[2:]]
    err = capfd.readouterr().err
    assert "callbacks: mine.py:Exiting: its process ended (exit code 3); started again" in err
    assert "sampled: it ended its process 3 times, and the event is left out" in err


@pytest.mark.processes
def test_what_is_not_delivered_is_said_and_made_good(
    make: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The end of a sweep waits for nobody for long; `status --sync` delivers the rest."""
    sweep = make("Log")
    sweep.run()
    assert sweep.callbacks().finish(0.0) == [
        "callbacks: mine.py:Log: 10 events were not delivered; made good by: "
        f"fersweep status tiny --sync --home {sweep.place / 'runs'}"
    ]
    assert delivered.not_delivered(1) == "1 event was not delivered"
    assert "10 events were not delivered" in trouble(sweep.directory, sweep.asked, running=False)[0]
    assert trouble(sweep.directory, sweep.asked, running=True) == []
    monkeypatch.setattr(sync, "_record", lambda *_: None)
    (synced,) = sync.sync(status(sweep.place / "runs", "tiny"))
    assert (synced.failed, synced.sweep.callbacks) == (False, [])
    assert sweep.heard("Log") == WHOLE


def test_two_of_a_class_have_cursors_of_their_own(make: Any) -> None:
    assert list(keyed(make("Log", "Log", "Raising").asked)) == ["mine.py-Log", "mine.py-Log-2", "mine.py-Raising"]


def test_how_far_it_heard_is_in_the_bucket(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that another machine goes on from there."""
    sweep = make("Log")
    sweep.run()
    sweep.deliver("Log")
    bucket = Storage(tmp_path / "bucket")
    monkeypatch.setattr(Storage, "path", property(lambda _: None))
    monkeypatch.setattr(processes, "_start", lambda *_: pytest.fail("not before it is fetched"))
    callbacks = Callbacks(sweep.directory, sweep.asked, bucket)
    callbacks.finish(0.0)
    state = delivered.path_of(sweep.directory, "mine.py-Log")
    content = state.read_bytes()
    state.unlink()
    callbacks._fetch("mine.py-Log")  # pyright: ignore[reportPrivateUsage]
    assert state.read_bytes() == content


def example(name: str, **options: Any) -> Any:
    code = collect(str(ROOT / f"examples/{name.partition(':')[0]}"), "callbacks")
    copies.register(code)
    kind = load(Callback.model_validate({"class": f"{code.name}:{name.partition(':')[2]}", "options": options}))
    return kind(**options)


def tell(sweep: Sweep, callback: object) -> None:
    from fersweep.results.callbacks.hearing import Hearing
    from fersweep.results.record.journal import read_events

    hearing = Hearing(read_sweep_json(sweep.directory), sweep.directory)
    for event in read_events(sweep.directory / "journal.jsonl"):
        for method, facts in hearing.calls(event):
            getattr(callback, method, lambda *_: None)(*facts)


def test_the_example_of_a_table(make: Any, tmp_path: Path) -> None:
    sweep = make("Log")
    sweep.run()
    for _ in range(2):  # after a crash it hears events again
        tell(sweep, example("csv_callback.py:CsvTable", path=str(tmp_path / "trials.csv")))
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["trial", "state"], ["0", "finished"], ["1", "stopped"]]


def test_the_example_of_weights_and_biases(
    make: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for the package, and without it."""
    sweep = make("Log")
    sweep.run()
    callback, logged = example("wandb_callback.py:WandbRuns", project="faces"), list[Any]()
    tell(sweep, callback)
    assert "wandb is not installed: pip install wandb" in capfd.readouterr().err

    def init(name: str, **settings: Any) -> Any:
        return types.SimpleNamespace(
            log=lambda row, step: logged.append((name, step)),
            summary={},
            finish=lambda exit_code: logged.append((name, exit_code)),
        )

    module = sys.modules[type(callback).__module__]
    monkeypatch.setattr(module, "wandb", types.SimpleNamespace(init=init))
    tell(sweep, callback)
    assert logged == [(f"tiny-{n:04d}", step) for n in (0, 1) for step in (1, 2, 3, 0)]
