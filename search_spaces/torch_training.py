"""The training knobs that the image models share (trainables/torch_training/hparams.py), as a part of their spaces."""

from __future__ import annotations

from typing import Any


def training(trial: Any) -> dict[str, Any]:
    """Suggest optimizer, schedule, loss, augmentation and batch. A switch (`use_…`) comes before each knob that may be off."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"])
    hparams = {
        "optimizer": optimizer,
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
        "momentum": trial.suggest_float("momentum", 0.0, 0.99),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "one_cycle", "plateau"]),
        "warmup_epochs": trial.suggest_float("warmup_epochs", 0.0, 5.0),
        "batch_size": trial.suggest_int("batch_size", 16, 512, log=True),
        "loss": trial.suggest_categorical("loss", ["cross_entropy", "focal"]),
        "class_weights": trial.suggest_float("class_weights", 0.0, 1.0),
        "sampling": trial.suggest_categorical("sampling", ["shuffled", "balanced"]),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "soft_labels": trial.suggest_categorical("soft_labels", [False, True]),
        **augmentation(trial),
    }
    if hparams["schedule"] == "plateau":
        hparams["plateau_patience"] = trial.suggest_int("plateau_patience", 1, 10)
        hparams["plateau_factor"] = trial.suggest_float("plateau_factor", 0.1, 0.8)
    if hparams["loss"] == "focal":
        hparams["focal_gamma"] = trial.suggest_float("focal_gamma", 0.5, 4.0)
    for name, low, high in (
        ("weight_decay", 1e-6, 1e-1),
        ("clipnorm", 0.1, 10.0),
        ("sam_rho", 0.01, 0.5),
    ):
        if trial.suggest_categorical(f"use_{name}", [False, True]):
            hparams[name] = trial.suggest_float(name, low, high, log=True)
    if trial.suggest_categorical("use_ema", [False, True]):
        hparams["ema_decay"] = trial.suggest_float("ema_decay", 0.9, 0.9999)
    if trial.suggest_categorical("use_early_stopping", [False, True]):
        hparams["early_stopping_patience"] = trial.suggest_int("early_stopping_patience", 3, 20)
    return hparams


def augmentation(trial: Any) -> dict[str, Any]:
    """Suggest how train faces are changed; 0 is none."""
    hparams = {
        "flip": trial.suggest_categorical("flip", [False, True]),
        "rotation": trial.suggest_float("rotation", 0.0, 30.0),
        "zoom": trial.suggest_float("zoom", 0.0, 0.3),
        "shift": trial.suggest_float("shift", 0.0, 0.2),
        "shear": trial.suggest_float("shear", 0.0, 15.0),
        "crop": trial.suggest_float("crop", 0.0, 0.3),
        "brightness": trial.suggest_float("brightness", 0.0, 0.3),
        "contrast": trial.suggest_float("contrast", 0.0, 0.4),
        "erasing": trial.suggest_float("erasing", 0.0, 0.5),
    }
    for name in ("mixup", "cutmix"):
        if trial.suggest_categorical(f"use_{name}", [False, True]):
            hparams[name] = trial.suggest_float(name, 0.1, 2.0)
    return hparams


def head(trial: Any, max_layers: int, max_units: int) -> dict[str, Any]:
    """Suggest the head's hidden layers, each with a dropout of its own."""
    num_layers = trial.suggest_int("head_layers", 0, max_layers)
    return {
        "head_units": [trial.suggest_int(f"head_units_{i}", 16, max_units, log=True) for i in range(num_layers)],
        "head_dropout": [trial.suggest_float(f"head_dropout_{i}", 0.0, 0.7) for i in range(num_layers + 1)],
        "head_pooling": trial.suggest_categorical("head_pooling", ["avg", "max", "both", "flatten"]),
        "head_activation": trial.suggest_categorical("head_activation", ["relu", "gelu", "silu", "elu"]),
        "head_batch_norm": trial.suggest_categorical("head_batch_norm", [False, True]),
        "head_l2": trial.suggest_float("head_l2", 1e-7, 1e-2, log=True)
        if trial.suggest_categorical("use_head_l2", [False, True])
        else 0.0,
    }


# What the notes of the earlier projects leave at its default: Keras's Adam, no weight decay, hard labels, one learning rate
# for all weights.
SEED_TRAINING: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "loss": "cross_entropy",
    "class_weights": 0.0,
    "sampling": "shuffled",
    "label_smoothing": 0.0,
    "soft_labels": False,
    "use_weight_decay": False,
    "use_clipnorm": False,
    "use_sam_rho": False,
    "use_ema": False,
    "use_early_stopping": False,
    "flip": False,
    "rotation": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "shear": 0.0,
    "crop": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "erasing": 0.0,
    "use_mixup": False,
    "use_cutmix": False,
}

# The same for a head; each point has its own number of layers, units and dropouts.
SEED_HEAD: dict[str, Any] = {
    "head_pooling": "avg",
    "head_activation": "relu",
    "head_batch_norm": False,
    "use_head_l2": False,
}
