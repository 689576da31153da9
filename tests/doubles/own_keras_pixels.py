"""The file tests/own_models/keras_pixels.py as a trainable. FERSWEEP_TRAINABLES names this module."""

import importlib
import sys
from typing import Any, cast

from fersweep.trainables.short_form.adapted import adapted

file = importlib.import_module("tests.own_models.keras_pixels")
sys.modules[__name__] = cast(Any, adapted("own_keras_pixels", file, "tensorflow"))
