"""`fersweep check trainable` finds what a sweep would trip over, each fault by its own step."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from fersweep.checks.template import template
from fersweep.checks.trainable import check_trainable
from fersweep.common.errors import InputError
from tests.processes import ROOT

# A softmax regression by gradient descent with momentum: small, and with each kind of state.
SOUND = """
import numpy as np
from fersweep.trainables.protocol import HparamsModel, check_finite, val_metrics
from fersweep.trainables.saved_model import describe_model, read_checkpoint, write_checkpoint

FEATURES = ("blendshapes",)

class Hparams(HparamsModel):
    learning_rate: float = 0.5

def space(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 0.1, 1.0)}

class Net:
    def __init__(self, hparams, model, arrays=None):
        self.h, self.model, self.arrays, self.epoch = hparams, model, arrays, 0
        shape = len(model["feature_names"]), len(model["classes"])
        self.w = np.random.default_rng(model["seed"]).normal(size=shape) * 0.01
        self.momentum = np.zeros(shape)

    def fit(self, num_epochs):
        return [self.fit_one() for _ in range(num_epochs)]

    def fit_one(self):
        x, y = self.arrays.train.x, self.arrays.train.y
        rng = np.random.default_rng([self.model["seed"], self.epoch])
        for rows in np.array_split(rng.permutation(len(y)), 5):
            wrong = self.predict(x[rows]) - np.eye(self.w.shape[1])[y[rows]]
            self.momentum = 0.9 * self.momentum + x[rows].T @ wrong / len(rows)
            self.w = self.w - self.h.learning_rate * self.momentum
        self.epoch += 1
        self.val_probabilities = self.predict(self.arrays.val.x)
        loss = val_metrics(self.predict(x), y)["val_loss"]
        metrics = {"epoch": self.epoch, "train_loss": loss, **val_metrics(self.val_probabilities, self.arrays.val.y), "epoch_s": 0.1}
        check_finite(metrics)
        return metrics

    def predict(self, x):
        scores = x @ self.w
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def save(self, directory):
        write_checkpoint(directory, {**self.model, "epoch": self.epoch}, {"w": self.w, "momentum": self.momentum})

    def load(self, directory):
        model, state = read_checkpoint(directory)
        self.epoch, self.w, self.momentum = model["epoch"], state["w"], state["momentum"]

def build(hparams, arrays, seed):
    hparams = Hparams(**hparams)
    return Net(hparams, describe_model(__name__, hparams, arrays, seed), arrays)

def restore(directory):
    model, _ = read_checkpoint(directory)
    net = Net(Hparams(**model["hparams"]), model)
    net.load(directory)
    return net
"""
# fault → what is put in place of what; the step that finds it; what it says
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "logits": ("return (powers / powers.sum(axis=1, keepdims=True))", "return scores", "training", "negative"),
    "not_seeded": ('np.random.default_rng([self.model["seed"], self.epoch])', "np.random.default_rng()", "seeds", "same seed"),
    "optimizer_forgotten": ('state["w"], state["momentum"]', 'state["w"], self.momentum', "resuming", "save, load, fit differs"),
    "epoch_forgotten": ('self.epoch, self.w, self.momentum = model["epoch"], ', "self.w, self.momentum = ", "resuming", "`epoch` is"),
    "val_is_learned": ("x, y = self.arrays.train.x, self.arrays.train.y", "x, y = self.arrays.val.x, self.arrays.val.y", "val is not learned", "other labels of val"),
    "predict_changes_it": ("scores = x @ self.w", "self.momentum = self.momentum * 0.999\n        scores = x @ self.w", "predict", "after predict"),
    "face_depends_on_others": ("scores = x @ self.w", "scores = (x - x.mean(axis=0)) @ self.w", "predict", "alone"),
    "metrics_missing": ("**val_metrics(self.val_probabilities, self.arrays.val.y), ", "", "training", "lack val_loss"),
    "epoch_from_0": ('metrics = {"epoch": self.epoch,', 'metrics = {"epoch": self.epoch - 1,', "training", "`epoch` is 0"),
    "not_a_number": ("        check_finite(metrics)\n", '        metrics["train_loss"] += float("nan") if self.h.learning_rate > 9 else 0\n', "not a number", "check_finite"),
    "one_row_for_all": ("return [self.fit_one() for _ in range(num_epochs)]", "return self.fit_one()", "training", "list of one dict"),
    "another_name": ("describe_model(__name__,", 'describe_model("mine",', "checkpoint", "describe_model"),
    "not_restored": ("    net.load(directory)\n", "", "checkpoint", "restored in a fresh process"),
    "other_scores": ("val_metrics(self.val_probabilities, self.arrays.val.y)", "val_metrics(self.predict(x[:len(self.arrays.val.y)]), self.arrays.val.y)", "training", "val_accuracy is"),
    "space_is_random": ('0.1, 1.0)}', '0.1, 1.0) * np.random.default_rng().random()}', "space", "gives other hparams"),
    "raises_late": ("self.epoch += 1", "self.epoch += 1\n        if self.epoch == 3: raise RuntimeError('third')", "training", "mine.py, line"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, tmp_path: Path) -> None:
    before, after, step, says = FAULTS[fault]
    assert before in SOUND
    (tmp_path / "mine.py").write_text(SOUND.replace(before, after))
    checked = check_trainable(str(tmp_path / "mine.py"))
    found = [finding for finding in checked.findings if finding.what == step and finding.state != "right"]
    assert found, checked.findings
    assert any(says in finding.text for finding in found), found
    assert not checked.is_sound or found[0].state == "doubtful"


@pytest.mark.slow
def test_a_sound_one_passes(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "mine.py").write_text(SOUND)
    for data in (None, tiny_dataset):
        checked = check_trainable(str(tmp_path / "mine.py"), data)
        assert checked.is_sound, checked.findings
        assert [finding.what for finding in checked.findings if finding.state == "doubtful"] == ["export"]
    with pytest.raises(InputError, match="learns from blendshapes"):
        check_trainable(str(tmp_path / "mine.py"), features="pixels")


@pytest.mark.slow
def test_an_example_and_a_template_pass(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The template with two things that are warned of: each is in the table once, and nowhere else."""
    assert check_trainable(str(ROOT / "examples" / "sklearn_linear.py")).is_sound
    text = template("t.py", "torch", "features").replace("return {", 'return {"nobody_reads": 3,')
    warned = "    import warnings\n    warnings.warn('mine')\n    return nn.Sequential("
    (tmp_path / "t.py").write_text(text.replace("    return nn.Sequential(", warned))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        checked = check_trainable(str(tmp_path / "t.py"))
    assert checked.is_sound, checked.findings
    assert [finding.text for finding in checked.findings if finding.what == "warning"] == [
        "mine",
        "net does not read 'nobody_reads', and the training loop has no such knob",
    ]
    assert "Warning" not in capfd.readouterr().err
