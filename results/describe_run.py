"""What MLflow is told of a sweep and of a trial, as plain tags, params and metrics. Writes nothing itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from results import scoring
from results.journal import TrialRecord
from trainables.metrics import SCORES

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Param


def parent_tags(sweep: dict[str, Any]) -> dict[str, str]:
    """Tags of the sweep's run: where it came from, and a description that MLflow shows on top of the page."""
    return {
        **_origin(sweep, "sweep"),
        "fersweep.versions": json.dumps(sweep["versions"]),
        "mlflow.note.content": _note(sweep),
    }


def trial_tags(sweep: dict[str, Any], trial: TrialRecord, parent_run_id: str) -> dict[str, str]:
    """Tags of a new trial's run, a child of `parent_run_id`."""
    tags = {
        **_origin(sweep, "trial"),
        "mlflow.parentRunId": parent_run_id,
        "fersweep.trial": str(trial.number),
        "fersweep.state": "running",
    }
    return {**tags, "fersweep.point": trial.point} if trial.point else tags


def promotion_tags(sweep: dict[str, Any], trial: TrialRecord, parent_run_id: str) -> dict[str, str]:
    """Tags of the run that holds a trial's figures on test, a child of `parent_run_id`."""
    return {
        **_origin(sweep, "promotion"),
        "mlflow.parentRunId": parent_run_id,
        "mlflow.note.content": f"Trial {trial.name}'s best checkpoint, judged on test and registered.",
    }


def version_tags(sweep: dict[str, Any], figures: dict[str, Any]) -> dict[str, str]:
    """Tags of a registered model version: what it learned from and how well it does."""
    detected = figures["detected"]
    return {
        "fersweep.sweep": sweep["sweep"]["name"],
        "fersweep.trainable": sweep["sweep"]["trainable"],
        "fersweep.fingerprint": sweep["dataset"]["fingerprint"],
        "fersweep.classes": ", ".join(sweep["classes"]),
        "fersweep.protocol": f"test, {scoring.JUDGED[next(iter(scoring.judged(figures)))]}; {figures['protocol']}",
        **{f"test_{name}": scoring.interval(detected[name]) for name in SCORES},
    }


def version_note(sweep: dict[str, Any], trial: TrialRecord, figures: dict[str, Any]) -> str:
    """Markdown description of a registered model version."""
    (faces, judged), *others = scoring.judged(figures).items()
    total = figures["all"]["num_faces"]
    counted = f"{total} faces" if judged["num_faces"] == total else f"{judged['num_faces']} detected of {total} faces"
    majority = judged["baseline"]["class"]
    lines = []
    for name in SCORES:
        scored = f"- {name.replace('_', ' ')}: {scoring.JUDGED[faces]} **{scoring.interval(judged[name])}**"
        beside = [f"{scoring.JUDGED[other]} {scoring.interval(one[name])}" for other, one in others]
        lines.append("; ".join([scored, *beside, f"always {majority} {judged['baseline'][name]:.3f}"]))
    scores = "\n".join(lines)
    return f"""\
Trial {trial.name} of sweep **{sweep["sweep"]["name"]}**: `{sweep["sweep"]["trainable"]}` on \
**{sweep["dataset"]["name"]}** ({", ".join(sweep["classes"])}), fingerprint `{sweep["dataset"]["fingerprint"]}`.

On test ({counted}; {figures["protocol"]}):

{scores}
"""


def end_tags(trial: TrialRecord) -> dict[str, str]:
    """Tags that say how a trial ended."""
    tags = {"fersweep.state": trial.state}
    return {**tags, "fersweep.reason": trial.reason} if trial.reason else tags


def best_metrics(best: dict[str, float], metric: str) -> dict[str, float]:
    """The summary of a trial: its best value, the epoch, and the other scores at that epoch."""
    others = [f"{prefix}{name}" for prefix in ("val_", "val_tta_") for name in SCORES]
    at_best = {f"at_best/{name}": best[name] for name in others if name != metric and name in best}
    return {f"best_{metric}": best[metric], "best_epoch": best["epoch"], **at_best}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; None is left out."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[prefix + key] = value
    return found


def params(values: Mapping[str, Any]) -> list[Param]:
    """MLflow params; lists as JSON."""
    from mlflow.entities import Param

    return [Param(k, v if isinstance(v, str) else json.dumps(v, default=str)) for k, v in values.items()]


def dataset_input(sweep: dict[str, Any], context: str = "train, val") -> DatasetInput:
    """The splits `context` of the sweep's dataset as an input of a run; a tag has the whole fingerprint."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = sweep["dataset"]
    source = json.dumps({"uri": dataset["path"]})
    found = Dataset(
        name=dataset["name"],
        digest=dataset["fingerprint"].removeprefix("sha256:")[:12],
        source_type="local",
        source=source,
        profile=json.dumps({"classes": sweep["classes"], "num_features": len(sweep["feature_names"])}),
    )
    return DatasetInput(found, [InputTag("mlflow.data.context", context)])


def milliseconds(iso: str) -> int:
    """MLflow's time of an ISO 8601 time."""
    return int(datetime.fromisoformat(iso).timestamp() * 1000)


def _origin(sweep: dict[str, Any], kind: str) -> dict[str, str]:
    """Tags of every run; `kind` is sweep, trial or promotion."""
    asked = sweep["sweep"]
    tags = {
        "fersweep.kind": kind,
        "fersweep.sweep": asked["name"],
        "fersweep.sweep_id": sweep["sweep_id"],
        "fersweep.trainable": asked["trainable"],
        "fersweep.seed": str(asked["search"]["seed"]),
        "fersweep.fingerprint": sweep["dataset"]["fingerprint"],
        "fersweep.classes": ", ".join(sweep["classes"]),
        "mlflow.source.name": "fersweep",  # the page shows its last path segment; the sweep's note has the whole command
        "mlflow.source.type": "LOCAL",
    }
    commit = sweep.get("git_commit")
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def _features(sweep: dict[str, Any]) -> str:
    pixels = sweep["sweep"]["task"]["features"] == "pixels"
    return "pixels" if pixels else f"{len(sweep['feature_names'])} blendshapes"


def _note(sweep: dict[str, Any]) -> str:
    asked, baseline = sweep["sweep"], sweep["baseline"]
    stop, search = asked["stop"], asked["search"]
    versions = ", ".join(f"{name} {version}" for name, version in sweep["versions"].items())
    return f"""\
Sweep **{asked["name"]}**: `{asked["trainable"]}` on **{sweep["dataset"]["name"]}** \
({", ".join(sweep["classes"])}; {_features(sweep)}).

- search: {search["sampler"]}, {search["num_trials"]} trials, seed {search["seed"]}
- ranked by the {stop["mode"]} of `{stop["metric"]}`; {stop["scheduler"]}, at most {stop["max_epochs"]} epochs
- baseline (always *{baseline["majority_class"]}*) on val: accuracy {baseline["accuracy"]:.3f}, \
balanced accuracy {baseline["balanced_accuracy"]:.3f}, macro-F1 {baseline["macro_f1"]:.3f}
- dataset fingerprint `{sweep["dataset"]["fingerprint"]}`
- {versions}

`{sweep["command"]}`
"""
