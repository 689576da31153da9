"""Population Based Training: who copies whom, that a replayed journal decides the same, and what a copied net trains like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.launch import launch
from fersweep.cluster.search.decisions import Search
from fersweep.results.record.checkpoints import saved, trial_seed
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import bring_about, lines_of

OPTIONS = {"interval": 2, "perturb": ["top", "rate"]}


def make_sweep(num_trials: int = 12, max_epochs: int = 7, **options: Any) -> Sweep:
    content: dict[str, Any] = {
        "name": "s",
        "trainable": "curve",
        "search": {"num_trials": num_trials, "seed": 3, "sampler": "random"},
        "stop": {"scheduler": "pbt", "scheduler_options": {**OPTIONS, **options}, "max_epochs": max_epochs},
    }
    return parse_sweep(content, "test")


def drive(search: Search, places: int) -> list[int]:
    """Run trials in so many places, one epoch a report in turns → the trials in the order in which they were handed out."""
    curves: dict[int, Curve] = {}
    order: list[int] = []
    while True:
        while len(curves) < places and (assignment := search.next()) is not None:
            curve = Curve(Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial})
            curve.epoch = assignment.known_epochs
            curves[assignment.trial] = curve
            order.append(assignment.trial)
        if not curves:
            return order
        for number, curve in list(curves.items()):
            row = curve.fit(1)
            if number == 7 and curve.epoch == 3 and not search.record.trials[7].retries:
                search.fault(number, "trial", "its process died")
                del curves[number]
            elif search.report(number, row, "finished" if curve.epoch == search.sweep.stop.max_epochs else "running"):
                del curves[number]


@pytest.mark.parametrize("places", [2, 12])
def test_killed_after_every_event_it_decides_as_one_that_never_was(
    tmp_path: Path, open_journal: OpenJournal, places: int
) -> None:
    sweep, whole, cut = make_sweep(), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    search = Search(sweep, open_journal(whole))
    drive(search, places)
    assert all(trial.num_epochs == 7 for trial in search.record.trials.values())
    assert {trial.state for trial in search.record.trials.values()} == {"finished"}
    events, lines = lines_of(whole), whole.read_bytes().splitlines(keepends=True)
    kinds = [event["event"] for event in events]
    assert kinds.count("exploited") >= 3
    assert kinds.count("exploited") + kinds.count("compared") == 12 * 3
    for k, event in enumerate(events):
        cut.write_bytes(b"".join(lines[:k]) + lines[k][: len(lines[k]) * (k % 3) // 3])
        search = Search(sweep, open_journal(cut))
        search.settle()
        bring_about(search, event)
        written = lines_of(cut)
        assert len(written) > k
        assert written == events[: len(written)], f"after event {k}"


@pytest.mark.usefixtures("ray_session", "recorded_here")
def test_a_real_sweep_copies_checkpoints_and_takes_turns(home: Path, tiny_dataset: Path) -> None:
    """Two places, five trials. The curve's scores say which hparams an epoch was trained with."""
    content = {**make_sweep(5, 7).model_dump(mode="json"), "name": "pbt"}
    assert launch(parse_sweep(content, "test"), tiny_dataset, home).state == "finished"
    recorded = load_sweep(home / "sweeps" / "pbt")
    trials = recorded.record.trials.values()
    assert [trial.num_epochs for trial in trials] == [7] * 5
    assert any(trial.exploits for trial in trials)
    for trial in trials:
        assert trial.compared_at == 6
        for stretch in trial.exploits:
            donor = recorded.record.trials[stretch.donor or 0]
            assert donor.num_epochs >= stretch.first - 1
        for epoch, row in enumerate(trial.epochs, 1):
            curve = Curve(Hparams(**trial.at(epoch).hparams), np.zeros((3, 1)), {"seed": trial_seed(3, trial.number)})
            curve.epoch = epoch - 1
            assert row["val_macro_f1"] == curve.fit(1)[0]["val_macro_f1"]
        assert recorded.best_checkpoint(trial) is not None
        assert len(saved(recorded.storage, trial.number)) <= 2  # the best, and the last
        assert recorded.val_predictions(trial) is not None
