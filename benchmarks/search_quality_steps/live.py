"""A task that is really trained: `pixel_mlp` on a tenth of three classes of a dataset's faces, nine epochs a trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.search_quality_steps.tasks import METRIC, arrays_of
from fersweep import trainables
from fersweep.trainables.protocol import TrialFailed

TASK: dict[str, Any] = {
    "features": "pixels",
    "classes": {name: [name] for name in ("happy", "sad", "neutral")},
    "fraction": 0.1,
}
MOST_MODELS = 16  # that may be in training; those that a search has ended are forgotten


class Live:
    name, max_epochs = "live", 9

    def __init__(self, data: Path):
        self.sweep: dict[str, Any] = {
            "trainable": "pixel_mlp",
            "task": TASK,
            "space": {
                "fix": {"use_early_stopping": False, "use_sam_rho": False, "image_size": 24},
                "range": {"batch_size": [64, 256]} | {f"units_{layer}": [16, 128] for layer in range(4)},
            },
        }
        self._arrays = arrays_of(data, json.dumps(TASK))
        self._models: dict[int, Any] = {}
        self._values: dict[tuple[int, int], float] = {}
        self._seed_of: dict[str, int] = {}

    def value(self, hparams: dict[str, Any], params: dict[str, Any], seed: int, epoch: int) -> float:
        if epoch == 1:
            self._models[seed] = trainables.load("pixel_mlp").build(hparams, self._arrays, seed)
            if len(self._models) > MOST_MODELS:
                del self._models[next(iter(self._models))]
        self._seed_of[repr(params)] = seed
        try:
            (row,) = self._models[seed].fit(1)
        except TrialFailed:
            return 0.0
        self._values[seed, epoch] = row[METRIC]
        return row[METRIC]

    def true_value(self, hparams: dict[str, Any], params: dict[str, Any], epoch: int) -> float:
        return self._values[self._seed_of[repr(params)], epoch]
