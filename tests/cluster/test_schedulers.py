"""Every scheduler of the registry: it decides after any kill as it would have without, whatever happens to trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fersweep.cluster.schedulers.registry import RULES
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.results.record.ranking.progress import training_seconds
from fersweep.results.record.trial_record import Epochs
from fersweep.search_spaces.sweep_file.consistency import remarks
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Stop
from tests.cluster.test_search import bring_about, make_sweep
from tests.searches import CASES, HISTORY, METRIC, SECONDS, Memory, curve_rows, decided, drive_many, search_of, sweep_of


def test_every_scheduler_has_a_case() -> None:
    assert {case["scheduler"] for case in CASES.values()} >= RULES.keys() - {"pbt"}


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("case", CASES)
def test_killed_after_every_event_it_decides_as_one_that_never_was(case: str, at_once: int) -> None:
    sweep = sweep_of(case)
    whole = search_of(sweep)
    drive_many(whole, at_once)
    events = whole.journal.events  # type: ignore[attr-defined]
    expected = decided(events)
    kinds = [event["event"] for event in events]
    assert whole.done()
    assert kinds.count("sampled") == 30
    assert min(kinds.count("fault"), kinds.count("reopened")) >= 1
    states = whole.record.count()
    assert states["finished"]
    assert states["failed"]
    assert (states["stopped"] >= 3) == (case != "none")
    memory = Memory()
    for k, event in enumerate(expected):
        if len(memory.events) == k:
            memory.forget()
        else:  # the one before also ended its trial: killed between the two
            memory = Memory(events[:k])
        search = Search(sweep, memory, HISTORY)  # type: ignore[arg-type]
        search.settle()
        if event["event"] == "reopened":
            search.journal.append("reopened", trial=event["trial"])
        elif event.get("state") != "stopped":  # which nobody asks for: to settle is to judge the last report
            bring_about(search, event)
        written = decided(memory.events)
        assert len(written) > k
        assert written[k:] == expected[k : len(written)], f"after event {k}"
    assert repr(memory.record.trials) == repr(Memory(memory.events).record.trials)  # NaN is not equal to itself


@pytest.mark.parametrize("case", CASES)
def test_how_many_epochs_a_report_has_changes_no_decision(case: str) -> None:
    """As long as it ends where the scheduler asks: one trial after another, their epochs given before."""
    sweep = sweep_of(case)
    rows = {number: list(curve_rows(number, 9)) for number in range(30)}
    ends = []
    for longest in (1, 9):
        search = search_of(sweep)
        for number, epochs in rows.items():
            assert search.next().trial == number  # type: ignore[union-attr]
            for part in parts(epochs, sweep.stop, longest):
                if search.report(number, part, "running"):
                    break
            else:
                search.report(number, [], "finished")
        ends.append([trial.reason for trial in search.record.trials.values()])
    assert ends[0] == ends[1]
    assert (set(ends[0]) == {None}) == (case == "none")


def parts(rows: list[dict[str, float]], stop: Stop, longest: int) -> Iterator[list[dict[str, float]]]:
    """The reports of a worker: up to `longest` epochs, and no further than the next rung."""
    come: Sequence[float] = range(1, len(rows) + 1)
    if stop.unit == "seconds":
        come = training_seconds(row["epoch_s"] for row in rows)
    part: list[dict[str, float]] = []
    for index, row in enumerate(rows):
        part.append(row)
        before = come[index - 1] if index else 0
        if len(part) == longest or any(before < level <= come[index] for level in stop.rungs()):
            yield part
            part = []
    if part:
        yield part


@pytest.mark.parametrize("case", ["asha, seconds", "hyperband", "median", "wilcoxon"])
def test_a_report_costs_the_same_after_many_trials(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted are the looks at a trial's epochs: none but its own (and the best trial's, where folds are compared)."""
    looks = []
    for number in (10, 80):
        search = search_of(sweep_of(case).model_copy(update={"search": make_sweep(search={"num_trials": 500}).search}))
        rows = list(curve_rows(0, 8))
        for trial in range(number):
            search.journal.append("sampled", trial=trial, hparams={}, params={}, distributions={})
            search.report(trial, [{**row, METRIC: row[METRIC] + trial * 1e-4} for row in rows], "finished")
        for trial in range(number, number + 20):  # the first one at a rung looks at all trials there
            search.journal.append("sampled", trial=trial, hparams={}, params={}, distributions={})
            search.report(trial, rows, "running")
        search.journal.append("sampled", trial=number + 20, hparams={}, params={}, distributions={})
        seen = []
        column: Callable[..., Any] = Epochs.column
        monkeypatch.setattr(Epochs, "column", lambda self, name: seen.append(name) or column(self, name))  # noqa: B023
        search.report(number + 20, rows, "running")
        monkeypatch.undo()
        looks.append(len(seen))
    assert max(looks) <= 40, looks  # fewer than there are trials


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stop.scheduler=hyperbnd"], r"there is no 'hyperbnd'; did you mean 'hyperband'"),
        (["stop.scheduler=hyperband", "stop.scheduler_options.brackets=9"], "brackets: 9, but only 2 can begin within epoch 20, the first at epoch 5"),
        (["stop.scheduler=median", "stop.scheduler_options.interval=1.5"], "interval 1.5 must be whole, as stop.unit is epochs"),
        (["stop.scheduler=median", "stop.max_epochs=999999999"], "compares a trial more than 10,000 times"),
        (["stop.scheduler=percentile", "stop.scheduler_options.percentile=100"], "percentile: Input should be less than 100"),
        (["stop.scheduler=percentile", "stop.scheduler_options.against=best"], "against: Input should be 'averages' or"),
        (["stop.scheduler=patient", "stop.scheduler_options.inner=patient"], "inner: want null, or one of asha, hyperband"),
        (["stop.scheduler=patient", "stop.scheduler_options.inner_options={brackets: 2}"], "there is no inner scheduler"),
        (["stop.scheduler=patient", "stop.scheduler_options={inner: asha, inner_options: {x: 1}}"], "asha has no such option"),
        (["stop.scheduler=wilcoxon"], "wilcoxon compares the folds of trials: want task.fold: all"),
        (["stop.scheduler=wilcoxon", "stop.scheduler_options.p_threshold=0"], "p_threshold: Input should be greater than 0"),
        (["stop.grace_s=3"], "stop.grace_s: 3.0, but stop.unit is epochs: want grace_s: null, and stop.grace_epochs"),
        (["stop.max_s=3"], "stop.max_s: 3.0, but stop.unit is epochs"),
        (["stop={unit: seconds, grace_epochs: 5, max_s: 9}"], "grace_epochs: 5, but stop.unit is seconds: want grace_epochs: null"),
        (["stop={unit: seconds, max_s: 9}"], "stop.grace_s is missing, as stop.unit is seconds"),
        (["stop={unit: seconds, grace_s: 9}"], "stop.max_s is missing, as stop.unit is seconds"),
        (["stop.grace_epochs=null"], "stop.grace_epochs is missing, as stop.unit is epochs"),
        (["stop.unit=minutes"], "stop.unit: Input should be 'epochs' or 'seconds', but got 'minutes'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as error:
        read_sweep("quick", overrides)
    assert "\n" not in str(error.value)


def test_a_sweep_says_what_ends_its_trials() -> None:
    said = {
        "{max_epochs: 20}": "ASHA compares trials at epochs 5, 15",
        "{scheduler: hyperband}": "Hyperband compares trials at epochs 5, 15, 45",
        "{scheduler: median, scheduler_options: {interval: 1}}": "the median rule compares trials at epochs 5, 6, 7, 8, …, 99",
        "{unit: seconds, grace_s: 0.5, max_s: 9}": "ASHA compares trials at 0.5, 1.5, 4.5 s of training",
        "{scheduler: patient}": "a trial ends after 10 epochs in which it got no better",
        "{scheduler: patient, scheduler_options: {inner: asha}}": "a trial ends after 10 epochs in which it got no better, "
        "where ASHA at epochs 5, 15, 45 ends it, too",
        "{scheduler: none}": "no trial is stopped early",
    }
    for asked, words in said.items():
        stop = Stop.model_validate(yaml.safe_load(asked))
        assert stop.in_words() == words
        assert Stop.model_validate(stop.model_dump(mode="json")) == stop
    assert remarks(make_sweep(stop={"scheduler": "median", "grace_epochs": 5, "max_epochs": 4})) == [
        "the median rule stops no trial: stop.grace_epochs, 5, is not below stop.max_epochs, 4",
        "without effect: stop.reduction, as stop.scheduler is median",
    ]
    short = make_sweep(stop={**SECONDS, "grace_s": 9, "max_s": 9})
    assert remarks(short) == ["ASHA stops no trial: stop.grace_s, 9, is not below stop.max_s, 9"]


def test_a_sweep_of_an_earlier_version_is_read_as_it_was(tmp_path: Path) -> None:
    older = {"metric": METRIC, "mode": "max", "scheduler": "asha", "grace_epochs": 2, "max_epochs": 9, "reduction": 3}
    stop = Stop.model_validate(older)
    assert (list(stop.rungs()), stop.unit, stop.max_s, stop.scheduler_options) == ([2, 6], "epochs", None, {})
