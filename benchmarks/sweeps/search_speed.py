"""Trial-epochs a second, start-up included: a fersweep sweep, with trials that train together and with trials that train alone,
beside the same search as in Ray Tune's and Keras Tuner's documentation. The same 16 models (those that the fersweep sweep sampled,
at random), 10 epochs each, no early stopping; MLflow records those of fersweep, pictures and report after the command has returned:
they are waited for, and not counted. Beside it, what the products of the models' epochs would take at the machine's rate.

    .venv/bin/python benchmarks/sweeps/search_speed.py --data runs/data/fer2013
    .venv/bin/python benchmarks/sweeps/search_speed.py --data runs/data/fer2013 --more 64     # and 64 models together
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 10


def load_arrays(data: Path) -> dict[str, Any]:
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task

    classes = {"happy": ["happy"], "sad": ["sad"], "neutral": ["neutral"]}
    arrays = Task(data, TaskSpec(classes=classes)).arrays()
    return {"x": arrays.train.x, "y": arrays.train.y, "val_x": arrays.val.x, "val_y": arrays.val.y}


def build_model(hparams: dict[str, Any], num_features: int) -> Any:
    """The model in plain Keras."""
    import keras

    inputs = keras.Input((num_features,))
    hidden = keras.layers.Reshape((1, num_features))(inputs)
    for i, units in enumerate(hparams["units"]):
        lstm = keras.layers.LSTM(
            units,
            activation=hparams["activation"],
            dropout=hparams["dropout"],
            kernel_initializer=hparams["initializer"],
            return_sequences=i < len(hparams["units"]) - 1,
        )
        hidden = (keras.layers.Bidirectional(lstm) if hparams["bidirectional"] else lstm)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))
    optimizer = keras.optimizers.Adam(
        hparams["learning_rate"],
        beta_1=hparams["beta_1"],
        clipnorm=hparams["clipnorm"],
        weight_decay=hparams["weight_decay"] or None,
        use_ema=hparams["ema_momentum"] is not None,
        ema_momentum=hparams["ema_momentum"] or 0.99,
    )
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def ray_tune(models: list[dict], data: Path) -> None:
    import ray
    from ray import tune
    from ray.tune.integration.keras import TuneReportCheckpointCallback

    def train(config: dict, arrays: dict) -> None:
        hparams = config["hparams"]
        model = build_model(hparams, arrays["x"].shape[1])
        callback = TuneReportCheckpointCallback(metrics=["val_accuracy"], checkpoint_on=[])
        model.fit(
            arrays["x"],
            arrays["y"],
            batch_size=hparams["batch_size"],
            epochs=EPOCHS,
            verbose=0,
            validation_data=(arrays["val_x"], arrays["val_y"]),
            callbacks=[callback],
        )

    ray.init("local", include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, arrays=load_arrays(data)), {"cpu": 1}),
        param_space={"hparams": tune.grid_search(models)},
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors, results.errors


def keras_tuner(models: list[dict], data: Path) -> None:
    import keras_tuner as kt

    arrays = load_arrays(data)

    class Model(kt.HyperModel):
        def build(self, hp: Any) -> Any:
            return build_model(models[hp.Choice("model", list(range(len(models))))], arrays["x"].shape[1])

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            return model.fit(*args, batch_size=models[hp.get("model")]["batch_size"], **kwargs)

    tuner = kt.GridSearch(Model(), objective="val_accuracy", max_trials=len(models), directory=tempfile.mkdtemp())
    tuner.search(arrays["x"], arrays["y"], epochs=EPOCHS, verbose=0, validation_data=(arrays["val_x"], arrays["val_y"]))


def fersweep(data: Path, home: Path, trials: int, fuse: str) -> tuple[float, list[dict], float]:
    """Run the sweep as a user does → seconds, the hparams of its trials, the operations of their products."""
    command = [sys.executable, "-m", "fersweep", "launch", "blendshape_lstm", "--data", str(data), "--home", str(home)]
    options = ["--trials", str(trials), "--max-epochs", str(EPOCHS)]
    for change in ("stop.scheduler=none", "search.sampler=random", f"resources.fuse={fuse}"):
        options += ["--set", change]
    start = time.perf_counter()
    subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    from benchmarks.sweeps.arithmetic import await_rest, lstm_epoch
    from fersweep.results.record.journal import read
    from fersweep.results.record.recorded_sweep import load_sweep

    directory = home / "sweeps" / "blendshape_lstm"
    await_rest(directory)
    record, sweep = read(directory / "journal.jsonl"), load_sweep(directory).sweep
    epochs, (faces, val) = record.num_epochs, (sum(of.values()) for of in sweep.num_by_class.values())
    assert epochs == trials * EPOCHS, f"{epochs} epochs were run"
    hparams = [trial.hparams for trial in record.trials.values()]
    ends = (len(sweep.feature_names), len(sweep.classes))
    operations = [
        lstm_epoch([ends[0], *each["units"], ends[1]], 1 + each["bidirectional"], faces, val) for each in hparams
    ]
    return seconds, hparams, EPOCHS * sum(operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--more", type=int, help="also so many models, together")
    parser.add_argument("--peer", choices=["ray_tune", "keras_tuner"], help=argparse.SUPPRESS)
    parser.add_argument("--models", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.peer:
        globals()[options.peer](json.loads(options.models.read_text()), options.data)
        return

    data = options.data.resolve()
    from benchmarks.sweeps.arithmetic import product_rate

    seconds: dict[str, tuple[int, float]] = {}
    operations: dict[str, float] = {}
    models: list[dict] = []
    ways = [("fersweep, together", options.trials, "auto"), ("fersweep, alone", options.trials, "1")]
    if options.more:
        ways.insert(1, (f"fersweep, {options.more} together", options.more, "auto"))
    for name, trials, fuse in ways:
        with tempfile.TemporaryDirectory() as home:
            took, sampled, operations[name] = fersweep(data, Path(home), trials, fuse)
            seconds[name] = trials, took
            print(f"{name}: {took:.1f} s", file=sys.stderr, flush=True)
        models = models or sampled
        assert sampled[: len(models)] == models
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(models))
        file.flush()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        for peer in ("keras_tuner", "ray_tune"):
            start = time.perf_counter()
            command = [sys.executable, __file__, "--peer", peer, "--models", file.name, "--data", str(data)]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            seconds[peer] = options.trials, time.perf_counter() - start
            print(f"{peer}: {seconds[peer][1]:.1f} s", file=sys.stderr, flush=True)
    rates = {name: trials * EPOCHS / took for name, (trials, took) in seconds.items()}
    print("| | models | seconds | trial-epochs a second | of Keras Tuner | of Ray Tune |\n|---|---|---|---|---|---|")
    for name, (trials, took) in seconds.items():
        ratios = " | ".join(f"{rates[name] / rates[peer]:.1f}×" for peer in ("keras_tuner", "ray_tune"))
        print(f"| {name} | {trials} | {took:.1f} | {rates[name]:.2f} | {ratios} |")
    rate = product_rate()
    for name, count in operations.items():
        print(
            f"{name}: its products alone, {count / 1e9:.0f} · 10^9 at {rate / 1e9:.0f} · 10^9 a second: {count / rate:.1f} s"
        )


if __name__ == "__main__":
    main()
