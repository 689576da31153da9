"""Several trained models as one: the mean of their probabilities. Its checkpoint holds theirs, and predicts only.

write(directory, [checkpoint, checkpoint, …])
fersweep.trainables.restore(directory).predict(x)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.trainables.saved_model import read_model


def write(directory: Path, members: Sequence[Path]) -> None:
    """Write the checkpoint of an ensemble of `members`, checkpoints of one trainable, into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    for index, member in enumerate(members):
        shutil.copytree(member, directory / f"member-{index}")
    described = {**read_model(members[0]), "ensemble": len(members)}
    (directory / "model.json").write_text(json.dumps(described, indent=1))


class Ensemble:
    """What `fersweep.trainables.restore` makes of an ensemble's checkpoint. `members`: as many restored models."""

    def __init__(self, members: Sequence[Any]):
        self.members = members
        if all(hasattr(one, "predict_tta") for one in members):
            self.predict_tta = lambda x: self._mean(lambda one: one.predict_tta(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, C) float32 probabilities."""
        return self._mean(lambda one: one.predict(x))

    def _mean(self, answer: Callable[[Any], np.ndarray]) -> np.ndarray:
        return np.stack([answer(one) for one in self.members]).mean(axis=0)
