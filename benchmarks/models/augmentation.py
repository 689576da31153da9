"""Do augmented copies of train faces help a blendshape model? The same nets with and without them.

    .venv/bin/fersweep prepare fer2013.csv.zip --out runs/data/fer2013-augmented --augment 4
    .venv/bin/python benchmarks/models/augmentation.py --data runs/data/fer2013-augmented

Five seeds of one dense network with the same settings, on three and on seven classes: the same number of epochs on the
originals and on all faces, and, since an epoch of all has five times the steps, a fifth of the epochs on all. Printed: mean
and standard deviation over the seeds of the best epoch's macro-F1 and of its accuracy on val (PublicTest), by which that
epoch is chosen, too, in all rows. Boosted trees beside.
"""

import argparse
from pathlib import Path

import numpy as np

from fersweep import trainables
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task

THREE = {name: [name] for name in ("happy", "sad", "neutral")}
HPARAMS = {
    "units": [128, 128],
    "activation": "gelu",
    "batch_norm": False,
    "dropout": 0.4,
    "learning_rate": 1e-3,
    "batch_size": 256,
    "optimizer": "adamw",
    "weight_decay": 1e-3,
    "schedule": "constant",
    "transform": "logit",
    "standardise": True,
    "class_weights": 0.5,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset prepared with --augment")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    for classes in (THREE, None):
        for augmented, epochs in ((False, options.epochs), (True, options.epochs), (True, options.epochs // 5)):
            spec = TaskSpec(classes=classes, blendshapes="all", augmented=augmented)
            arrays = Task(options.data, spec).arrays()
            scores = np.array([best(arrays, epochs, seed) for seed in range(options.seeds)])
            mean, deviation = scores.mean(axis=0), scores.std(axis=0)
            print(
                f"{len(arrays.classes)} classes, {len(arrays.train.y):,} faces{' with copies' if augmented else ''}, "
                f"{epochs} epochs: macro-F1 {mean[0]:.4f} ± {deviation[0]:.4f}, accuracy {mean[1]:.4f} ± {deviation[1]:.4f}; "
                f"trees {trees(arrays)}",
                flush=True,
            )


def best(arrays, epochs: int, seed: int) -> tuple[float, float]:
    """macro-F1 and accuracy on val of the best epoch by macro-F1."""
    rows = trainables.load("blendshape_dense").build(dict(HPARAMS), arrays, seed).fit(epochs)
    top = max(rows, key=lambda row: row["val_macro_f1"])
    return top["val_macro_f1"], top["val_accuracy"]


def trees(arrays) -> str:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import f1_score

    model = HistGradientBoostingClassifier(random_state=0).fit(arrays.train.x, arrays.train.y)
    predicted = model.predict(arrays.val.x)
    return f"{f1_score(arrays.val.y, predicted, average='macro'):.4f} / {(predicted == arrays.val.y).mean():.4f}"


if __name__ == "__main__":
    main()
