"""A linear classifier of scikit-learn's on blendshapes or landmarks, one pass of stochastic gradient descent an epoch.

    fersweep launch examples/sklearn_linear.yaml --data runs/data/fer2013

The full form of a trainable: this file has its own training and its own checkpoints (fersweep/trainables/protocol.py).
"""

import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field
from sklearn.linear_model import SGDClassifier

from fersweep.trainables.protocol import HparamsModel, TrialFailed, check_finite, val_metrics
from fersweep.trainables.saved_model import describe_model, read_checkpoint, write_checkpoint

FEATURES = ("blendshapes", "landmarks", "blendshapes+landmarks")


class Hparams(HparamsModel):
    alpha: float = Field(1e-4, gt=0, description="weight of the L2 penalty")
    learning_rate: float = Field(1e-2, gt=0)
    loss: str = Field("log_loss", pattern="log_loss|modified_huber")


def space(trial):
    return {
        "alpha": trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        "loss": trial.suggest_categorical("loss", ["log_loss", "modified_huber"]),
    }


class LinearClassifier:
    """coef (C, F), intercept (C,) and t, the number of faces seen so far, are all that partial_fit goes on from."""

    EXPORTS = (".onnx",)

    def __init__(self, hparams, model, state, arrays=None):
        self.hparams, self.model, self.arrays, self.epoch = hparams, model, arrays, 0
        self.statistics = {"mean": state["mean"], "std": state["std"]}
        self.net = SGDClassifier(
            loss=hparams.loss, alpha=hparams.alpha, learning_rate="constant", eta0=hparams.learning_rate, shuffle=False
        )
        num_classes, num_features = len(model["classes"]), len(model["feature_names"])
        self.net.classes_ = np.arange(num_classes)
        self.net.coef_, self.net.intercept_ = np.zeros((num_classes, num_features)), np.zeros(num_classes)
        self.net.t_, self.net.n_features_in_ = 1.0, num_features
        self.val_probabilities = np.zeros((0, num_classes), np.float32)

    def fit(self, num_epochs):
        return [self.fit_one() for _ in range(num_epochs)]

    def fit_one(self):
        start, train = time.perf_counter(), self.arrays.train
        # The order depends on seed and epoch alone, so that a resumed trial trains as one without a break.
        order = np.random.default_rng([self.model["seed"], self.epoch]).permutation(len(train.y))
        try:
            self.net.partial_fit(self.standardised(train.x[order]), train.y[order])
        except ValueError as error:  # scikit-learn's word for weights that are not finite
            raise TrialFailed(str(error)) from None
        self.epoch += 1
        self.val_probabilities = self.predict(self.arrays.val.x)
        learned = val_metrics(self.predict(train.x), train.y)
        metrics = {
            "epoch": self.epoch,
            "train_loss": learned["val_loss"],
            **val_metrics(self.val_probabilities, self.arrays.val.y),
            "epoch_s": time.perf_counter() - start,
        }
        check_finite(metrics)
        return metrics

    def standardised(self, x):
        return ((x - self.statistics["mean"]) / self.statistics["std"]).astype(np.float64)

    def predict(self, x):
        """Softmax over the classes' scores: scikit-learn's own probabilities are of each class against the rest."""
        scores = self.standardised(x) @ self.net.coef_.T + self.net.intercept_
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    predict_exactly = predict

    def num_weights(self):
        return self.net.coef_.size + self.net.intercept_.size

    def save(self, directory):
        state = {"coef": self.net.coef_, "intercept": self.net.intercept_, "t": np.array(self.net.t_)}
        write_checkpoint(directory, {**self.model, "epoch": self.epoch}, {**state, **self.statistics})

    def load(self, directory):
        model, state = read_checkpoint(directory)
        self.epoch, self.net.t_ = model["epoch"], float(state["t"])
        self.net.coef_, self.net.intercept_ = state["coef"].copy(), state["intercept"].copy()

    @property
    def card(self):
        return {**self.model, "epoch": self.epoch}

    def to_onnx(self):
        weights = self.net.coef_ / self.statistics["std"]
        bias = self.net.intercept_ - weights @ self.statistics["mean"]
        arrays = {"weights": weights.T, "bias": bias}
        graph = helper.make_graph(
            [
                helper.make_node("Gemm", ["features", "weights", "bias"], ["scores"]),
                helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            ],
            "linear",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", weights.shape[1]])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(bias)])],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=onnx.IR_VERSION)


def build(hparams, arrays, seed):
    hparams = Hparams(**hparams)
    state = {"mean": arrays.mean, "std": arrays.std}
    return LinearClassifier(hparams, describe_model(__name__, hparams, arrays, seed), state, arrays)


def restore(directory):
    model, state = read_checkpoint(directory)
    classifier = LinearClassifier(Hparams(**model["hparams"]), model, state)
    classifier.load(directory)
    return classifier
