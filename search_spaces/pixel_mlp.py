"""Space of the dense network over pixels."""

from __future__ import annotations

from typing import Any

from fersweep.search_spaces.torch_training import SEED_TRAINING, training


def space(trial: Any) -> dict[str, Any]:
    num_layers = trial.suggest_int("num_layers", 1, 4)
    return {
        "units": [trial.suggest_int(f"units_{i}", 16, 2048, log=True) for i in range(num_layers)],
        "activation": trial.suggest_categorical("activation", ["relu", "gelu", "silu", "elu"]),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.7),
        "l2": trial.suggest_float("l2", 1e-7, 1e-2, log=True)
        if trial.suggest_categorical("use_l2", [False, True])
        else 0.0,
        "image_size": trial.suggest_categorical("image_size", [24, 48]),
        **training(trial),
    }


# An earlier project: 2304 → 64 (relu) → 7, learning rate 0.02, batches of 64, normalised pixels. Its notes do not name the
# optimizer: plain SGD fits that rate.
POINTS: dict[str, dict[str, Any]] = {
    "seed_mlp": {
        **SEED_TRAINING,
        "num_layers": 1,
        "units_0": 64,
        "activation": "relu",
        "batch_norm": False,
        "dropout": 0.0,
        "use_l2": False,
        "image_size": 48,
        "batch_size": 64,
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 0.02,
    },
}
