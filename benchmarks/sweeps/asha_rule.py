"""The decisions of ASHA in a search, ours and Ray Tune's, beside what its rule says: for restore.py.

Each side's own rule is replayed over all results in their order. In a search without a crash the replay agrees with
every decision.
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
    """The course of a search. `known`: trials that it knows at its end; `open_in_study`: those RUNNING in Optuna's study."""

    steps: list[Step]
    known: set[str]
    open_in_study: int
    runs: list[tuple[str, str, list[int]]]  # of MLflow: trial, status, steps logged


class Decision(NamedTuple):
    """Whether a trial was stopped at a rung, and what ASHA's rule says. `rung` 0: it was stopped at an epoch without a rung."""

    later: bool
    trial: str
    rung: int
    stopped: bool
    rule_stops: bool


def decisions(steps: list[Step], ours: bool) -> list[Decision]:
    """Replay ASHA's rule over all results: each trial's first visit to a rung, in the order of the visits.

    Ours (cluster/search/decisions.py) compares the best values so far, the trial's own among them; Ray Tune's (`_Bracket` in
    tune/schedulers/async_hyperband.py) the values at the rung, with the earlier ones. Visits of trials that were in
    training when the driver died, and did not train again, are left out: there was no decision.
    """
    rungs: dict[int, dict[str, float]] = {level: {} for level in RUNGS}
    best: dict[str, float] = {}
    last, ended = last_epochs(steps), {step.trial for step in steps if step.event == "ended"}
    visits = []
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
            visits.append(Decision(step.later, step.trial, step.epoch, stopped, lost))
    elsewhere = [trial for trial in sorted(ended) if last.get(trial, 0) not in (*RUNGS, MAX_EPOCHS)]
    return visits + [Decision(True, trial, 0, True, False) for trial in elsewhere]


def below_ours(everyone: list[float], value: float) -> bool:
    return bool(value < np.quantile(everyone, 1 - 1 / REDUCTION))


def below_theirs(others: list[float], value: float) -> bool:
    return bool(others and value < np.nanpercentile(others, (1 - 1 / REDUCTION) * 100))


def last_epochs(steps: list[Step]) -> dict[str, int]:
    """Trial → the last epoch that it reported, in any session."""
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
    """All numbers of the table, which may be summed over rounds."""
    trials, judged, new = {step.trial for step in story.steps}, decisions(story.steps, ours), later_trials(story.steps)
    counted = Counter({"trials": len(trials), "open in study": story.open_in_study, "lost": len(trials - story.known)})
    for decision in judged:
        when = "later" if decision.trial in new else "earlier"
        if decision.rung == GRACE and (when == "later" or not decision.later):
            counted.update({when: 1, f"{when} stopped": decision.stopped, f"{when} rule": decision.rule_stops})
        if decision.later:
            counted["decisions"] += 1
            counted["stopped wrongly"] += decision.stopped and not decision.rule_stops
            counted["kept wrongly"] += decision.rule_stops and not decision.stopped
    counted["differing"] = sum(decision.stopped != decision.rule_stops for decision in judged)
    return counted + count_epochs(story)


def in_order(story: Story, ours: bool) -> str:
    """Later trials at rung 1, in order: `.` kept, `s` stopped, both as the rule says; `K` and `S` against it."""
    new = later_trials(story.steps)
    at_first = [visit for visit in decisions(story.steps, ours) if visit.rung == GRACE and visit.trial in new]
    signs = {(False, False): ".", (True, True): "s", (True, False): "S", (False, True): "K"}
    return "".join(signs[visit.stopped, visit.rule_stops] for visit in at_first)


def count_epochs(story: Story) -> Counter[str]:
    """Epochs that were trained, and those in MLflow."""
    reported = Counter((step.trial, step.epoch) for step in story.steps if step.event == "report")
    logged = Counter((trial, epoch) for trial, _, epochs in story.runs for epoch in epochs)
    ended = {step.trial for step in story.steps if step.event == "ended" and not step.later}
    again = {step.trial for step in story.steps if step.event == "report" and step.later} & ended
    return Counter(
        {
            "ended trained again": len(again),
            "epochs": len(reported),
            "epochs reported twice": reported.total() - len(reported),
            "runs": len(story.runs),
            "duplicates": len(story.runs) - len({trial for trial, *_ in story.runs}),
            "left running": sum(status == "RUNNING" for _, status, _ in story.runs),
            "epochs twice": logged.total() - len(logged),
            "epochs missing": len(reported.keys() - logged.keys()),
        }
    )
