"""A convolutional net of one's own in PyTorch, on pixels.

    fersweep launch examples/torch_cnn.yaml --data runs/data/fer2013

The short form: `space` says what is searched, `net` makes the net. Optimizer, schedule, augmentation, precision, early stopping,
checkpoints and export are those of fersweep's training loop; its knobs may be searched beside the net's own numbers.
"""

from torch import nn


def space(trial):
    return {
        "width": trial.suggest_int("width", 8, 64, log=True),
        "depth": trial.suggest_int("depth", 2, 4),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "rotation": trial.suggest_float("rotation", 0.0, 20.0),
    }


def net(hparams, image_size, num_classes):
    """(B, 1, S, S) normalised gray faces → (B, num_classes) logits."""
    layers, channels = [], 1
    for stage in range(hparams["depth"]):
        width = hparams["width"] * 2**stage
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(hparams["dropout"]), nn.Linear(channels, num_classes)
    )
