"""The tasks: what a trial's epochs are, without training it.

`surface`: a formula (surface.py). `table`: recorded trials of `blendshape_dense` on FER2013, replayed: a suggested point is
answered with the learning curve of the nearest recorded one.
"""

# pandas has no types here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from benchmarks.search_quality_steps import surface

TABLE = Path(__file__).with_name("dense_fer2013.parquet")
METRIC = "val_macro_f1"


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
    """Distance of two points: the mean over parameters, numbers scaled to [0, 1] (logarithms where the space has them),
    1 for another choice, and for a parameter that only one of them has.
    """

    name = "table"

    def __init__(self, path: Path = TABLE):
        rows = pd.read_parquet(path)
        points = rows.drop_duplicates("trial").set_index("trial")
        curves = rows.pivot_table(index="trial", columns="epoch", values=METRIC).loc[points.index]
        self._curves = curves.to_numpy(dtype=float)
        self.max_epochs = self._curves.shape[1]
        metadata = read_metadata(path)
        distributions: dict[str, dict[str, Any]] = json.loads(metadata["distributions"])
        self._scales = {name: _Scale(each) for name, each in distributions.items()}
        self._points = np.stack(
            [
                self._coordinates({name: points.loc[trial, f"param:{name}"] for name in self._scales})
                for trial in points.index
            ]
        )
        recorded = json.loads(metadata["sweep"])
        self.sweep: dict[str, Any] = {key: recorded[key] for key in ("trainable", "space", "task")}
        self._nearest: dict[str, int] = {}

    def _coordinates(self, params: dict[str, Any]) -> np.ndarray:
        """(parameters, widest one-hot) float; NaN throughout where a parameter is not there."""
        width = max(scale.width for scale in self._scales.values())
        coordinates = np.full((len(self._scales), width), np.nan)
        for row, (name, scale) in enumerate(self._scales.items()):
            value = params.get(name)
            if value is not None and value == value:
                coordinates[row] = 0
                coordinates[row, : scale.width] = scale(value)
        return coordinates

    def _row(self, params: dict[str, Any]) -> np.ndarray:
        key = json.dumps(params, sort_keys=True)
        if key not in self._nearest:
            apart = np.abs(self._points - self._coordinates(params)[None]).max(axis=2)
            known_here, known_there = ~np.isnan(self._coordinates(params)).any(1), ~np.isnan(self._points).any(2)
            apart = np.where(known_here & known_there, apart, np.where(known_here == known_there, 0.0, 1.0))
            self._nearest[key] = int(apart.mean(axis=1).argmin())
        return self._curves[self._nearest[key]]

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        return float(self._row(params)[epoch - 1])

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        return self.value(hparams, params, 0, epoch)


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
