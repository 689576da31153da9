"""What MLflow holds of a sweep and of a trial: tags, params and metrics. Writes nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from fersweep.common.stores.buckets import is_address
from fersweep.common.text import masked
from fersweep.results.mlflow_store import limits
from fersweep.results.record.journal import Report, SweepRecord, TrialRecord, trial_name
from fersweep.results.record.ranking.finalists import Finalist
from fersweep.results.record.ranking.front import Front
from fersweep.results.record.ranking.lineage import copies
from fersweep.results.record.ranking.order import costs_of
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores.figures import SETS, Figures
from fersweep.trainables.metrics import SCORES, is_fold_metric

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Param


Values = dict[str, Any]  # of hparams, or of a sweep file's keys

FORMAT_TAG, FORMAT = "fersweep.format", "3"
"""Tag of the runs of sweeps and trials: which names they have. Runs without it have `best_val_macro_f1` and
`at_best/val_accuracy` where this version has `best/val_macro_f1` and `best/val_accuracy`; those of 2 lack ENDED_TAG."""
ASKED_TAG = "fersweep.test_asked"  # of a version: how often the faces of test had been judged, its own time included
REPEAT_TAG = "fersweep.repeat_of"  # of a finalist's repeat: the number of the trial whose point it runs again
AS_VALUES = ("task.classes", "task.balance")  # mappings whose keys a user names
FRONT_TAG, INFEASIBLE_TAG = "fersweep.front", "fersweep.infeasible"
LINEAGE_TAG = (
    "fersweep.lineage"  # of a trial under PBT: `copied 0003 at epoch 5`; of a version: the schedule of its hparams
)
TEACHER_TAG = "fersweep.teacher"  # of a sweep with `distil` and of its promoted version: `champion v3`
ENDED_TAG = "ended"  # a column of MLflow's page, under this very name: `stopped at epoch 5`


def parent_tags(sweep: SweepJson) -> dict[str, str]:
    """Tags of the sweep's run: where it came from."""
    versions = json.dumps(sweep.versions)
    return {**_origin(sweep, "sweep"), "fersweep.versions": versions, FORMAT_TAG: FORMAT, **_teacher(sweep)}


def trial_tags(sweep: SweepJson, trial: TrialRecord, parent_run_id: str) -> dict[str, str]:
    """Tags of a trial's run, a child of `parent_run_id`; the tags of its state are separate."""
    tags = {
        **_origin(sweep, "trial"),
        "mlflow.parentRunId": parent_run_id,
        "fersweep.trial": str(trial.number),
        FORMAT_TAG: FORMAT,
    }
    if trial.repeat_of is not None:
        tags |= {REPEAT_TAG: str(trial.repeat_of), "fersweep.repeat_seed": str(trial.seed_index)}
    return {**tags, "fersweep.point": trial.point} if trial.point else tags


def promotion_tags(sweep: SweepJson, trial: TrialRecord, parent_run_id: str, figures: Figures) -> dict[str, str]:
    """Tags of the run that holds a trial's figures on test, a child of `parent_run_id`."""
    what = f"Trial {trial.name}'s best checkpoint"
    if figures.joined is not None:
        what = f"An ensemble of {', '.join(member.name for member in figures.joined.members)}"
    return {
        **_origin(sweep, "promotion"),
        "mlflow.parentRunId": parent_run_id,
        "mlflow.note.content": limits.value(f"{what}, judged on test and registered.", limits.TAG),
        **_members(figures),
    }


def version_tags(sweep: SweepJson, figures: Figures) -> dict[str, str]:
    """Tags of a registered model version: what it learned from and how well it does."""
    return {
        "fersweep.sweep": sweep.asked.name,
        "fersweep.trainable": sweep.asked.trainable,
        "fersweep.fingerprint": sweep.dataset.fingerprint,
        "fersweep.classes": limits.value(", ".join(sweep.classes), limits.TAG),
        "fersweep.protocol": f"test, {SETS[next(iter(figures.sets()))]}; {figures.protocol}",
        **{f"test_{name}": str(figures.detected.score(name)) for name in SCORES},
        **({} if figures.asked is None else {ASKED_TAG: str(figures.asked)}),
        **({} if figures.joined is not None else _teacher(sweep)),
        **_members(figures),
    }


def _teacher(sweep: SweepJson) -> dict[str, str]:
    """The tag of a sweep whose trials learned a model's answers."""
    return {} if sweep.teacher is None else {TEACHER_TAG: limits.value(sweep.teacher.name, limits.TAG)}


def _members(figures: Figures) -> dict[str, str]:
    """Tags of an ensemble: its members with their weights, in place of one trainable."""
    if figures.joined is None:
        return {}
    members = figures.joined.members
    trainables = ", ".join(dict.fromkeys(member.trainable for member in members))
    return {
        "fersweep.trainable": limits.value(f"ensemble of {trainables}", limits.TAG),
        "fersweep.members": limits.value(", ".join(f"{one.weight} × {one.name}" for one in members), limits.TAG),
    }


def run_name(sweep: SweepJson, trial: TrialRecord) -> str:
    """Name of a trial's run: its number, so that names sort; its value once it has ended; its sweep, so that trials of
    several can be told apart. `0007 0.712 cnn`, `0008 failed cnn`, `0009 cnn` while it runs.
    """
    parts = [trial.name, sweep.name]
    if trial.repeat_of is not None:
        parts.append(f"(as {trial_name(trial.repeat_of)})")
    if trial.state != "running":
        value = trial.value(sweep.metric, sweep.mode)
        parts.insert(1, "failed" if trial.state == "failed" or value is None else f"{value:.3f}")
    return " ".join(parts)


def end_tags(sweep: SweepJson, trial: TrialRecord) -> dict[str, str]:
    """Tags that say how and where a trial ended, and its run's name then."""
    tags = {"mlflow.runName": run_name(sweep, trial), "fersweep.state": trial.state, ENDED_TAG: trial.ended}
    workers = [report.worker for report in trial.reports if report.worker]
    hosts = list(dict.fromkeys(worker.host for worker in workers if worker.host))
    if hosts:
        tags["fersweep.host"] = ", ".join(hosts)
    if made := copies(trial):
        tags[LINEAGE_TAG] = made
    return {**tags, "fersweep.reason": trial.reason} if trial.reason else tags


def best_name(metric: str) -> str:
    """`best/val_macro_f1`: of a trial its value, of a sweep the best value of all trials so far."""
    return f"best/{metric}"


def best_metrics(best: dict[str, float], metric: str, own: Sequence[str] = ()) -> dict[str, float]:
    """The summary of a trial: its best value, the epoch, and the other scores at that epoch; `own`: people's own metrics."""
    others = [*own, *(f"{prefix}{name}" for prefix in ("val_", "val_tta_") for name in SCORES)]
    names = [metric, *(name for name in others if name != metric and name in best)]
    return {best_name(name): best[name] for name in names} | {"best/epoch": best["epoch"]}


def cost_metrics(trial: TrialRecord, best: Mapping[str, float] | None) -> dict[str, float]:
    """`cost/latency_ms` and so on: what a trial's model costs."""
    return {f"cost/{name}": value for name, value in costs_of(trial, best).items()}


def place_tags(sweep: SweepJson, record: SweepRecord, trial: TrialRecord) -> dict[str, str | None]:
    """Tags that say where a trial is among all: of several objectives the front that it is on, 0 being the best, and which
    constraints it does not keep to. None: a tag that it must not have.
    """
    order = sweep.order
    if not order.objectives and not order.limits:
        return {}
    rank, broken = record.ranking(order).rank(trial), order.infeasible(trial)
    broken = None if broken is None else limits.value(broken, limits.TAG)
    return {FRONT_TAG: None if rank is None else str(rank), INFEASIBLE_TAG: broken}


def front_metrics(front: Front | None) -> dict[str, float]:
    """Of a sweep with several objectives: how many trials its front has, and its hypervolume in [0, 1]."""
    return {} if front is None else {"front/size": len(front.trials), "front/hypervolume": front.share}


def epoch_metrics(
    trial: TrialRecord, after: int, metric: str, perturbed: Sequence[str] = ()
) -> Iterator[tuple[int, float, dict[str, float]]]:
    """(epoch, time, metrics) of the epochs that follow epoch `after`; what the process used comes with a report's last. Of
    the values of single folds, those of the sweep's `metric`.
    `perturbed`: parameters that PBT changes (`SweepJson.perturbed`): their values are metrics, `hparam/learning_rate`.
    """
    reports = {report.epoch: report for report in trial.reports}
    for row, at in zip(trial.epochs[after:], trial.reported_at[after:], strict=True):
        epoch = int(row["epoch"])
        used = system_metrics(reports[epoch]) if epoch in reports else {}
        values = trial.at(epoch).params if perturbed else {}
        used |= {f"hparam/{name}": float(values[name]) for name in perturbed if type(values.get(name)) in (int, float)}
        kept = {name: value for name, value in row.items() if name != "epoch" and not _of_a_fold(name, metric)}
        yield epoch, at, {limits.key(name): value for name, value in kept.items()} | used


def _of_a_fold(name: str, metric: str) -> bool:
    """Whether it is a single fold's value of another metric."""
    return is_fold_metric(name) and not name.startswith(f"{metric}_fold")


def system_metrics(report: Report) -> dict[str, float]:
    """What a trial's process used, under names that MLflow's page shows as system metrics; a megabyte is 10^6 bytes."""
    scales = {"cpu_percent": 1, "rss_bytes": 1e6, "gpu_memory_bytes": 1e6, "gpu_percent": 1}
    used = {name: getattr(report.worker, name, None) for name in scales}
    return {
        f"system/{name.replace('_bytes', '_mb')}": value / scales[name]
        for name, value in used.items()
        if value is not None
    }


def totals(record: SweepRecord) -> dict[str, float]:
    """Metrics of a sweep as a whole: its trials by state, its epochs."""
    by_state = {f"trials/{state}": number for state, number in record.count().items() if state != "running"}
    return {"trials/total": len(record.trials), **by_state, "epochs/total": record.num_epochs}


def finalist_metrics(finalist: Finalist) -> dict[str, float]:
    """Metrics of a finalist's own run: what its repeats came to."""
    values = {"mean": finalist.mean, "sd": finalist.sd, "low": finalist.low, "high": finalist.high}
    return {f"finalist/{name}": value for name, value in values.items() if value is not None}


def trial_params(sweep: SweepJson, trial: TrialRecord) -> Values:
    """All hparams that a trial began with, under the names that a sweep file takes (`units_0`): MLflow's params never change."""
    return sweep.named_as(trial.params, trial.hparams)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Values:
    """Nested mappings as one, keys joined by dots, except AS_VALUES; None is left out."""
    leaves: Values = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and prefix + key not in AS_VALUES:
            leaves |= flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        elif value is not None:
            leaves[prefix + key] = value
    return leaves


def params(values: Mapping[str, Any]) -> list[Param]:
    """MLflow params; lists and mappings as JSON, addresses without passwords."""
    from mlflow.entities import Param

    texts = {
        name: masked(value) if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        for name, value in values.items()
    }
    return [Param(limits.key(name), limits.value(text, limits.PARAM)) for name, text in texts.items()]


def tags(values: Mapping[str, str]) -> dict[str, str]:
    """Tags of a run as MLflow takes them."""
    return {name: limits.value(text, limits.TAG) for name, text in values.items()}


def dataset_input(sweep: SweepJson, context: str = "train, val") -> DatasetInput:
    """The splits `context` of the sweep's dataset as an input of a run; a tag has the whole fingerprint."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = sweep.dataset
    source = json.dumps({"uri": str(dataset.path)})
    learned = Dataset(
        name=limits.value(dataset.name, limits.DATASET) or "dataset",
        digest=dataset.fingerprint.removeprefix("sha256:")[:12],
        source_type=str(dataset.path).partition("://")[0] if is_address(dataset.path) else "local",
        source=source,
        profile=json.dumps({"classes": sweep.classes, "num_features": len(sweep.feature_names)}),
    )
    return DatasetInput(learned, [InputTag("mlflow.data.context", context)])


def milliseconds(iso: str) -> int:
    """MLflow's time of an ISO 8601 time."""
    return int(datetime.fromisoformat(iso).timestamp() * 1000)


def _origin(sweep: SweepJson, kind: str) -> dict[str, str]:
    """Tags of every run; `kind` is sweep, trial or promotion."""
    asked = sweep.asked
    tags = {
        "fersweep.kind": kind,
        "fersweep.sweep": asked.name,
        "fersweep.sweep_id": sweep.sweep_id,
        "fersweep.trainable": asked.trainable,
        "fersweep.seed": str(asked.search.seed),
        "fersweep.dataset": sweep.dataset.name,
        "fersweep.fingerprint": sweep.dataset.fingerprint,
        "fersweep.features": asked.task.features,
        "fersweep.classes": ", ".join(sweep.classes),
        "mlflow.source.name": "fersweep",  # the page shows its last path segment; the sweep's note has the whole command
        "mlflow.source.type": "LOCAL",
    }
    if (version := sweep.versions.get("fersweep")) is not None:
        tags["fersweep.version"] = version
    commit = sweep.git_commit
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags
