"""`transfer` with `head: trees`: gradient-boosted trees on the pooled features of a frozen backbone (scikit-learn).

An epoch is `trees_per_epoch` more boosting iterations. A checkpoint holds the trees in treelite's format (zlib's over
it), which needs no pickle and no scikit-learn; to train on from one, the trees are grown again, which gives the same ones.
"""

# scikit-learn and treelite have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import itertools
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.processes import num_threads
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.batches import face_weights
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.protocol import check_finite, val_metrics
from fersweep.trainables.saved_model import describe_model, read_checkpoint, write_checkpoint

if TYPE_CHECKING:
    import treelite

    from fersweep.trainables.transfer.hparams import Hparams


NODE_FIELDS = ("value", "feature_idx", "num_threshold", "left", "right", "is_leaf")


class TreeClassifier:
    """Boosted trees in training. `net_state`: a checkpoint's arrays with the backbone; None: a fresh, pretrained one."""

    def __init__(self, hparams: Hparams, model: dict[str, Any], net_state: dict[str, np.ndarray] | None):
        self.hparams, self.model, self.epoch = hparams, model, 0
        self._extractor = _Extractor(hparams, model, net_state)
        self._forest: treelite.Model | None = None
        self._arrays: TaskArrays | None = None
        self.val_probabilities = np.zeros((0, len(model["classes"])), np.float32)

    def attach(self, arrays: TaskArrays) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        h = self.hparams
        self._arrays = arrays
        self._train, self._val = self._extractor(arrays.train.x), self._extractor(arrays.val.x)
        self._weight = face_weights(arrays, h.class_weights)
        self._trees = HistGradientBoostingClassifier(
            learning_rate=h.tree_rate,
            max_leaf_nodes=h.tree_leaves,
            l2_regularization=h.tree_l2,
            early_stopping=False,  # type: ignore[arg-type]
            warm_start=True,
            random_state=self.model["seed"],
        )

    def _grow(self, num_iterations: int) -> None:
        import treelite.sklearn
        from threadpoolctl import threadpool_limits

        assert self._arrays is not None
        self._trees.set_params(max_iter=num_iterations)
        with threadpool_limits(num_threads()):
            self._trees.fit(self._train, self._arrays.train.y, sample_weight=self._weight)
        self._forest = treelite.sklearn.import_model(self._trees)

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        if self._arrays is None:
            raise RuntimeError("a restored model can only predict: build it with its arrays to train it")
        return [self._fit_one(self._arrays) for _ in range(num_epochs)]

    def _fit_one(self, arrays: TaskArrays) -> EpochMetrics:
        start = time.perf_counter()
        self._grow((self.epoch + 1) * self.hparams.trees_per_epoch)
        self.epoch += 1
        self.val_probabilities = self._probabilities(self._val)
        train = self._trees.predict_proba(self._train)[np.arange(len(arrays.train.y)), arrays.train.y]
        loss = float((-np.log(np.maximum(train, 1e-12)) * self._weight).mean())
        metrics = {"epoch": self.epoch, "train_loss": loss, **val_metrics(self.val_probabilities, arrays.val.y)}
        metrics["epoch_s"] = time.perf_counter() - start
        check_finite(metrics)
        return metrics

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._probabilities(self._extractor(x))

    def num_weights(self) -> int:
        """Those of the backbone, and a number for each node of a tree: a threshold, or a leaf's value."""
        forest, nodes = self._forest, 0
        if forest is not None:
            trees = (forest.get_tree_accessor(index) for index in range(forest.num_tree))
            nodes = sum(int(tree.get_field("num_nodes")[0]) for tree in trees)
        return self._extractor.num_weights() + nodes

    def _probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, F) float32 → (N, C) float32."""
        import treelite

        assert self._forest is not None
        answers = treelite.gtil.predict(self._forest, features)[:, 0]
        if answers.shape[1] == 1:  # two classes: the second one's probability
            answers = np.concatenate([1 - answers, answers], axis=1)
        return answers.astype(np.float32)

    def save(self, directory: Path) -> None:
        forest: dict[str, np.ndarray] = {}
        if self._forest is not None:
            forest["trees"] = np.frombuffer(zlib.compress(self._forest.serialize_bytes(), level=1), np.uint8)
        write_checkpoint(directory, {**self.model, "epoch": self.epoch}, {**forest, **self._extractor.state()})

    def load(self, directory: Path) -> None:
        import treelite

        model, state = read_checkpoint(directory)
        self.epoch = model["epoch"]
        if self._arrays is not None and self.epoch:
            self._grow(self.epoch * self.hparams.trees_per_epoch)
        elif "trees" in state:
            self._forest = treelite.Model.deserialize_bytes(zlib.decompress(state["trees"].tobytes()))
        elif self.epoch:
            self._forest = _from_arrays(state, self._extractor.num_features)


def build_trees(hparams: Hparams, arrays: TaskArrays, seed: int) -> TreeClassifier:
    """A fresh classifier with the features of its training faces computed."""
    classifier = TreeClassifier(hparams, describe_model("transfer", hparams, arrays, seed), None)
    classifier.attach(arrays)
    return classifier


def restore_trees(directory: Path) -> TreeClassifier:
    """A classifier that can predict, from a checkpoint alone."""
    from fersweep.trainables.transfer.hparams import Hparams

    model, state = read_checkpoint(directory)
    described = {key: value for key, value in model.items() if key != "epoch"}
    classifier = TreeClassifier(Hparams(**model["hparams"]), described, state)
    classifier.load(directory)
    return classifier


class _Extractor:
    """The frozen backbone with its pooling."""

    def __init__(self, h: Hparams, model: dict[str, Any], state: dict[str, np.ndarray] | None):
        import torch

        from fersweep.trainables.torch_training import device as devices
        from fersweep.trainables.transfer.net import make_empty_net, make_net

        plain = h.model_copy(update={"head_units": (), "head_dropout": 0.0, "head_pooling": "avg"})
        self._device, self._size = devices.open_device(), h.image_size
        torch.manual_seed(model["seed"])
        net = (make_net if state is None else make_empty_net)(plain, len(model["classes"]))
        self._net: Any = net.backbone.to(self._device).to(memory_format=torch.channels_last).eval()
        if state is not None:
            weights = {k.removeprefix("net."): torch.from_numpy(v) for k, v in state.items() if k.startswith("net.")}
            self._net.load_state_dict(weights)
            self.mean, self.std = (float(state[name][0]) for name in ("mean", "std"))
        else:
            self.mean, self.std = (255 / 2, 255 / 4) if net.mean is None or net.std is None else (net.mean, net.std)

    @property
    def num_features(self) -> int:
        return self._net.num_features

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(N, H, W) uint8 → (N, F) float32."""
        import torch

        from fersweep.trainables.torch_training.augment import resized
        from fersweep.trainables.torch_training.classifier import PREDICT_PIXELS

        parts: list[np.ndarray] = []
        step = PREDICT_PIXELS // self._size**2
        with torch.no_grad():
            for start in range(0, len(x), step):
                chunk = torch.from_numpy(np.array(x[start : start + step], np.uint8))[:, None]  # x may be mapped
                normalised = (chunk.to(self._device).float() - self.mean) / self.std
                parts.append(self._net(resized(normalised, self._size)).mean(dim=(2, 3)).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.num_features), np.float32)

    def num_weights(self) -> int:
        return sum(values.numel() for values in self._net.state_dict().values() if values.is_floating_point())

    def state(self) -> dict[str, np.ndarray]:
        weights = {f"net.{k}": v.cpu().numpy() for k, v in self._net.state_dict().items()}
        return weights | {"mean": np.array([self.mean], np.float32), "std": np.array([self.std], np.float32)}


def _from_arrays(arrays: dict[str, np.ndarray], num_features: int) -> treelite.Model:
    """The trees of an older checkpoint: `trees.baseline` (C,), `trees.sizes` (iterations, C), the number of nodes of each
    tree, and each of NODE_FIELDS, all nodes one after another. C is 1 for two classes (the second one's log-odds).
    """
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    sizes, baseline = arrays["trees.sizes"], arrays["trees.baseline"]
    num_trees, num_outputs = sizes.size, len(baseline)
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(
            num_features, "kMultiClf" if num_outputs > 1 else "kBinaryClf", False, 1, [num_outputs], (1, 1)
        ),
        tree_annotation=TreeAnnotation(num_trees, [0] * num_trees, [i % num_outputs for i in range(num_trees)]),
        postprocessor=PostProcessorFunc("softmax" if num_outputs > 1 else "sigmoid"),
        base_scores=baseline.tolist(),
    )
    nodes = zip(*(arrays[f"trees.{name}"].tolist() for name in NODE_FIELDS), strict=True)
    for size in sizes.reshape(-1):
        builder.start_tree()
        for key, (value, feature, threshold, left, right, is_leaf) in enumerate(itertools.islice(nodes, size)):
            builder.start_node(key)
            if is_leaf:
                builder.leaf(value)
            else:
                builder.numerical_test(
                    feature, threshold, default_left=False, opname="<=", left_child_key=left, right_child_key=right
                )
            builder.end_node()
        builder.end_tree()
    return builder.commit()
