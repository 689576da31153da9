"""What ASHA's rule says of a search, ours and Ray Tune's, and what the search did: for restore.py.

Each side's own rule is replayed over all results in the order in which they came. In an unbroken search the replay
agrees with every decision.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

GRACE, REDUCTION, MAX_EPOCHS = 3, 3, 27
RUNGS = (3, 9)


class Step(NamedTuple):
    """`later`: after the restore; without a crash, after half the trials had ended."""

    later: bool
    event: str
    trial: str
    epoch: int = 0
    value: float = 0.0


class Story(NamedTuple):
    """A search as it went. `known`: trials that it knows at its end; `open_in_study`: those RUNNING in Optuna's study."""

    steps: list[Step]
    known: set[str]
    open_in_study: int
    runs: list[tuple[str, str, list[int]]]  # of MLflow: trial, status, steps logged


class Decision(NamedTuple):
    """What became of a trial at a rung, and what ASHA's rule says there. `rung` 0: it was stopped where there is none."""

    later: bool
    trial: str
    rung: int
    stopped: bool
    rule_stops: bool


def decisions(steps: list[Step], ours: bool) -> list[Decision]:
    """Replay ASHA's rule over all results: each trial's first visit to a rung, in the order of the visits.

    Ours (cluster/search/decisions.py) compares the best values so far, the trial's own among them; Ray Tune's (`_Bracket` in
    tune/schedulers/async_hyperband.py) the values at the rung, with those that were there before. What became of a
    trial that was in training when the driver died, and never again, is not known: such a visit is left out.
    """
    rungs: dict[int, dict[str, float]] = {level: {} for level in RUNGS}
    best: dict[str, float] = {}
    last, ended = last_epochs(steps), {step.trial for step in steps if step.event == "ended"}
    found = []
    for step in steps:
        if step.event != "report":
            continue
        best[step.trial] = max(step.value, best.get(step.trial, step.value))
        rung = rungs.get(step.epoch)
        if rung is None or step.trial in rung:
            continue
        before, value = list(rung.values()), best[step.trial] if ours else step.value
        rung[step.trial] = value
        lost = below_ours([*before, value], value) if ours else below_theirs(before, value)
        stopped = step.trial in ended and last[step.trial] == step.epoch
        if stopped or last[step.trial] > step.epoch:
            found.append(Decision(step.later, step.trial, step.epoch, stopped, lost))
    elsewhere = [trial for trial in sorted(ended) if last.get(trial, 0) not in (*RUNGS, MAX_EPOCHS)]
    return found + [Decision(True, trial, 0, True, False) for trial in elsewhere]


def below_ours(everyone: list[float], value: float) -> bool:
    return bool(value < np.quantile(everyone, 1 - 1 / REDUCTION))


def below_theirs(others: list[float], value: float) -> bool:
    return bool(others and value < np.nanpercentile(others, (1 - 1 / REDUCTION) * 100))


def last_epochs(steps: list[Step]) -> dict[str, int]:
    """Trial → the last epoch that it reported, in whichever session."""
    epochs: dict[str, int] = {}
    for step in steps:
        if step.event == "report":
            epochs[step.trial] = max(step.epoch, epochs.get(step.trial, 0))
    return epochs


def later_trials(steps: list[Step]) -> set[str]:
    """Trials whose first step came after the restore."""
    first = {step.trial: step.later for step in reversed(steps)}
    return {trial for trial, later in first.items() if later}


def count(story: Story, ours: bool) -> Counter[str]:
    """Everything that the table shows, as numbers that may be summed over rounds."""
    trials, judged, new = {step.trial for step in story.steps}, decisions(story.steps, ours), later_trials(story.steps)
    counted = Counter({"trials": len(trials), "open in study": story.open_in_study, "lost": len(trials - story.known)})
    for one in judged:
        when = "later" if one.trial in new else "earlier"
        if one.rung == GRACE and (when == "later" or not one.later):
            counted.update({when: 1, f"{when} stopped": one.stopped, f"{when} rule": one.rule_stops})
        if one.later:
            counted["decisions"] += 1
            counted["stopped wrongly"] += one.stopped and not one.rule_stops
            counted["kept wrongly"] += one.rule_stops and not one.stopped
    counted["differing"] = sum(one.stopped != one.rule_stops for one in judged)
    return counted + count_epochs(story)


def in_order(story: Story, ours: bool) -> str:
    """Later trials at rung 1, in order: `.` kept, `s` stopped, both as the rule says; `K` and `S` against it."""
    new = later_trials(story.steps)
    at_first = [one for one in decisions(story.steps, ours) if one.rung == GRACE and one.trial in new]
    signs = {(False, False): ".", (True, True): "s", (True, False): "S", (False, True): "K"}
    return "".join(signs[one.stopped, one.rule_stops] for one in at_first)


def count_epochs(story: Story) -> Counter[str]:
    """What was trained, and what MLflow has of it."""
    told = Counter((step.trial, step.epoch) for step in story.steps if step.event == "report")
    logged = Counter((trial, epoch) for trial, _, epochs in story.runs for epoch in epochs)
    ended = {step.trial for step in story.steps if step.event == "ended" and not step.later}
    again = {step.trial for step in story.steps if step.event == "report" and step.later} & ended
    return Counter(
        {
            "ended trained again": len(again),
            "epochs": len(told),
            "epochs reported twice": told.total() - len(told),
            "runs": len(story.runs),
            "duplicates": len(story.runs) - len({trial for trial, *_ in story.runs}),
            "left running": sum(status == "RUNNING" for _, status, _ in story.runs),
            "epochs twice": logged.total() - len(logged),
            "epochs missing": len(told.keys() - logged.keys()),
        }
    )
