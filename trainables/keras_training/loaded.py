"""Its import loads TensorFlow and Keras: for what can import a module and nothing else (common/local_ray/warm_up.py)."""

from fersweep.trainables.keras_training.runtime import load_keras

load_keras()
