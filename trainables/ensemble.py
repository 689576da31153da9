"""Several trained models as one: the mean of their probabilities. Its checkpoint holds theirs, and only predicts.

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
    models = [read_model(member) for member in members]
    model = {**models[0], "ensemble": len(members)}
    learned: list[Any] = []  # each once, of all members
    for record in (record for described in models for record in described.get("learned", ())):
        learned += [record] * (record not in learned)
    if learned:
        model["learned"] = learned
    (directory / "model.json").write_text(json.dumps(model, indent=1))


class Ensemble:
    """What `fersweep.trainables.restore` returns for an ensemble's checkpoint. `members`: restored models."""

    def __init__(self, members: Sequence[Any]):
        self.members = members
        if all(hasattr(member, "predict_tta") for member in members):
            self.predict_tta = self._predict_tta

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, C) float32 probabilities."""
        return self._mean(lambda member: member.predict(x))

    def num_weights(self) -> int:
        return sum(member.num_weights() for member in self.members)

    def _predict_tta(self, x: np.ndarray) -> np.ndarray:
        return self._mean(lambda member: member.predict_tta(x))

    def _mean(self, answer: Callable[[Any], np.ndarray]) -> np.ndarray:
        return np.stack([answer(member) for member in self.members]).mean(axis=0)
