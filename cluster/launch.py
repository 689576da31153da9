"""Launch a sweep: every check, then its directory, then the run (cluster/driver/run_sweep.py)."""

from __future__ import annotations

import platform
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fersweep.cluster import capacity
from fersweep.cluster.cluster_nodes import check_nodes
from fersweep.cluster.driver.notifications import webhook
from fersweep.cluster.driver.run_sweep import Outcome, run_sweep
from fersweep.cluster.new_sweep import new_sweep, refuse_existing, refuse_launching, refuse_stored
from fersweep.cluster.plans import find_plan
from fersweep.cluster.samplers.sampler import check_custom
from fersweep.cluster.schedulers.wilcoxon import check_folds
from fersweep.cluster.search.fusing import most_fused
from fersweep.cluster.search.older_sweeps import best_points, history
from fersweep.common import ray_address, ray_connection
from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError
from fersweep.common.files import check_name, check_writable
from fersweep.common.own_code.code import is_own
from fersweep.common.stores.buckets import name_of, resolved
from fersweep.common.versions import command, installed, own_commit, own_version
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.callbacks.classes import check_callbacks
from fersweep.results.distil import answers
from fersweep.results.distil.answers import taught
from fersweep.results.distil.teacher import ask, open_teacher
from fersweep.results.models.names import check_sweep_name
from fersweep.results.record.home import begun, check_home
from fersweep.results.record.sweep_json import Baseline, Learned, SweepJson, stored_at
from fersweep.results.tracking import address as address_of_mlflow
from fersweep.search_spaces.sweep_file.own_code import code_of
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep
from fersweep.search_spaces.sweep_file.searched_space import distributions, fetch, some_hparams
from fersweep.trainables import model_trial
from fersweep.trainables.metric_trial import tried
from fersweep.trainables.metrics import SCORES, majority_baseline

VERSIONS_OF = (
    "ray",
    "tensorflow",
    "torch",
    "timm",
    "keras",
    "optuna",
    "mediapipe",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
)
MOST_POINTS = 10  # at which somebody's own trainable is tried, until a model is built


def describe(asked: Sweep, data: str | Path, home: Path) -> tuple[SweepJson, TaskArrays]:
    """What `sweep.json` is to hold, and the task's arrays. Raises InputError if the task does not fit the dataset."""
    check_name(Path(data), f"--data {data}")
    check_custom(asked)
    check_callbacks(asked)
    task = Task(data, asked.task)
    arrays = node_arrays.load(task)
    for split, part in (("train", arrays.train), ("val", arrays.val)):
        if not len(part.y):
            raise InputError(f"{data}: the task leaves no faces in {split}")
    if len(judged := np.unique(arrays.val.y)) < 2:
        raise InputError(
            f"{data}: val has faces of {arrays.classes[int(judged[0])]} alone, which ranks no trials: it needs two classes"
        )
    check_folds(asked.stop, len(arrays.folds))
    _check_following(asked, data)
    if asked.distil is not None:
        open_teacher(asked.distil.teacher, task, home)
    dataset = Learned(
        path=resolved(data),
        name=name_of(resolved(data)),
        fingerprint=arrays.fingerprint,
        classes=task.manifest["classes"],
    )
    sweep = SweepJson(
        sweep=asked,
        sweep_id=uuid.uuid4().hex,
        space=distributions(asked),
        dataset=dataset,
        history=history(asked, home, dataset),
        points=best_points(asked, home),
        classes=arrays.classes,
        feature_names=arrays.feature_names,
        num_train=task.num_faces("train"),
        num_val=len(arrays.val.y),
        num_folds=task.num_folds or None,
        num_by_class={
            split: dict(zip(arrays.classes, np.bincount(y, minlength=len(arrays.classes)).tolist(), strict=True))
            for split, y in (("train", arrays.train.y), ("val", arrays.val.y))
        },
        folds_with={
            name: sum(bool((arrays.val.y[fold.val] == index).any()) for fold in arrays.folds)
            for index, name in enumerate(arrays.classes)
            if arrays.folds
        },
        baseline=_baseline(arrays, _tried(asked.stop, arrays)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command(),
        git_commit=own_commit(),
        python=platform.python_version(),
        versions=versions(),
        planned=find_plan(home, asked, arrays.fingerprint),
        code_places={code.name: code.place for code in code_of(asked)},
        home=Path(home).resolve(),
    )
    return sweep, arrays


def _check_following(asked: Sweep, data: str | Path) -> None:
    """InputError if the dataset lacks what the sweep that `then` asks for needs."""
    if asked.following is None or asked.following.task == asked.task:
        return
    try:
        following = Task(data, asked.following.task)
    except InputError as error:
        raise InputError(f"then: {error}") from None
    check_folds(asked.stop, following.num_folds if following.spec.fold == "all" else 0)


def _baseline(arrays: TaskArrays, own: dict[str, float]) -> Baseline:
    """Of always answering train's most frequent class; with folds, each fold's own train's, and the mean of their scores.

    own: the same of people's own metrics.
    """
    num_classes, train_y, val_y = len(arrays.classes), arrays.train.y, arrays.val.y
    whole = majority_baseline(train_y, val_y, num_classes)
    folds = [majority_baseline(train_y[fold.train], val_y[fold.val], num_classes) for fold in arrays.folds]
    return Baseline(
        own=own,
        majority_class=arrays.classes[int(whole["majority_class"])],
        **{name: float(np.mean([each[name] for each in folds or [whole]])) for name in SCORES},
    )


def _tried(stop: Stop, arrays: TaskArrays) -> dict[str, float]:
    """People's own metrics, which are tried → each one's baseline by its column. InputError where one is none."""
    if not stop.metrics:
        return {}
    found = tried(stop.metrics, arrays)
    for name, mode in {**{each.metric: each.mode for each in stop.objectives}, stop.metric: stop.mode}.items():
        if name in found and (remark := found[name].remark(name, mode)):
            print(f"note: {remark}", file=sys.stderr)
    return {name: each.baseline for name, each in found.items()}


def try_model(sweep: SweepJson, arrays: TaskArrays) -> None:
    """Build the model of somebody's own trainable once, and say what is odd about it. InputError where that fails."""
    if is_own(sweep.asked.trainable):
        points = some_hparams(sweep.asked, sweep.older_points)[:MOST_POINTS]
        for line in model_trial.tried(sweep.asked.trainable, points, arrays, sweep.fetched):
            print(f"note: {line}", file=sys.stderr)


def versions() -> dict[str, str]:
    """fersweep's own, and those of the packages that are there: a sweep of one framework's models does without the other."""
    return {"fersweep": own_version(), **installed(VERSIONS_OF)}


def launch(asked: Sweep, data: str | Path, home: Path, address: str | None = None) -> Outcome:
    """Run a new sweep to its end. Everything is checked before anything is written, but for the lock on its name."""
    directory = _refuse_existing(asked, home)
    webhook(asked)
    address_of_mlflow.check(asked.tracking.uri, asked.tracking.experiment, lambda line: print(line, file=sys.stderr))
    sweep, arrays = describe(asked, data, home)
    storage = sweep.storage(directory)
    if storage.path is None:
        refuse_stored(storage.address, directory)
        if asked.following is not None:
            refuse_stored(
                stored_at(str(asked.storage), asked.following.name), directory.with_name(asked.following.name)
            )
    for line in sweep.without_faces():
        print(line, file=sys.stderr)
    sweep = sweep.model_copy(update={"fetched": fetch(asked, sweep.older_points)})
    try_model(sweep, arrays)
    with new_sweep(directory) as make:
        ray_connection.connect(address, warm=capacity.warm(asked))
        capacity.check(asked.resources)
        check_nodes(asked.resources, arrays, None if storage.path is None else Path(home))
        sweep = make(*_with_teacher(sweep, arrays, home))
        return run_sweep(sweep, taught(arrays, sweep, directory), directory)


def _with_teacher(sweep: SweepJson, arrays: TaskArrays, home: Path) -> tuple[SweepJson, dict[str, bytes]]:
    """The sweep with what is known of its teacher, if it has one, and what that answered, as files of its directory."""
    if sweep.asked.distil is None:
        return sweep, {}
    task = sweep.task()
    teacher, content = ask(open_teacher(sweep.asked.distil.teacher, task, home), task, arrays, home)
    for line in teacher.in_words(sweep.metric, len(arrays.train.y)):
        print(line, file=sys.stderr)
    return sweep.model_copy(update={"teacher": teacher}), {answers.FILE: content}


@dataclass(frozen=True)
class DryRun(AsJson):
    """A sweep as `launch` would run it. facts: lines about its data, its schedule and what it learns from."""

    sweep: dict[str, Any]
    facts: list[str]

    def as_yaml(self) -> str:
        """A sweep file, with the facts as comments."""
        return "".join(f"# {fact}\n" for fact in self.facts) + yaml.safe_dump(self.sweep, sort_keys=False).rstrip()


def dry(
    asked: Sweep, data: str | Path, home: Path, address: str | None = None, warn: Callable[[str], None] | None = None
) -> DryRun:
    """Check everything that `launch` checks → the resolved sweep.

    `warn`: gets a line, instead of an InputError, where this cluster has no room for a trial: the sweep may be meant for
    another one.
    """
    _refuse_existing(asked, home)
    webhook(asked)
    address_of_mlflow.check(
        asked.tracking.uri, asked.tracking.experiment, warn or (lambda line: print(line, file=sys.stderr))
    )
    sweep, arrays = describe(asked, data, home)
    try_model(sweep.model_copy(update={"fetched": fetch(asked, sweep.older_points)}), arrays)
    ray_connection.connect(address)
    try:
        capacity.check(asked.resources)
    except InputError as error:
        if warn is None:
            raise
        warn(f"warning: {error}; a launch here would be refused")
    places = capacity.places(asked.resources)
    fused = most_fused(asked, lambda: places)
    what = f"workers, up to {fused} trials at once in each" if fused > 1 else "trials at once"
    at_once = f"{places or 'no'} {what}"
    learned = Counter(trial.sweep for trial in sweep.history)
    facts = [
        f"data {sweep.dataset.path} ({sweep.dataset.fingerprint[:12]}): "
        f"{sweep.num_faces}, {'pixels' if asked.task.features == 'pixels' else f'{len(sweep.feature_names)} features'}",
        *sweep.without_faces(),
        f"{asked.stop.in_words()}; {at_once}",
        *(f"learns from {number} trials of sweep {name}" for name, number in learned.items()),
        *(f"begins with the point of trial {point.name}" for point in sweep.points),
    ]
    return DryRun(sweep=asked.model_dump(mode="json"), facts=facts)


def check_quickly(asked: Sweep, data: str | Path, home: Path) -> None:
    """What `launch` checks that takes no time: InputError where the name is taken, or the task does not fit the dataset."""
    _refuse_existing(asked, home)
    webhook(asked)
    check_name(Path(data), f"--data {data}")
    check_custom(asked)
    Task(data, asked.task)
    _check_following(asked, data)


def start_ray(asked: Sweep, data: str | Path, home: Path, address: str | None) -> None:
    """Start Ray on this machine, if the sweep is to run here, after what can be checked at once: its workers import what they
    need while `launch` reads the data. InputError as of `check_quickly`.
    """
    if ray_address.resolve(address) is None:
        warm = capacity.warm(asked)
        ray_connection.begin_imports(warm)
        check_quickly(asked, data, home)
        ray_connection.connect(address, warm=warm)


def _refuse_existing(sweep: Sweep, home: Path) -> Path:
    """The directory of a new sweep. InputError if it exists, is being made by another launch, or cannot be made; or that of
    the sweep that is to follow.
    """
    directory = Path(home) / "sweeps" / sweep.name
    check_home(home)
    check_sweep_name(sweep.name, home)
    if directory.parent.exists():
        check_writable(directory.parent, f"--home {home}")
    refuse_existing(directory)
    if pending := begun(home, sweep.name):
        raise InputError(f"name {sweep.name}: {pending[0]}")
    refuse_launching(directory)
    if sweep.following is not None:
        _refuse_existing(sweep.following, home)
    return directory
