"""A dense net of one's own in Keras, on blendshapes: a skip connection from the input to the last layer.

fersweep launch examples/keras_dense.yaml --data runs/data/fer2013
"""

import keras


def space(trial):
    return {
        "units": trial.suggest_int("units", 16, 128, log=True),
        "noise": trial.suggest_float("noise", 0.0, 0.3),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
    }


def net(hparams, num_features, num_classes):
    """(B, num_features) → (B, num_classes) logits."""
    inputs = keras.Input((num_features,))
    hidden = keras.layers.GaussianNoise(hparams["noise"])(inputs)
    hidden = keras.layers.Dense(hparams["units"], activation="gelu")(hidden)
    hidden = keras.layers.Dense(hparams["units"], activation="gelu")(hidden)
    both = keras.layers.Concatenate()([inputs, hidden])
    return keras.Model(inputs, keras.layers.Dense(num_classes)(both))
