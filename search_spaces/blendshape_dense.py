"""Space of the dense network over blendshapes."""

from __future__ import annotations

from typing import Any

from fersweep.search_spaces.keras_training import SEED_TRAINING, training


def space(trial: Any) -> dict[str, Any]:
    num_layers = trial.suggest_int("num_layers", 1, 6)
    return {
        "units": [trial.suggest_int(f"units_{i}", 8, 512, log=True) for i in range(num_layers)],
        "activation": trial.suggest_categorical("activation", ["relu", "tanh", "selu", "gelu"]),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        **training(trial),
    }


# The dense network of the first blendshape project: its notes give no sizes, so those of its LSTM are taken.
POINTS: dict[str, dict[str, Any]] = {
    "seed_dense": {
        "num_layers": 2,
        "units_0": 33,
        "units_1": 12,
        "activation": "relu",
        "batch_norm": False,
        "learning_rate": 0.00464489,
        **SEED_TRAINING,
    },
}
