"""A sweep of somebody's own trainable, metric and callbacks, killed (SIGKILL) and resumed; and its code changed in between."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.callbacks.hearing import Hearing
from fersweep.results.record.journal import read_events
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.cluster.test_crash import results
from tests.processes import ROOT, UNRECORDED, kill, num_lines, run, start, wait_until

SWEEP = """
trainable: sklearn_linear.py
space: {range: {learning_rate: [1.0e-4, 1.0e-2]}}
search: {num_trials: 6, seed: 5}
stop: {metric: "own_metric.py:cost", mode: min, grace_epochs: 2, max_epochs: 12, reduction: 2, report_s: 0}
resources: {cpus: 2}
callbacks:
  - {class: "csv_callback.py:CsvTable", options: {path: PLACE/trials.csv}}
  - {class: "heard.py:Heard", options: {path: PLACE/heard.txt}}
"""
HEARD = """
class Heard:
    def __init__(self, path): self.path = path
    def note(self, *words):
        with open(self.path, "a") as file: print(*words, file=file)
    def started(self, sweep): self.note("started", sweep.session)
    def sampled(self, trial): self.note("sampled", trial.number)
    def report(self, trial, epochs): self.note("report", trial.number, epochs[-1]["epoch"])
    def best(self, trial): self.note("best", trial.number, trial.value)
    def ended(self, trial): self.note("ended", trial.number, trial.state)
    def finished(self, sweep): self.note("finished", sweep.state)
"""


def write(folder: Path, place: Path) -> Path:
    """The sweep file, and beside it the code that it names; callbacks write to `place`."""
    folder.mkdir()
    for name in ("sklearn_linear.py", "own_metric.py", "csv_callback.py"):
        shutil.copy(ROOT / "examples" / name, folder)
    (folder / "heard.py").write_text(HEARD)
    (folder / "own.yaml").write_text(SWEEP.replace("PLACE", str(place)))
    return folder / "own.yaml"


def expected(directory: Path) -> list[str]:
    """What Heard hears of a journal."""
    hearing, lines = Hearing(read_sweep_json(directory), directory), list[str]()
    for event in read_events(directory / "journal.jsonl"):
        for method, (facts, *more) in hearing.calls(event):
            what: dict[str, Any] = {
                "started": lambda f, _: f.session,
                "finished": lambda f, _: f.state,
                "sampled": lambda f, _: f.number,
                "report": lambda f, m: f"{f.number} {m[0][-1]['epoch']}",
                "best": lambda f, _: f"{f.number} {f.value}",
                "ended": lambda f, _: f"{f.number} {f.state}",
            }
            lines.append(f"{method} {what[method](facts, more)}")
    return lines


@pytest.mark.usefixtures("nothing_is_recorded")
def test_killed_and_resumed_it_gives_the_same_and_callbacks_hear_all(
    tmp_path: Path, tiny_dataset: Path, ray_address: str
) -> None:
    """Each driver dies with its callbacks in the middle of what it tells them."""
    home, file = tmp_path / "runs", write(tmp_path / "asked", tmp_path)
    whole = read_sweep(str(file), ["callbacks=[]"], name="whole")
    assert launch(whole, tiny_dataset, home).state == "finished"
    directory = home / "sweeps/broken"
    where = ("--address", ray_address)
    for lines in (6, 18):
        verb = ("launch", file, "--data", tiny_dataset, "--name", "broken") if lines == 6 else ("resume", "broken")
        process = start(*verb, *where, home=home, env=UNRECORDED)
        wait_until(lambda lines=lines: num_lines(directory / "journal.jsonl") >= lines, process)
        kill(process)
    run("resume", "broken", *where, home=home, env=UNRECORDED)
    for key in ("csv_callback.py-CsvTable", "heard.py-Heard"):
        with lock(directory / f"callbacks/{key}.lock"):  # one that was left alone may still be at it
            pass
    assert results(directory / "journal.jsonl") == results(home / "sweeps/whole/journal.jsonl")
    values = {row["val_cost"] for *_, rows in results(directory / "journal.jsonl") for row in rows}
    assert len(values) > 3
    heard, wanted = (tmp_path / "heard.txt").read_text().splitlines(), expected(directory)
    assert list(dict.fromkeys(heard)) == wanted
    assert len(heard) <= len(wanted) + 2 * 3, "an event, of one or two calls, twice after each driver"
    with (tmp_path / "trials.csv").open() as table:
        assert [int(row["trial"]) for row in csv.DictReader(table)] == list(range(6))


@pytest.mark.usefixtures("nothing_is_recorded", "ray_session")
def test_code_that_has_changed_when_a_sweep_is_resumed(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A metric's cannot be accepted; a callback's is taken as it is now, and callbacks may be others."""
    home, file = tmp_path / "runs", write(tmp_path / "asked", tmp_path)
    assert launch(read_sweep(str(file), ["search.num_trials=1"]), tiny_dataset, home).state == "finished"
    path = home / "sweeps/own/sweep.json"
    before = path.read_bytes()
    metric = file.with_name("own_metric.py")
    metric.write_text(metric.read_text().replace("5.0", "6.0"))
    for accept in (None, True):
        with pytest.raises(InputError, match=r"own_metric.py has changed since sweep 'own' was launched") as refused:
            resume(path.parent, trials="2", accept_code=accept)
        assert "values of before and of now cannot stand in one ranking: `fersweep resume own" in str(refused.value)
    assert path.read_bytes() == before
    heard = file.with_name("heard.py")
    heard.write_text(heard.read_text().replace('"started"', '"begun"'))
    others = f"callbacks=[{{class: {heard}:Heard, options: {{path: {tmp_path}/heard.txt}}}}]"
    assert resume(path.parent, trials="2", accept_code=False, overrides=[others]).state == "finished"
    assert "the sweep goes on with the copy of what it was" in capsys.readouterr().err
    now = read_sweep_json(path.parent).asked
    assert [callback.shown for callback in now.callbacks] == ["heard.py:Heard"]
    assert (path.parent / "code" / now.callbacks[0].kind.partition(":")[0] / "heard.py").exists()
    lines = (tmp_path / "heard.txt").read_text().splitlines()
    assert "begun 2" in lines
    assert now.stop.metrics == read_sweep_json(path.parent).asked.stop.metrics
    assert b'"own_metric.py@' in before
    trainable = file.with_name("sklearn_linear.py")
    trainable.write_text("def")
    with pytest.raises(
        InputError, match=r"sklearn_linear.py, line 1 is no Python: .*; `fersweep resume own.* --keep-code`"
    ):
        resume(path.parent, trials="3")
    trainable.unlink()
    with pytest.raises(InputError, match=r"sklearn_linear.py cannot be read: .*; `fersweep resume own.* --keep-code`"):
        resume(path.parent, trials="3", accept_code=True)
    with pytest.raises(InputError, match=r"callbacks: gone.py cannot be read"):
        resume(path.parent, accept_code=False, overrides=["callbacks=gone.py:Mine"])
