"""The file tests/own_models/torch_features.py as a trainable. FERSWEEP_TRAINABLES names this module."""

import importlib
import sys
from typing import Any, cast

from fersweep.trainables.short_form.adapted import adapted

file = importlib.import_module("tests.own_models.torch_features")
sys.modules[__name__] = cast(Any, adapted("own_torch_features", file, "torch"))
