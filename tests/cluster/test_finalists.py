"""How a search ends: its budget, and the finalists that are run again; without Ray."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.search.decisions import Search
from fersweep.results.record import journal
from fersweep.results.record.ranking import finalists
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import bring_about, lines_of

METRIC = "val_macro_f1"
BUDGETS: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 9},
    "no_better_in": {"no_better_in": 2},
    "target": {"target": {METRIC: 0.5}},
    "hours": {"hours": 0.04},
}


def make_sweep(budget: dict[str, Any] | None = None, **changes: Any) -> Sweep:
    content: dict[str, Any] = {
        "name": "s",
        "trainable": "curve",
        "space": {"fix": {"noise": 0.02}},
        "search": {"num_trials": 7, "seed": 1, "sampler": "random"},
        "stop": {"grace_epochs": 2, "max_epochs": 4, "reduction": 2, "sweep": budget},
        "finalists": {"best": 2, "seeds": 3},
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) and content.get(key) else value
    return parse_sweep(content, "test")


def drive_two(search: Search, until_epochs: int | None = None) -> None:
    """Run trials two at a time, one epoch a report in turns; the second repeat breaks off once, the third fails."""
    curves: dict[int, Curve] = {}
    while True:
        while len(curves) < 2 and (given := search.next()) is not None:
            curves[given.trial] = Curve(Hparams(**given.hparams), np.zeros((3, 1)), {"seed": given.trial})
            curves[given.trial].epoch = given.known_epochs
        if not curves:
            return
        for number, curve in list(curves.items()):
            seed = search.record.trials[number].seed_index
            ended = search.report(number, curve.fit(1), "running")
            if until_epochs is not None and search.record.num_epochs >= until_epochs:
                return
            if not ended and curve.epoch == 1 and seed == 2 and not search.record.trials[number].retries:
                search.fault(number, "trial", "its process died")
                assert search.next().trial == number  # type: ignore[union-attr]
            elif not ended and curve.epoch == 3 and seed == 3:
                ended = search.report(number, [], "failed", "val_loss is nan at epoch 4")
            elif not ended and curve.epoch == search.sweep.stop.max_epochs:
                ended = search.report(number, [], "finished")
            if ended:
                del curves[number]


@pytest.fixture
def ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two events of a journal, whoever writes them."""
    now = itertools.count(0.0, 10.0)

    def clock() -> Any:
        return lambda: next(now)

    monkeypatch.setattr(journal, "_steady_clock", clock)


@pytest.mark.parametrize("kind", ["none", *BUDGETS])
def test_killed_after_every_event_it_ends_as_one_that_never_was(
    tmp_path: Path, open_journal: OpenJournal, kind: str, ten_seconds: None
) -> None:
    sweep = make_sweep(BUDGETS.get(kind))
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    search = Search(sweep, open_journal(whole))
    search.journal.session("started")
    drive_two(search)
    assert search.done()
    assert search.remaining == 0
    totals = search.record.derived(SearchTotals)
    assert (totals.num_trials == 7) is (kind == "none")
    assert (search.spent is None) is (kind == "none")
    if kind != "none":
        assert search.spent.startswith(f"stop.sweep.{kind}: ")  # type: ignore[union-attr]
    events, lines = lines_of(whole), whole.read_bytes().splitlines(keepends=True)
    for event in events[1:]:
        print({k: v for k, v in event.items() if k not in ("hparams", "params", "distributions")})
    repeats = [event["repeat"] for event in events if "repeat" in event]
    best = [trial.number for trial in finalists.points(search.record, sweep)]
    assert repeats == [{"of": of, "seed": seed} for seed in (1, 2, 3) for of in best]
    assert any(event["event"] == "fault" for event in events)
    for k, event in enumerate(events[1:], 1):
        cut.write_bytes(b"".join(lines[:k]) + lines[k][: len(lines[k]) * (k % 3) // 3])
        again = Search(sweep, open_journal(cut))
        assert not again.done()
        again.journal.session("started")  # the time before it counts in no budget
        again.settle()
        if event.get("state") != "stopped":
            bring_about(again, event)
        written = lines_of(cut)
        del written[k]
        assert len(written) > k
        assert written == events[: len(written)], f"after event {k}"
