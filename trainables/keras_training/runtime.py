"""Keras, imported once and quietly, with a share of the GPU."""

# TensorFlow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from typing import Any

from fersweep.common.processes import num_threads, silent_stderr
from fersweep.trainables import gpu_share


def import_keras() -> tuple[Any, Any]:
    """(tensorflow, keras), with one thread for each CPU of the trial (OMP_NUM_THREADS, which Ray sets)."""
    load_keras()
    import keras
    import tensorflow as tf

    _set_up()
    _limit_gpus()
    return tf, keras


def load_keras() -> None:
    """Import both, unless somebody has; nothing is set, and no GPU is looked for.

    Keras imports scikit-learn and Matplotlib if they are installed, which takes a quarter of its import and is not used
    here: they are hidden from it while it is imported.
    """
    if "tensorflow" in sys.modules:
        return
    share_process()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    hidden = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        with silent_stderr():
            import tensorflow  # noqa: F401

        with silent_stderr():
            import keras

            _ = keras.layers
    finally:
        for name in hidden:
            del sys.modules[name]


def share_process() -> None:
    """Prepare the process for torch beside TensorFlow; called before TensorFlow is imported.

    Triton, which torch imports late, has an LLVM of its own, and the process is aborted if TensorFlow's was loaded
    before it. And torch warns if TensorFlow looked for a GPU before it.
    """
    with contextlib.suppress(ImportError):  # torch without CUDA has no Triton
        importlib.import_module("triton")
    warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)


@functools.cache
def _set_up() -> None:
    """Also where somebody's file imported TensorFlow first, unless it has computed something already."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(num_threads())
        tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")  # it warns of retracing when several models predict one after another


@functools.cache  # once a process; after an error it is tried again, so that no trial trains without its limit
def _limit_gpus() -> None:
    """Limit TensorFlow, which takes all memory of every GPU, to what it needs, or to the trial's share (gpu_share.py)."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        if gpu_share.share() < 1:
            cap = gpu_share.cap_bytes(gpu_share.total_bytes(), gpu_share.share())
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=cap // 2**20)
            tf.config.set_logical_device_configuration(gpu, [limit])
        else:
            tf.config.experimental.set_memory_growth(gpu, True)
