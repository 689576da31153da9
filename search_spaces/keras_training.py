"""The training knobs that the Keras trainables share (trainables/keras_training/classifier.py), as a part of their spaces."""

from __future__ import annotations

from typing import Any


def training(trial: Any) -> dict[str, Any]:
    """Suggest optimizer, regularisation and batch. A switch (`use_…`) comes before each knob that may be off."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
    hparams = {
        "optimizer": optimizer,
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
        "beta_1": trial.suggest_float("beta_1", 0.5, 0.99),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "exponential"]),
        "batch_size": trial.suggest_int("batch_size", 16, 1024, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
        "initializer": trial.suggest_categorical(
            "initializer", ["glorot_uniform", "he_normal", "orthogonal", "uniform"]
        ),
        "class_weights": trial.suggest_float("class_weights", 0.0, 1.0),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "transform": trial.suggest_categorical("transform", ["none", "logit"]),
        "standardise": trial.suggest_categorical("standardise", [False, True]),
    }
    if optimizer in ("adam", "adamw"):
        hparams["amsgrad"] = trial.suggest_categorical("amsgrad", [False, True])
    if hparams["initializer"] == "uniform":
        hparams["initializer_range"] = trial.suggest_float("initializer_range", 0.01, 0.5, log=True)
    if trial.suggest_categorical("use_clipnorm", [False, True]):
        hparams["clipnorm"] = trial.suggest_float("clipnorm", 0.1, 10.0, log=True)
    if trial.suggest_categorical("use_weight_decay", [False, True]):
        hparams["weight_decay"] = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    if trial.suggest_categorical("use_l2", [False, True]):
        hparams["l2"] = trial.suggest_float("l2", 1e-7, 1e-2, log=True)
    if trial.suggest_categorical("use_ema", [False, True]):
        hparams["ema_momentum"] = trial.suggest_float("ema_momentum", 0.9, 0.9999)
    if trial.suggest_categorical("use_early_stopping", [False, True]):
        hparams["early_stopping_patience"] = trial.suggest_int("early_stopping_patience", 3, 50)
    return hparams


# The first blendshape project: Adam with clipnorm 1, batches of about the square root of the number of faces, raw scores.
SEED_TRAINING: dict[str, Any] = {
    "optimizer": "adam",
    "beta_1": 0.9,
    "schedule": "constant",
    "batch_size": 150,
    "dropout": 0.0,
    "initializer": "glorot_uniform",
    "class_weights": 0.0,
    "label_smoothing": 0.0,
    "transform": "none",
    "standardise": False,
    "amsgrad": False,
    "use_clipnorm": True,
    "clipnorm": 1.0,
    "use_weight_decay": False,
    "use_l2": False,
    "use_ema": False,
    "use_early_stopping": False,
}
