"""Space of transfer learning: a backbone, how it is thawed, and a head."""

from __future__ import annotations

from typing import Any

from fersweep.search_spaces.torch_training import SEED_HEAD, SEED_TRAINING, head, training

BACKBONES = [
    *(f"efficientnet_b{i}" for i in range(8)),
    *(f"tf_efficientnetv2_b{i}" for i in range(4)),
    "tf_efficientnetv2_s",
    "tf_efficientnet_lite0",
    "inception_v3",
    *("resnet34", "resnet50", "resnet101"),
    *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    "squeezenet1_1",
    *("mobilenetv3_small_100", "mobilenetv3_large_100"),
    "convnext_tiny",
]


def space(trial: Any) -> dict[str, Any]:
    backbone = trial.suggest_categorical("backbone", BACKBONES)
    size = trial.suggest_categorical("image_size", [48, 64, 96, 128, 160, 192, 224])
    size = max(size, 96) if backbone == "inception_v3" else size  # smaller maps shrink to nothing
    net = {"backbone": backbone, "image_size": size, "head": trial.suggest_categorical("head", ["dense", "trees"])}
    if net["head"] == "trees":
        return {**net, **_trees(trial)}
    freeze = trial.suggest_categorical("freeze", ["none", "head_first", "gradual"])
    hparams = {
        **net,
        "freeze": freeze,
        "layer_decay": trial.suggest_float("layer_decay", 0.3, 1.0),
        "drop_path": trial.suggest_float("drop_path", 0.0, 0.4),
        **head(trial, max_layers=4, max_units=1024),
        **training(trial),
    }
    if freeze != "none":
        hparams["freeze_epochs"] = trial.suggest_int("freeze_epochs", 1, 5)
    return hparams


def _trees(trial: Any) -> dict[str, Any]:
    return {
        "trees_per_epoch": trial.suggest_int("trees_per_epoch", 1, 10),
        "tree_leaves": trial.suggest_int("tree_leaves", 4, 63, log=True),
        "tree_rate": trial.suggest_float("tree_rate", 0.01, 0.5, log=True),
        "tree_l2": trial.suggest_float("tree_l2", 1e-3, 10.0, log=True),
        "class_weights": trial.suggest_float("class_weights", 0.0, 1.0),
    }


_SEED: dict[str, Any] = {
    **SEED_TRAINING,
    **SEED_HEAD,
    "image_size": 48,
    "head": "dense",
    "freeze": "none",
    "layer_decay": 1.0,
    "drop_path": 0.0,
    "batch_size": 64,
}


def _layers(units: list[int], dropouts: list[float]) -> dict[str, Any]:
    """A head's layers as parameters; `dropouts` has one more than `units`, before the first layer."""
    return {
        "head_layers": len(units),
        **{f"head_units_{i}": unit for i, unit in enumerate(units)},
        **{f"head_dropout_{i}": rate for i, rate in enumerate(dropouts)},
    }


# Three nets of an earlier project. The recipe of its EfficientNet-B3 is complete; of the others its notes have the head
# alone, and the rest is taken from that recipe.
_RECIPE_67: dict[str, Any] = {
    **_SEED,
    "schedule": "plateau",
    "plateau_patience": 3,
    "plateau_factor": 0.5,
    "use_early_stopping": True,
    "early_stopping_patience": 5,
    "flip": True,
    "rotation": 10.0,
    "zoom": 0.15,
}
POINTS: dict[str, dict[str, Any]] = {
    "seed_b3_67": {
        **_RECIPE_67,
        "backbone": "efficientnet_b3",
        **_layers([512, 256, 128, 64], [0.0, 0.5, 0.6, 0.6, 0.3]),
        "use_head_l2": True,
        "head_l2": 1e-3,
    },
    "seed_v2b2": {
        **_RECIPE_67,
        "backbone": "tf_efficientnetv2_b2",
        **_layers([512, 256, 128, 64], [0.0, 0.25, 0.25, 0.25, 0.25]),
        "head_batch_norm": True,
    },
    "seed_b2": {
        **_RECIPE_67,
        "backbone": "efficientnet_b2",
        **_layers([128], [0.2, 0.0]),
    },
}
