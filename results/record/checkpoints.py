"""Checkpoints of trials: `trials/0007/epoch-0012/`, whole or not there, each with the checksums of its files.

A running trial keeps its newest two and its best; of the trials that have ended, the best few of the whole sweep keep
theirs (`keep_checkpoints`). Beside them is `predictions.npz`, the answers on val of the trial's best epoch.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from fersweep.common.files import sha256
from fersweep.common.untrusted import (
    GB,
    MB,
    check_size,
    is_object,
    is_plain_name,
    parse_json,
    read_arrays,
    read_regular,
    why,
)
from fersweep.results.record.journal import Row, trial_name
from fersweep.results.record.storage import Storage
from fersweep.results.record.trial_record import is_epoch

if TYPE_CHECKING:
    from fersweep.trainables.protocol import Trainable


MOST_BYTES, MOST_MODEL_BYTES = GB, 64 * GB  # of the predictions, and of the epochs; of another file
CHECKSUMS, EPOCHS, PREDICTIONS = "checksums.json", "epochs.json", "predictions.npz"


class Damaged(RuntimeError):
    """A checkpoint that is not what was written. The message names it and the file."""


def place(trial: int, epoch: int) -> str:
    """Where a checkpoint is in its sweep's storage."""
    return f"trials/{trial_name(trial)}/epoch-{epoch:04d}"


def write(directory: Path, model: Trainable, epochs: list[Row]) -> None:
    """Write the state of a model that has trained `epochs`, a row of metrics each, into an empty directory."""
    model.save(directory)
    (directory / EPOCHS).write_text(json.dumps(epochs))
    sums = {path.name: sha256(path) for path in sorted(directory.iterdir())}
    (directory / CHECKSUMS).write_text(json.dumps(sums))


def save(storage: Storage, trial: int, model: Trainable, epochs: list[Row]) -> None:
    """Store the state of a model that has trained `epochs` as that trial's checkpoint."""
    with storage.new(place(trial, len(epochs))) as directory:
        write(directory, model, epochs)


def publish(storage: Storage, trial: int, epoch: int, written: Path) -> None:
    """Store a checkpoint that `write` made elsewhere."""
    with storage.new(place(trial, epoch)) as directory:
        shutil.copytree(written, directory, dirs_exist_ok=True)


def saved(storage: Storage, trial: int) -> list[int]:
    """Epochs of a trial that have a checkpoint, ascending."""
    names = storage.names(f"trials/{trial_name(trial)}")
    return sorted(int(epoch[1]) for name in names if (epoch := re.fullmatch(r"epoch-(\d+)", name)))


def fetch(storage: Storage, trial: int, epoch: int, cache: Path) -> Path:
    """The local directory of a checkpoint, checked. Raises Damaged; FileNotFoundError where there is none.

    `cache`: the sweep's local directory, which gets a copy where the storage is remote.
    """
    name = place(trial, epoch)
    if epoch not in saved(storage, trial):
        raise FileNotFoundError(f"there is no checkpoint {name} in {storage.address}")
    if storage.path is None and (cache / name).is_dir() and not _damage(cache / name):
        return cache / name
    directory = storage.fetch(name, cache / name)
    if damage := _damage(directory):
        raise Damaged(f"checkpoint {name} is damaged: {damage}")
    return directory


def _damage(directory: Path) -> str | None:
    """What is wrong with the files of a checkpoint."""
    try:
        sums = parse_json(read_regular(directory / CHECKSUMS, MB))
        if not is_object(sums) or not all(map(is_plain_name, sums)) or EPOCHS not in sums:
            return f"{CHECKSUMS} is not what was written"
        for file in sums:
            check_size((directory / file).stat().st_size, MOST_MODEL_BYTES, directory / file)
        wrong = [file for file, checksum in sums.items() if sha256(directory / file) != checksum]
    except OSError as error:
        return f"{Path(error.filename or '').name}: {error.strerror}"
    except ValueError:
        return f"{CHECKSUMS} cannot be read"
    return f"{', '.join(wrong)}: not what was written" if wrong else None


def prune(storage: Storage, trial: int, keep: Collection[int]) -> None:
    """Delete a trial's checkpoints but those of the epochs in `keep`."""
    for epoch in saved(storage, trial):
        if epoch not in keep:
            storage.remove(place(trial, epoch))


def save_predictions(storage: Storage, trial: int, epoch: int, y: np.ndarray, probabilities: np.ndarray) -> None:
    """Write the answers on val of the trial's best epoch: y (N,) class indices, probabilities (N, C)."""
    content = io.BytesIO()
    np.savez(content, epoch=epoch, y=y, probabilities=probabilities)
    storage.write(f"trials/{trial_name(trial)}/{PREDICTIONS}", content.getvalue())


def read_predictions(
    storage: Storage, trial: int, num_classes: int | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """y (N,) and probabilities (N, C) float32 on val at the trial's best epoch; None where there are none that
    can be read, or they are of other than `num_classes`."""
    try:
        arrays = read_arrays(storage.read(f"trials/{trial_name(trial)}/{PREDICTIONS}", MOST_BYTES), MOST_BYTES)
        y, probabilities = arrays["y"], arrays["probabilities"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    except OSError:
        if storage.path is None:  # a bucket that does not answer
            raise
        return None
    if (y.ndim, probabilities.ndim) != (1, 2) or len(y) != len(probabilities) or not probabilities.size:
        return None
    if y.dtype.kind not in "iu" or probabilities.dtype.kind != "f" or not np.isfinite(probabilities).all():
        return None
    if num_classes not in (None, probabilities.shape[1]):
        return None
    return (y, probabilities) if y.min() >= 0 and y.max() < probabilities.shape[1] else None


def read_epochs(directory: Path) -> list[Row]:
    """The metrics of the epochs that a checkpoint's model has trained. Raises Damaged."""
    try:
        epochs = parse_json(read_regular(directory / EPOCHS, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise Damaged(f"{directory / EPOCHS} cannot be read: {why(error)}") from None
    rows = cast("list[Row]", epochs)
    if not isinstance(epochs, list) or not all(map(is_epoch, rows)):
        raise Damaged(f"{directory / EPOCHS} has what is no epoch's metrics")
    if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
        raise Damaged(f"{directory / EPOCHS} has not the epochs from 1 on, in order")
    return rows
