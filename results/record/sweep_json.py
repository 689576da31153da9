"""`sweep.json`: what a sweep was asked to do, on which data, and where it was launched. Written once, by `launch`.

Imports neither MLflow nor a framework, so that a look at a sweep takes no time.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from fersweep.common.display.tables import duration
from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.stores.buckets import is_address
from fersweep.common.text import masked
from fersweep.common.untrusted import MB, parse_json, read_regular, why
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.events import is_distribution
from fersweep.results.record.journal import Hparams, TrialRecord
from fersweep.results.record.ranking.order import Order, order_of
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.population import perturbed
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import NamedPoint, named_as_in_a_sweep_file
from fersweep.search_spaces.sweep_file.sections.own_metrics import columns
from fersweep.search_spaces.sweep_file.space.choices import drawn_distribution, drawn_params
from fersweep.trainables.metrics import SCORES

FILE = "sweep.json"
MOST_BYTES = 512 * MB  # with thousands of trials of older sweeps to learn from


def _distribution(text: str) -> str:
    if not is_distribution(text):
        raise ValueError("no distribution as Optuna writes it")
    return drawn_distribution(text)


def _iso(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Distributions = dict[str, Annotated[str, AfterValidator(_distribution)]]
Params = Annotated[Hparams, AfterValidator(drawn_params)]
Time = Annotated[str, AfterValidator(_iso)]  # ISO 8601


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Learned(_Part):
    """The dataset that a sweep learns: where it is, a path or a bucket's address, and what it was when the sweep was
    launched.
    """

    path: Path | str
    name: str
    fingerprint: str
    classes: list[str] = []

    @field_validator("path", mode="before")
    @classmethod
    def _a_path_is_one(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) and not is_address(value) else value


class OlderTrial(_Part):
    """An ended trial of an older sweep, which the sampler learns from (`search.start_from: {sweep: OLD}`)."""

    sweep: str
    params: Params
    distributions: Distributions
    epochs: list[dict[str, int | float]]
    state: str
    costs: dict[str, FiniteFloat] = {}


class OlderPoint(_Part):
    """The point of an older sweep's best trial, which is tried again: `name` is OLD/0007."""

    name: str
    params: Params


class Baseline(_Part):
    """Scores on val of always answering train's most frequent class."""

    majority_class: str
    accuracy: FiniteFloat
    balanced_accuracy: FiniteFloat
    macro_f1: FiniteFloat
    own: dict[str, FiniteFloat] = {}
    """Of people's own metrics, by column: `val_cost`."""

    def score(self, metric: str) -> float | None:
        """The baseline of a metric, with or without its `val_`; None for one that is no score."""
        if metric in self.own:
            return self.own[metric]
        name = metric.removeprefix("val_")
        return getattr(self, name) if name in SCORES else None


class Teacher(_Part):
    """The model whose answers the trials learned (`distil` in the sweep file), as it was when the sweep was launched.

    Attributes:
        name: `champion v3`, `cnn:7`.
        version, sweep, trial, sweep_id: where it comes from, as far as that is known.
        fingerprint: of the dataset that it learned, if that is known.
        sha256: of the file of its answers, which is in the sweep's directory (results/distil/answers.py).
        num_taught: faces of train that it answered; the others keep their labels.
        scores, recall: SCORES on val as `val_…`, and by class; a face of val that it does not see is wrong.
        learned: which faces it learned, each record as `Task.learned`.
        unknown: what is not known of that, in words.
    """

    name: str
    version: int | None = None
    sweep: str | None = None
    trial: int | None = None
    sweep_id: str | None = None
    fingerprint: str | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_taught: int = Field(ge=1)
    scores: dict[str, FiniteFloat]
    recall: dict[str, FiniteFloat | None]
    learned: list[dict[str, Any]] = []
    unknown: str = ""

    @field_validator("scores")
    @classmethod
    def _has_all(cls, value: dict[str, float]) -> dict[str, float]:
        if value.keys() != {f"val_{name}" for name in SCORES}:
            raise ValueError(f"wants the scores {', '.join(SCORES)} on val")
        return value

    def in_words(self, metric: str, num_train: int) -> list[str]:
        """Lines on what it taught: `teacher champion v3: val_macro_f1 0.612, answers 28,000 of 28,709 train faces`."""
        metric = metric if metric in self.scores else "val_macro_f1"
        answered = f"answers {self.num_taught:,} of {num_train:,} train faces"
        others = "; the others keep their labels" if self.num_taught < num_train else ""
        lines = [f"teacher {self.name}: {metric} {self.scores[metric]:.3f}, {answered}{others}"]
        return [*lines, f"note: {self.unknown}"] if self.unknown else lines

    @property
    def model(self) -> str | None:
        """Its name for good, which an alias is not: a version's number, or SWEEP:TRIAL; None where there is none."""
        if self.version is not None:
            return str(self.version)
        return None if self.sweep is None else f"{self.sweep}:{self.trial}"


class Planned(_Part):
    """What `fersweep plan` said: seconds from a sweep's first event to its last, the likely ones, and the range that the plan gave.

    Attributes:
        source: "calibration" or "past sweeps".
        at_once: trials at once that it was planned for.
        num_trials, max_epochs: that it was for; `resume` may change them.
        created: when, as ISO 8601.
    """

    sweep_s: FiniteFloat
    low_s: FiniteFloat
    high_s: FiniteFloat
    source: str
    at_once: int
    num_trials: int
    max_epochs: int
    created: Time

    def against(self, took_s: float) -> str:
        """`planned 12 min 00 s, took 13 min 00 s (8 % more)`."""
        off = took_s / self.sweep_s - 1 if self.sweep_s > 0 else 0.0
        how = "as planned" if abs(off) < 0.005 else f"{abs(off):.0%} {'more' if off > 0 else 'less'}".replace("%", " %")
        return f"planned {duration(self.sweep_s)}, took {duration(took_s)} ({how})"


class SweepJson(_Part):
    """The content of `sweep.json`. Fields that older versions did not write have their defaults here, and only here.

    Attributes:
        asked: the resolved sweep file.
        space: searched hparam → its distribution, as Optuna writes it in JSON; empty in the oldest sweeps.
        feature_names: columns of x, in order; ["pixels"] for faces.
        num_train, num_val: numbers of faces; with `task.fold: all`, of those that some fold's model learns, and of all folds.
        num_folds: with `task.fold: all`.
        num_by_class: split → class → number of faces; empty in older sweeps, whose macro-F1 also counted, as 0, each
            class that had no faces and was predicted.
        folds_with: class → number of folds that have it in val; empty where the sweep is not over all folds.
        fetched: what the trainable got from outside, such as pretrained weights → its sha256.
        planned: what `fersweep plan` said of this sweep and these data, if anything.
        teacher: of a sweep with `distil`.
        code_places: name of own code → where it was read; the sweep's directory has a copy, below `code/`.
        home: the home that holds the sweep now, which may have been moved since.
    """

    asked: Sweep = Field(alias="sweep")
    sweep_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    space: Distributions = {}
    dataset: Learned
    history: list[OlderTrial] = []
    points: list[OlderPoint] = []
    classes: list[str] = Field(min_length=1)
    feature_names: list[str]
    num_train: int | None = None
    num_val: int | None = None
    num_folds: int | None = Field(None, ge=2)
    num_by_class: dict[str, dict[str, int]] = {}
    folds_with: dict[str, int] = {}
    baseline: Baseline
    created: Time
    command: Annotated[str, AfterValidator(masked)]
    git_commit: str | None = None
    python: str | None = None
    versions: dict[str, str] = {}
    fetched: dict[str, str] = {}
    planned: Planned | None = None
    teacher: Teacher | None = None
    code_places: dict[str, str] = {}
    home: Path

    @field_validator("asked", mode="before")
    @classmethod
    def _had_one_trial_a_worker(cls, value: Any) -> Any:
        """Before `resources.fuse` there was."""
        content: Any = value
        if isinstance(value, dict) and isinstance(resources := content.get("resources", {}), dict):
            return content | {"resources": {"fuse": 1} | cast("dict[str, Any]", resources)}
        return content

    @field_validator("num_by_class")
    @classmethod
    def _has_splits(cls, value: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        if value and not {"train", "val"} <= value.keys():
            raise ValueError("wants train and val")
        return value

    @property
    def name(self) -> str:
        return self.asked.name

    @property
    def metric(self) -> str:
        """What trials are ranked by; of several objectives the first."""
        return self.asked.stop.metric

    @property
    def mode(self) -> str:
        """`max` or `min`: which values of `metric` are good."""
        return self.asked.stop.mode

    @property
    def own_metrics(self) -> list[str]:
        """The columns of people's own metrics in an epoch's row."""
        return list(columns(self.asked.stop.metrics))

    @property
    def order(self) -> Order:
        """What trials are ranked by, in full: all objectives, and the constraints."""
        return order_of(self.asked)

    @property
    def older_points(self) -> list[NamedPoint]:
        """`points` as the searched space takes them."""
        return [(point.name, point.params) for point in self.points]

    @property
    def faces(self) -> str:
        """Which faces of val the sweep's scores are of, in words."""
        task = self.asked.task
        faces = "all faces" if task.features == "pixels" else "detected faces"
        if task.fold == "all":
            faces += f" of {self.num_folds or 'all'} folds"
        elif task.fold is not None:
            faces += f" of fold {task.fold}"
        return f"{faces} of {', '.join(task.sources)}" if task.sources else faces

    @property
    def num_faces(self) -> str:
        """How many faces trials learn and are judged by, in words."""
        folds = f" in {self.num_folds} folds, a model each" if self.num_folds else ""
        return f"{self.num_train} train, {self.num_val} val faces{folds}"

    @property
    def perturbed(self) -> list[str]:
        """The parameters that PBT changes while a trial trains; none under another scheduler."""
        stop = self.asked.stop
        return perturbed(stop.scheduler_options["perturb"], self.space) if stop.scheduler == "pbt" else []

    def named(self, trial: TrialRecord) -> Hparams:
        """The trial's hparams (at its best epoch: PBT changes them) under the names that a sweep file takes."""
        stretch = trial.at_best(self.metric, self.mode)
        return self.named_as(stretch.params, stretch.hparams)

    def named_as(self, params: dict[str, Any], hparams: Hparams) -> Hparams:
        """Hparams that were made of `params` under the names that a sweep file takes."""
        return named_as_in_a_sweep_file(self.asked, params, hparams)

    def without_faces(self) -> list[str]:
        """Which classes have no faces to learn from or to be judged by, in words; [] in older sweeps."""
        consequence = {"train": "no trial can learn it", "val": "it counts in no score"}
        return [
            f"no {split} faces of {name}: {consequence[split]}"
            for split, numbers in self.num_by_class.items()
            for name, number in numbers.items()
            if not number
        ] + [
            f"{name} has val faces in {number} of {self.num_folds} folds: in the others it counts in no score, so their macro-F1 is of "
            "fewer classes"
            for name, number in self.folds_with.items()
            if self.num_folds and 0 < number < self.num_folds
        ]

    def storage(self, sweep_dir: Path) -> Storage:
        """Where the sweep's checkpoints are: its directory, or its place in the bucket that the sweep names."""
        bucket = self.asked.storage
        return Storage(stored_at(bucket, self.name) if bucket else Path(sweep_dir))

    def task(self) -> Task:
        """The task, on its dataset. Raises InputError if the dataset has changed since, or is gone."""
        task = Task(self.dataset.path, self.asked.task, feature_names=self.feature_names)
        fingerprint, learned = task.manifest["fingerprint"], self.dataset.fingerprint
        if fingerprint != learned:
            raise InputError(
                f"{task.place}: its fingerprint {fingerprint[:12]} is not that of the data that the sweep learned, "
                f"{learned[:12]}: launch a new sweep on it"
            )
        return task

    def renamed(self, name: str) -> SweepJson:
        """The same sweep under another name. Raises InputError where that is none."""
        asked = parse_sweep({**self.asked.model_dump(mode="json"), "name": name}, self.name)
        return self.model_copy(update={"asked": asked})

    def as_bytes(self) -> bytes:
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1).encode()


def read_sweep_json(sweep_dir: Path) -> SweepJson:
    """The `sweep.json` of a sweep's directory. Raises InputError if it cannot be read.

    `home` in it is where the directory is now, and a dataset that was below the home is looked for there, too. From then on,
    the copies of own code in the directory are known (common/own_code/copies.py).
    """
    path = Path(sweep_dir) / FILE
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path} is not a sweep's record: {why(error)}") from error
    copies.note(Path(sweep_dir))
    return parse_sweep_json(content, path, path.resolve().parents[2])


def parse_sweep_json(content: bytes, place: Path | str, home: Path) -> SweepJson:
    """A `sweep.json` that was read from `place`, of a sweep that lies in `home`. InputError as in `read_sweep_json`."""
    try:
        values = parse_json(content)
        before, data = Path(values["home"]), Path(values["dataset"]["path"])
        if not is_address(values["dataset"]["path"]) and not data.exists() and data.is_relative_to(before):
            values["dataset"]["path"] = str(home / data.relative_to(before))
        return SweepJson.model_validate({**values, "home": str(home)})
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (TypeError, IndexError):  # of a list, a number
        what = "its parts are of another type"
    except KeyError as error:
        what = f"it lacks {error}"
    except (OSError, ValueError, RecursionError) as error:
        what = why(error)
    raise InputError(f"{place} is not a sweep's record: {what}; put a copy of the file back") from None


def stored_at(bucket: str, name: str) -> str:
    """Address of the sweep `name` in a bucket; what follows a "?" (endpoint, region) stays at the end."""
    prefix, mark, options = bucket.partition("?")
    return f"{prefix.rstrip('/')}/{name}{mark}{options}"
