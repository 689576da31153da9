"""Which rows of a dataset a task is about.

    selection = Selection(dataset, manifest, spec, class_of)
    rows, y = selection.chosen("train", detected=True)      # rows of the dataset, rising, and their classes

Only columns of a few bytes a face are read, once; the caller reads pixels, scores and landmarks of the chosen rows.
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.columns import codes
from fersweep.data_pipeline.dataset.manifest import Manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.vocabulary import SPLITS


class Selection:
    """`spec`'s choice of the rows of the dataset at `dataset`, which has the manifest `manifest`.

    `class_of`: label → class index, of the labels that the task is about; `place`: what the user calls the dataset. InputError for a fold or a source that the
    dataset does not have.
    """

    def __init__(
        self, dataset: Path, manifest: Manifest, spec: TaskSpec, class_of: Mapping[str, int], place: str | Path
    ):
        self._dataset, self._spec, self._class_of, self._place = dataset, spec, class_of, place
        self._labels: list[str] = manifest["classes"]
        self.num_classes = max(class_of.values(), default=-1) + 1
        self._num_folds: int | None = manifest.get("folds")
        self._left_out = np.empty(0, np.int64)
        self._check_fold()
        self._check_sources(list(manifest.get("origins") or {}))

    def _check_fold(self) -> None:
        fold, num_folds = self._spec.fold, self._num_folds
        if fold is not None and not num_folds:
            raise InputError(f"task.fold: {self._place} has no folds (`prepare --folds 10` makes them); leave it out")
        if isinstance(fold, int) and num_folds and fold >= num_folds:
            raise InputError(f"task.fold: {self._place} has the folds 0 to {num_folds - 1}, but got {fold}")

    def _check_sources(self, known: list[str]) -> None:
        for name in self._spec.sources or ():
            if name not in known:
                raise InputError(
                    f"task.sources: {self._place} has no source '{name}'; it has {', '.join(known) or 'none by name'}"
                )
        if self._spec.sources == []:
            raise InputError("task.sources: the list is empty; leave it out for all sources")

    def check_val(self) -> None:
        """Raise InputError if val is one of several folds and the spec does not say which."""
        if self._num_folds and self._spec.fold is None:
            raise InputError(
                f"task.fold: {self._place} has {self._num_folds} folds; say which is val, 0 to {self._num_folds - 1}, or all"
            )

    @property
    def folds(self) -> list["Selection"]:
        """With `fold: all`: the choice of each fold, as with `fold: 0`, `fold: 1`, …; else none."""
        return [self._of_fold(fold) for fold in range(self._num_folds or 0)] if self._spec.fold == "all" else []

    @property
    def as_one(self) -> "Selection":
        """Of a dataset with folds: the choice whose train are the faces of all of them, for a model that learns them all."""
        return self._of_fold(None)

    def _of_fold(self, fold: int | None) -> "Selection":
        _ = self._columns  # read once for all folds
        choice = copy.copy(self)
        choice._spec = self._spec.model_copy(update={"fold": fold})
        return choice

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        """Of all rows: `label` and `split` (N,) int32 codes, `detected`, `in_sources` (N,) bool, and what the spec needs."""
        spec = self._spec
        wanted = ["label", "split", "detected", "augmentation", "duplicate_of"]
        wanted += ["fold"] * bool(self._num_folds) + ["near_duplicate_of"] * spec.drop_near_twins
        table = open_table(self._dataset, [*wanted, *["origin"] * (spec.sources is not None)])
        columns = {"label": codes(table["label"], self._labels), "split": codes(table["split"], SPLITS)}
        columns["detected"] = table["detected"].to_numpy()
        for name in ("augmentation", "duplicate_of", *["near_duplicate_of"] * spec.drop_near_twins):
            columns[name] = table[name].is_valid().to_numpy()
        if self._num_folds:
            columns["fold"] = table["fold"].fill_null(-1).to_numpy()
        if spec.sources is not None:
            columns["in_sources"] = codes(table["origin"], spec.sources) >= 0
        else:
            columns["in_sources"] = np.ones(table.num_rows, bool)
        return columns

    def without(self, rows: np.ndarray) -> "Selection":
        """The same choice, but for these rows of the dataset."""
        rest = copy.copy(self)
        rest._left_out = np.union1d(self._left_out, rows)
        return rest

    def originals(self, rows: np.ndarray) -> np.ndarray:
        """`rows` without the altered copies, and the faces that those were made of: rows (n,), rising."""
        copies = self._columns["augmentation"]
        if not copies[rows].any():
            return rows
        sources = open_table(self._dataset, ["source"])["source"].to_pylist()
        wanted = {sources[row] for row in rows[copies[rows]].tolist()}
        faces = [row for row in np.flatnonzero(~copies).tolist() if sources[row] in wanted]
        return np.union1d(rows[~copies[rows]], np.array(faces, np.int64))

    def chosen(self, split: str, detected: bool | None, to_train: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n,) int64, rising, of `split` that the task is about, and their classes (n,) int32.

        Args:
            detected: only faces that MediaPipe detected, or only those that it did not; None: both.
            to_train: val is trained on together with train, so that it has no twins of test either.

        With `fold: all`, val are the faces of all folds, and train those that the model of some fold learns.
        """
        if split == "train" and (folds := self.folds):
            of_folds = [rows for fold in folds for rows in fold.chosen(split, detected)[:1]]
            rows = np.unique(np.concatenate(of_folds))
            return rows, self._classes()[rows]
        if split not in SPLITS:
            raise InputError(f"split '{split}' is none of {', '.join(SPLITS)}")
        columns, spec = self._columns, self._spec
        y = self._classes()
        keep = (y >= 0) & columns["in_sources"] & self._in_split(split)
        if detected is not None:
            keep &= columns["detected"] == detected
        keep[self._left_out] = False
        if split == "train" or to_train:
            keep &= ~(columns["duplicate_of"] & (not spec.keep_twins))
            if spec.drop_near_twins:
                keep &= ~columns["near_duplicate_of"]
        if split != "train" or not self._takes_copies:
            keep &= ~columns["augmentation"]
        rows = np.flatnonzero(keep)
        if split == "train":
            rows = rows if detected is False else self._balance(rows, y)
            rows = self._fraction(rows, y)
        return rows, y[rows]

    def _classes(self) -> np.ndarray:
        """(N,) int32 class of each row of the dataset, -1 for none."""
        class_of = np.array([*(self._class_of.get(label, -1) for label in self._labels), -1], np.int32)
        return class_of[self._columns["label"]]

    @property
    def _takes_copies(self) -> bool:
        return self._spec.features != "pixels" if self._spec.augmented is None else self._spec.augmented

    def _in_split(self, split: str) -> np.ndarray:
        """(N,) bool. With a fold, the faces of train and val are split anew; a copy has its face's fold."""
        columns = self._columns
        if self._num_folds and split == "val":
            self.check_val()
        if self._spec.fold is None or split == "test":
            return columns["split"] == SPLITS.index(split)
        fold = columns["fold"]
        if self._spec.fold == "all":
            return fold >= 0
        return fold == self._spec.fold if split == "val" else (fold >= 0) & (fold != self._spec.fold)

    def _balance(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Those of `rows` (rising) that `spec.balance` keeps."""
        balance = self._spec.balance
        if balance is None:
            return rows
        if isinstance(balance, dict):
            labels = self._columns["label"][rows]
            groups = [(labels == self._labels.index(label), cap) for label, cap in balance.items()]
        else:
            counts = np.bincount(y[rows], minlength=self.num_classes)
            cap = int(counts.min()) if balance == "smallest" else balance
            groups = [(y[rows] == index, cap) for index in range(self.num_classes)]
        rng = np.random.default_rng(self._spec.seed)
        keep = np.ones(len(rows), bool)
        for members, cap in groups:
            places = np.flatnonzero(members)
            if len(places) > cap:
                keep[rng.permutation(places)[cap:]] = False
        return rows[keep]

    def _fraction(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Those of `rows` (rising) that `spec.fraction` keeps."""
        if self._spec.fraction == 1:
            return rows
        rng = np.random.default_rng(self._spec.seed)
        parts: list[np.ndarray] = []
        for index in range(self.num_classes):
            order = rng.permutation(rows[y[rows] == index])  # the same for every fraction
            parts.append(order[: max(1, round(self._spec.fraction * len(order)))])
        return np.sort(np.concatenate(parts))
