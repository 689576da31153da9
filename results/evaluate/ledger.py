"""The ledger of test: a line for each time that the test faces of a dataset were judged, whoever did it.

    line = ask(client, home, task, model="cnn:7", verb="evaluate")     # before test is read
    line.number                                                        # 3: the third time that these faces were asked
    answered(client, line, figures)

The more often the same faces are asked, the less their figures say of other faces (Dwork et al. 2015, "The reusable
holdout", doi:10.1126/science.aaa9375). A line is a run of the experiment EXPERIMENT, in the store of the registry, written
before the faces are judged: an evaluation that breaks off has a line without a figure. Deleted runs count, too. Faces are
known by the names of all faces of the split, so that a dataset that is prepared anew has the lines of the old one.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.experiments import experiment_id, find_experiment, mark
from fersweep.results.mlflow_store.registry import user_name
from fersweep.results.mlflow_store.runs import all_runs
from fersweep.results.record.home import check_home
from fersweep.results.scores.figures import Figures
from fersweep.trainables.metrics import SCORES

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

EXPERIMENT = "fersweep: test"
LEDGER = "test-ledger"  # what the experiment is marked with, in place of a sweep's id: it may be renamed
TAGS = "fersweep.asked."  # before each of FIELDS
FIELDS = ("faces", "fingerprint", "dataset", "model", "verb", "host", "against", "alias")  # of a Line


@dataclass(frozen=True)
class Line:
    """Test was asked.

    Attributes:
        number: of the times that these faces were asked, from 1.
        at: seconds since 1970.
        faces: sha256 of the names of all test faces.
        model: as people called it, or trial and seed of a promotion.
        verb: what asked: promote, evaluate.
        against: the champion's version that the model was compared with; "" for none.
        alias: that it was to have; "" for none.
        macro_f1: None where nothing was answered.
    """

    number: int
    at: float
    faces: str
    fingerprint: str
    dataset: str
    model: str
    verb: str
    user: str
    host: str
    against: str
    alias: str
    macro_f1: float | None
    run_id: str


def open_ledger(home: Path, uri: str | None = None) -> MlflowClient | None:
    """The store that has the ledger: that of the registry, see registry.open_registry. None for a home that cannot be written.

    uri: the server of the sweep that a model is from.
    """
    uri = os.environ.get("FERSWEEP_TRACKING_URI") or uri or None
    if uri is None:
        try:
            check_home(home)
        except InputError:
            return None
    return connection.open_home(home, uri)


def ask(
    client: MlflowClient, home: Path, task: Task, *, model: str, verb: str, against: str = "", alias: str = ""
) -> Line:
    """Write the line of a judgement that is about to be made. Raises whatever the store raises: then test is not asked."""
    experiment = experiment_id(client, EXPERIMENT, home, LEDGER)
    mark(client, experiment, LEDGER, EXPERIMENT)
    fields = {
        "faces": faces_of(task),
        "fingerprint": task.manifest["fingerprint"],
        "dataset": Path(str(task.place)).name,
        "model": model,
        "verb": verb,
        "host": socket.gethostname(),
        "against": against,
        "alias": alias,
    }
    at = int(time.time() * 1000)
    tags = {f"{TAGS}{name}": value for name, value in fields.items()} | {"mlflow.user": user_name()}
    run = client.create_run(experiment, at, tags, f"{verb} {model}")
    for begun in client.search_runs([experiment], "attributes.status = 'RUNNING'"):  # also of one that was killed here
        client.set_terminated(begun.info.run_id, end_time=begun.info.start_time)
    return next(line for line in lines(client, fields["faces"]) if line.run_id == run.info.run_id)


def answered(client: MlflowClient, line: Line, figures: Figures) -> None:
    """Add the figures to a line."""
    for name in SCORES:
        client.log_metric(line.run_id, f"test_{name}", figures.detected.score(name).value)


def lines(client: MlflowClient, faces: str) -> list[Line]:
    """All lines of the faces that `faces_of` names so, the oldest first."""
    known = find_experiment(client, EXPERIMENT, LEDGER)
    if known is None:
        return []
    query = f"tags.`{TAGS}faces` = '{faces}'"
    runs = sorted(all_runs(client, known.experiment_id, query), key=lambda run: run.info.start_time)
    return [_line(run, number) for number, run in enumerate(runs, 1)]


def models_since(known: Sequence[Line], champion: str, also: Sequence[str] = ()) -> list[str]:
    """The models that were judged since the champion was promoted, whoever judged them, in the order of their first time.

    champion: its `model` in the ledger; also: other names of it. Of a refit its seeds are no models of their own.
    """
    names = {champion, *also}
    came = max(
        (place for place, line in enumerate(known, 1) if line.model == champion and line.verb == "promote"), default=0
    )
    judged = (line.model for line in known[came:] if not line.model.rpartition(", ")[2].startswith("seed "))
    return list(dict.fromkeys(model for model in judged if model not in names))


def faces_of(task: Task) -> str:
    """What names the test faces of a task's dataset: sha256 (hex) of their face ids, sorted."""
    names = sorted(open_table(task.dataset, ["face_id"], "test")["face_id"].to_pylist())
    return hashlib.sha256("".join(names).encode()).hexdigest()


def ordinal(number: int) -> str:
    """1 → "1st", 12 → "12th", 23 → "23rd"."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def in_words(number: int) -> str:
    """How often test was asked, for cards, pages and the terminal."""
    said = f"{ordinal(number)} time that these test faces were asked"
    return said if number == 1 else f"{said}: the more often, the less their figures say of other faces"


def _line(run: Run, number: int) -> Line:
    tags = run.data.tags
    texts = {name: str(tags.get(f"{TAGS}{name}", "")) for name in FIELDS}
    macro_f1 = run.data.metrics.get("test_macro_f1")
    return Line(
        number=number,
        at=run.info.start_time / 1000,
        **texts,
        user=str(tags.get("mlflow.user", "")),
        macro_f1=macro_f1,
        run_id=run.info.run_id,
    )
