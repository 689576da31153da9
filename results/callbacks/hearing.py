"""A journal's events as calls of a callback's methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fersweep.results.callbacks.facts import SweepFacts, TrialFacts
from fersweep.results.mlflow_store.run_fields import run_name
from fersweep.results.record.journal import Event, SweepRecord, TrialRecord
from fersweep.results.record.ranking.best_so_far import BestSoFar
from fersweep.results.record.sweep_json import SweepJson

Call = tuple[str, tuple[Any, ...]]  # a method's name, and what it is called with


class Hearing:
    """Is told of each event of a journal, in order."""

    def __init__(self, sweep: SweepJson, directory: Path):
        self._sweep, self._directory = sweep, directory
        self.record = SweepRecord()
        self._best = BestSoFar(self.record, sweep.order)
        self.session_pid: int | None = None
        self._first_at: float | None = None

    def skip(self, event: Event) -> None:
        """Hear of an event that was delivered before."""
        self._hear(event)

    def calls(self, event: Event) -> list[Call]:
        """What a callback is to hear of an event: none, one or two calls."""
        known = self._num_epochs(event)
        better, kind = self._hear(event), event["event"]
        if kind == "session":
            return [("started" if event["action"] == "started" else "finished", (self._facts(event),))]
        trial = self.record.trials.get(event.get("trial", -1))
        if trial is None:
            return []
        facts = self._trial(trial, event["time"])
        if kind == "report":
            rows = [dict(row) for row in trial.epochs[known:]]
            calls: list[Call] = [("report", (facts, rows))] if rows else []
            return [*calls, ("best", (facts,))] if better else calls
        return [(kind, (facts,))] if kind in ("sampled", "ended") else []

    def _hear(self, event: Event) -> bool:
        """Whether it brings a new best trial."""
        self.record.apply(event)
        self._first_at = event["time"] if self._first_at is None else self._first_at
        if event["event"] == "session":
            self.session_pid = event.get("pid")
        return self._best.better(event) is not None

    def _num_epochs(self, event: Event) -> int:
        trial = self.record.trials.get(event.get("trial", -1))
        return 0 if trial is None else trial.num_epochs

    def _trial(self, trial: TrialRecord, at: float) -> TrialFacts:
        sweep, now = self._sweep, trial.at(trial.num_epochs)
        best = trial.best(sweep.metric, sweep.mode)
        return TrialFacts(
            sweep=sweep.name,
            number=trial.number,
            name=trial.name,
            hparams=dict(sweep.named_as(now.params, now.hparams)),
            epochs=trial.num_epochs,
            state=trial.state,
            reason=trial.reason,
            value=best[sweep.metric] if best else None,
            best_epoch=int(best["epoch"]) if best else None,
            best=dict(best or {}),
            point=trial.point,
            repeat_of=trial.repeat_of,
            run_name=run_name(sweep, trial),
            seconds=max(at - trial.sampled_at, 0.0),
            train_s=float(sum(trial.epochs.column("epoch_s"))),
            time=at,
        )

    def _facts(self, event: Event) -> SweepFacts:
        sweep, action, at = self._sweep, event["action"], event["time"]
        best = self.record.ranking(sweep.order).best()
        return SweepFacts(
            name=sweep.name,
            id=sweep.sweep_id,
            directory=str(self._directory),
            trainable=sweep.asked.trainable,
            dataset=sweep.dataset.name,
            fingerprint=sweep.dataset.fingerprint,
            classes=list(sweep.classes),
            metric=sweep.metric,
            mode=sweep.mode,
            baseline=sweep.baseline.score(sweep.metric),
            state="running" if action == "started" else action,
            reason=event.get("reason"),
            session=self.record.sessions,
            num_trials=sweep.asked.search.num_trials,
            trials=self.record.count(repeats=False),
            best=self._trial(best, at) if best else None,
            seconds=max(at - (self._first_at or at), 0.0),
            time=at,
            sweep_file=sweep.asked.model_dump(mode="json"),
        )
