"""The file tests/own_models/keras_features.py as a trainable. FERSWEEP_TRAINABLES names this module."""

import importlib
import sys
from typing import Any, cast

from fersweep.trainables.short_form.adapted import adapted

file = importlib.import_module("tests.own_models.keras_features")
sys.modules[__name__] = cast(Any, adapted("own_keras_features", file, "tensorflow"))
