"""Promote a sweep's best checkpoint: judge it once on test, register it in MLflow, name it `champion`.

promote(sweep_dir)    # → registered model `fersweep`, a new version, alias `champion`
"""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import trainables
from data_pipeline.task import Task
from results import describe_run, scoring, store
from results.evaluate import evaluate
from results.journal import TrialRecord
from results.sweeps import choose_trial, load_sweep, objective, sweep_task
from results.tracking import record

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

MODEL = "fersweep"
DESCRIPTION = (
    "Facial expressions, from MediaPipe's blendshapes of a face or its pixels: a version's signature says which."
)
REQUIREMENTS = {
    "numpy": ["numpy"],
    "tensorflow": ["numpy", "tensorflow", "keras"],
    "torch": ["numpy", "torch"],
}
MORE = {"transfer": ["timm", "torchvision"]}  # of one trainable
EXAMPLE_ROWS = 5


def promote(sweep_dir: Path, alias: str = "champion", trial: int | None = None) -> dict[str, Any]:
    """Register the best checkpoint of a sweep (or of one `trial`) and give it `alias`.

    A checkpoint is judged on test and registered once: promoting it again only moves the alias.

    Returns:
        `model`, `version`, `alias`, `uri`, `trial`, `checkpoint`, `run_id` and `figures` (evaluate's, on test).
        Raises InputError if there is no such trial, or the dataset is not the one that the sweep learned.
    """
    sweep_dir = Path(sweep_dir)
    sweep, journal = load_sweep(sweep_dir)
    chosen, checkpoint = choose_trial(sweep_dir, sweep, journal, trial)
    task = sweep_task(sweep)
    record(sweep_dir)
    client, experiment = store.open_store(sweep)
    registered = _find_version(client, sweep, chosen)
    if registered is None:
        registered = _register(client, experiment, checkpoint, sweep, task, chosen)
    client.set_registered_model_alias(MODEL, alias, registered.version)
    return {
        "model": MODEL,
        "version": int(registered.version),
        "alias": alias,
        "uri": f"models:/{MODEL}@{alias}",
        "trial": chosen.number,
        "checkpoint": str(checkpoint),
        "run_id": registered.run_id,
        "figures": _read_figures(client, registered),
    }


def _find_version(client: MlflowClient, sweep: dict[str, Any], trial: TrialRecord) -> ModelVersion | None:
    """The version that this checkpoint was registered as; makes the registered model itself if need be."""
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL, description=DESCRIPTION)
    wanted = _identity(sweep, trial)
    for one in client.search_model_versions(f"name = '{MODEL}'"):
        if wanted.items() <= one.tags.items():
            return one
    return None


def _read_figures(client: MlflowClient, registered: ModelVersion) -> dict[str, Any]:
    """What the version was judged to be on test when it was registered."""
    with tempfile.TemporaryDirectory() as directory:
        return json.loads(
            Path(client.download_artifacts(str(registered.run_id), "test_report.json", directory)).read_text()
        )


def _identity(sweep: dict[str, Any], trial: TrialRecord) -> dict[str, str]:
    """Tags that name a checkpoint."""
    best = trial.best(*objective(sweep))
    assert best is not None
    return {
        "fersweep.sweep_id": sweep["sweep_id"],
        "fersweep.trial": str(trial.number),
        "fersweep.best_epoch": str(int(best["epoch"])),
    }


def _register(
    client: MlflowClient, experiment: str, checkpoint: Path, sweep: dict[str, Any], task: Task, trial: TrialRecord
) -> ModelVersion:  # pyright: ignore[reportReturnType]  # MLflow types its run as if it swallowed exceptions
    """Judge the checkpoint on test, and log figures and model to a run of their own under the sweep's run."""
    model = trainables.restore(checkpoint)
    tta = bool(trial.hparams.get("tta")) and hasattr(model, "predict_tta")
    figures = evaluate(model, task, "test", tta=tta)
    example = task.load("val").x[:EXAMPLE_ROWS]

    import mlflow

    mlflow.set_tracking_uri(client.tracking_uri)
    mlflow.set_registry_uri(client.tracking_uri)
    identity = _identity(sweep, trial)
    tags = describe_run.promotion_tags(sweep, trial, _parent_run_id(client, experiment, sweep)) | identity
    with mlflow.start_run(experiment_id=experiment, run_name=f"test of {trial.name}", tags=tags) as run:
        _log_figures(client, run.info.run_id, figures, int(identity["fersweep.best_epoch"]))
        client.log_inputs(run.info.run_id, [describe_run.dataset_input(sweep, "test")])
        _log_explanations(client, run.info.run_id, model, task)
        info = _log_model(checkpoint, task, example, model.predict(example))
        return client.create_model_version(
            MODEL,
            source=info.model_uri,
            run_id=run.info.run_id,
            model_id=info.model_id,
            tags=identity | describe_run.version_tags(sweep, figures),
            description=describe_run.version_note(sweep, trial, figures),
        )


def _parent_run_id(client: MlflowClient, experiment: str, sweep: dict[str, Any]) -> str:
    wanted = f"tags.`fersweep.sweep_id` = '{sweep['sweep_id']}' and tags.`fersweep.kind` = 'sweep'"
    return client.search_runs([experiment], wanted, max_results=1)[0].info.run_id


def _log_figures(client: MlflowClient, run_id: str, figures: dict[str, Any], epoch: int) -> None:
    from results.artifacts import draw_confusion

    for faces, key in (("detected", "test_{}"), ("all", "test_{}_all_faces"), ("tta", "test_tta_{}")):
        for name in scoring.SCORES if faces in figures else ():
            client.log_metric(run_id, key.format(name), figures[faces][name]["value"], step=epoch)
    detected = figures["detected"]
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        (out / "test_report.json").write_text(json.dumps(figures, indent=1))
        text = [f"{scoring.JUDGED[key]}: {scoring.as_text(one)}" for key, one in scoring.judged(figures).items()]
        (out / "test_report.txt").write_text("\n".join(text))
        counts = np.array(detected["confusion"])[:, :-1]
        draw_confusion(counts, figures["classes"]).savefig(out / "test_confusion.png")
        client.log_artifacts(run_id, directory)


def _log_explanations(client: MlflowClient, run_id: str, model: Any, task: Task) -> None:
    from results.pictures import draw_explanations

    with tempfile.TemporaryDirectory() as directory:
        if draw_explanations(model, task, Path(directory)):
            client.log_artifacts(run_id, directory, "explain")


def _log_model(checkpoint: Path, task: Task, example: np.ndarray, probabilities: np.ndarray) -> Any:
    """Log results/model.py with its checkpoint, code, signature and an input example."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    blendshapes = task.spec.features == "blendshapes"
    rows = pd.DataFrame(example, columns=task.feature_names) if blendshapes else example
    answers = pd.DataFrame(probabilities, columns=task.classes)
    answers["label"] = answers.idxmax(axis=1)
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as directory:
        packages = [_copy_package(root / name, Path(directory)) for name in ("trainables", "data_pipeline")]
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(root / "results" / "model.py"),
            artifacts={"checkpoint": str(checkpoint)},
            code_paths=packages,
            signature=infer_signature(rows, answers),
            input_example=rows,
            pip_requirements=_requirements(json.loads((checkpoint / "model.json").read_text())),
        )


def _requirements(described: dict[str, Any]) -> list[str]:
    """What the model that a checkpoint's model.json describes is installed with."""
    name = described["trainable"]
    names = ["mlflow", "pandas", "pyarrow", "pydantic", *REQUIREMENTS[trainables.load(name).FRAMEWORK]]
    names += MORE.get(name, [])
    if described["hparams"].get("head") == "trees":
        names.append("scikit-learn")
    return [f"{name}=={version(name).split('+')[0]}" for name in names]


def _copy_package(package: Path, directory: Path) -> str:
    return str(
        shutil.copytree(package, directory / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    )
