"""Promote a sweep's best model: judge it once on test, register it in MLflow, and name it `champion` if it passes the gates.

    promoted = promote(sweep_dir)                                # → a version of the registered model `fersweep`
    promote(sweep_dir, gates=read_gates(["min_macro_f1=0.7"]))   # raises Refused with the verdicts
    promote(sweep_dir, refit=5)                                  # its hparams, trained again on train and val

Two promotions at once take turns: the second is compared with the champion that the first made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep import trainables
from fersweep.common.files import lock, new_directory
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.mlflow_store import connection, registry
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL
from fersweep.results.models.face_model import FaceModel
from fersweep.results.promote import refit as refitting
from fersweep.results.promote.champion import LOCK, same_version
from fersweep.results.promote.gates import DEFAULT, Verdict, check, read_gates
from fersweep.results.promote.new_version import Candidate, identity, register
from fersweep.results.record.home import check_home
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores.figures import Figures, Refit, Seed
from fersweep.results.tracking.recorder_process import record
from fersweep.trainables.ensemble import write
from fersweep.trainables.metrics import SCORES
from fersweep.trainables.saved_model import read_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient


class Refused(RuntimeError):
    """A gate did not let the candidate pass. It is registered as `version`, without the alias."""

    def __init__(self, version: str, alias: str, verdicts: Sequence[Verdict]):
        self.verdicts = list(verdicts)
        failed = ", ".join(verdict.gate for verdict in verdicts if not verdict.passed)
        super().__init__(
            f"version {version} is registered, but not made {alias}: refused by {failed}; --force promotes it all the same"
        )


@dataclass(frozen=True)
class Promoted:
    """A version that has an alias now.

    Attributes:
        checkpoint: its path.
        figures: on test.
        before: the version that had the alias, if any.
        forced: a gate did not let it pass.
    """

    model: str
    version: int
    alias: str
    uri: str
    trial: int
    checkpoint: str
    run_id: str | None
    figures: Figures
    verdicts: list[Verdict]
    before: int | None
    forced: bool

    def as_json(self) -> dict[str, Any]:
        verdicts = [verdict.as_json() for verdict in self.verdicts]
        return {**vars(self), "figures": self.figures.as_json(), "verdicts": verdicts}


def promote(
    sweep_dir: Path,
    alias: str = CHAMPION,
    trial: int | None = None,
    *,
    gates: dict[str, float] | None = None,
    force: bool = False,
    refit: int = 0,
    ensemble: bool = False,
    licence: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Promoted:
    """Register the best checkpoint of a sweep (or of one `trial`) and give it `alias` if it passes the gates.

    A checkpoint is judged on test and registered once: promoting it again only moves the alias.

    Args:
        gates: see gates.py; None: those of DEFAULT.
        force: give it the alias whatever the gates say; that is recorded.
        refit: train the trial's hparams with so many seeds on train and val, and take the median of them on test.
        ensemble: with `refit`: take the mean of their probabilities instead.
        licence: of the data, for the model card.
        tell: gets a line about what takes long.

    Raises InputError if there is no such trial, or the dataset is not the one that the sweep learned; Refused.
    """
    sweep_dir = Path(sweep_dir)
    recorded = load_sweep(sweep_dir)
    sweep = recorded.sweep
    check_home(sweep.home)
    chosen, checkpoint = recorded.choose_trial(trial)
    task = sweep.task()
    record(sweep_dir)
    candidate = Candidate(sweep, recorded.record, chosen, task, checkpoint, identity(sweep, chosen), licence=licence)
    if refit:
        candidate = _refitted(sweep_dir, candidate, refit, ensemble, tell)
    with lock(sweep.home / LOCK):
        client, experiment = connection.open_store(sweep)
        version, figures = register(client, experiment, candidate)
        own = FaceModel(f"version {version.version}", _described(candidate), candidate.checkpoint)
        gates = read_gates(DEFAULT) if gates is None else gates
        while True:
            before = registry.holder(client, alias)
            verdicts = _verdicts(client, gates, own, before, version, task, sweep)
            passed = all(verdict.passed for verdict in verdicts)
            if not passed and not force:
                raise Refused(str(version.version), alias, verdicts)
            if same_version(before, registry.holder(client, alias)):  # else somebody elsewhere was faster: once more
                break
        if not same_version(before, version):
            action, on_record = "promoted" if passed else "forced", [verdict.as_json() for verdict in verdicts]
            registry.move(client, alias, str(version.version), action, gates=on_record)
    return Promoted(
        model=MODEL,
        version=int(version.version),
        alias=alias,
        uri=f"models:/{MODEL}@{alias}",
        trial=chosen.number,
        checkpoint=str(candidate.checkpoint),
        run_id=version.run_id,
        figures=figures,
        verdicts=verdicts,
        before=None if before is None else int(before.version),
        forced=not passed,
    )


def _verdicts(
    client: MlflowClient,
    gates: dict[str, float],
    own: FaceModel,
    before: ModelVersion | None,
    version: ModelVersion,
    task: Task,
    sweep: SweepJson,
) -> list[Verdict]:
    """Of the candidate `version` beside the one that has the alias; none where both are the same."""
    if same_version(before, version):
        return []
    champion = None
    if before is not None:
        checkpoint = registry.fetch(client, before)
        champion = FaceModel(f"version {before.version}", read_model(checkpoint), checkpoint)
    return check(gates, own, champion, task.dataset, _score(sweep))


def _score(sweep: SweepJson) -> str:
    """Which of SCORES the sweep ranks its trials by; macro-F1 for one that ranks them by the loss."""
    name = sweep.metric.removeprefix("val_")
    return name if name in SCORES else "macro_f1"


def _described(candidate: Candidate) -> dict[str, Any]:
    """The model.json, with the classes' labels, which older checkpoints lack."""
    return {**read_model(candidate.checkpoint), "groups": candidate.task.groups}


def _refitted(
    sweep_dir: Path, candidate: Candidate, num: int, ensemble: bool, tell: Callable[[str], None]
) -> Candidate:
    """The candidate that a refit gives: its median on test by the sweep's score, or all as an ensemble."""
    sweep, trial, task = candidate.sweep, candidate.trial, candidate.task
    checkpoints, score = refitting.refit(sweep_dir, trial, num, tell), _score(sweep)
    values = [evaluate(trainables.restore(path), task, "test").detected.score(score).value for path in checkpoints]
    if ensemble:
        chosen = checkpoints[0].with_name(f"{checkpoints[0].name.rsplit('-', 1)[0]}-0-to-{num - 1}")
        if not chosen.is_dir():
            with new_directory(chosen) as unfinished:
                write(unfinished, checkpoints)
    else:
        chosen = checkpoints[sorted(range(num), key=values.__getitem__)[(num - 1) // 2]]
    return replace(
        candidate,
        checkpoint=chosen,
        identity=identity(sweep, trial, f"{num} seeds, {'mean' if ensemble else 'median'}"),
        refit=Refit(
            epochs=refitting.best_epoch(sweep, trial),
            metric=score,
            ensemble=ensemble,
            seeds=[Seed(seed=seed, value=value) for seed, value in enumerate(values)],
        ),
    )
