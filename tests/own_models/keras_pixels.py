"""A convolutional net as people write it for FER2013, with Keras's own augmentation."""

import keras
from keras import layers

HPARAMS = {"filters": 4}


def space(trial):
    return {
        "filters": trial.suggest_int("filters", 4, 8),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }


def net(hparams, image_size, num_classes):
    filters = hparams["filters"]
    return keras.Sequential(
        [
            keras.Input((image_size, image_size, 1)),
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.1, 0.1),
            layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(filters * 2, 3, padding="same"),
            layers.LeakyReLU(0.1),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(num_classes),
        ]
    )
