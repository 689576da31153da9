"""Raw scores and logits: one dense network, trained in the same way on both, beside gradient-boosted trees; on val.

.venv/bin/python benchmarks/models/transform.py --data runs/data/fer2013
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "2")
TASKS = {
    "happy, sad, neutral": {"happy": ["happy"], "sad": ["sad"], "neutral": ["neutral"]},
    "seven classes": None,
}
HPARAMS = {
    "units": [512, 256],
    "activation": "relu",
    "dropout": 0.4,
    "batch_size": 256,
    "optimizer": "adamw",
    "weight_decay": 1e-3,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "schedule_epochs": 30,
    "label_smoothing": 0.1,
    "class_weights": 0.4,
    "standardise": True,
}
SEEDS = (0, 1, 2)


def main() -> None:
    import numpy as np

    from fersweep import trainables
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task
    from fersweep.results.evaluate.tree_baseline import tree_baseline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    print("| task | model | accuracy | macro-F1 |\n|---|---|---|---|")
    for name, classes in TASKS.items():
        task = Task(options.data, TaskSpec(classes=classes, blendshapes="all"))
        arrays = task.arrays()
        for transform in ("none", "logit"):
            rows = []
            for seed in SEEDS:
                hparams = {**HPARAMS, "transform": transform}
                rows.append(trainables.load("blendshape_dense").build(hparams, arrays, seed).fit(30)[-1])
            accuracy, f1 = ([row[key] for row in rows] for key in ("val_accuracy", "val_macro_f1"))
            spread = f"{np.mean(accuracy):.3f} ± {np.std(accuracy):.3f} | {np.mean(f1):.3f} ± {np.std(f1):.3f}"
            print(f"| {name} | dense, transform: {transform} | {spread} |", flush=True)
        trees = tree_baseline(task).detected
        print(f"| {name} | trees | {trees.accuracy.value:.3f} | {trees.macro_f1.value:.3f} |", flush=True)


if __name__ == "__main__":
    main()
