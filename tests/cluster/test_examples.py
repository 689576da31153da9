"""The trainables in examples/, each a file that nobody here wrote a loop for: from a launch to a served model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.common.own_code import copies
from fersweep.results.models.export import export
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.promotion import promote
from fersweep.results.record import journal
from fersweep.results.record.recorded_sweep import load_sweep
from tests.datasets import write_tiny_dataset
from tests.processes import ROOT, UNRECORDED, below, kill, run, start, wait_until
from tests.ray_nodes import ENVIRONMENT, Cluster

EXAMPLES = ROOT / "examples"
SMALL: dict[str, dict[str, Any]] = {  # example → what makes it small
    "sklearn_linear": {},
    "torch_cnn": {"width": 8, "depth": 2, "precision": "fp32"},
    "keras_dense": {"units": 16},
    "timm_frozen": {"backbone": "resnet10t", "weights": "none", "image_size": 32, "rank": 2, "num_open": 0, "precision": "fp32"},
    "landmark_transformer": {"heads": 2, "width_of_a_head": 8, "depth": 1, "precision": "fp32"},
}  # fmt: skip
SERVED = """
import sys, json
import mlflow, numpy as np, pandas as pd
model = mlflow.pyfunc.load_model("models:/fersweep@champion")
x = np.load(sys.argv[1])
rows = pd.DataFrame({"face": list(x)}) if x.ndim == 3 else pd.DataFrame(x, columns=json.loads(sys.argv[2]))
print(json.dumps(model.predict(rows).drop(columns="label").to_numpy().tolist()))
"""


def test_every_example_is_tried() -> None:
    """Those that are sweep files with a trainable of their own."""
    with_trainable = {path.stem for path in EXAMPLES.glob("*.yaml") if f"trainable: {path.stem}.py" in path.read_text()}
    assert with_trainable == SMALL.keys()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "faces", 180, landmarks=True)


@pytest.mark.parametrize("name", SMALL)
def test_from_launch_to_serve(name: str, tmp_path: Path, dataset: Path, ray_address: str) -> None:
    home, files = tmp_path / "home", tmp_path / "files"
    files.mkdir()
    for suffix in (".py", ".yaml"):
        shutil.copy(EXAMPLES / f"{name}{suffix}", files)
    small = [f"--set=space.fix.{key}={value}" for key, value in SMALL[name].items()]
    small += ["--set=stop.scheduler=none", "--set=task.classes=null", "--set=stop.report_s=0"]
    launched = ("launch", files / f"{name}.yaml", "--data", dataset, "--trials", 2, "--max-epochs", 4)
    sweep = home / "sweeps" / name.replace("_", "-")
    log = sweep / "journal.jsonl"

    process = start(*launched, "--address", ray_address, *small, home=home)
    wait_until(lambda: log.exists() and '"report"' in log.read_text(), process)
    kill(process)
    shutil.rmtree(files)  # from here on there is only the copy
    run("resume", sweep.name, "--address", ray_address, home=home)
    record = journal.read(log)
    assert [(trial.state, trial.num_epochs) for trial in record.trials.values()] == [("finished", 4)] * 2
    assert load_sweep(sweep).sweep.asked.trainable.startswith(f"{name}.py@")

    version = promote(sweep, gates={})
    model = open_model("champion", home)
    task = model.task(dataset, None)
    x = task.load("test").x[:20]
    answers = model.predict(x)
    assert (model.checkpoint / copies.DIRECTORY).is_dir()

    exported = export("champion", tmp_path / "model.onnx", home)
    assert exported.difference < 1e-4
    served = json.loads(_served(home, x, model.described["feature_names"], tmp_path))
    assert abs(answers - served).max() < 1e-5
    assert version is not None


def _served(home: Path, x: Any, names: list[str], scratch: Path) -> str:
    """What the registered model answers, where MLflow loads it, in a process that has no checkout and no home."""
    np.save(scratch / "x.npy", x)
    place = scratch / "elsewhere"
    place.mkdir()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    environment.pop("PYTHONPATH", None)
    environment.pop("FERSWEEP_TRAINABLES", None)
    command = [sys.executable, "-W", "ignore", "-c", SERVED, str(scratch / "x.npy"), json.dumps(names)]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


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


def test_a_bucket_has_the_code(tmp_path: Path, dataset: Path, ray_address: str, bucket: str) -> None:
    """The home is gone, and the file: another machine goes on from what the bucket holds."""
    home, elsewhere, files = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "files"
    files.mkdir()
    for suffix in (".py", ".yaml"):
        shutil.copy(EXAMPLES / f"sklearn_linear{suffix}", files)
    launched = ("launch", files / "sklearn_linear.yaml", "--data", dataset, "--trials", 2, "--max-epochs", 3)
    run(*launched, "--address", ray_address, "--set", f"storage='{bucket}'", home=home, env=UNRECORDED)
    shutil.rmtree(home)
    shutil.rmtree(files)
    prefix, _, options = bucket.partition("?")
    place = f"{prefix}/sklearn-linear?{options}"
    run("resume", place, "--trials", "+1", "--address", ray_address, home=elsewhere, env=UNRECORDED)
    record = journal.read(elsewhere / "sweeps" / "sklearn-linear" / "journal.jsonl")
    assert len(record.trials) == 3
    assert record.count()["failed"] == 0
