"""Checkpoints of trials: `trials/0007/epoch-0012/`, whole or not there, each with the checksums of its files.

A running trial keeps its newest two and its best; of the trials that have ended, the best few of the whole sweep keep
theirs (`keep_checkpoints`). Beside them is `predictions.npz`, the answers on val of the trial's best epoch.

Both say whose they are (`trial.json` in a checkpoint): sweep, number, hparams, seed, data and version. After a journal was
put back from a backup, a directory may hold what another trial of its number left: that is never taken.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import sha256
from fersweep.common.untrusted import (
    GB,
    MB,
    check_size,
    is_object,
    is_plain_path,
    parse_json,
    read_arrays,
    read_regular,
    why,
)
from fersweep.results.record.events import is_epoch
from fersweep.results.record.journal import Hparams, Row, trial_name
from fersweep.results.record.storage import Storage

if TYPE_CHECKING:
    from fersweep.trainables.population import Saved


MOST_BYTES, MOST_MODEL_BYTES = GB, 64 * GB  # of the predictions, and of the epochs; of another file
CHECKSUMS, EPOCHS, PREDICTIONS, OWNER = "checksums.json", "epochs.json", "predictions.npz", "trial.json"
UNFINISHED = r"\.epoch-\d+-[0-9a-f]{8}(\.old)?"  # as Storage.new names them


class Damaged(RuntimeError):
    """A checkpoint that is not what was written. The message names it and the file."""


class Foreign(InputError):
    """A checkpoint of another trial than the one whose directory it is in. The message names both."""


@dataclass(frozen=True)
class Owner:
    """The trial that a checkpoint, or answers on val, belong to, and what it was trained from.

    Attributes:
        sweep_id: "" where trials are measured alone.
        trial: its number.
        hparams: as the journal has them.
        seed: of its trainable.
        fingerprint: of the data.
        fersweep: version of the code; another one does not make it another trial.
        earlier: (last epoch, hparams) of what the trial was trained with before, ascending: see `at`.
    """

    sweep_id: str
    trial: int
    hparams: Hparams
    seed: int
    fingerprint: str
    fersweep: str = ""
    earlier: tuple[tuple[int, Hparams], ...] = ()

    def at(self, epoch: int) -> Owner:
        """What the trial's checkpoint of an epoch says."""
        for last, hparams in self.earlier:
            if epoch <= last:
                return replace(self, hparams=hparams, earlier=())
        return self

    def as_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "earlier"})

    def differs_from(self, written: Any) -> str | None:
        """How what a checkpoint says of its own trial differs from this one; None: not at all.

        `written`: `as_json`, decoded; or the `model.json` of an older checkpoint, which has no sweep and no number, and all
        hparams, those by default among them.
        """
        if not isinstance(written, dict):
            return None
        said = cast(dict[str, Any], written)
        if self.sweep_id and said.get("sweep_id", self.sweep_id) != self.sweep_id:
            return f"another sweep (its id is {said['sweep_id']}, not {self.sweep_id})"
        if said.get("trial", self.trial) != self.trial:
            return f"trial {said['trial']}"
        if said.get("fingerprint", self.fingerprint) != self.fingerprint:
            return f"other data (fingerprint {str(said['fingerprint'])[:12]}, not {self.fingerprint[:12]})"
        hparams = said.get("hparams")
        if isinstance(hparams, dict):
            theirs, ours = cast(Hparams, hparams), json.loads(json.dumps(self.hparams))
            for name in sorted(theirs.keys() & ours.keys()):
                if theirs[name] != ours[name]:
                    return f"other hparams ({name} {theirs[name]}, not {ours[name]})"
        if "sweep_id" in said and said.get("seed", self.seed) != self.seed:  # a `model.json` may have another's
            return f"another seed ({said['seed']}, not {self.seed})"
        return None


@dataclass(frozen=True)
class Adopted:
    """The checkpoint of another trial of the sweep that a trial goes on from, and the hparams that it was trained with."""

    trial: int
    epoch: int
    hparams: Hparams


def trial_seed(seed: int, trial: int) -> int:
    """The seed of a trial's trainable, in a sweep whose search has `seed`."""
    return int(np.random.default_rng([seed, trial]).integers(2**31))


def place(trial: int, epoch: int) -> str:
    """Where a checkpoint is in its sweep's storage."""
    return f"trials/{trial_name(trial)}/epoch-{epoch:04d}"


def write(directory: Path, model: Saved, epochs: list[Row], owner: Owner | None = None) -> None:
    """Write the state of a model that has trained `epochs`, a row of metrics each, into an empty directory."""
    model.save(directory)
    if owner is not None:
        (directory / OWNER).write_text(owner.as_json())
    (directory / EPOCHS).write_text(json.dumps(epochs))
    sums = {
        path.relative_to(directory).as_posix(): sha256(path) for path in sorted(directory.rglob("*")) if path.is_file()
    }
    (directory / CHECKSUMS).write_text(json.dumps(sums))


def save(storage: Storage, trial: int, model: Saved, epochs: list[Row], owner: Owner | None = None) -> int:
    """Store the state of a model that has trained `epochs` as that trial's checkpoint → its size in bytes."""
    with storage.new(place(trial, len(epochs))) as directory:
        write(directory, model, epochs, owner)
        return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def publish(storage: Storage, trial: int, epoch: int, written: Path) -> None:
    """Store a checkpoint that `write` made elsewhere."""
    with storage.new(place(trial, epoch)) as directory:
        shutil.copytree(written, directory, dirs_exist_ok=True)


def trials(storage: Storage) -> list[int]:
    """Numbers of the trials that have a directory, ascending."""
    return sorted(int(name) for name in storage.names("trials") if name.isdecimal())


def saved(storage: Storage, trial: int) -> list[int]:
    """Epochs of a trial that have a checkpoint, ascending."""
    names = storage.names(f"trials/{trial_name(trial)}")
    return sorted(int(epoch[1]) for name in names if (epoch := re.fullmatch(r"epoch-(\d+)", name)))


def fetch(storage: Storage, trial: int, epoch: int, cache: Path, owner: Owner | None = None) -> Path:
    """The local directory of a checkpoint, checked. Raises Damaged; FileNotFoundError where there is none; Foreign where
    it is not the `owner`'s.

    `cache`: the sweep's local directory, which gets a copy where the storage is remote.
    """
    name, copies, owner = place(trial, epoch), Storage(cache), owner and owner.at(epoch)
    if epoch not in saved(storage, trial):
        raise FileNotFoundError(f"there is no checkpoint {name} in {storage.address}")
    has_copy = storage.path is None and (cache / name).is_dir() and not _damage(cache / name)
    if has_copy and not (owner and _difference(copies, name, owner)):
        return cache / name
    directory = storage.fetch(name, cache / name)
    if damage := _damage(directory):
        raise Damaged(f"checkpoint {name} is damaged: {damage}")
    if owner is not None and (difference := _difference(storage if storage.path else copies, name, owner)):
        raise Foreign(
            f"checkpoint {name} in {storage.address} is not of trial {trial_name(trial)}, but of {difference}: put back the "
            "trial's own, or move that one away"
        )
    return directory


def _difference(storage: Storage, checkpoint: str, owner: Owner) -> str | None:
    """How the trial that a checkpoint was made by differs from `owner`; None: it does not, or nobody can tell."""
    for file in (OWNER, "model.json"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return owner.differs_from(parse_json(storage.read(f"{checkpoint}/{file}", MB)))
    return None


def set_aside(storage: Storage, owner: Owner) -> str | None:
    """Move what is in a trial's directory and is not its own to `trials/0007.foreign-1` → a line; None: there is nothing."""
    name, found = f"trials/{trial_name(owner.trial)}", dict[str, str]()
    for file in storage.names(name):
        if file == PREDICTIONS:
            difference = _read_predictions(storage, owner.trial, None, owner)[1]
        else:
            epoch = re.fullmatch(r"epoch-(\d+)", file)
            difference = _difference(storage, f"{name}/{file}", owner.at(int(epoch[1]))) if epoch else None
        if difference:
            found[file] = difference
    if not found:
        return None
    taken = storage.names("trials")
    aside = next(free for n in count(1) if Path(free := f"{name}.foreign-{n}").name not in taken)
    for file in found:
        storage.move(f"{name}/{file}", f"{aside}/{file}")
    return f"{name}: {', '.join(found)} of {next(iter(found.values()))}: set aside as {aside}"


def remove_unfinished(sweep_dir: Path) -> int:
    """Remove the checkpoints that processes which were killed did not finish → how many. No driver may be running."""
    left = [path for path in Path(sweep_dir).glob("trials/*/.epoch-*") if re.fullmatch(UNFINISHED, path.name)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def _damage(directory: Path) -> str | None:
    """What is wrong with the files of a checkpoint."""
    try:
        sums = parse_json(read_regular(directory / CHECKSUMS, MB))
        if not is_object(sums) or not all(map(is_plain_path, sums)) or EPOCHS not in sums:
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


def save_predictions(
    storage: Storage, trial: int, epoch: int, y: np.ndarray, probabilities: np.ndarray, owner: Owner | None = None
) -> None:
    """Write the answers on val of the trial's best epoch: y (N,) class indices, probabilities (N, C)."""
    content = io.BytesIO()
    whose: dict[str, Any] = {} if owner is None else {"owner": np.array(owner.as_json())}
    np.savez(content, epoch=epoch, y=y, probabilities=probabilities, **whose)
    storage.write(f"trials/{trial_name(trial)}/{PREDICTIONS}", content.getvalue())


def read_predictions(
    storage: Storage, trial: int, num_classes: int | None = None, owner: Owner | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """y (N,) and probabilities (N, C) float32 on val at the trial's best epoch; None where there are none that
    can be read, or they are of other than `num_classes`. Raises Foreign where they are not the `owner`'s."""
    answers, difference = _read_predictions(storage, trial, num_classes, owner)
    if difference:
        raise Foreign(
            f"trials/{trial_name(trial)}/{PREDICTIONS} in {storage.address} is not of trial {trial_name(trial)}, but of "
            f"{difference}: it is not used"
        )
    return answers


def _read_predictions(
    storage: Storage, trial: int, num_classes: int | None, owner: Owner | None
) -> tuple[tuple[np.ndarray, np.ndarray] | None, str | None]:
    """The answers, and how the trial that gave them differs from `owner`."""
    try:
        arrays = read_arrays(storage.read(f"trials/{trial_name(trial)}/{PREDICTIONS}", MOST_BYTES), MOST_BYTES)
        y, probabilities = arrays["y"], arrays["probabilities"]
        whose = parse_json(str(arrays["owner"]).encode()) if owner and "owner" in arrays else None
    except (FileNotFoundError, ValueError, KeyError):
        return None, None
    except OSError:
        if storage.path is None:  # a bucket that does not answer
            raise
        return None, None
    difference = owner.at(_epoch_of(arrays)).differs_from(whose) if owner else None
    return ((y, probabilities) if _are_answers(y, probabilities, num_classes) else None), difference


def _epoch_of(answers: Mapping[str, np.ndarray]) -> int:
    """The epoch that answers on val are of; 0 where they do not say."""
    epoch = answers.get("epoch")
    return int(epoch) if epoch is not None and epoch.ndim == 0 and epoch.dtype.kind in "iu" else 0


def _are_answers(y: np.ndarray, probabilities: np.ndarray, num_classes: int | None) -> bool:
    if (y.ndim, probabilities.ndim) != (1, 2) or len(y) != len(probabilities) or not probabilities.size:
        return False
    if y.dtype.kind not in "iu" or probabilities.dtype.kind != "f" or not np.isfinite(probabilities).all():
        return False
    if num_classes not in (None, probabilities.shape[1]):
        return False
    return bool(y.min() >= 0 and y.max() < probabilities.shape[1])


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
