"""What runs in a worker process: a population of trials that train at once, an epoch of all of them at a time; most often it is
one trial (one_model.py). A report is due when a trial has reached a rung or its end, or when time has passed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from fersweep import trainables
from fersweep.cluster.worker.one_model import OneModel
from fersweep.cluster.worker.population_size import PopulationSize, free_bytes
from fersweep.cluster.worker.resource_usage import Meter
from fersweep.cluster.worker.trial_report import TrialReport, verdict
from fersweep.cluster.worker.trial_session import TrialSession
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.common.own_code import copies
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.population import Population

SAVING = 20  # seconds of training for each second that saving takes, where several train at once


class PopulationSession:
    """Trials in training. `trials`: those that are, in the order in which they came; `size`: how many it has room for."""

    def __init__(self, settings: TrialSettings):
        self.settings, self.meter = settings, Meter(settings.gpus)
        self.trials: list[TrialSession] = []
        self.size = PopulationSize(settings.most_fused, settings.grows)
        self._population: Population | None = None
        self._joining: list[dict[str, Any]] = []
        self._gone: list[Any] = []  # models that the population still has
        self._report_now = self._changed = False
        self._trained_s = self._reported_at = 0.0  # seconds of training, and how many it had been at the last report
        self._since: dict[int, float] = {}  # the same for each trial
        self._saving_s = 0.0  # that the last report took
        self._free_bytes = free_bytes(settings.cpus, settings.gpus) if settings.grows and settings.most_fused > 1 else 0

    @property
    def numbers(self) -> list[int]:
        """The trials that it has, those among them that have not begun yet."""
        return [*(trial.number for trial in self.trials), *(assignment["trial"] for assignment in self._joining)]

    def exchange(self, drop: Sequence[int], add: Sequence[dict[str, Any]], report_now: bool = False) -> None:
        """Other trials from the next epoch on. drop: numbers; add: assignments (cluster/search/assignment.py), as dicts.
        `report_now`: all that were trained since their last report report next, before anything is trained.
        """
        gone = [trial for trial in self.trials if trial.number in drop]
        self.trials = [trial for trial in self.trials if trial not in gone]
        self._gone += [trial.trainable for trial in gone]
        self._joining = [assignment for assignment in self._joining if assignment["trial"] not in drop] + list(add)
        self._report_now, self._changed = report_now, True

    def run(self, arrays: TaskArrays) -> list[TrialReport]:
        """Train until a report is due → those of the trials that report. Raises what ends several at once."""
        if self._report_now:
            left, self._joining = [TrialReport(each["trial"], [], "running", None) for each in self._joining], []
            return [*left, *self._reports(self.trials)]
        failed = self.join(arrays)
        for trial in self.trials:
            trial.prune()
        due = self._due()
        while not due and not failed:
            self._train()
            due = self._due()
            for trial in self.trials:
                if trial not in due:
                    trial.keep_better()
        return [*failed, *self._reports(due)]

    def join(self, arrays: TaskArrays) -> list[TrialReport]:
        """Begin with the trials that are to join, without those that have left → what those report that cannot begin."""
        gone, self._gone = self._gone, []
        if gone and self._population is not None:
            self._population.remove(gone)
        failed, broken = list[TrialReport](), None
        joining, self._joining = self._joining, []
        for assignment in joining:
            try:
                self._population = self._population or self._begin(arrays)
                self._keep_to_memory(assignment["hparams"], arrays)
                trial = TrialSession(self.settings, arrays, self._population, **assignment)
            except Exception as error:
                failed.append(TrialReport(assignment["trial"], [], *verdict(error)))
                broken = error if failed[-1].status == "fault" else broken
            else:
                self.trials.append(trial)
                self._since[trial.number] = self._trained_s
        if broken is not None and not self.trials and self.settings.most_fused > 1:
            raise broken  # it may be the process that is broken: the next attempts get another one
        return failed

    def _begin(self, arrays: TaskArrays) -> Population:
        settings = self.settings
        for code in settings.code:
            copies.register(code)
        trainables.expect(settings.trainable, settings.fetched)
        if settings.fused:
            return trainables.build_fused(settings.trainable, [], arrays)
        return OneModel(settings.trainable, arrays)

    def _keep_to_memory(self, hparams: dict[str, Any], arrays: TaskArrays) -> None:
        if self.settings.most_fused > 1 and self.settings.grows:
            num_bytes = trainables.load(self.settings.trainable).member_bytes(hparams, arrays)
            self.size.fit_into(self._free_bytes, num_bytes)

    def _train(self) -> None:
        """One epoch of all."""
        assert self._population is not None
        start = time.perf_counter()
        try:
            rows: Sequence[EpochMetrics | Exception] = self._population.fit()
        except Exception as error:
            if self.settings.most_fused > 1 and (len(self.trials) > 1 or verdict(error)[0] == "fault"):
                raise  # nobody knows whose fault it is, and what it has left behind: the process ends with it
            rows, self._population = [error], None
        took_s = time.perf_counter() - start
        self._trained_s += took_s
        if self.size.grows and not self._changed:
            self.size.hear([trial.trainable.num_weights() for trial in self.trials], took_s)
        self._changed = False
        for trial, row in zip(self.trials, rows, strict=True):
            trial.take(row)

    def _due(self) -> list[TrialSession]:
        """The trials that report now: those that must, and those whose last report is long enough ago; none: train on."""
        pause_s, now = self._pause_s(), self._trained_s
        if now - self._reported_at < pause_s and not any(trial.must_report for trial in self.trials):
            return []
        return [
            trial
            for trial in self.trials
            if trial.must_report or (trial.has_news and now - self._since[trial.number] >= pause_s)
        ]

    def _pause_s(self) -> float:
        """Between two reports of a trial that is at no rung, at least; well within `stop.timeout_s`."""
        report_s, timeout_s = self.settings.report_s, self.settings.timeout_s or math.inf
        if len(self.trials) < 2 or not report_s:
            return report_s
        return max(report_s, min(SAVING * self._saving_s, timeout_s / 2))

    def _reports(self, due: Sequence[TrialSession]) -> list[TrialReport]:
        usage, reports = self.meter.read(), list[TrialReport]()
        self._reported_at, self._saving_s = self._trained_s, 0.0
        for trial in due:
            reports.append(trial.report(usage))
            self._saving_s += trial.stored_s
            self._since[trial.number] = self._trained_s
        return reports
