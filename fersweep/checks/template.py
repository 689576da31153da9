"""The file that `fersweep new trainable` writes: a net that works, to be changed."""

from __future__ import annotations

from typing import Literal

Kind = Literal["torch", "keras"]
Sees = Literal["pixels", "features"]

HEAD = '''"""A trainable of my own: {net} on {sees}.

    fersweep check trainable {file}
    fersweep launch SWEEP.yaml --data DATASET      # with `trainable: {file}` and `task: {{features: {features}}}` in it
"""

{imports}

def space(trial):
    """What is searched: numbers of the net below, and knobs of the training loop (learning_rate, optimizer, batch_size, …)."""
    return {{
        "{size}": trial.suggest_int("{size}", 16, 64, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }}


def net(hparams, {shape}, num_classes):
    """{doc} → (B, num_classes) logits. hparams: a dict of all of them."""
'''
BODIES: dict[tuple[Kind, Sees], str] = {
    ("torch", "pixels"): """    width = hparams["width"]
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )
""",
    ("torch", "features"): """    units = hparams["units"]
    return nn.Sequential(nn.Linear(num_features, units), nn.ReLU(), nn.Linear(units, num_classes))
""",
    ("keras", "pixels"): """    return keras.Sequential(
        [
            keras.Input((image_size, image_size, 1)),
            keras.layers.Conv2D(hparams["width"], 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(2 * hparams["width"], 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(num_classes),
        ]
    )
""",
    ("keras", "features"): """    return keras.Sequential(
        [
            keras.Input((num_features,)),
            keras.layers.Dense(hparams["units"], activation="relu"),
            keras.layers.Dense(num_classes),
        ]
    )
""",
}


def template(file: str, kind: Kind, sees: Sees) -> str:
    """The text of a file of the short form that can be searched as it is."""
    faces = "(B, 1, S, S)" if kind == "torch" else "(B, S, S, 1)"
    head = HEAD.format(
        file=file,
        net="a net in PyTorch" if kind == "torch" else "a net in Keras",
        sees="gray faces" if sees == "pixels" else "blendshapes or landmarks",
        features="pixels" if sees == "pixels" else "blendshapes",
        imports="from torch import nn\n" if kind == "torch" else "import keras\n",
        size="width" if sees == "pixels" else "units",
        shape="image_size" if sees == "pixels" else "num_features",
        doc=f"{faces} normalised gray faces" if sees == "pixels" else "(B, num_features)",
    )
    return head + BODIES[kind, sees]
