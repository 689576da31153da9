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
    """What `fersweep.trainables.restore` returns for an ensemble's checkpoint.

    members: restored models. columns: of each member, which features of the ensemble's it sees, (F_k,) places; none: all see all.
    """

    def __init__(self, members: Sequence[Any], columns: Sequence[np.ndarray] = ()):
        self.members = members
        self._columns = columns
        if all(hasattr(member, "predict_tta") for member in members):
            self.predict_tta = self._predict_tta

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, C) float32 probabilities."""
        return self._mean(lambda member, seen: member.predict(seen), x)

    def num_weights(self) -> int:
        return sum(member.num_weights() for member in self.members)

    def _predict_tta(self, x: np.ndarray) -> np.ndarray:
        return self._mean(lambda member, seen: member.predict_tta(seen), x)

    def _mean(self, answer: Callable[[Any, np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        answers = [answer(member, self._seen(index, x)) for index, member in enumerate(self.members)]
        return np.stack(answers).mean(axis=0, dtype=np.float64).astype(np.float32)

    def _seen(self, index: int, x: np.ndarray) -> np.ndarray:
        """The columns of x that a member sees."""
        if x.ndim != 2 or not len(self._columns) or len(self._columns[index]) == x.shape[1]:
            return x
        return np.take(x, self._columns[index], axis=1)


def columns_of(names: Sequence[str], members: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """Places in `names` of the features of members, from their model.json. Raises ValueError for one that is not there."""
    return [np.array([names.index(name) for name in member["feature_names"]]) for member in members]
