"""Keras's side of images.py: the same two nets and augmentation, fed as in Keras's documentation, in float32.

    flow                          ImageDataGenerator over the faces in memory
    flow_from_directory           ImageDataGenerator over a folder of PNG files for each class
    image_dataset_from_directory  tf.data over the same folders, augmenting layers in its `map`

Keras has no EfficientNet-Lite: it is built here from timm's table (`efficientnet.py`, `_gen_efficientnet_lite`), as an
EfficientNet-B0 without squeeze-and-excite, with relu6.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from images import BATCH, ROTATION, SIZE, ZOOM, Way
from keras import layers
from PIL import Image

# Blocks, kernel, stride of the first block, expansion and channels of each stage.
LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def four_convolutions(x: Any, num_classes: int) -> Any:
    for width in (32, 64, 128, 256):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Dropout(0.25)(layers.MaxPooling2D()(x))
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return layers.Dense(num_classes, activation="softmax")(layers.Dropout(0.5)(x))


def lite0(x: Any, num_classes: int) -> Any:
    def convolved(x: Any, width: int, kernel: int = 1, stride: int = 1) -> Any:
        x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    x = layers.ReLU(6.0)(convolved(x, 32, kernel=3, stride=2))
    for num_blocks, kernel, stride, expansion, width in LITE0:
        for i in range(num_blocks):
            skipped = x
            if expansion > 1:
                x = layers.ReLU(6.0)(convolved(x, expansion * x.shape[-1]))
            x = layers.DepthwiseConv2D(kernel, 1 if i else stride, padding="same", use_bias=False)(x)
            x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
            x = convolved(x, width)
            if i:
                x = layers.Add()([x, skipped])
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(convolved(x, 1280)))
    return layers.Dense(num_classes, activation="softmax")(x)


def way(net: str, arrays: Any, data: Any) -> Way:
    faces = keras.Input((SIZE, SIZE, 1))
    model = keras.Model(faces, {"cnn": four_convolutions, "transfer": lite0}[net](faces, len(arrays.classes)))
    model.compile(optimizer=keras.optimizers.Adam(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    num_weights = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return Way(lambda: model.fit(data, verbose=0), num_weights, f"fp32, {device}")


def generator() -> Any:
    return tf.keras.preprocessing.image.ImageDataGenerator(
        rescale=1 / 255, rotation_range=ROTATION, zoom_range=ZOOM, horizontal_flip=True
    )


def flow(net: str, arrays: Any) -> Way:
    return way(net, arrays, generator().flow(arrays.train.x[..., None], arrays.train.y, batch_size=BATCH))


def flow_from_directory(net: str, arrays: Any) -> Way:
    options = {"target_size": (SIZE, SIZE), "color_mode": "grayscale", "class_mode": "sparse", "batch_size": BATCH}
    return way(net, arrays, generator().flow_from_directory(write_folder(arrays), **options))


def image_dataset_from_directory(net: str, arrays: Any) -> Way:
    data = keras.utils.image_dataset_from_directory(
        write_folder(arrays), image_size=(SIZE, SIZE), color_mode="grayscale", batch_size=BATCH, verbose=False
    )
    augmentation = keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(ROTATION / 360),
            layers.RandomZoom(ZOOM),
            layers.Rescaling(1 / 255),
        ]
    )
    data = data.map(lambda x, y: (augmentation(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    return way(net, arrays, data.prefetch(tf.data.AUTOTUNE))


def write_folder(arrays: Any) -> Path:
    """A folder in TMPDIR with a folder for each class, in which each face is a PNG file."""
    folder = Path(tempfile.mkdtemp())
    for name in arrays.classes:
        (folder / name).mkdir()
    for i, (face, label) in enumerate(zip(arrays.train.x, arrays.train.y, strict=True)):
        Image.fromarray(face).save(folder / arrays.classes[label] / f"{i}.png")
    return folder
