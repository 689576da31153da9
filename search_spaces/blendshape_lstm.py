"""Space of the blendshape LSTM: every knob that the first blendshape project searched, and its best points."""

from __future__ import annotations

from typing import Any

from fersweep.search_spaces.keras_training import SEED_TRAINING, training


def space(trial: Any) -> dict[str, Any]:
    num_layers = trial.suggest_int("num_layers", 1, 6)
    return {
        "units": [trial.suggest_int(f"units_{i}", 4, 512, log=True) for i in range(num_layers)],
        "activation": trial.suggest_categorical("activation", ["tanh", "relu", "selu"]),
        "bidirectional": trial.suggest_categorical("bidirectional", [False, True]),
        "recurrent_dropout": trial.suggest_float("recurrent_dropout", 0.0, 0.6),
        "layout": trial.suggest_categorical("layout", ["features", "steps"]),
        **training(trial),
    }


# The first blendshape project: two relu layers with the learning rate of the best run in its notes, and the two best
# points of its tuner.
_SEED = {
    "num_layers": 2,
    "units_0": 33,
    "units_1": 12,
    "activation": "relu",
    "bidirectional": False,
    "recurrent_dropout": 0.0,
    "layout": "features",
    "learning_rate": 0.00464489,
    **SEED_TRAINING,
}
POINTS: dict[str, dict[str, Any]] = {
    "seed_paper": _SEED,
    "seed_tuner_8": {**_SEED, "learning_rate": 2.0048e-4, "num_layers": 1, "units_0": 8, "beta_1": 0.7},
    "seed_tuner_18": {**_SEED, "learning_rate": 1.0147e-3, "num_layers": 1, "units_0": 18, "beta_1": 0.9},
    # Its notes name it without rates: the learning rate of the best run and a usual decay are taken.
    "seed_tanh_decay": {**_SEED, "activation": "tanh", "use_weight_decay": True, "weight_decay": 1e-4},
}
for _name in ("seed_tuner_8", "seed_tuner_18"):
    del POINTS[_name]["units_1"]
