"""A task says which faces, classes and features of a dataset a model learns, and turns the dataset into arrays.

    task = Task(Path("runs/data/fer2013"), TaskSpec(classes={"happy": ["happy"], "sad": ["sad"]}))
    arrays = task.arrays()        # train, val and train's statistics: what a trainable is built from
    test = task.load("test")      # for evaluations alone

Shapes: N faces, F features, C classes, H × W pixels.
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

import copy
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.columns import read_rows
from fersweep.data_pipeline.dataset.integrity import check_parts
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.dataset.pixels import pixels
from fersweep.data_pipeline.dataset.staged import local
from fersweep.data_pipeline.tasks import features
from fersweep.data_pipeline.tasks.arrays import (
    Arrays,
    Fold,
    TaskArrays,
    class_votes,
    preprocessing,
    statistics,
    vectors,
)
from fersweep.data_pipeline.tasks.folds import make_folds, pool_rows
from fersweep.data_pipeline.tasks.selection import Selection
from fersweep.data_pipeline.tasks.spec import TaskSpec, check_label, groups_of
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

NAME = np.dtype("U64")  # of a face: sha256 in hex
Allocate = Callable[[str, tuple[int, ...], np.dtype], np.ndarray]
"""(name, shape, dtype) → an array to be filled."""


class Task:
    """`spec` applied to the dataset at `dataset`, a path or a bucket's address: its `place`.

    The attribute `dataset` is its directory on this machine, where it is staged if need be (dataset/staged.py).
    `learned`: a model is to be trained, so every class needs a train face; False: a model is to be judged.
    `feature_names`: those that a model wants, in its order, instead of those that the spec would choose.
    InputError for a class, label, feature, fold or source that the dataset does not have, a class without train faces, or a
    part that is not the one that the manifest names (dataset/integrity.py).
    """

    def __init__(
        self,
        dataset: str | Path,
        spec: TaskSpec | None = None,
        learned: bool = True,
        feature_names: Sequence[str] | None = None,
    ):
        self.place, self.dataset = dataset, local(dataset)
        self.spec = spec = spec or TaskSpec()
        self.manifest = read_manifest(self.dataset)
        check_parts(self.dataset, self.manifest)
        self.groups = groups_of(spec, self.manifest["classes"])
        self.classes = list(self.groups)
        self._class_of = {label: i for i, name in enumerate(self.classes) for label in self.groups[name]}
        if isinstance(spec.balance, dict):
            for label in spec.balance:
                check_label(label, list(self._class_of), "task.balance")
        self._detected = None if spec.features == "pixels" else True
        self._rows = Selection(self.dataset, self.manifest, spec, self._class_of, self.place)
        self._check_features()
        if learned:
            self._rows.check_val()
            self._check_learned()
        self.feature_names = self._choose_features() if feature_names is None else list(feature_names)
        self._check_names(self.feature_names, "task.blendshapes" if feature_names is None else "the model's features")

    @property
    def num_folds(self) -> int:
        """With `fold: all`; else 0."""
        return len(self._rows.folds)

    @property
    def has_pixels(self) -> bool:
        """The dataset has pictures of the faces."""
        return self.manifest["image_size"] is not None

    def load(self, split: str) -> Arrays:
        """Faces of `split`: all of them for `features: pixels`, else those that MediaPipe detected.

        x is (N, F) float32, `feature_names` with scores and coordinates as they are, or (N, H, W) uint8. train has no
        twins of val and test, and is balanced and cut to a fraction as the spec says.
        """
        return self._faces([split], in_memory)

    def _faces(self, splits: Sequence[str], allocate: Allocate) -> Arrays:
        """Faces of the splits, one after the other; of several, to train on all of them."""
        chosen = [self._rows.chosen(split, self._detected, to_train=len(splits) > 1) for split in splits]
        return self._filled(chosen, allocate, with_votes="test" not in splits)  # a model is judged by labels

    def _filled(
        self, chosen: Sequence[tuple[np.ndarray, np.ndarray]], allocate: Allocate, with_votes: bool = True
    ) -> Arrays:
        """Faces of rows of the dataset (rising) and their classes, one choice after the other."""
        y = np.concatenate([classes for _, classes in chosen])
        x = allocate("x", (len(y), *self.x_shape), np.dtype(np.uint8 if self.spec.features == "pixels" else np.float32))
        face_ids = allocate("face_ids", (len(y),), NAME)
        votes: list[np.ndarray | None] = []
        start = 0
        for rows, classes in chosen:
            here = slice(start, start + len(rows))
            self._read(rows, x[here], face_ids[here])
            given = self._table(["votes"], rows)["votes"] if with_votes else None
            votes.append(None if given is None else class_votes(given, classes, self._class_of, len(self.classes)))
            start += len(rows)
        known = [each for each in votes if each is not None]
        return Arrays(
            x, y, np.ones(len(y), np.float32), face_ids, np.concatenate(known) if len(known) == len(votes) else None
        )

    def _read(self, rows: np.ndarray, x: np.ndarray, face_ids: np.ndarray) -> None:
        """Write features and names of rows of the dataset (rising) to x (n, …) and face_ids (n,)."""
        if self.spec.features == "pixels":
            pixels(self.dataset, rows, self.manifest, out=x)
        columns, start = self._columns_of(self.feature_names), 0
        for table in read_rows(self.dataset, self.manifest, ["face_id", *columns], rows):
            here = slice(start, start + table.num_rows)
            face_ids[here] = table["face_id"].to_pylist()
            if columns:
                x[here] = vectors(table, self.feature_names)
            start += table.num_rows

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Of one face: (F,), or (H, W)."""
        size = self.manifest["image_size"]
        return tuple(size) if self.spec.features == "pixels" and size is not None else (len(self.feature_names),)

    def num_bytes(self, with_val: bool = False) -> int:
        """Of `arrays(with_val)`."""
        x_bytes = math.prod(self.x_shape) * (1 if self.spec.features == "pixels" else 4)
        other_bytes = NAME.itemsize + 8 + 4 * len(self.classes)  # class and weight, votes
        if self._rows.folds and with_val:
            num_faces = self.num_faces("val") + len(self._rows.as_one.chosen("train", self._detected)[0])
        elif self._rows.folds:
            num_faces = sum(len(rows) for rows, _ in pool_rows(self._rows, self._detected))
        else:
            num_faces = self.num_faces("train") + self.num_faces("val") * (2 if with_val else 1)
        return num_faces * (x_bytes + other_bytes)

    def num_faces(self, split: str) -> int:
        """Of `load(split)`."""
        return len(self._rows.chosen(split, self._detected)[0])

    def undetected(self, split: str) -> np.ndarray:
        """(M,) int32: classes of the faces of `split` without blendshapes: in figures over all faces they are wrong."""
        return self._rows.chosen(split, detected=False)[1]

    def everyone(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All faces of `split`, detected by MediaPipe or not: y (M,) int32, detected (M,) bool, face_ids (M,) str.

        Unless `features: pixels`, those detected are the rows of `load(split)`, in its order.
        """
        rows, y = self._rows.chosen(split, detected=None)
        table = self._table(["face_id", "detected"], rows)
        return y, table["detected"].to_numpy(), _texts(table["face_id"])

    def fold_of_val(self) -> np.ndarray:
        """(M,) int64: of a dataset with folds, the fold of each face of `everyone("val")`."""
        return self.columns("val", ["fold"])["fold"].to_numpy().astype(np.int64)

    def all_rows(self, split: str) -> np.ndarray:
        """(M,) rows of the dataset, rising: the faces of `everyone(split)`."""
        return self._rows.chosen(split, detected=None)[0]

    def without(self, split: str, faces: np.ndarray) -> "Task":
        """The same task without some faces of `split`: (M,) bool over `everyone(split)`."""
        rest = copy.copy(self)
        rest._rows = self._rows.without(self.all_rows(split)[faces])
        return rest

    def learned(self, splits: Sequence[str]) -> dict[str, Any]:
        """For model.json: the dataset, splits and selection of the faces that a model is trained on (learned_faces.py)."""
        return {
            "name": self.manifest.get("name", self.dataset.name),
            "fingerprint": self.manifest["fingerprint"],
            "splits": list(splits),
            "without_twins": not self.spec.keep_twins,
            "task": self.spec.model_dump(mode="json"),
        }

    def learned_rows(self, splits: Sequence[str], without_twins: bool = True) -> np.ndarray:
        """(n,) rows of the dataset, rising: the faces that a model trained on `splits` learns, those behind altered copies, too.

        `without_twins`: where it learns val, that has no twins of test; models of older versions learned them.
        """
        rows = [self._rows.chosen(split, self._detected, to_train=without_twins)[0] for split in splits]
        return self._rows.originals(np.unique(np.concatenate([np.empty(0, np.int64), *rows])))

    def learned_ids(self, splits: Sequence[str], without_twins: bool = True) -> list[str]:
        """face_id of `learned_rows`."""
        return self._table(["face_id"], self.learned_rows(splits, without_twins))["face_id"].to_pylist()

    def columns(self, split: str, names: Sequence[str]) -> pa.Table:
        """Columns of the dataset of all faces of `split`, in the order of `everyone`."""
        return self._table(names, self._rows.chosen(split, detected=None)[0])

    def names(self, split: str, rows: Sequence[int] | np.ndarray) -> tuple[list[str], list[str]]:
        """face_id and source of the given rows of `load(split)`."""
        chosen, place = self._dataset_rows(split, rows)
        table = self._table(["face_id", "source"], chosen).take(pa.array(place))
        return table["face_id"].to_pylist(), table["source"].to_pylist()

    def pictures(self, split: str, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Faces (n, H, W) uint8 of the given rows of `load(split)`, for pictures, and where each came from (`source`).

        InputError where the dataset has no pixels.
        """
        chosen, place = self._dataset_rows(split, rows)
        sources = self._table(["source"], chosen)["source"].take(pa.array(place)).to_pylist()
        return pixels(self.dataset, chosen, self.manifest)[place], sources

    def arrays(self, with_val: bool = False, allocate: Callable[[str], Allocate] = lambda _: in_memory) -> TaskArrays:
        """train, val and the statistics of train. `with_val`: train is train and val together, without twins of test, for a
        last training. `allocate`: split → what makes its large arrays. InputError if there are no val faces.

        With `fold: all`, the faces of all folds once, and the folds of them; `with_val`: all of them as one train.
        """
        if not self.num_faces("val"):
            raise InputError(f"{self.place} has no val faces of {self.classes}: a search needs them to compare trials")
        folds: list[Fold] = []
        if self._rows.folds and not with_val:
            order = pool_rows(self._rows, self._detected)
            train = self._filled(order, allocate("train"))
            folds = make_folds(self._rows, self._detected, train, order, [self.feature_names, *self._fold_features])
            val = train.taken(slice(sum(len(fold.val) for fold in folds)))
        else:
            val = self._faces(["val"], allocate("val"))
            if self._rows.folds:
                train = self._filled([self._rows.as_one.chosen("train", self._detected)], allocate("train"))
            else:
                train = self._faces(["train", "val"] if with_val else ["train"], allocate("train"))
        return TaskArrays(
            train=train,
            val=val,
            classes=self.classes,
            feature_names=self.feature_names,
            **statistics(train.x, train.y, len(self.classes)),
            fingerprint=self.manifest["fingerprint"],
            preprocessing=preprocessing(self.manifest),
            groups=self.groups,
            learned=[self.learned(["train", "val"] if with_val else ["train"])],
            folds=folds,
            taught=False,
        )

    @cached_property
    def _fold_features(self) -> list[list[str]]:
        """With `fold: all`: those of `feature_names` that each fold chooses, by its own train."""
        chosen = [self._chosen_features(fold) for fold in self._rows.folds]
        return [[name for name in self.feature_names if name in set(names)] for names in chosen]

    def _check_features(self) -> None:
        """Raise InputError if the dataset lacks what `features` needs."""
        wanted = self.spec.features
        if wanted == "pixels" and not self.has_pixels:
            raise InputError(
                f"task.features: {self.place} is made of ready-made blendshapes and has no pixels; use features: blendshapes"
            )
        if "landmarks" in wanted and not (self.manifest.get("has") or {}).get("landmarks"):
            raise InputError(f"task.features: {self.place} has no landmarks; prepare it with --landmarks")
        if wanted == "pixels" and self.spec.informative is not None:
            raise InputError("task.informative: it chooses among blendshapes and landmarks, not among pixels")

    def _check_learned(self) -> None:
        """Raise InputError if a class has no train face that the task sees, or a fold no val face."""
        seen = "" if self._detected is None else " in which MediaPipe found a face"
        for fold, rows in enumerate(self._rows.folds or [self._rows]):
            where = f" for fold {fold}" * bool(self._rows.folds)
            counts = np.bincount(rows.chosen("train", self._detected)[1], minlength=len(self.classes))
            for name, count in zip(self.classes, counts, strict=True):
                if not count:
                    raise InputError(
                        f"task.classes.{name}: no train face{seen} is left{where} with a label of {self.groups[name]} in {self.place}"
                    )
            if where and not len(rows.chosen("val", self._detected)[0]):
                raise InputError(f"task.fold: fold {fold} of {self.place} has no face{seen} of {self.classes}")

    def _check_names(self, names: Sequence[str], key: str) -> None:
        """Raise InputError if a name is no feature, or none of the dataset's."""
        if self.spec.features == "pixels":
            return
        features.check_names(names, key)
        for name in names:
            if name in BLENDSHAPES and name not in self._blendshapes:
                raise InputError(f"{key}: {self.place} has no {name}; it has {', '.join(self._blendshapes)}")

    @property
    def _blendshapes(self) -> list[str]:
        """Names of those that the dataset has."""
        return self.manifest.get("blendshapes", list(BLENDSHAPES))

    def _choose_features(self) -> list[str]:
        """Those that train chooses; with `fold: all`, those that some fold's train does."""
        if not self._rows.folds:
            return self._chosen_features(self._rows)
        chosen = [self._chosen_features(fold) for fold in self._rows.folds]
        wanted = set[str]().union(*chosen)
        if all(set(names) == wanted for names in chosen):
            return chosen[0]
        known = [*self._blendshapes, *features.landmark_names(self.spec.landmarks)]
        return sorted(wanted, key=known.index)

    def _chosen_features(self, selection: Selection) -> list[str]:
        """Those that the train faces of a choice of rows choose."""
        spec = self.spec
        if spec.features == "pixels":
            return ["pixels"]
        names = [] if spec.features == "landmarks" else self._choose_blendshapes(selection)
        if spec.features != "blendshapes":
            names += features.landmark_names(spec.landmarks)
        if spec.informative is None or spec.informative >= len(names):
            return names
        rows, y = selection.chosen("train", self._detected)
        return features.most_informative(names, self._vectors(names, rows), y, len(self.classes), spec.informative)

    def _choose_blendshapes(self, selection: Selection) -> list[str]:
        wanted, known = self.spec.blendshapes, self._blendshapes
        if wanted == "all":
            return list(known)
        if isinstance(wanted, list):
            self._check_names(wanted, "task.blendshapes")
            return list(wanted)
        x = self._vectors(known, selection.chosen("train", self._detected)[0])
        if len(x) == 0:
            raise InputError(f"{self.place}: MediaPipe found no face of {self.classes} in train; use features: pixels")
        varies = (x.max(axis=0) >= self.spec.varying_min) & (x.max(axis=0) > x.min(axis=0))
        names = [name for name, keep in zip(known, varies, strict=True) if keep]
        if not names:
            raise InputError(f"task.varying_min: no blendshape reaches {self.spec.varying_min} on train; lower it")
        return names

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """(n, F) float32 features of rows of the dataset (rising)."""
        return self._vectors(self.feature_names, rows)

    def _dataset_rows(self, split: str, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For rows of `load(split)`: the dataset's rows, rising, each once, and the place of each row among them."""
        return np.unique(self._rows.chosen(split, self._detected)[0][np.asarray(rows, np.int64)], return_inverse=True)

    def _table(self, columns: Sequence[str], rows: np.ndarray) -> pa.Table:
        """Columns of rows of the dataset (rising), in one table."""
        tables = list(read_rows(self.dataset, self.manifest, columns, rows))
        return pa.concat_tables(tables) if tables else open_table(self.dataset, columns).slice(0, 0)

    def _vectors(self, names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """(n, F) float32 features of rows of the dataset (rising)."""
        columns = self._columns_of(names)
        parts = [vectors(table, names) for table in read_rows(self.dataset, self.manifest, columns, rows)]
        return np.concatenate(parts) if parts else np.zeros((0, len(names)), np.float32)

    def _columns_of(self, names: Sequence[str]) -> list[str]:
        """Columns of the dataset that these features are made of; none for pixels, which are mapped."""
        if self.spec.features == "pixels":
            return []
        columns = [name for name in names if name in BLENDSHAPES]
        return [*columns, *["landmarks"] * (len(columns) < len(names))]


def in_memory(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An `Allocate`."""
    return np.empty(shape, dtype)


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.str_)
