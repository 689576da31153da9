"""Trains a Keras classifier on blendshapes, landmarks or both: what `blendshape_lstm` and `blendshape_dense` share.

An epoch is one call of one traced graph that holds the whole data set and loops over the batches itself: no Python,
no input pipeline and no retracing between batches or epochs. The learning rate, the order of the faces and the class
weights are inputs of that graph.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.batches import epoch_order, face_targets, face_weights
from fersweep.trainables.keras_training.hparams import KerasHparams, TrainingHparams, VectorHparams
from fersweep.trainables.keras_training.runtime import import_keras
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.protocol import TrialFailed, check_finite, val_metrics
from fersweep.trainables.saved_model import describe_model, read_checkpoint, write_checkpoint
from fersweep.trainables.vectors import Preparation, train_statistics


def make_initializer(hparams: KerasHparams, keras: Any) -> Any:
    """A new kernel initialiser; its seed comes from Keras's global seed."""
    if hparams.initializer == "uniform":
        width = hparams.initializer_range
        return keras.initializers.RandomUniform(-width, width)
    return keras.initializers.get(hparams.initializer)


def _make_optimizer(hparams: TrainingHparams, keras: Any) -> Any:
    optimizers = keras.optimizers
    common = {
        "learning_rate": hparams.learning_rate,
        "weight_decay": hparams.weight_decay or None,
        "clipnorm": hparams.clipnorm,
    }
    if hparams.optimizer == "sgd":
        return optimizers.SGD(momentum=hparams.beta_1, **common)
    if hparams.optimizer == "rmsprop":
        return optimizers.RMSprop(momentum=hparams.beta_1, **common)
    make = optimizers.AdamW if hparams.optimizer == "adamw" else optimizers.Adam
    if hparams.optimizer == "adamw":
        common["weight_decay"] = hparams.weight_decay
    return make(beta_1=hparams.beta_1, amsgrad=hparams.amsgrad, **common)


class KerasClassifier:
    """One Keras model in training. `make_model(hparams, num_features, num_classes, keras)` gives logits for (N, F).

    Attributes:
        preparation: from features to what the net sees.
    """

    hparams: Any
    preparation: Preparation
    predict_batch = 8192

    def __init__(
        self,
        hparams: TrainingHparams,
        model: dict[str, Any],
        statistics: dict[str, np.ndarray],
        make_model: Callable[..., Any],
    ):
        self.hparams, self.model, self.statistics, self.epoch = hparams, model, statistics, 0
        self.make_model = make_model
        self._set_inputs()
        self._tf, keras = import_keras()
        keras.backend.clear_session()
        keras.utils.set_random_seed(model["seed"] % 2**32)
        self._net = self.new_net()
        self._optimizer = _make_optimizer(hparams, keras)
        self._optimizer.build(self._net.trainable_variables)
        # The averaged weights (Polyak); an own copy, as Keras writes its average over the weights at the end of fit.
        self._average = (
            [self._tf.Variable(v.value) for v in self._net.trainable_variables]
            if hparams.ema_momentum is not None
            else []
        )
        signature = self._tf.TensorSpec((None, *self.input_shape), self.input_dtype)
        self._predict = self._tf.function(self._probabilities, input_signature=[signature])
        self._arrays: TaskArrays | None = None
        self.val_probabilities = np.zeros((0, len(model["classes"])), np.float32)

    def _set_inputs(self) -> None:
        """What the net sees: `input_shape` and `input_dtype` of a face as it lies in the graph, and its name in exports."""
        h, names = self.hparams, self.model["feature_names"]
        self.preparation = Preparation(names, self.statistics, h.transform, h.standardise)
        self.input_shape, self.input_dtype = (len(names),), "float32"
        self.input_name = "blendshapes" if self.preparation.scored.all() else "features"

    @property
    def EXPORTS(self) -> tuple[str, ...]:
        """Another program knows Keras's own layers alone; and a Lambda's code is loaded by none without asking."""
        kinds: list[type[Any]] = [type(layer) for layer in self._net._flatten_layers()]
        known = all(kind.__module__.startswith("keras.") and kind.__name__ != "Lambda" for kind in kinds)
        return (".onnx", ".tflite", ".keras") if known else (".tflite",)

    def new_net(self) -> Any:
        """A net as `make_model` gives it."""
        _, keras = import_keras()
        return self.make_model(self.hparams, self.input_shape[0], len(self.model["classes"]), keras)

    def attach(self, arrays: TaskArrays) -> None:
        """Make the training faces constants of the graph."""
        tf, h = self._tf, self.hparams
        self._arrays = arrays
        self._batch = min(h.batch_size, len(arrays.train.y))
        self._num_steps = len(arrays.train.y) // self._batch
        self._x = tf.constant(self._prepared(arrays.train.x))
        smoothing = h.label_smoothing
        self._y = tf.constant(face_targets(arrays)) * (1 - smoothing) + smoothing / len(arrays.classes)
        self._weight = tf.constant(face_weights(arrays, h.class_weights), tf.float32)
        self._run_epoch = tf.function(self._epoch_graph)

    def _prepared(self, x: np.ndarray) -> np.ndarray:
        """(N, …) as the task gives them → (N, …) as they lie in the graph."""
        return self.preparation(x)

    def seen(self, x: Any) -> Any:
        """(B, …) as they lie in the graph → what the net sees, by Keras's operations alone."""
        return x

    def _epoch_graph(self, order: Any, rates: Any) -> Any:
        """order: (num_steps, batch) int32 rows of train; rates: (num_steps,) learning rates → mean loss, a scalar."""
        tf, net, variables = self._tf, self._net, self._net.trainable_variables
        total = tf.zeros(())
        for step in tf.range(self._num_steps):
            rows = order[step]
            with tf.GradientTape() as tape:
                logits = net(self.seen(tf.gather(self._x, rows)), training=True)
                losses = tf.nn.softmax_cross_entropy_with_logits(tf.gather(self._y, rows), logits)
                loss = tf.reduce_mean(losses * tf.gather(self._weight, rows))
                objective = tf.add_n([loss, *net.losses])
            self._optimizer.learning_rate.assign(rates[step])
            self._optimizer.apply(tape.gradient(objective, variables), variables)
            for average, variable in zip(self._average, variables, strict=False):
                momentum = self.hparams.ema_momentum or 0.0
                average.assign(momentum * average + (1 - momentum) * variable.value)
            total += objective
        return total / tf.cast(self._num_steps, tf.float32)

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        if self._arrays is None:
            raise RuntimeError("a restored model can only predict: build it with its arrays to train it")
        return [self._fit_one(self._arrays) for _ in range(num_epochs)]

    def _fit_one(self, arrays: TaskArrays) -> EpochMetrics:
        start = time.perf_counter()
        # The order of an epoch depends on seed and epoch alone, so a resumed trial trains as one without a break.
        rng = np.random.default_rng([self.model["seed"], self.epoch])
        order = epoch_order(arrays.train.y, self._batch, False, rng).astype(np.int32)
        try:
            loss = float(self._run_epoch(order, self.hparams.learning_rates(self.epoch, self._num_steps)))
            self.epoch += 1
            self.val_probabilities = self._answers(arrays.val.x)
        except self._tf.errors.ResourceExhaustedError as error:
            raise TrialFailed(f"out of memory: {error.message.splitlines()[0]}") from error
        metrics = {"epoch": self.epoch, "train_loss": loss, **val_metrics(self.val_probabilities, arrays.val.y)}
        metrics["epoch_s"] = time.perf_counter() - start
        check_finite(metrics)
        return metrics

    def _probabilities(self, x: Any) -> Any:
        x = self.seen(x)
        if not self._average:
            return self._tf.nn.softmax(self._net(x, training=False))
        others = self._net.non_trainable_variables
        # A model of somebody's own class may know no `training`
        how = {"training": False} if "training" in inspect.signature(self._net.call).parameters else {}
        return self._tf.nn.softmax(self._net.stateless_call(self._average, others, x, **how)[0])

    def predict(self, x: np.ndarray) -> np.ndarray:
        if self._arrays is None:
            return self._answers(x)
        with self.undisturbed():
            return self._answers(x)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """In training, a Keras LSTM moves its dropout's seeds on even where it only predicts: they are put back once, at the end of
        the block, and not at the end of each `predict`.
        """
        state = [(variable, np.asarray(variable)) for variable in self._net.non_trainable_variables]
        arrays, self._arrays = self._arrays, None
        try:
            yield
        finally:
            self._arrays = arrays
            for variable, value in state:
                variable.assign(value)

    def num_weights(self) -> int:
        return self._net.count_params()

    def _answers(self, x: np.ndarray) -> np.ndarray:
        x = self._prepared(x)
        size = self.predict_batch
        parts = [self._predict(x[i : i + size]).numpy() for i in range(0, len(x), size)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.model["classes"])), np.float32)

    def predict_exactly(self, x: np.ndarray) -> np.ndarray:
        """`predict` in float32 throughout, as an exported file computes: on a GPU without TF32's 10 bits."""
        switch = self._tf.config.experimental
        before = switch.tensor_float_32_execution_enabled()
        switch.enable_tensor_float_32_execution(False)
        try:
            return self.predict(x)
        finally:
            switch.enable_tensor_float_32_execution(before)

    @property
    def card(self) -> dict[str, Any]:
        """What an exported file says about the model, with the keys of model.json."""
        return {**self.model, "epoch": self.epoch}

    def predicting_weights(self) -> list[np.ndarray]:
        """The net's weights in Keras's order, the averaged ones where there are any."""
        averages = {id(v): a for v, a in zip(self._net.trainable_variables, self._average, strict=False)}
        return [np.asarray(averages.get(id(v), v)) for v in self._net.weights]

    def trained_net(self) -> Any:
        """A copy of the net with `predicting_weights`."""
        copy = self.new_net()
        for weight, value in zip(copy.weights, self.predicting_weights(), strict=True):
            weight.assign(value)
        return copy

    def _variables(self) -> list[Any]:
        return [*self._net.variables, *self._optimizer.variables, *self._average]

    def save(self, directory: Path) -> None:
        state = {f"variable_{i}": np.asarray(v) for i, v in enumerate(self._variables())}
        write_checkpoint(directory, {**self.model, "epoch": self.epoch}, {**state, **self.statistics})

    def load(self, directory: Path) -> None:
        model, state = read_checkpoint(directory)
        for i, variable in enumerate(self._variables()):
            variable.assign(state[f"variable_{i}"])
        self.epoch = model["epoch"]


def build_classifier(
    name: str,
    hparams: VectorHparams,
    arrays: TaskArrays,
    seed: int,
    make_model: Callable[..., Any],
    kind: Callable[[Any], Callable[..., KerasClassifier]] = lambda _: KerasClassifier,
) -> KerasClassifier:
    """A fresh classifier with its training data attached; `kind`: hparams → its class."""
    statistics = train_statistics(arrays.train.x, arrays.feature_names, hparams.transform)
    classifier = kind(hparams)(hparams, describe_model(name, hparams, arrays, seed), statistics, make_model)
    classifier.attach(arrays)
    return classifier


def restore_classifier(
    directory: Path,
    hparams_type: Callable[..., Any],
    make_model: Callable[..., Any],
    kind: Callable[[Any], Callable[..., KerasClassifier]] = lambda _: KerasClassifier,
) -> KerasClassifier:
    """A classifier that can predict, from a checkpoint alone; `kind`: hparams → its class."""
    model, state = read_checkpoint(directory)
    statistics = {name: state[name] for name in ("mean", "std")}
    described = {key: value for key, value in model.items() if key != "epoch"}
    hparams = hparams_type(**model["hparams"])
    classifier = kind(hparams)(hparams, described, statistics, make_model)
    classifier.load(directory)
    return classifier
