"""Several trained models as one: the weighted mean of their probabilities. Its checkpoint holds theirs, and only predicts.

write(directory, [checkpoint, checkpoint, …], weights=[2, 1, …])
fersweep.trainables.restore(directory).predict(x)

Members may see different things of a face, pixels and MediaPipe's numbers: then x is data_pipeline/tasks/features.py's
`mixed`, and a face without numbers is answered by the members that see it, the weights of which are divided by their sum.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.features import part, vector_names
from fersweep.trainables.saved_model import read_model

ALIKE = ("classes", "groups", "preprocessing", "fingerprint")  # of all members
OF_MEMBER = ("trainable", "hparams", "feature_names", "weight", "name")


def joined(
    models: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None, names: Sequence[str] = ()
) -> dict[str, Any]:
    """The model.json of an ensemble of models with these model.json's: what they have in common, and a list of its `members`.

    Args:
        weights: of the members; None: all the same.
        names: of the members, as people call them.

    Raises InputError where their classes, data, or how they see a face differ.
    """
    for key in ALIKE:
        if any(model.get(key) != models[0].get(key) for model in models):
            raise InputError(
                f"an ensemble's members must have the same {key}, but {', '.join(names) or 'these'} have not"
            )
    model = {key: value for key, value in models[0].items() if all(other.get(key) == value for other in models)}
    every = list(dict.fromkeys(name for each in models for name in each["feature_names"]))
    model["feature_names"] = ["pixels"] * ("pixels" in every) + vector_names(every)
    model["ensemble"] = len(models)
    known = {"weight": weights or [1.0] * len(models), **({"name": names} if names else {})}
    model["members"] = [
        {key: value for key, value in each.items() if key in OF_MEMBER}
        | {key: values[index] for key, values in known.items()}
        for index, each in enumerate(models)
    ]
    learned: list[Any] = []  # each once, of all members
    for record in (record for described in models for record in described.get("learned", ())):
        learned += [record] * (record not in learned)
    return model | ({"learned": learned} if learned else {})


def write(directory: Path, members: Sequence[Path], model: Mapping[str, Any] | None = None) -> None:
    """Write the checkpoint of an ensemble of `members`, checkpoints, into `directory`. `model`: what `joined` made of them."""
    directory.mkdir(parents=True, exist_ok=True)
    for index, member in enumerate(members):
        shutil.copytree(member, directory / f"member-{index}")
    described = joined([read_model(member) for member in members]) if model is None else model
    (directory / "model.json").write_text(json.dumps(described, indent=1))


class Ensemble:
    """What `fersweep.trainables.restore` returns for an ensemble's checkpoint.

    Attributes:
        model: its model.json.
        members: restored models.
        weights: theirs; in an ensemble of an older version all are the same.
    """

    def __init__(self, model: dict[str, Any], members: Sequence[Any]):
        self.model, self.card, self.members = model, model, members
        alike: dict[str, Any] = {"weight": 1.0, "feature_names": model["feature_names"]}
        known = model.get("members") or [alike] * len(members)
        if len(known) != len(members) or not all(
            set(one["feature_names"]) <= set(model["feature_names"]) for one in known
        ):
            raise InputError(
                "model.json: the ensemble's members are not those that are there: put a copy of the checkpoint back"
            )
        self.weights = [float(member.get("weight", 1.0)) for member in known]
        self.sees: list[list[str]] = [member["feature_names"] for member in known]
        if all(".onnx" in getattr(member, "EXPORTS", ()) for member in members):
            self.EXPORTS = (".onnx",)
        if all(hasattr(member, "predict_tta") for member in members):
            self.predict_tta = self._predict_tta

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, C) float32 probabilities."""
        return self._mean(x, lambda member, seen: member.predict(seen))

    def num_weights(self) -> int:
        return sum(member.num_weights() for member in self.members)

    def predict_exactly(self, x: np.ndarray) -> np.ndarray:
        """`predict` in float32 throughout, as an exported file computes. Of members that can be exported."""
        return self._mean(x, lambda member, seen: member.predict_exactly(seen))

    def _predict_tta(self, x: np.ndarray) -> np.ndarray:
        return self._mean(x, lambda member, seen: member.predict_tta(seen))

    def _mean(self, x: np.ndarray, answer: Callable[[Any, np.ndarray], np.ndarray]) -> np.ndarray:
        total, weight = np.zeros((len(x), len(self.model["classes"]))), np.zeros((len(x), 1))
        for member, own, names in zip(self.members, self.weights, self.sees, strict=True):
            seen, inputs = part(x, self.model["feature_names"], names)
            if len(inputs):
                total[seen] += own * answer(member, inputs)
                weight[seen] += own
        return (total / weight).astype(np.float32)
