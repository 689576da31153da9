"""A task says which faces, classes and features of a dataset a model learns, and turns the dataset into arrays.

    task = Task(Path("runs/data/fer2013"), TaskSpec(classes={"happy": ["happy"], "sad": ["sad"]}))
    arrays = task.arrays()        # train, val and train's statistics: what a trainable is built from
    test = task.load("test")      # only ever asked for by an evaluation

Shapes: N faces, F features, C classes, H × W pixels.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, PositiveInt

from data_pipeline.columns import class_votes, images, scores
from data_pipeline.errors import InputError
from data_pipeline.schema import BLENDSHAPES, SPLITS, open_table, read_manifest


class TaskSpec(BaseModel, extra="forbid", frozen=True):
    """The `task:` of a sweep file."""

    features: Literal["blendshapes", "pixels"] = "blendshapes"
    classes: dict[str, list[str]] | None = None
    """Model class → dataset labels. None: each label is a class. Labels that stand in no class are left out."""
    balance: PositiveInt | Literal["smallest"] | dict[str, PositiveInt] | None = None
    """At most so many train faces per model class; "smallest": as many as the rarest class has; a mapping: at most so
    many per dataset label. Which ones are kept is drawn with `seed`. val and test stay whole."""
    fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of what is left of train, this share of each model class is learned, at least a face of each, drawn with `seed`.
    The faces of a smaller fraction are among those of a larger one. val and test stay whole."""
    keep_twins: bool = False
    """Train faces whose pixels also stand in val or test are dropped unless this is set."""
    blendshapes: Literal["all", "varying"] | list[str] = "varying"
    varying_min: float = Field(default=0.05, ge=0.0, lt=1.0)
    """"varying" keeps a score when its maximum over train reaches this and it is not constant there. On FER2013 0.05
    drops the six dead scores (maxima below 0.007) and keeps the weakest live one (jawForward, 0.06): 46 are left."""
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Arrays:
    """Faces of one split."""

    x: np.ndarray  # (N, F) float32 blendshapes | (N, H, W) uint8 pixels
    y: np.ndarray  # (N,) int32 index into classes
    weight: np.ndarray  # (N,) float32, ones unless the source weighs rows
    face_ids: np.ndarray  # (N,) str
    votes: np.ndarray | None = None  # (N, C) float32, rows sum to 1: see columns.class_votes; not of test


@dataclass(frozen=True)
class TaskArrays:
    """What a trainable is built from. test is not in it."""

    train: Arrays
    val: Arrays
    classes: list[str]
    feature_names: list[str]
    mean: np.ndarray  # (F,) float32, from train; pixels: F = 1
    std: np.ndarray  # (F,) float32, from train, never below 1e-6
    class_weight: np.ndarray  # (C,) float32, n / (C * n_c), from train
    fingerprint: str
    preprocessing: dict[str, Any]  # what inference must repeat: border, size, image_size, bundle, MediaPipe version
    groups: dict[str, list[str]] = field(default_factory=dict)  # class → the dataset's labels that it stands for


class Task:
    """`spec` applied to the dataset at `dataset`.

    `learned`: it is to be learned, so that every class must have a train face; else it may be judged only.
    InputError where a class, label or blendshape is not the dataset's, or a class has no train face.
    """

    def __init__(self, dataset: Path, spec: TaskSpec | None = None, learned: bool = True):
        self.dataset = Path(dataset)
        self.spec = spec = spec or TaskSpec()
        self.manifest = read_manifest(self.dataset)
        labels: list[str] = self.manifest["classes"]
        groups = {label: [label] for label in labels} if spec.classes is None else spec.classes
        self.classes, self.groups = list(groups), groups
        self._class_of: dict[str, int] = {}
        for index, (name, members) in enumerate(groups.items()):
            for label in members:
                _check_label(label, labels, f"task.classes.{name}")
                if label in self._class_of:
                    other = self.classes[self._class_of[label]]
                    raise InputError(f"task.classes: label '{label}' stands in '{other}' and in '{name}'; choose one")
                self._class_of[label] = index
        if len(self.classes) < 2:
            raise InputError(f"task.classes: a task needs two classes or more, but got {self.classes}")
        if isinstance(spec.balance, dict):
            for label in spec.balance:
                _check_label(label, list(self._class_of), "task.balance")
        for name, members in groups.items() if learned else ():
            if not any(self.manifest["counts"].get("train", {}).get(label) for label in members):
                raise InputError(f"task.classes.{name}: no train face has a label of {members} in {self.dataset}")
        self.feature_names = self._choose_features()

    def load(self, split: str) -> Arrays:
        """Faces of `split`: with `features: blendshapes` the detected ones, their columns `feature_names`.

        x is (N, F) float32 raw scores or (N, H, W) uint8. train is without twins, balanced, and the fraction of it that
        the spec asks for.
        """
        voted = ["votes"] if split != "test" else []  # a model is judged by labels
        if self.spec.features == "blendshapes":
            table, y = self._rows(split, [*self.feature_names, *voted], detected=True)
            x = scores(table, self.feature_names)
        else:
            table, y = self._rows(split, ["pixels", *voted], detected=None)
            x = images(table["pixels"], self.manifest["image_size"])
        ids = np.array(table["face_id"].to_pylist(), dtype=np.str_)
        votes = class_votes(table["votes"], y, self._class_of, len(self.classes)) if voted else None
        return Arrays(x, y, np.ones(len(y), np.float32), ids, votes)

    def undetected(self, split: str) -> np.ndarray:
        """(M,) int32: classes of the faces of `split` without blendshapes (figures over all faces count them wrong)."""
        return self._rows(split, [], detected=False)[1]

    def everyone(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All faces of `split`, found by MediaPipe or not: y (M,) int32, detected (M,) bool, face_ids (M,) str.

        Where `features: blendshapes`, those detected are the rows of `load(split)`, in its order.
        """
        table, y = self._rows(split, [], detected=None)
        return y, table["detected"].to_numpy(), np.array(table["face_id"].to_pylist(), dtype=np.str_)

    def names(self, split: str, rows: Sequence[int] | np.ndarray) -> tuple[list[str], list[str]]:
        """face_id and source of the given rows of `load(split)`."""
        detected = True if self.spec.features == "blendshapes" else None
        table = self._rows(split, ["source"], detected)[0].take(pa.array(rows, pa.int64()))
        return table["face_id"].to_pylist(), table["source"].to_pylist()

    def pictures(self, split: str, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Faces (n, H, W) uint8 of the given rows of `load(split)`, to look at, and where each came from (`source`)."""
        detected = True if self.spec.features == "blendshapes" else None
        table, _ = self._rows(split, ["pixels", "source"], detected)
        table = table.take(pa.array(rows, pa.int64()))
        return images(table["pixels"], self.manifest["image_size"]), table["source"].to_pylist()

    def arrays(self, with_val: bool = False) -> TaskArrays:
        """train, val and the statistics of train. `with_val`: train is train and val together, for a last training."""
        train, val = self.load("train"), self.load("val")
        if len(val.y) == 0:
            raise InputError(
                f"{self.dataset} has no val faces of {self.classes}: a search needs them to compare trials"
            )
        train = _joined(train, val) if with_val else train
        counts = np.bincount(train.y, minlength=len(self.classes))
        if (counts == 0).any():
            missing = self.classes[int(np.argmin(counts))]
            raise InputError(f"task.classes.{missing}: no train face is left of it in {self.dataset}")
        if self.spec.features == "blendshapes":
            mean, std = train.x.mean(axis=0, dtype=np.float64), train.x.std(axis=0, dtype=np.float64)
        else:
            values = np.bincount(train.x.reshape(-1), minlength=256).astype(np.float64) / train.x.size
            mean = np.array([values @ np.arange(256)])
            std = np.sqrt([values @ (np.arange(256) - mean[0]) ** 2])
        return TaskArrays(
            train=train,
            val=val,
            classes=self.classes,
            feature_names=self.feature_names,
            mean=mean.astype(np.float32),
            std=np.maximum(std, 1e-6).astype(np.float32),
            class_weight=(len(train.y) / (len(counts) * counts)).astype(np.float32),
            fingerprint=self.manifest["fingerprint"],
            preprocessing={**self.manifest["landmarks"], "image_size": self.manifest["image_size"]},
            groups=self.groups,
        )

    def _choose_features(self) -> list[str]:
        wanted = self.spec.blendshapes
        if self.spec.features == "pixels":
            return ["pixels"]
        if wanted == "all":
            return list(BLENDSHAPES)
        if isinstance(wanted, list):
            for name in wanted:
                if name not in BLENDSHAPES:
                    nearest = difflib.get_close_matches(name, BLENDSHAPES, 1, cutoff=0.0)[0]
                    raise InputError(f"task.blendshapes: MediaPipe has no '{name}'; the nearest name is '{nearest}'")
            if not wanted or len(set(wanted)) < len(wanted):
                raise InputError(f"task.blendshapes: names must be given, each once, but got {wanted}")
            return list(wanted)
        x = scores(self._rows("train", BLENDSHAPES, detected=True)[0], BLENDSHAPES)
        if len(x) == 0:
            raise InputError(
                f"{self.dataset}: MediaPipe found no face of {self.classes} in train; use features: pixels"
            )
        varies = (x.max(axis=0) >= self.spec.varying_min) & (x.max(axis=0) > x.min(axis=0))
        names = [name for name, keep in zip(BLENDSHAPES, varies, strict=True) if keep]
        if not names:
            raise InputError(f"task.varying_min: no blendshape reaches {self.spec.varying_min} on train; lower it")
        return names

    def _rows(self, split: str, columns: Sequence[str], detected: bool | None) -> tuple[pa.Table, np.ndarray]:
        """Rows of `split` that the task is about, and their classes (N,) int32."""
        if split not in SPLITS:
            raise InputError(f"split '{split}' is none of {', '.join(SPLITS)}")
        table = open_table(self.dataset, ["face_id", "label", "detected", "duplicate_of", *columns], split)
        labels = np.array(table["label"].to_pylist(), dtype=object)
        y = np.array([self._class_of.get(label, -1) for label in labels], dtype=np.int32)
        keep = y >= 0
        if detected is not None:
            keep &= table["detected"].to_numpy() == detected
        if split == "train" and not self.spec.keep_twins:
            keep &= ~table["duplicate_of"].is_valid().to_numpy()
        rows = np.flatnonzero(keep)
        if split == "train":
            rows = rows if detected is False else self._balance(rows, y, labels)
            rows = self._fraction(rows, y)
        return table.take(pa.array(rows)), y[rows]

    def _balance(self, rows: np.ndarray, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Those of `rows` (indices, rising) that `spec.balance` keeps."""
        balance = self.spec.balance
        if balance is None:
            return rows
        if isinstance(balance, dict):
            groups = [(labels[rows] == label, cap) for label, cap in balance.items()]
        else:
            counts = np.bincount(y[rows], minlength=len(self.classes))
            cap = int(counts.min()) if balance == "smallest" else balance
            groups = [(y[rows] == index, cap) for index in range(len(self.classes))]
        rng = np.random.default_rng(self.spec.seed)
        keep = np.ones(len(rows), bool)
        for members, cap in groups:
            found = np.flatnonzero(members)
            if len(found) > cap:
                keep[rng.permutation(found)[cap:]] = False
        return rows[keep]

    def _fraction(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Those of `rows` (indices, rising) that `spec.fraction` keeps."""
        if self.spec.fraction == 1:
            return rows
        rng = np.random.default_rng(self.spec.seed)
        kept = []
        for index in range(len(self.classes)):
            order = rng.permutation(rows[y[rows] == index])  # the same for every fraction
            kept.append(order[: max(1, round(self.spec.fraction * len(order)))])
        return np.sort(np.concatenate(kept))


def _joined(one: Arrays, other: Arrays) -> Arrays:
    """The faces of both, one after the other; votes only if both have them."""
    names = ("x", "y", "weight", "face_ids")
    both = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    votes = None if one.votes is None or other.votes is None else np.concatenate([one.votes, other.votes])
    return Arrays(**both, votes=votes)


def _check_label(label: str, labels: list[str], key: str) -> None:
    if label not in labels:
        raise InputError(f"{key}: there is no label '{label}'; there are {', '.join(labels)}")
