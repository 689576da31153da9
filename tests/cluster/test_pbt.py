"""Population Based Training: who copies whom, that a replayed journal decides the same, and what a copied net trains like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.search.decisions import Search
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import bring_about, lines_of

OPTIONS = {"interval": 3, "perturb": ["top", "rate"]}


def make_sweep(num_trials: int = 12, max_epochs: int = 11, **options: Any) -> Sweep:
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
            if number == 7 and curve.epoch == 5 and not search.record.trials[7].retries:
                search.fault(number, "trial", "its process died")
                del curves[number]
            elif search.report(number, row, "finished" if curve.epoch == search.sweep.stop.max_epochs else "running"):
                del curves[number]


@pytest.mark.parametrize("places", [1, 5, 12])
def test_killed_after_every_event_it_decides_as_one_that_never_was(
    tmp_path: Path, open_journal: OpenJournal, places: int
) -> None:
    sweep, whole, cut = make_sweep(), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    search = Search(sweep, open_journal(whole))
    drive(search, places)
    assert all(trial.num_epochs == 11 for trial in search.record.trials.values())
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
