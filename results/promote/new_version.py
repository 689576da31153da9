"""Register a checkpoint as a version of the model in MLflow: judged once on test, with its figures, card and package.

version, figures = find_registered(client, candidate) or register(request, candidate, asked)
"""

# Parts of MLflow and matplotlib have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.mlflow_store import connection, registry, run_fields
from fersweep.results.mlflow_store.registry import MODEL
from fersweep.results.promote.begun import process_tags
from fersweep.results.promote.candidate import Candidate
from fersweep.results.promote.gates import SeenByBoth
from fersweep.results.promote.model_card import write_card
from fersweep.results.promote.packaging import log_model
from fersweep.results.promote.request import Request
from fersweep.results.record.ranking.finalists import chosen_as
from fersweep.results.record.ranking.lineage import best_schedule, schedule_in_words
from fersweep.results.scores import intervals
from fersweep.results.scores.figures import SETS, Figures, Learned
from fersweep.trainables.metrics import SCORES

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient


DESCRIPTION = (
    "Facial expressions, from MediaPipe's blendshapes of a face or its pixels: a version's signature says which."
)
EXAMPLE_ROWS = 5


def find_registered(client: MlflowClient, candidate: Candidate) -> tuple[ModelVersion, Figures] | None:
    """The version that this checkpoint was registered as, and its figures on test; None where it was not."""
    for version in client.search_model_versions(f"name = '{MODEL}'"):
        if candidate.identity.items() <= version.tags.items():
            report = registry.artifact(client, version, "test_report.json")
            if report is not None:
                return version, Figures.from_json(json.loads(report))
    return None


def register(request: Request, candidate: Candidate, asked: int, seen: SeenByBoth) -> tuple[ModelVersion, Figures]:
    """Judge the checkpoint on test, and log figures and model to a run of their own under the sweep's run.

    Args:
        asked: how often the faces of test were asked, this time included.
        seen: faces of test that the candidate learned, which do not judge it, or that the champion learned.
    """
    client, sweep, trial, task = request.client, candidate.sweep, candidate.trial, seen.unseen_task(candidate.task)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL, description=DESCRIPTION)
    model = candidate.model.loaded
    tta = bool(trial.hparams.get("tta")) and hasattr(model, "predict_tta")
    figures = evaluate(model, task, "test", tta=tta).model_copy(update={"asked": asked})
    if candidate.refit is not None:
        figures = figures.model_copy(update={"refit": candidate.refit})
    if candidate.chosen is not None:
        figures = figures.model_copy(update={"joined": candidate.chosen.figures})
    if seen.own is not None and seen.own.faces.any():
        figures = figures.model_copy(update={"seen": Learned(same=seen.own.num_same, near=seen.own.num_near)})
    steps = best_schedule(sweep, candidate.record.trials, trial)
    lineage = {run_fields.LINEAGE_TAG: schedule_in_words(sweep, steps)} if len(steps) > 1 else {}
    example = task.load("val").x[:EXAMPLE_ROWS]
    tags = run_fields.promotion_tags(sweep, trial, request.runs["sweep"], figures) | candidate.identity | process_tags()
    with _run(client, request.experiment, f"test of {trial.name}", tags) as run_id:
        runs = {
            "the sweep's run": request.runs["sweep"],
            "the trial's run": request.runs["trial"],
            "the run of its test": run_id,
        }
        links = {name: f"#/experiments/{request.experiment}/runs/{run_of}" for name, run_of in runs.items()}
        card = write_card(
            sweep,
            trial,
            task,
            figures,
            num_trials=len(candidate.record.searched),
            links=links,
            licence=candidate.licence,
            seen=seen.notes,
            final=chosen_as(candidate.record, sweep.asked, trial),
            steps=steps,
        )
        _log_figures(client, run_id, figures, int(candidate.identity["fersweep.best_epoch"]), card)
        client.log_inputs(run_id, [run_fields.dataset_input(sweep, "test")])
        _log_explanations(client, run_id, model, task)
        info = log_model(candidate.model, task, example, model.predict(example))
        version = client.create_model_version(
            MODEL,
            source=info.model_uri,
            run_id=run_id,
            model_id=info.model_id,
            tags=candidate.identity | run_fields.version_tags(sweep, figures) | run_fields.tags(lineage),
            description=card,
        )
    return version, figures


@contextmanager
def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> Iterator[str]:
    """The id of a new run, which MLflow's functions write to in the block."""
    import mlflow

    mlflow.set_tracking_uri(client.tracking_uri)
    mlflow.set_registry_uri(client.tracking_uri)
    run = client.create_run(experiment, tags=tags | {"mlflow.user": registry.user_name()}, run_name=name)
    with connection.without_fluent_environment(), mlflow.start_run(run_id=run.info.run_id):
        yield run.info.run_id


def _log_figures(client: MlflowClient, run_id: str, figures: Figures, epoch: int, card: str) -> None:
    from fersweep.common.display.charts import save_figure
    from fersweep.results.scores.charts import draw_confusion

    metrics = {"test_{}": figures.detected, "test_{}_all_faces": figures.all}
    if figures.tta is not None:
        metrics["test_tta_{}"] = figures.tta
    for key, scores in metrics.items():
        for name in SCORES:
            client.log_metric(run_id, key.format(name), scores.score(name).value, step=epoch)
    calibration = figures.detected.calibration
    assert calibration is not None  # evaluate always has it
    client.log_metric(run_id, "test_ece", calibration.ece, step=epoch)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        (out / "test_report.json").write_text(json.dumps(figures.as_json(), indent=1))
        text = [f"{SETS[key]}: {intervals.as_text(scores)}" for key, scores in figures.sets().items()]
        (out / "test_report.txt").write_text("\n".join(text))
        (out / "model_card.md").write_text(card)
        counts = np.array(figures.detected.confusion)[:, :-1]
        save_figure(draw_confusion(counts, figures.classes), out / "test_confusion.png")
        client.log_artifacts(run_id, directory)


def _log_explanations(client: MlflowClient, run_id: str, model: Any, task: Task) -> None:
    from fersweep.results.evaluate.explanations import draw_explanations

    with tempfile.TemporaryDirectory() as directory:
        if draw_explanations(model, task, Path(directory)):
            client.log_artifacts(run_id, directory, "explain")
