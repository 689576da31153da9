"""What may become champion: a trial's checkpoint, what a refit made of the trial's hparams, or an ensemble of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.files import new_directory
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.ensembles.choice import Chosen
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.learned import older_record
from fersweep.results.promote.refit import best_epoch
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores.figures import Refit, Seed
from fersweep.trainables.ensemble import write
from fersweep.trainables.metrics import SCORES
from fersweep.trainables.saved_model import read_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def ledger_name(version: ModelVersion) -> str:
    """What the ledger of test calls a registered version, as `Candidate.name`."""
    tags = version.tags
    name, made = f"{tags.get('fersweep.sweep')}:{tags.get('fersweep.trial')}", tags.get("fersweep.refit", "none")
    return name if made == "none" else f"{name} ({made})"


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be registered.

    Attributes:
        checkpoint: of a refit whose seeds were not judged yet: that of the first.
        seeds: the checkpoints of a refit.
        ensemble: their mean is the candidate, instead of the median on test.
        refit: what became of it, once they were judged.
        chosen: the members of an ensemble, of which `sweep` and `trial` are the heaviest's.
        licence: of the data.
    """

    sweep: SweepJson
    record: SweepRecord
    trial: TrialRecord
    task: Task
    checkpoint: Path
    seeds: Sequence[Path] = ()
    ensemble: bool = False
    refit: Refit | None = None
    chosen: Chosen | None = None
    licence: str | None = None

    @property
    def made(self) -> str:
        """What was made of the trial, or of it and others, instead of its own checkpoint; "" for that one."""
        if self.chosen is not None:
            return f"ensemble {self.chosen.identity}"
        return f"{len(self.seeds)} seeds, {'mean' if self.ensemble else 'median'}" if self.seeds else ""

    @property
    def name(self) -> str:
        """`cnn:7`, `cnn:7 (5 seeds, median)`, `cnn:7 (ensemble 3f2a91bc04de)`."""
        name = f"{self.sweep.name}:{self.trial.number}"
        return f"{name} ({self.made})" if self.made else name

    @property
    def identity(self) -> dict[str, str]:
        """Tags that no other checkpoint has."""
        return {
            "fersweep.sweep_id": self.sweep.sweep_id,
            "fersweep.trial": str(self.trial.number),
            "fersweep.best_epoch": str(best_epoch(self.sweep, self.trial)),
            "fersweep.refit": self.made or "none",
        }

    @property
    def score(self) -> str:
        """Which of SCORES the sweep ranks its trials by; macro-F1 for one that ranks them by the loss."""
        metric = self.sweep.metric if self.chosen is None else self.chosen.figures.metric
        name = metric.removeprefix("val_")
        return name if name in SCORES else "macro_f1"

    @cached_property
    def model(self) -> FaceModel:
        """The checkpoint as a model; its classes' labels, which older checkpoints lack, are the task's."""
        own = read_model(self.checkpoint) if self.chosen is None else self.chosen.model
        described = {**own, "groups": self.task.groups}
        described.setdefault("learned", older_record(described, self.sweep, refit=bool(self.seeds)))
        return FaceModel(self.name, described, self.checkpoint)

    def judged(self, values: Sequence[float]) -> Candidate:
        """The candidate that a refit gives: the median of its seeds by their scores on test, or all as an ensemble.

        values: of each seed, `score` on test.
        """
        num, first = len(self.seeds), self.seeds[0]
        if self.ensemble:
            chosen = first.with_name(f"{first.name.rsplit('-', 1)[0]}-0-to-{num - 1}")
            if not chosen.is_dir():
                with new_directory(chosen) as unfinished:
                    write(unfinished, self.seeds)
        else:
            chosen = self.seeds[sorted(range(num), key=values.__getitem__)[(num - 1) // 2]]
        refit = Refit(
            epochs=best_epoch(self.sweep, self.trial),
            metric=self.score,
            ensemble=self.ensemble,
            seeds=[Seed(seed=seed, value=value) for seed, value in enumerate(values)],
        )
        return replace(self, checkpoint=chosen, refit=refit)
