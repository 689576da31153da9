"""Space of the convolutional nets."""

from __future__ import annotations

from typing import Any

from fersweep.search_spaces.torch_training import SEED_HEAD, SEED_TRAINING, head, training


def space(trial: Any) -> dict[str, Any]:
    num_stages = trial.suggest_int("num_stages", 2, 5)
    pooling = trial.suggest_categorical("pooling", ["max", "avg", "stride"])
    kernels = [trial.suggest_int(f"kernel_{i}", 1, 9) for i in range(num_stages)]
    if pooling == "stride":  # which needs odd ones
        kernels = [kernel + 1 - kernel % 2 for kernel in kernels]
    return {
        "widths": [trial.suggest_int(f"width_{i}", 16, 512, log=True) for i in range(num_stages)],
        "kernels": kernels,
        "convs_per_stage": trial.suggest_int("convs_per_stage", 1, 3),
        "pooling": pooling,
        "residual": trial.suggest_categorical("residual", [False, True]),
        "attention": trial.suggest_categorical("attention", ["none", "se", "cbam"]),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "activation": trial.suggest_categorical("activation", ["relu", "gelu", "silu", "elu"]),
        "conv_dropout": trial.suggest_float("conv_dropout", 0.0, 0.5),
        "image_size": trial.suggest_categorical("image_size", [48, 64, 96]),
        **head(trial, max_layers=3, max_units=1024),
        **training(trial),
    }


_SEED: dict[str, Any] = {
    **SEED_TRAINING,
    **SEED_HEAD,
    "convs_per_stage": 1,
    "pooling": "max",
    "residual": False,
    "attention": "none",
    "activation": "relu",
    "image_size": 48,
    "head_pooling": "flatten",
}
# Two nets of an earlier project: 3 × 3 convolutions, Adam 1e-3, batches of 32, zoom and flip. Its notes give no widths and
# no amount of zoom: 32 channels, doubled at each stage, 128 hidden units and 0.2 are taken.
_SMALL_KERNELS = {
    **_SEED,
    "batch_size": 32,
    "flip": True,
    "zoom": 0.2,
    "head_layers": 1,
    "head_units_0": 128,
    "head_dropout_0": 0.0,
}
# A net of another project: relu, pooling and dropout 0.5 after each convolution, two dense layers; else Keras's defaults.
_LARGE_KERNELS = {
    **_SEED,
    "batch_size": 32,
    "head_layers": 2,
    "head_units_0": 128,
    "head_units_1": 64,
    **{f"head_dropout_{i}": 0.0 for i in range(3)},
}
POINTS: dict[str, dict[str, Any]] = {
    "seed_conv2": {
        **_SMALL_KERNELS,
        "num_stages": 2,
        "width_0": 32,
        "width_1": 64,
        "kernel_0": 3,
        "kernel_1": 3,
        "batch_norm": False,
        "conv_dropout": 0.0,
        "head_dropout_1": 0.0,
    },
    "seed_lobo": {
        **_SMALL_KERNELS,
        "num_stages": 4,
        **{f"width_{i}": width for i, width in enumerate((32, 64, 128, 256))},
        **{f"kernel_{i}": 3 for i in range(4)},
        "batch_norm": True,
        "conv_dropout": 0.25,
        "head_dropout_1": 0.5,
    },
    "seed_conv3_large": {
        **_LARGE_KERNELS,
        "num_stages": 3,
        "width_0": 128,
        "width_1": 256,
        "width_2": 512,
        "kernel_0": 9,
        "kernel_1": 6,
        "kernel_2": 3,
        "batch_norm": False,
        "conv_dropout": 0.5,
    },
}
