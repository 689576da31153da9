"""A functional model with two branches."""

import keras
from keras import layers


def space(trial):
    return {
        "units": [trial.suggest_int(f"units_{i}", 4, 16) for i in range(2)],
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }


def net(hparams, num_features, num_classes):
    x = inputs = keras.Input((num_features,))
    for units in hparams["units"]:
        x = layers.Dropout(hparams["dropout"])(layers.LayerNormalization()(layers.Dense(units, "silu")(x)))
    points = layers.Conv1D(4, 3, padding="same", activation="relu")(layers.Reshape((num_features, 1))(inputs))
    x = layers.Concatenate()([x, layers.GlobalMaxPooling1D()(points)])
    return keras.Model(inputs, layers.Dense(num_classes, kernel_regularizer=keras.regularizers.L2(1e-3))(x))
