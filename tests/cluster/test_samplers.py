"""Every sampler of the registry, and somebody's own: a search with it that is killed and resumed decides as one that never was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from fersweep.cluster.samplers.registry import SAMPLERS
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import distributions
from fersweep.search_spaces.sweep_file.sections import samplers as sections
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import bring_about, lines_of, make_sweep

COUNTED = "tests.doubles.faulty_curve tests.doubles.counted_curve"
OWN = f"{Path(__file__).parents[1] / 'doubles/own_sampler.py'}:Stepping"
OPTIONS: dict[str, dict[str, Any]] = {  # so that it does what it is there for within thirty trials
    "tpe": {"n_startup_trials": 5},
    "gp": {"n_startup_trials": 24},
    "cmaes": {"popsize": 4},
    "nsga2": {"population_size": 4},
    "nsga3": {"population_size": 4},
    "grid": {"points": {"top": 7, "rate": 4, "noise": [0.0]}},
    OWN: {"width": 0.5},
}
NAMES = [*SAMPLERS, OWN]


@pytest.fixture(autouse=True)
def counted_curve_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERSWEEP_TRAINABLES", COUNTED)


def sweep_with(name: str, **search: Any) -> Sweep:
    asked = {"sampler": name, "sampler_options": OPTIONS.get(name, {}), "start_from": ["easy"], **search}
    changes: dict[str, Any] = {}
    if name == "brute_force":  # which asks for whole numbers
        asked["start_from"] = []
        changes = {"trainable": "counted_curve"}
    stop = {"grace_epochs": 2, "max_epochs": 6, "reduction": 3}
    return make_sweep(search=asked, stop=stop, failures={"max_failed_share": 1.0}, **changes)


def older(sweep: Sweep) -> list[OlderTrial]:
    """Trials of another sweep: finished, stopped, failed."""
    drawn = distributions(sweep)
    point = {"top": 0.7, "rate": 0.1, "noise": 0.01} if "rate" in drawn else {"kind": "flat", "top": 3}
    drawn = {name: drawn[name] for name in point}
    return [
        OlderTrial(sweep="old", params=point, distributions=drawn, epochs=epochs, state=state)
        for state, epochs in (
            ("finished", [{"epoch": 1, "val_macro_f1": 0.4}, {"epoch": 2, "val_macro_f1": 0.5}]),
            ("stopped", [{"epoch": 1, "val_macro_f1": 0.2}]),
            ("failed", []),
        )
    ]


def drive(search: Search, at_once: int) -> None:
    """Trials side by side in turns, two epochs a report. Every 7th breaks off once; every 9th fails, and all but the last of
    these are reopened; every 10th gives NaN.
    """
    curves: dict[int, Curve] = {}
    while True:
        while len(curves) < at_once and (assignment := search.next()) is not None:
            number = assignment.trial
            hparams = Hparams(**assignment.hparams)
            curves[number] = Curve(hparams, np.zeros((3, 1)), {"seed": number})
            curves[number].epoch = assignment.known_epochs
        if not curves:
            return
        for number, curve in list(curves.items()):
            trial = search.record.trials[number]
            fails, breaks = number % 9 == 8 and not trial.reopened, number % 7 == 6 and not trial.retries
            rows: list[Any] = curve.fit(1 if fails or breaks or curve.epoch % 2 else 2)
            if number % 10 == 4:
                rows = [{**row, "val_macro_f1": math.nan} for row in rows]
            ended = search.report(number, rows, "running")
            if fails:
                ended = search.report(number, [], "failed", "val_loss is nan")
                if number != 26:
                    search.journal.append("reopened", trial=number)
            elif breaks:
                search.fault(number, "trial", "its process died")
            elif not ended and curve.epoch == search.sweep.stop.max_epochs:
                ended = search.report(number, [], "finished")
            if ended or breaks:
                del curves[number]


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.rpartition("/")[2])
def test_killed_after_every_event_it_decides_as_one_that_never_was(
    tmp_path: Path, open_journal: OpenJournal, name: str, at_once: int
) -> None:
    """Each prefix of the journal, with the next line torn: what a search makes of it next is what the unbroken one wrote. So
    it is after any number of kills, wherever they come.
    """
    sweep = sweep_with(name)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    search = Search(sweep, open_journal(whole), older(sweep))
    drive(search, at_once)
    assert search.done()
    assert 25 < len(search.record.trials) <= 30
    events, lines = lines_of(whole), whole.read_bytes().splitlines(keepends=True)
    assert {event["state"] for event in events if event["event"] == "ended"} == {"stopped", "failed", "finished"}
    assert {"fault", "reopened"} < {event["event"] for event in events}
    for k, event in enumerate(events):
        cut.write_bytes(b"".join(lines[:k]) + lines[k][: len(lines[k]) * (k % 3) // 3])
        resumed = Search(sweep, open_journal(cut), older(sweep))
        resumed.settle()
        if event["event"] == "reopened":
            resumed.journal.append("reopened", trial=event["trial"])
        elif event.get("state") != "stopped":  # which nobody asks for: to settle is to judge the last report
            bring_about(resumed, event)
        written = lines_of(cut)
        assert len(written) > k
        assert written == events[: len(written)], f"after event {k}"
