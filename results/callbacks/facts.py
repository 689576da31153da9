"""What a callback is told: copies, to be kept or changed as one likes; nothing in the sweep hears of it.

    class Slack:
        def best(self, trial):                     # a TrialFacts
            post(f"{trial.sweep}: {trial.value:.4f} in trial {trial.number}, epoch {trial.best_epoch}")

METHODS are what a callback's class may have, each with what it is called with. All of them may be missing but one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METHODS: dict[str, tuple[str, ...]] = {
    "started": ("sweep",),  # a driver has begun, or goes on: sweep.session counts them
    "sampled": ("trial",),  # it has got its hparams
    "report": ("trial", "epochs"),  # it has trained one or more epochs: a list of their metrics by name
    "best": ("trial",),  # its last report made it the best of the sweep; follows `report`
    "ended": ("trial",),  # trial.state: finished, stopped or failed
    "finished": ("sweep",),  # the driver has ended; sweep.state: finished, failed or interrupted
}


@dataclass(frozen=True)
class TrialFacts:
    """A trial as it was at an event.

    Attributes:
        sweep: name of its sweep.
        number: from 0 on; name: the same as its directory and its run in MLflow begin, `0007`.
        hparams: what it trains with, under the names that a sweep file takes.
        epochs: how many it has trained.
        state: running, finished, stopped (by the scheduler) or failed.
        reason: of its end, in a line, where there is one.
        value: the sweep's metric at its best epoch; None while there is none.
        best_epoch: which that is; best: all metrics of that epoch.
        point: the named point that it tries, if any.
        repeat_of: of a finalist's repeat: the trial whose point it runs again.
        run_name: of its run in MLflow.
        seconds: since it was sampled; train_s: of training.
        time: of the event, seconds since 1970.
    """

    sweep: str
    number: int
    name: str
    hparams: dict[str, Any]
    epochs: int
    state: str
    reason: str | None
    value: float | None
    best_epoch: int | None
    best: dict[str, float]
    point: str | None
    repeat_of: int | None
    run_name: str
    seconds: float
    train_s: float
    time: float


@dataclass(frozen=True)
class SweepFacts:
    """A sweep as it was at an event.

    Attributes:
        name, id: `id` is no other sweep's, whatever their names are.
        directory: of its record, on the machine of its driver.
        trainable, dataset, fingerprint, classes: what is learned from what.
        metric, mode: what trials are ranked by, and whether more (max) or less (min) of it is better.
        baseline: the metric of always answering the most frequent class, where it has one.
        state: running, finished, failed or interrupted; reason: of its end, where there is one.
        session: how often a driver has begun, this one included: 1, and more after `resume`.
        num_trials: as many as are asked for; trials: by state, those that there are.
        best: the best trial, if there is one.
        seconds: since its first event.
        time: of the event, seconds since 1970.
        sweep_file: the resolved sweep file.
    """

    name: str
    id: str
    directory: str
    trainable: str
    dataset: str
    fingerprint: str
    classes: list[str]
    metric: str
    mode: str
    baseline: float | None
    state: str
    reason: str | None
    session: int
    num_trials: int
    trials: dict[str, int]
    best: TrialFacts | None
    seconds: float
    time: float
    sweep_file: dict[str, Any]
