"""The tasks: what a trial's epochs are, without training it.

`surface`, `wide`: formulas (surface.py, wide.py). `table`: what 512 recorded trials of `blendshape_dense` on FER2013 say of points beside them.
"""

# pandas has no types here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.ensemble import RandomForestRegressor

from benchmarks.search_quality_steps import surface, wide
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task as FacesTask

TABLE = Path(__file__).with_name("dense_fer2013.parquet")  # record_table.py
REPEATS = Path(__file__).with_name("dense_fer2013_repeats.parquet")  # record_repeats.py
METRIC = "val_macro_f1"
ALIKE = 5  # repeated trials from which a point's noise is drawn


class Task(Protocol):
    """`sweep`: trainable, space and task of a sweep file. `max_epochs`: of a trial."""

    name: str
    max_epochs: int
    sweep: dict[str, Any]

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        """What a trial reports at an epoch, counted from 1."""
        ...

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        """The same without a trial's noise, where that is known."""
        ...


class Surface:
    name, max_epochs = "surface", 27

    def __init__(self) -> None:
        self.sweep: dict[str, Any] = {"trainable": "surface"}

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        return surface.score(hparams, seed, epoch)

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        return surface.true_score(hparams, epoch)


class Wide:
    name, max_epochs = "wide", 27

    def __init__(self) -> None:
        self.sweep: dict[str, Any] = {"trainable": "wide"}

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        return wide.score(hparams, seed, epoch)

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        return wide.true_score(hparams, epoch)


class Table:
    """Learning curves for points that were never trained, as in Eggensperger et al. 2015: a random forest over the recorded
    points predicts the whole curve. Noise: by how much a recorded trial with a curve like it deviated from its mean when it was
    trained again with other seeds.
    """

    name = "table"

    def __init__(self) -> None:
        metadata = read_metadata()
        sweep = json.loads(metadata["sweep"])
        self.sweep: dict[str, Any] = {key: sweep[key] for key in ("trainable", "space", "task")}
        self.max_epochs = recorded_trials().curves.shape[1]
        self._curves: dict[str, np.ndarray] = {}

    def _curve(self, params: dict[str, Any]) -> np.ndarray:
        key = json.dumps(params, sort_keys=True)
        if key not in self._curves:
            self._curves[key] = _forest().predict(_coordinates(params)[None])[0]
        return self._curves[key]

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        curve, repeated, rng = self._curve(params), _repeated(), np.random.default_rng(seed)
        nearest = ((repeated.means - curve) ** 2).sum(axis=1).argsort()[:ALIKE]
        return float(curve[epoch - 1] + rng.choice(rng.choice(repeated.deviations[nearest]))[epoch - 1])

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        return float(self._curve(params)[epoch - 1])


@cache
def arrays_of(data: Path, task: str) -> Any:
    """The arrays of a dataset's faces for a task (JSON), read once a process."""
    return FacesTask(data, TaskSpec.model_validate_json(task)).arrays()


class Recorded(NamedTuple):
    """trials: their numbers. points: their parameters, as drawn. curves: (trials, epochs) of METRIC."""

    trials: list[int]
    points: list[dict[str, Any]]
    curves: np.ndarray


@cache
def recorded_trials() -> Recorded:
    rows = pd.read_parquet(TABLE)
    firsts = rows.drop_duplicates("trial").set_index("trial")
    curves = rows.pivot_table(index="trial", columns="epoch", values=METRIC).loc[firsts.index].to_numpy(dtype=float)
    points: list[dict[str, Any]] = []
    for trial in firsts.index:
        drawn = {name: firsts.loc[trial, f"param:{name}"] for name in _scales()}
        points.append({name: _scales()[name].as_drawn(value) for name, value in drawn.items() if value == value})
    return Recorded([int(trial) for trial in firsts.index], points, curves)


@cache
def _forest() -> RandomForestRegressor:
    recorded = recorded_trials()
    forest = RandomForestRegressor(200, min_samples_leaf=2, max_features=0.5, oob_score=True, random_state=0)
    return forest.fit(np.stack([_coordinates(point) for point in recorded.points]), recorded.curves)


class Repeated(NamedTuple):
    """means: (trials, epochs), mean curve over the seeds. deviations: (trials, seeds, epochs) from it, as wide as for a seed
    that is not in the mean.
    """

    means: np.ndarray
    deviations: np.ndarray


@cache
def _repeated() -> Repeated:
    """The better half of the repeated trials: among the worse there are some that only now and then fail to learn. Such luck
    on top of a better point would be better than anything that was ever trained.
    """
    rows = pd.read_parquet(REPEATS).pivot_table(index=["trial", "seed"], columns="epoch", values=METRIC)
    trials, seeds = (rows.index.get_level_values(level).nunique() for level in ("trial", "seed"))
    curves = rows.to_numpy(dtype=float).reshape(trials, seeds, -1)
    means = curves.mean(axis=1)
    better = means[:, -1] >= np.median(means[:, -1])
    deviations = (curves - means[:, None]) * np.sqrt(seeds / (seeds - 1))
    return Repeated(means[better], deviations[better])


@cache
def _scales() -> dict[str, _Scale]:
    return {name: _Scale(each) for name, each in json.loads(read_metadata()["distributions"]).items()}


def _coordinates(params: dict[str, Any]) -> np.ndarray:
    """(coordinates,) float; -1 throughout where a parameter is not there."""
    scales = _scales().items()
    return np.concatenate(
        [scale(params[name]) if name in params else np.full(scale.width, -1.0) for name, scale in scales]
    )


class _Scale:
    """A parameter's values as coordinates in [0, 1]: one for a number, one each for choices."""

    def __init__(self, distribution: dict[str, Any]):
        attributes = distribution["attributes"]
        self._whole = distribution["name"] == "IntDistribution"
        self._choices = attributes.get("choices")
        self.width = len(self._choices) if self._choices else 1
        if not self._choices:
            self._log = bool(attributes["log"])
            self._low, self._high = self._number(attributes["low"]), self._number(attributes["high"])

    def as_drawn(self, value: Any) -> Any:
        """A value from a column of the table, where a column with gaps holds floats, as the sampler drew it."""
        if self._choices:
            return next(choice for choice in self._choices if choice == value)
        return int(value) if self._whole else float(value)

    def _number(self, value: float) -> float:
        return float(np.log(value)) if self._log else float(value)

    def __call__(self, value: Any) -> np.ndarray:
        if self._choices:
            return np.asarray([float(choice == value) for choice in self._choices])
        return np.asarray([(self._number(float(value)) - self._low) / max(self._high - self._low, 1e-12)])


@cache
def read_metadata() -> dict[str, str]:
    """What record_table.py wrote beside the columns."""
    metadata = pq.read_schema(TABLE).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}
