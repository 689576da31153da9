"""How a search ends: its budget, and the finalists that are run again; without Ray."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.driver import live_view
from fersweep.cluster.driver.checkpoint_pruning import Pruner
from fersweep.cluster.driver.notifications import Notifier
from fersweep.cluster.driver.run_sweep import reopen
from fersweep.cluster.resume import _changed, _no_smaller, _refuse_differences, _still_spent
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.results.record import checkpoints, journal
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking import finalists
from fersweep.results.record.ranking.budget import reached, spending
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.record.storage import Storage
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


class Story:
    """A record, told event by event."""

    def __init__(self) -> None:
        self.record, self.now = SweepRecord(), 1e9

    def tell(self, event: str, after_s: float = 10.0, **fields: Any) -> Story:
        self.now += after_s
        self.record.apply({"event": event, "time": self.now, **fields})
        return self

    def trial(self, number: int, *values: float, state: str | None = "finished", **fields: Any) -> Story:
        """Sampled, trained an epoch a value, and, unless `state` is None, ended."""
        fields = {"hparams": {"x": number}, **fields}
        self.tell("sampled", trial=number, **fields)
        for epoch, value in enumerate(values, 1):
            self.tell("report", trial=number, epochs=[{"epoch": epoch, METRIC: value}])
        return self.tell("ended", trial=number, state=state) if state else self

    def repeat(self, number: int, of: int, seed: int, *values: float, state: str | None = "finished") -> Story:
        again = {"of": of, "seed": seed}
        return self.trial(number, *values, state=state, repeat=again, hparams=self.record.trials[of].hparams)


def texts(story: Story, sweep: Sweep) -> list[str]:
    return [part.text for part in spending(story.record, sweep)]


def test_what_is_spent_of_a_budget() -> None:
    """Time when nobody is at work is not counted, whatever the clock is set to; nor is anything of the finalists."""
    asked = {"hours": 2, "epochs": 5000, "no_better_in": 3, "target": {METRIC: 0.75}}
    sweep, story = make_sweep(asked), Story()
    story.tell("session", action="started")
    assert texts(story, sweep)[2:] == ["0 of 3 trials without a better one", f"{METRIC} none of 0.75"]
    story.trial(0, 0.5, 0.6).trial(1, 0.3).trial(2, 0.7, state=None).trial(3, 0.4)
    hour = ["0.033 of 2 h", "5 of 5,000 epochs", "1 of 3 trials without a better one", f"{METRIC} 0.7000 of 0.75"]
    assert texts(story, sweep) == hour
    story.tell("session", -7200.0, action="started")  # killed; and then the clock was set back by two hours
    assert texts(story, sweep) == hour
    story.tell("ended", 3600.0, trial=2, state="finished")  # the best itself is not without a better one
    assert texts(story, sweep)[0] == "1.0 of 2 h"
    assert texts(story, sweep)[2] == "1 of 3 trials without a better one"
    story.trial(4, state="failed").trial(5, float("nan"))
    part = reached(story.record, sweep)
    assert part is not None
    assert part.reason == "stop.sweep.no_better_in: 3 of 3 trials without a better one"
    before = texts(story, sweep)
    story.repeat(6, 2, 1, 0.9, 0.9).tell("session", 3600.0, action="finished")
    assert texts(story, sweep) == before
    story.tell("session", action="started").trial(7, 0.75)
    assert reached(story.record, sweep).name == "target"  # type: ignore[union-attr]


def test_a_target_of_a_loss_is_reached_from_above() -> None:
    loss = {"metric": "val_loss", "mode": "min", "sweep": {"target": {"val_loss": 0.4}}}
    sweep, story = make_sweep(stop=loss), Story()
    for number, value, is_reached in ((0, 0.5, False), (1, 0.4, True)):
        story.tell("sampled", trial=number, hparams={})
        story.tell("report", trial=number, epochs=[{"epoch": 1, "val_loss": value}])
        assert (reached(story.record, sweep) is not None) is is_reached


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stop", {"sweep": {}}, r"stop\.sweep: want at least one of hours, epochs, no_better_in and target"),
        (
            "stop",
            {"sweep": {"target": {"val_loss": 1}}},
            r"stop\.sweep\.target: names val_loss, but trials are ranked by",
        ),
        ("stop", {"sweep": {"hours": -1}}, r"stop\.sweep\.hours: .* greater than 0, but got -1"),
        ("stop", {"sweep": {"hour": 1}}, r"unknown key 'stop\.sweep\.hour'.*hours"),
        ("finalists", {"best": 8}, r"finalists\.best: 8 is more than search\.num_trials, 7"),
        ("finalists", {"by": "lower", "seeds": 1}, r"by: lower wants an interval"),
        ("finalists", {"folds": "all"}, "then: {best: 5, fold: all}"),
    ],
)
def test_what_is_refused(key: str, value: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        make_sweep(**{key: value})
    assert "\n" not in str(refusal.value)


def test_finalists_and_what_they_keep_of_their_promise() -> None:
    """The mean is over the other seeds alone; the point with the better mean wins, or that with the better bound."""
    sweep, story = make_sweep(finalists={"best": 3, "seeds": 3}), Story()
    story.trial(0, 0.70).trial(1, 0.80, state="stopped").trial(2, 0.75).trial(3, 0.75, hparams={"x": 2}).trial(4, 0.1)
    assert [trial.number for trial in finalists.points(story.record, sweep)] == [1, 2, 0], "trial 3 is trial 2's point"
    assert finalists.final(story.record, sweep) is None
    story.repeat(5, 1, 1, 0.70).repeat(6, 2, 1, 0.74).repeat(7, 0, 1, 0.60)
    begun = finalists.final(story.record, sweep)
    assert begun is not None
    assert (begun.progress, begun.winner) == ("3 of 9", None)
    assert [finalist.point.number for finalist in begun.finalists] == [1, 2, 0]
    assert finalists.best_first(story.record, sweep) == story.record.kept(order_of(sweep), None)
    story.repeat(8, 1, 2, 0.72).repeat(9, 2, 2, 0.70).repeat(10, 0, 2, 0.3, 0.61)
    story.repeat(11, 1, 3, 0.71).repeat(12, 2, 3, 0.73, state="failed").repeat(13, 0, 3, 0.62)
    judged = finalists.final(story.record, sweep)
    assert judged is not None
    assert (judged.progress, judged.failed) == ("9 of 9, 1 failed", 1)
    assert [finalist.point.number for finalist in judged.finalists] == [2, 1, 0]
    second, first, third = judged.finalists
    assert (first.result, second.result, third.result) == ("0.7100 ± 0.0100", "0.7200 ± 0.0283", "0.6100 ± 0.0100")
    assert first.mean is not None
    assert first.high - first.mean == pytest.approx(4.302653 * 0.01 / 3**0.5)  # type: ignore[operator]
    assert [finalist.kept_promise for finalist in judged.finalists] == [True, False, False]
    assert second.typical_first[0] == 9, "the worse of the two"
    assert first.typical_first == [11, 5, 8]
    assert judged.winner is second
    assert [trial.number for trial in finalists.best_first(story.record, sweep)] == [2, 1, 0, 3, 4]
    assert story.record.ranked(METRIC, "max")[0].number == 1, "the ranking does not see repeats"
    by_bound = make_sweep(finalists={"best": 3, "seeds": 3, "by": "lower"})
    assert finalists.final(story.record, by_bound).winner.point.number == 1  # type: ignore[union-attr]
    card = finalists.chosen_as(story.record, sweep, story.record.trials[9])
    assert card is not None
    assert "that of trial 0002 of 5, is the best of 3 finalists" in card
    assert "0.7200 ± 0.0283 (mean ± standard deviation) over 2 seeds" in card
    assert "had promised 0.7500" in card
    assert card.endswith("This is the run of trial 0009, 0.7000, the median of them")
    assert finalists.chosen_as(story.record, sweep, story.record.trials[2]) is None


def test_the_live_view_says_how_far_the_budget_and_the_finalists_are() -> None:
    sweep, story = make_sweep({"hours": 1, "epochs": 100, "no_better_in": 5}), Story()
    story.tell("session", action="started").trial(0, 0.5, 0.6).trial(1, 0.4)
    parts = live_view.summary(sweep, story.record, 50, 2, 3, None)
    assert parts[0] == "2/7 trials"
    assert parts[-1] == "0.019 of 1 h, 3 of 100 epochs, 1 of 5 trials without a better one"
    assert live_view.summary(make_sweep({"epochs": 4}), story.record, 60, 2, 3, None)[3] == "ETA 8:20", (
        "1 + 6 × 4 epochs"
    )
    for number in range(2, 7):
        story.trial(number, 0.1)
    story.repeat(7, 0, 1, 0.5).repeat(8, 1, 1, 0.3, state=None)
    parts = live_view.summary(sweep, story.record, 100, 8, 10, None)
    assert parts[:3] == ["7/7 trials", "finalists: 1 of 6", "1 running"]
    assert "\n".join(live_view.frame("s", parts, sweep, story.record, 80, 30)).count(" as 0000") == 1


def test_a_webhook_hears_of_finalists_but_not_that_a_repeat_is_the_best(
    tmp_path: Path, open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/")
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(Notifier, "_deliver", lambda _, payload: sent.append(payload) or True)
    sweep = make_sweep({"epochs": 1}, notify={"url": "${HOOK}"}, finalists={"best": 1, "seeds": 2})
    log = open_journal(tmp_path / "j.jsonl")
    notifier, search = Notifier(sweep, log, "look"), Search(sweep, log)
    for value in (0.5, 0.9, 0.7):
        given = search.next()
        assert given is not None
        search.report(given.trial, [{"epoch": 1, METRIC: value}], "finished")
    log.session("finished", reason=search.spent)
    notifier.finish()
    assert [(payload["event"], payload["value"]) for payload in sent] == [("best", 0.5), ("end", 0.5)]
    assert (
        "finished: stop.sweep.epochs: 1 of 1 epochs; of the finalists trial 0 wins with 0.8000 ± 0.1414"
        in sent[1]["text"]
    )
    assert "(1 of 7 trials ended; finalists: 2 of 2)" in sent[1]["text"]


def test_a_larger_search_goes_on_after_its_finalists(tmp_path: Path, open_journal: OpenJournal) -> None:
    """As if there had been none, but for the trials' numbers; then the new best points are run, and the old repeats stay."""
    path = tmp_path / "j.jsonl"
    drive_two(Search(make_sweep(), open_journal(path)))
    before = open_journal(path).record
    assert len(before.trials) == 13
    again = Search(make_sweep(search={"num_trials": 12}, finalists={"best": 3, "seeds": 3}), open_journal(path))
    assert (again.over(), again.remaining) == (None, 5)
    drive_two(again)
    after = again.record
    assert [trial.number for trial in after.searched] == [*range(7), *range(13, 18)]
    assert {number: after.trials[number] for number in before.trials} == before.trials
    assert again.done()
    judged = finalists.final(after, again.sweep)
    assert judged is not None
    assert (judged.ended, len(judged.finalists)) == (9, 3)
    study = again.study()
    assert not {trial.number - 1 for trial in study.trials} & {
        n for n, t in after.trials.items() if t.repeat_of is not None
    }


def test_named_points_come_after_finalists_where_the_budget_had_ended_the_search(
    tmp_path: Path, open_journal: OpenJournal
) -> None:
    points = [(name, {"top": top, "rate": 0.3}) for name, top in (("first", 0.8), ("second", 0.9))]
    search = Search(make_sweep({"epochs": 1}), open_journal(tmp_path / "j.jsonl"), points=points)
    while (given := search.next()) is not None:
        search.report(given.trial, [{"epoch": 1, METRIC: 0.5}], "finished")
    assert [trial.repeat_of for trial in search.record.trials.values()] == [None, 0, 0, 0]
    again = Search(make_sweep({"epochs": 9}), search.journal, points=points)
    assert again.next().trial == 4  # type: ignore[union-attr]
    assert search.record.trials[4].point == "second"


def test_trials_that_the_budget_ended_go_on_with_a_larger_one(tmp_path: Path, open_journal: OpenJournal) -> None:
    """Their last checkpoint is kept for that, and so are those of repeats."""
    storage, spent = Storage(tmp_path), {"target": {METRIC: 0.01}}
    search = Search(make_sweep(spent, keep_checkpoints=1), open_journal(tmp_path / "journal.jsonl"))
    drive_two(search)
    cut = [trial.number for trial in search.record.searched if trial.state == "stopped"]
    assert len(cut) == 2
    for trial in search.record.trials.values():
        for epoch in range(1, trial.num_epochs + 1):
            storage.write(f"{checkpoints.place(trial.number, epoch)}/epochs.json", b"[]")
    with Pruner(search, storage):
        pass
    for number in cut:
        assert search.record.trials[number].num_epochs in checkpoints.saved(storage, number)
    for trial in search.record.ended_repeats():
        assert checkpoints.saved(storage, trial.number), trial.name
    reopen(search, storage, retry_failed=False)
    assert not search.record.running
    larger = Search(make_sweep({"target": {METRIC: 0.99}}), search.journal)
    reopen(larger, storage, retry_failed=False)
    assert sorted(larger.record.running) == cut


def test_resume_raises_a_budget_or_says_how(tmp_path: Path, open_journal: OpenJournal) -> None:
    asked, path = make_sweep(BUDGETS["epochs"]), tmp_path / "runs" / "sweeps" / "s" / "journal.jsonl"
    path.parent.mkdir(parents=True)
    drive_two(Search(asked, open_journal(path)))
    recorded = RecordedSweep(path.parent, None, open_journal(path).record)  # type: ignore[arg-type]
    line = _still_spent(recorded, asked)
    assert line is not None
    assert line.startswith(
        "the budget is spent (stop.sweep.epochs: 12 of 9 epochs): no further trial begins; `fersweep resume s"
    )
    assert line.endswith("--set stop.sweep.epochs=18` raises it")
    more = _changed(asked, None, None, None, ["stop.sweep.epochs=18", "finalists.seeds=4"])
    _refuse_differences(asked, more, recorded.record)
    assert _still_spent(recorded, more) is None
    assert _no_smaller(asked, more).stop.sweep == more.stop.sweep
    none = make_sweep(finalists=None)
    assert _changed(none, None, None, None, ["finalists.best=2"]).finalists.best == 2  # type: ignore[union-attr]
    assert _changed(none, None, None, "3", []).stop.sweep.hours == 3  # type: ignore[union-attr]
    assert _changed(make_sweep({"hours": 2}), None, None, "+1.5", []).stop.sweep.hours == 3.5  # type: ignore[union-attr]
    for hours, message in (
        ("+1", "has no stop.sweep.hours to add to"),
        ("soon", "want how many in all"),
        ("0", "want"),
    ):
        with pytest.raises(InputError, match=f"--hours .*{message}"):
            _changed(none, None, None, hours, [])


@pytest.mark.parametrize(
    "repeat",
    ["7", '{"of": 7, "seed": 1}', '{"of": 0, "seed": 0}', '{"of": "0", "seed": 1}', '{"of": 1, "seed": 1}', "[]"],
)
def test_a_journal_with_a_repeat_of_nothing_is_damaged(tmp_path: Path, repeat: str) -> None:
    line = '{"event": "sampled", "time": 1, "trial": %d, "hparams": {}%s}\n'
    path = tmp_path / "j.jsonl"
    path.write_text(
        line % (0, "") + line % (1, ', "repeat": {"of": 0, "seed": 1}') + line % (2, f', "repeat": {repeat}')
    )
    with pytest.raises(InputError, match="line 3 is damaged"):
        journal.read(path)
