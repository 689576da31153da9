"""Try a trainable of somebody's own, and say in words what to mend: `fersweep check trainable my_model.py`.

What is tried is what a sweep relies on, step by step, on made-up faces or on those of a dataset. A step that fails does not
end the check, unless nothing after it can be tried.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from fersweep import search_spaces, trainables
from fersweep.checks.findings import Checked, Finding
from fersweep.checks.made_up_arrays import made_up_arrays
from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import asked_as, is_own
from fersweep.common.own_code.importing import said
from fersweep.common.text import one_line
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
from fersweep.data_pipeline.tasks.features import Features
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.trainables.metrics import confusion, scores
from fersweep.trainables.protocol import METRICS, TrialFailed

NUM_POINTS = 50  # of the space that are drawn
NUM_EPOCHS = 3
MOST_FACES = 2000  # of train, and of val
TOLERANCE = 1e-4  # of a probability


class _Wrong(Exception):
    """What is to be mended, in words."""


def check_trainable(asked: str, data: str | Path | None = None, features: str | None = None) -> Checked:
    """Try the trainable that `asked` names: FILE.py, package.module, an entry point, or one of ours.

    Args:
        data: a dataset of whose faces it learns, 2,000 at most; None: faces that are made up.
        features: which features, of those that it can learn from; None: the first.

    Raises InputError where there is no such trainable, or none that can be loaded.
    """
    name = trainables.resolve(asked)
    checked = Checked(name, sorted(copies.find(name, "trainable").files) if is_own(name) else [])
    module = trainables.load(name)
    usable: tuple[Features, ...] = module.FEATURES or ("blendshapes", "landmarks", "pixels")
    if features is not None and features not in usable:
        raise InputError(f"--features {features}: {asked_as(name)} learns from {' or '.join(usable)}")
    checked.features = features or usable[0]
    arrays = _arrays(cast(Features, checked.features), data)
    checked.faces = len(arrays.train.y)
    _Check(name, module, arrays, checked.findings).run()
    return checked


def _arrays(features: Features, data: str | Path | None) -> TaskArrays:
    if data is None:
        return made_up_arrays(features)
    task = Task(data, TaskSpec(features=features))
    if task.num_folds:
        task = Task(data, TaskSpec(features=features, fold=0))
    arrays = task.arrays()
    return replace(arrays, train=_fewer(arrays.train), val=_fewer(arrays.val))


def _fewer(part: Arrays) -> Arrays:
    """At most MOST_FACES, from all over."""
    return part.taken(np.linspace(0, len(part.y) - 1, min(len(part.y), MOST_FACES)).astype(np.int64))


class _Check:
    def __init__(self, name: str, module: Any, arrays: TaskArrays, findings: list[Finding]):
        self.name, self.module, self.arrays, self.findings = name, module, arrays, findings
        self.hparams: list[dict[str, Any]] = []

    def run(self) -> None:
        with warnings.catch_warnings(record=True) as heard:
            self._run()
        file = asked_as(self.name)
        for text in dict.fromkeys(one_line(each.message, 300).removeprefix(f"{file}: ") for each in heard):
            self._found("warning", "doubtful", text)

    def _run(self) -> None:
        with self._step("space"):
            self._right("space", self._space())
        if not self.hparams:
            return
        rows: list[dict[str, float]] = []
        with self._step("training"):
            rows = self._training()
        if not rows:
            return
        for what, step in (
            ("predict", self._predict),
            ("seeds", self._seeds),
            ("resuming", self._resuming),
            ("checkpoint", self._checkpoint),
            ("val is not learned", self._val_is_not_learned),
            ("not a number", self._not_a_number),
            ("export", self._export),
        ):
            with self._step(what):
                self._right(what, step())

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        try:
            yield
        except _Wrong as wrong:
            self._found(what, "wrong", str(wrong))
        except (Exception, SystemExit) as error:  # it is somebody's code
            self._found(what, "wrong", said(error))

    def _found(self, what: str, state: Literal["right", "doubtful", "wrong"], text: str) -> None:
        self.findings.append(Finding(what, state, text))

    def _right(self, what: str, text: str) -> None:
        if text:
            self._found(what, "right", text)

    def _space(self) -> str:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        space, refused, reason, names = search_spaces.load(self.name).space, 0, "", set[str]()
        asked: list[tuple[Any, Any]] = []
        for trial in (study.ask() for _ in range(NUM_POINTS)):
            try:
                hparams = space(trial)
                if not isinstance(hparams, dict):
                    raise _Wrong(f"space(trial) gives {type(hparams).__name__}: want a dict, name → value")
                self.hparams.append(self.module.Hparams(**hparams).model_dump(mode="json"))
                names |= trial.params.keys()
                asked.append((trial, cast("dict[str, Any]", hparams)))
            except _Wrong:
                raise
            except Exception as error:
                refused, reason = refused + 1, one_line(error, 300)
        if not self.hparams:
            raise _Wrong(f"none of {NUM_POINTS} random points gives hparams that can be used: {reason}")
        if refused:
            text = f"{refused} of {NUM_POINTS} random points give hparams that are refused: {reason}"
            self._found("space", "doubtful" if refused < NUM_POINTS / 2 else "wrong", text)
        if any(_again(space, trial) != hparams for trial, hparams in asked):
            text = "the same point gives other hparams when it is asked for again: draw all that is random with trial.suggest_…"
            self._found("space", "doubtful", text)
        if not names:
            raise _Wrong("it draws nothing: each trial would be the same; want trial.suggest_float(…), …")
        return f"{NUM_POINTS - refused} random points can be used; searched: {', '.join(sorted(names))}"

    def _built(self, seed: int = 1, arrays: TaskArrays | None = None, changes: dict[str, Any] | None = None) -> Any:
        return trainables.build(self.name, {**self.hparams[0], **(changes or {})}, arrays or self.arrays, seed)

    def _training(self) -> list[dict[str, float]]:
        start = time.perf_counter()
        model = self._built()
        build_s = time.perf_counter() - start
        rows: list[dict[str, float]] = []
        for epoch in range(1, NUM_EPOCHS + 1):
            given = cast("list[dict[str, float]]", model.fit(1))
            if type(given) is not list or len(given) != 1:
                raise _Wrong(f"fit(1) gives {one_line(given, 100)}: want a list of one dict of metrics")
            rows.append(given[0])
            if missing := [name for name in ("epoch", *METRICS) if name not in rows[-1]]:
                raise _Wrong(
                    f"the metrics of an epoch lack {', '.join(missing)} (val_metrics of protocol.py gives those of val)"
                )
            if rows[-1]["epoch"] != epoch or model.epoch != epoch:
                raise _Wrong(
                    f"after {epoch} epochs `epoch` is {rows[-1]['epoch']} in the metrics, {model.epoch} in the model"
                )
            strange = [name for name, value in rows[-1].items() if not np.isfinite(value)]
            if strange:
                raise _Wrong(
                    f"{strange[0]} is {rows[-1][strange[0]]} at epoch {epoch}: call check_finite, which fails the trial"
                )
        self._answers(model.val_probabilities, len(self.arrays.val.y), "val_probabilities")
        own = scores(confusion(self.arrays.val.y, model.val_probabilities.argmax(axis=1), len(self.arrays.classes)))
        if abs(own["accuracy"] - rows[-1]["val_accuracy"]) > TOLERANCE:
            raise _Wrong(
                f"val_accuracy is {rows[-1]['val_accuracy']:.4f}, but val_probabilities of that epoch are right for "
                f"{own['accuracy']:.4f} of val"
            )
        epoch_s = float(np.median([row["epoch_s"] for row in rows[1:]]))
        faces = len(self.arrays.train.y)
        learned = f"train_loss {rows[0]['train_loss']:.3f} → {rows[-1]['train_loss']:.3f}, val_macro_f1 {rows[-1]['val_macro_f1']:.3f}"
        self._right("training", f"{NUM_EPOCHS} epochs: {learned}")
        if not rows[-1]["train_loss"] < rows[0]["train_loss"]:
            self._found(
                "learning",
                "doubtful",
                "train_loss did not fall: are gradients applied, is the learning rate right for it?",
            )
        self._right(
            "speed",
            f"built in {build_s:.2f} s; an epoch of {faces:,} faces {epoch_s:.3f} s, {faces / max(epoch_s, 1e-9):,.0f} faces a second",
        )
        return rows

    def _answers(self, probabilities: Any, num: int, what: str) -> np.ndarray:
        wanted, shape = (num, len(self.arrays.classes)), getattr(probabilities, "shape", type(probabilities).__name__)
        if not isinstance(probabilities, np.ndarray) or shape != wanted:
            raise _Wrong(f"{what} has the shape {shape}: want a NumPy array {wanted}, faces by classes")
        answers = cast("np.ndarray[Any, Any]", probabilities)
        if not np.isfinite(answers).all() or (answers < -1e-6).any():
            raise _Wrong(f"{what} has values that are negative, or not finite: want probabilities")
        if num and not np.allclose(answers.sum(axis=1), 1, atol=1e-3):
            raise _Wrong(f"rows of {what} sum to {answers[0].sum():.3f}, …: want 1 (is it logits? take their softmax)")
        return answers

    def _predict(self) -> str:
        model = self._built()
        model.fit(1)
        x = self.arrays.val.x
        together = self._answers(model.predict(x), len(x), "predict(x)")
        if np.abs(together - model.val_probabilities).max() > 1e-2:
            raise _Wrong("predict(val) differs from val_probabilities of the last epoch")
        alone = np.concatenate([model.predict(x[[i]]) for i in range(min(5, len(x)))])
        if (far := float(np.abs(alone - together[: len(alone)]).max())) > 1e-2:
            raise _Wrong(
                f"a face alone gets another answer than among others, by {far:.3f}: is the net in training mode?"
            )
        self._answers(model.predict(x[:0]), 0, "predict of no faces")
        undisturbed = self._built()
        undisturbed.fit(2)
        model.fit(1)
        if not np.array_equal(model.val_probabilities, undisturbed.val_probabilities):
            raise _Wrong(
                "training goes on differently after predict: it must change nothing (a random state? averages?)"
            )
        return "shape, sums, one face alone, no faces; it changes nothing"

    def _seeds(self) -> str:
        same, again, other = self._built(1), self._built(1), self._built(2)
        rows = [_numbers(model.fit(2)) for model in (same, again, other)]
        if rows[0] != rows[1]:
            raise _Wrong("the same seed gives other numbers: draw all that is random from the seed that build gets")
        if rows[0] == rows[2]:
            self._found("seeds", "doubtful", "another seed gives the same numbers: nothing in it is random?")
            return ""
        return "the same seed gives the same numbers, another one others"

    def _resuming(self) -> str:
        through, first, resumed = self._built(), self._built(), self._built()
        wanted = _numbers(through.fit(NUM_EPOCHS))
        with tempfile.TemporaryDirectory(prefix="fersweep-check-") as directory:
            rows = first.fit(1)
            first.save(Path(directory))
            resumed.load(Path(directory))
            rows += resumed.fit(NUM_EPOCHS - 1)
        if resumed.epoch != NUM_EPOCHS:
            raise _Wrong(
                f"after load and {NUM_EPOCHS - 1} epochs more `epoch` is {resumed.epoch}, not {NUM_EPOCHS}: save and load it"
            )
        for row, expected in zip(_numbers(rows), wanted, strict=True):
            for name, value in expected.items():
                if row.get(name) != value:
                    raise _Wrong(
                        f"save, load, fit differs from fit without a break: {name} of epoch {expected['epoch']:.0f} is {row.get(name)}, "
                        f"not {value}: weights, the optimizer's state, the random state and the schedule must be in the checkpoint"
                    )
        return "save, load, fit gives the same numbers as fit without a break"

    def _checkpoint(self) -> str:
        from fersweep.results.models.other_process import answers_elsewhere
        from fersweep.trainables.saved_model import read_model

        model, x = self._built(), self.arrays.val.x[:32]
        model.fit(1)
        with tempfile.TemporaryDirectory(prefix="fersweep-check-") as scratch:
            directory = Path(scratch) / "checkpoint"
            directory.mkdir()
            model.save(directory)
            described = read_model(directory)
            if described.get("trainable") != self.name:
                raise _Wrong(
                    f"model.json says trainable {described.get('trainable')!r}: want describe_model(__name__, …), which names this code"
                )
            files = [path for path in directory.rglob("*") if path.is_file() and copies.DIRECTORY not in path.parts]
            if pickled := [
                path.name for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt")
            ]:
                self._found(
                    "checkpoint",
                    "doubtful",
                    f"{', '.join(pickled)} may be pickled: who opens it runs what is in it; want arrays (write_checkpoint)",
                )
            far = np.abs(answers_elsewhere(directory, x)[0] - model.predict(x)).max()
            num_bytes = sum(path.stat().st_size for path in files)
        if far > TOLERANCE:
            raise _Wrong(f"restored in a fresh process, its answers are up to {far:.3f} from what they were")
        return f"{num_bytes / 1e6:,.2f} MB; a fresh process that has nothing else restores it, and it answers the same"

    def _val_is_not_learned(self) -> str:
        changed = replace(self.arrays, val=replace(self.arrays.val, y=np.roll(self.arrays.val.y, 1)))
        model, other = self._built(), self._built(arrays=changed)
        model.fit(1)
        other.fit(1)
        if not np.array_equal(model.predict(self.arrays.val.x), other.predict(self.arrays.val.x)):
            raise _Wrong("with other labels of val it learns something else: val is for judging alone")
        return "with other labels of val it learns the same"

    def _not_a_number(self) -> str:
        rates = [name for name in ("learning_rate", "lr") if name in self.hparams[0]]
        if not rates:
            return ""
        try:
            rows = self._built(changes={rates[0]: 1e30}).fit(NUM_EPOCHS)
        except TrialFailed:
            return f"{rates[0]} 1e30 fails the trial, and says why"
        except ValueError as error:
            return f"{rates[0]} 1e30 is refused: {one_line(error, 80)}"
        if strange := [name for row in rows for name, value in row.items() if not np.isfinite(value)]:
            raise _Wrong(
                f"{rates[0]} 1e30 makes {strange[0]} not finite, and the trial goes on: call check_finite(metrics) in fit"
            )
        return f"{rates[0]} 1e30 leaves all metrics finite"

    def _export(self) -> str:
        from fersweep.results.models.export import export

        model = self._built()
        formats: tuple[str, ...] = getattr(model, "EXPORTS", ())
        if not formats:
            self._found(
                "export", "doubtful", "none: it has no EXPORTS (trainables/exports/formats.py says what it wants)"
            )
            return ""
        model.fit(1)
        with tempfile.TemporaryDirectory(prefix="fersweep-check-") as scratch:
            directory = Path(scratch) / "checkpoint"
            directory.mkdir()
            model.save(directory)
            for suffix in formats:
                try:
                    export(str(directory), Path(scratch) / f"model{suffix}", Path(scratch))
                except (InputError, RuntimeError) as error:
                    raise _Wrong(f"{suffix}: {one_line(error, 300)}") from None
        return f"{', '.join(formats)}: the files answer as the model does"


def _again(space: Any, trial: Any) -> Any:
    """What it gives for the point of a trial that it has drawn; None where it wants another point."""
    import optuna

    try:
        return space(optuna.trial.FixedTrial(trial.params))
    except Exception:
        return None


def _numbers(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "epoch_s"} for row in rows]
