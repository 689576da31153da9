"""The trainables in examples/, each a file that nobody here wrote a loop for: from a launch to a served model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fersweep
from fersweep.common.own_code import copies
from fersweep.results.models.export import export
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.promotion import promote
from fersweep.results.record import journal
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.tracking.recorder_process import record
from tests.datasets import write_tiny_dataset
from tests.processes import ROOT, UNRECORDED, below, run, start, wait_until
from tests.ray_nodes import ENVIRONMENT, Cluster

EXAMPLES = ROOT / "examples"
SMALL: dict[str, dict[str, Any]] = {  # example → what makes it small
    "sklearn_linear": {},
    "torch_cnn": {"width": 8, "depth": 2, "precision": "fp32"},
    "timm_frozen": {"backbone": "resnet10t", "weights": "none", "image_size": 32, "rank": 2, "num_open": 0, "precision": "fp32"},
    "landmark_transformer": {"heads": 2, "width_of_a_head": 8, "depth": 1, "precision": "fp32"},
    "keras_dense": {"units": 16},  # last: what timm loads after TensorFlow ends a process
}  # fmt: skip
START = """
import json, os, signal, sys, time
import fersweep
import fersweep.cluster.launch  # once, and not in each process below
from tests.doubles.changed_driver import change
change()
dataset, home, address, sweeps = sys.argv[1:4] + [json.loads(sys.argv[4])]
for file, (name, overrides) in sweeps.items():
    driver = os.fork()
    if driver == 0:
        fersweep.launch(file, dataset, trials=1, max_epochs=4, overrides=overrides, home=home, address=address)
        os._exit(1)  # it was not killed
    journal = f"{home}/sweeps/{name}/journal.jsonl"
    while not (os.path.exists(journal) and '"report"' in open(journal).read()):
        assert os.waitpid(driver, os.WNOHANG) == (0, 0), name
        time.sleep(0.02)
    os.kill(driver, signal.SIGKILL)
    assert os.waitpid(driver, 0)[1] == signal.SIGKILL, name
"""
GO_ON = """
import sys
import fersweep
from tests.doubles.changed_driver import change
change()
home, address, *names = sys.argv[1:]
for name in names:
    fersweep.resume(name, home=home, address=address)
"""
SERVED = """
import sys, json
import mlflow, numpy as np, pandas as pd
answers = {}
for name, columns in json.load(open(sys.argv[1] + "/columns.json")).items():
    model = mlflow.pyfunc.load_model(f"models:/fersweep@{name}")
    x = np.load(f"{sys.argv[1]}/{name}.npy")
    rows = pd.DataFrame({"face": list(x)}) if x.ndim == 3 else pd.DataFrame(x, columns=columns)
    answers[name] = model.predict(rows).drop(columns="label").to_numpy().tolist()
print(json.dumps(answers))
"""


def test_every_example_is_tried() -> None:
    """Those that are sweep files with a trainable of their own."""
    with_trainable = {path.stem for path in EXAMPLES.glob("*.yaml") if f"trainable: {path.stem}.py" in path.read_text()}
    assert with_trainable == SMALL.keys()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "faces", 180, landmarks=True)


@pytest.mark.usefixtures("nothing_is_recorded")
def test_from_launch_to_serve(tmp_path: Path, dataset: Path, ray_address: str, empty_store: Path) -> None:
    """Drivers that are killed at their first report know the files; a process that goes on, and one that serves, do not."""
    home, files = tmp_path / "home", tmp_path / "files"
    home.mkdir()
    shutil.copy(empty_store, home)
    shutil.copytree(EXAMPLES, files)
    sweeps = {name: home / "sweeps" / name.replace("_", "-") for name in SMALL}
    asked = {}
    for name, small in SMALL.items():
        overrides = {f"space.fix.{key}": value for key, value in small.items()}
        overrides |= {"stop.scheduler": "none", "task.classes": None, "stop.report_s": 0}
        asked[str(files / f"{name}.yaml")] = (sweeps[name].name, overrides)
    ours = {"PYTHONPATH": ROOT, **UNRECORDED}
    _fresh(START, dataset, home, ray_address, json.dumps(asked), **ours)
    shutil.rmtree(files)  # from here on there are only the copies
    _fresh(GO_ON, home, ray_address, *(sweep.name for sweep in sweeps.values()), **ours)

    answers: dict[str, Any] = {}
    columns: dict[str, list[str]] = {}
    for name, sweep in sweeps.items():
        (trial,) = journal.read(sweep / "journal.jsonl").trials.values()
        assert (trial.state, trial.num_epochs) == ("finished", 4), name
        assert load_sweep(sweep).sweep.asked.trainable.startswith(f"{name}.py@")
        assert record(sweep)
        promote(sweep, name, gates={})
        model = open_model(name, home)
        x = model.task(dataset, None).load("test").x[:20]
        assert (model.checkpoint / copies.DIRECTORY).is_dir()
        assert export(name, tmp_path / f"{name}.onnx", home).difference < 1e-4
        answers[name], columns[name] = model.predict(x), model.described["feature_names"]
        np.save(tmp_path / f"{name}.npy", x)

    (tmp_path / "columns.json").write_text(json.dumps(columns))
    served = json.loads(_fresh(SERVED, tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{home / 'mlflow.db'}"))
    for name, ours in answers.items():
        assert abs(ours - served[name]).max() < 1e-5, name


def _fresh(code: str, *arguments: object, **variables: object) -> str:
    """What a process that knows nothing of this one prints last."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FERSWEEP_TRAINABLES")}
    environment |= {key: str(value) for key, value in variables.items()}
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (done.stdout.strip().splitlines() or [""])[-1]


@pytest.mark.processes
def test_nodes_that_never_saw_the_file(tmp_path: Path, dataset: Path) -> None:
    """Two nodes that see the home, and an empty folder where the driver has the file of the trainable."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody hide a folder from a process (unshare --mount)")
    home, files = tmp_path / "home", tmp_path / "files"
    files.mkdir()
    text = (EXAMPLES / "sklearn_linear.py").read_text()
    # A module beside it, and a pause, so that no node can do all of the work.
    (files / "slowly.py").write_text("import time\n\ndef pause():\n    time.sleep(0.3)\n")
    (files / "linear.py").write_text(
        text.replace("        self.epoch += 1", "        self.epoch += 1\n        slowly.pause()", 1).replace(
            "import time", "import slowly\nimport time", 1
        )
    )
    (files / "linear.yaml").write_text("trainable: linear.py\nstop: {scheduler: none, report_s: 0}\n")
    cluster = Cluster(tmp_path)
    cluster.wrap = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {files} && exec "$@"', "sh"]
    with cluster:
        second = cluster.add()
        launched = ("launch", files / "linear.yaml", "--data", dataset, "--trials", 6, "--max-epochs", 4)
        process = start(*launched, "--address", cluster.address, home=home, env={**ENVIRONMENT, **UNRECORDED})
        log = home / "sweeps" / "linear" / "journal.jsonl"
        there: set[int] = set()

        def ended() -> bool:
            there.update(below(second.pid, "ray::_Inner"))
            return log.exists() and log.read_text().count('"ended"') == 6

        wait_until(ended, process)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    events = list(journal.read_events(log))
    assert [event["state"] for event in events if event["event"] == "ended"] == ["finished"] * 6
    workers = {event["worker"]["pid"] for event in events if event["event"] == "report"}
    assert workers & there, "the second node trained none"
    assert workers - there, "the first node trained none"


@pytest.mark.usefixtures("nothing_is_recorded")
def test_a_bucket_has_the_code(tmp_path: Path, dataset: Path, ray_address: str, bucket: str) -> None:
    """The home is gone, and the file: another machine goes on from what the bucket holds."""
    home, elsewhere, files = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "files"
    files.mkdir()
    for suffix in (".py", ".yaml"):
        shutil.copy(EXAMPLES / f"sklearn_linear{suffix}", files)
    yaml = files / "sklearn_linear.yaml"
    fersweep.launch(yaml, dataset, trials=2, max_epochs=3, overrides={"storage": bucket}, home=home)
    shutil.rmtree(home)
    shutil.rmtree(files)
    prefix, _, options = bucket.partition("?")
    place = f"{prefix}/sklearn-linear?{options}"
    run("resume", place, "--trials", "+1", "--address", ray_address, home=elsewhere, env=UNRECORDED)
    record = journal.read(elsewhere / "sweeps" / "sklearn-linear" / "journal.jsonl")
    assert len(record.trials) == 3
    assert record.count()["failed"] == 0
