"""The tasks: what a trial's epochs are, without training it.

`surface`: a formula (surface.py). `table`: what 512 recorded trials of `blendshape_dense` on FER2013 say of points beside them.
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
from sklearn.ensemble import RandomForestRegressor

from benchmarks.search_quality_steps import surface

TABLE = Path(__file__).with_name("dense_fer2013.parquet")
METRIC = "val_macro_f1"
ALIKE = 25  # recorded trials to either side whose misses a point may have


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


class Table:
    """Learning curves for points that were never trained, as in Eggensperger et al. 2015: a random forest over the recorded
    points predicts the whole curve, and what the forest misses of a recorded trial that is about as good is added as noise.
    """

    name = "table"

    def __init__(self, path: Path = TABLE):
        self._forest, self._missed, self._scales, self.sweep, self.max_epochs = _learned(path)
        self._curves: dict[str, np.ndarray] = {}

    def _curve(self, params: dict[str, Any]) -> np.ndarray:
        key = json.dumps(params, sort_keys=True)
        if key not in self._curves:
            self._curves[key] = self._forest.predict(_coordinates(self._scales, params)[None])[0]
        return self._curves[key]

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        curve = self._curve(params)
        place = int(np.searchsorted(self._missed.ends, curve[-1]))
        alike = range(max(place - ALIKE, 0), min(place + ALIKE, len(self._missed.curves)))
        missed = self._missed.curves[np.random.default_rng(seed).choice(alike)]
        return float(curve[epoch - 1] + missed[epoch - 1])

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        return float(self._curve(params)[epoch - 1])


class Missed(NamedTuple):
    """What the forest misses of each recorded trial, with the trees that have not seen it. ends: (T,) its prediction of the
    last epoch, rising. curves: (T, epochs).
    """

    ends: np.ndarray
    curves: np.ndarray


@cache
def _learned(path: Path) -> tuple[Any, Missed, dict[str, _Scale], dict[str, Any], int]:
    rows, metadata = pd.read_parquet(path), read_metadata(path)
    points = rows.drop_duplicates("trial").set_index("trial")
    curves = rows.pivot_table(index="trial", columns="epoch", values=METRIC).loc[points.index].to_numpy(dtype=float)
    distributions: dict[str, dict[str, Any]] = json.loads(metadata["distributions"])
    scales = {name: _Scale(each) for name, each in distributions.items()}
    recorded = [{name: points.loc[trial, f"param:{name}"] for name in scales} for trial in points.index]
    forest = RandomForestRegressor(200, min_samples_leaf=2, max_features=0.5, oob_score=True, random_state=0)
    forest.fit(np.stack([_coordinates(scales, params) for params in recorded]), curves)
    order = forest.oob_prediction_[:, -1].argsort()
    missed = Missed(forest.oob_prediction_[order, -1], (curves - forest.oob_prediction_)[order])
    sweep = json.loads(metadata["sweep"])
    return forest, missed, scales, {key: sweep[key] for key in ("trainable", "space", "task")}, curves.shape[1]


def _coordinates(scales: dict[str, _Scale], params: dict[str, Any]) -> np.ndarray:
    """(coordinates,) float; -1 throughout where a parameter is not there."""
    parts: list[np.ndarray] = []
    for name, scale in scales.items():
        value = params.get(name)
        parts.append(np.full(scale.width, -1.0) if value is None or value != value else scale(value))
    return np.concatenate(parts)


class _Scale:
    """A parameter's values as coordinates in [0, 1]: one for a number, one each for choices."""

    def __init__(self, distribution: dict[str, Any]):
        attributes = distribution["attributes"]
        self._choices = attributes.get("choices")
        self.width = len(self._choices) if self._choices else 1
        if not self._choices:
            self._log = bool(attributes["log"])
            self._low, self._high = self._number(attributes["low"]), self._number(attributes["high"])

    def _number(self, value: float) -> float:
        return float(np.log(value)) if self._log else float(value)

    def __call__(self, value: Any) -> np.ndarray:
        if self._choices:
            return np.asarray([float(choice == value) for choice in self._choices])
        return np.asarray([(self._number(float(value)) - self._low) / max(self._high - self._low, 1e-12)])


def read_metadata(path: Path) -> dict[str, str]:
    """What record_table.py wrote beside the columns."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}
