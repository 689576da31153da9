"""Sweeps, trials and models as objects: what their tables hold, and what a model answers to arrays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fersweep
from fersweep.api.frames import AFTER, BEFORE
from fersweep.common.processes import environment
from fersweep.data_pipeline.tasks.task import Task
from tests.sweeps import METRIC, FakeDriver, write_sweep, write_sweep_json


def changed(sweep_dir: Path, **sections: Any) -> Path:
    """The sweep's file with other sections."""
    path = sweep_dir / "sweep.json"
    content = json.loads(path.read_text())
    for key, values in sections.items():
        content["sweep"][key] = {**content["sweep"][key], **values}
    path.write_text(json.dumps(content))
    return sweep_dir


def test_trials_are_those_of_compare(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    sweep = fersweep.open_sweep("tiny", home=tmp_path)
    trials, said = sweep.trials(), fersweep.as_json(sweep.compare())
    assert list(trials["state"]) == ["finished", "stopped", "failed", "finished"]
    for row in said["trials"]:
        ours = trials.set_index("trial").loc[row["trial"]]
        hparams = {**said["hparams"], **row["hparams"]}
        for name, value in {**hparams, **row["scores"], **row["costs"]}.items():
            assert ours[name] == value, name
        same = {name: ours[name] for name in ("state", "value", "best_epoch", "epochs")}
        assert same == {name: row[name] for name in same}
    failed = trials.iloc[2]
    assert (failed["value"], failed["best_epoch"], failed["epochs"]) == (0.3, 1, 2)
    assert failed["reason"] == "val_loss is nan at epoch 2"
    assert (trials["ended"] >= trials["started"]).all()
    for name, dtype in {**BEFORE, **AFTER}.items():
        assert str(trials[name].dtype) == dtype, name
    epochs = sweep.epochs()
    assert len(epochs) == trials["epochs"].sum()
    best = epochs.groupby("trial")[METRIC].max()
    assert best.to_dict() == trials.set_index("trial")["value"].to_dict()
    assert sweep.best is not None
    assert sweep.best.number == said["trials"][0]["trial"]
    assert sweep.best.hparams == {**said["hparams"], **said["trials"][0]["hparams"]}
    assert list(sweep.best.epochs()["epoch"]) == list(range(1, 10))
    with pytest.raises(fersweep.InputError, match=r"no trial 9; trials: 0 to 3"):
        sweep.trial(9)
    study = sweep.study()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert study.best_value == sweep.best.value


def test_a_sweep_without_trials_has_the_same_columns(tmp_path: Path, tiny_dataset: Path) -> None:
    write_sweep_json(tmp_path, tiny_dataset, Task(tiny_dataset).arrays())
    sweep = fersweep.open_sweep("tiny", home=tmp_path)
    trials, epochs = sweep.trials(), sweep.epochs()
    assert (len(trials), len(epochs), sweep.best, sweep.status.state) == (0, 0, None, "interrupted")
    assert {name: str(trials[name].dtype) for name in (*BEFORE, *AFTER)} == {**BEFORE, **AFTER}
    assert list(epochs.columns) == ["trial", "epoch", METRIC, "reported"]
    assert str(epochs["epoch"].dtype) == "int64"


def test_a_running_sweep_is_read_anew(tmp_path: Path, tiny_dataset: Path) -> None:
    """A trial whose hparams changed (PBT) has those of its best epoch; one called like a column stands apart."""
    arrays = Task(tiny_dataset).arrays()
    directory = write_sweep_json(tmp_path, tiny_dataset, arrays)
    driver, sweep = FakeDriver(directory, arrays), fersweep.open_sweep("tiny", home=tmp_path)
    driver.journal.session("started")
    driver.sample(0, {"rate": 0.1, "top": 0.8, "value": 3, "layers": [8, 4], "deep": True})
    assert list(sweep.trials()["state"]) == ["running"]
    driver.sample(1, {"rate": 0.2, "top": 0.8, "value": 4, "layers": [8], "name": "b"})
    for trial, scores in ((0, [0.5, 0.6]), (1, [0.7])):
        driver.report(trial, [{"epoch": number, METRIC: score} for number, score in enumerate(scores, 1)])
    driver.journal.append(
        "exploited", trial=1, at_epoch=1, donor=0, donor_epoch=2, among=2, hparams={"rate": 0.3, "top": 0.8}
    )
    driver.report(1, [{"epoch": 2, METRIC: 0.8}, {"epoch": 3, METRIC: 0.4}])
    driver.journal.close()
    trials, epochs = sweep.trials(), sweep.epochs(hparams=True)
    assert list(trials["rate"]) == [0.1, 0.3]
    assert list(trials["best_epoch"]) == [2, 2]
    assert trials["ended"].isna().all()
    assert list(trials["hparams.value"].dropna()) == [3]
    assert str(trials["deep"].dtype) == "boolean"
    assert trials["layers"][0] == [8, 4]
    assert list(epochs[epochs["trial"] == 1]["rate"]) == [0.2, 0.3, 0.3]
    assert pd.isna(epochs["value"].iloc[-1])


def test_several_objectives_and_folds(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset).arrays()
    objectives = [{"metric": METRIC, "mode": "max"}, {"metric": "latency_ms", "mode": "min"}]
    directory = write_sweep_json(tmp_path, tiny_dataset, arrays)
    stop = {"objectives": objectives, "scheduler": "none"}
    changed(directory, stop=stop, search={"sampler": "random", "constraints": ["latency_ms <= 5"]})
    driver = FakeDriver(directory, arrays)
    for trial, (score, latency) in enumerate([(0.5, 1.0), (0.7, 2.0), (0.6, 3.0), (0.9, 9.0)]):
        driver.sample(trial, {"rate": 0.1})
        row = {"epoch": 1, METRIC: score, f"{METRIC}_fold_0": score - 0.1}
        driver.report(trial, [row], {"latency_ms": latency})
        driver.end(trial, "finished")
    driver.journal.close()
    sweep = fersweep.open_sweep("tiny", home=tmp_path)
    trials = sweep.trials()
    assert list(trials["front"][:3]) == [0, 0, 1]
    assert trials["front"].isna()[3]
    assert list(trials["infeasible"].dropna()) == ["latency_ms 9 > 5"]
    assert list(trials["latency_ms"]) == [1, 2, 3, 9]
    assert sweep.best is not None
    assert sweep.best.number == 1
    assert f"{METRIC}_fold_0" in sweep.epochs()
    study = sweep.study()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert {trial.number for trial in study.best_trials} == {0, 1}


def test_a_mapping_is_a_sweep_file() -> None:
    content = {"trainable": "curve", "search": {"num_trials": np.int64(3)}, "space": {"range": {"rate": (0.1, 0.4)}}}
    from fersweep.api.settings import asked_sweep

    shared = [0.1, 0.4]
    content["space"]["range"] |= {"rate": shared, "top": shared}
    sweep = asked_sweep(content, {"stop.max_epochs": 7, "stop.grace_epochs": 2}, name="mine")
    assert (sweep.name, sweep.search.num_trials, sweep.stop.max_epochs) == ("mine", 3, 7)
    assert content["search"] == {"num_trials": 3}
    for wrong, name, message in (
        ({"trainable": "curve"}, None, "name: a sweep that is no file has none"),
        ({"trainable": object()}, "a", "object .* is no value of a sweep file"),
        ({"trainable": "curve", "stop": {"max_epoch": 3}}, "a", "did you mean 'max_epochs'"),
    ):
        with pytest.raises(fersweep.InputError, match=message):
            asked_sweep(wrong, name=name)


def test_arrays_are_seen_as_files_of_the_same_pixels(tmp_path: Path) -> None:
    write_sweep(tmp_path, num_trials=1)
    (tmp_path / "peer.py").write_text(
        "import numpy as np\ndef ask(x):\n    share = x.mean(axis=(1, 2)) / 255\n    return np.stack([share, 1 - share], 1)\n"
        "ask.classes = ['bright', 'dark']\n"
    )
    model = fersweep.open_model(f"{tmp_path}/peer.py:ask", home=tmp_path)
    faces = np.random.default_rng(0).integers(0, 255, (3, 48, 48), np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, face in zip(paths, faces, strict=True):
        Image.fromarray(face).save(path)
    of_files = model.predict(paths)
    assert [str(one.image) for one in of_files] == [str(path) for path in paths]
    for images in (faces, list(faces), np.repeat(faces[..., None], 3, axis=3), [paths[0], *faces[1:]]):
        assert [one.faces for one in model.predict(images)] == [one.faces for one in of_files]
    assert model.predict(faces[0])[0].faces == of_files[0].faces
    (face,) = of_files[0].faces
    assert face.label in ("bright", "dark")
    assert set(face.probabilities or ()) == {"bright", "dark"}
    assert face.box == (0, 0, 48, 48)
    assert fersweep.predict(faces, model)[2].faces == of_files[2].faces
    with pytest.raises(fersweep.InputError, match=r"image 1: want .* uint8.* but got \(48, 48\) float64"):
        model.predict([faces[0], faces[1] / 255])
    with pytest.raises(fersweep.InputError, match="no option 'emojis'; did you mean 'emoji'"):
        fersweep.predict(paths, model, emojis=True)
    trial = fersweep.open_sweep("tiny", home=tmp_path).best
    assert trial is not None
    assert trial.model().classes == ["happy", "sad", "neutral"]


CURVE = {
    "trainable": "curve",
    "search": {"num_trials": 2, "sampler": "random"},
    "stop": {"scheduler": "none", "max_epochs": 3, "report_s": 0},
    "resources": {"cpus": 1},
}
SLOW = {**CURVE, "space": {"fix": {"epoch_s": 0.3}}, "stop": {**CURVE["stop"], "max_epochs": 1000}}


@pytest.mark.processes
def test_a_sweep_in_a_process_of_its_own(
    tmp_path: Path, tiny_dataset: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERSWEEP_HOME", str(tmp_path))
    with pytest.raises(fersweep.InputError, match="no/such is no finished dataset"):
        fersweep.launch(CURVE, "no/such", name="quick", wait=False)
    running = fersweep.launch(CURVE, tiny_dataset, name="quick", address=ray_address, wait=False)
    assert running.state in ("starting", "running")
    assert running.pid != os.getpid()
    sweep = running.wait(timeout=300)
    assert (running.state, len(sweep.trials()), sweep.name) == ("finished", 2, "quick")
    with pytest.raises(fersweep.InputError, match="a sweep of this name exists"):
        fersweep.launch(CURVE, tiny_dataset, name="quick", wait=False)
    refused = fersweep.launch(CURVE, tiny_dataset, name="other", address="127.0.0.1:9", wait=False)
    with pytest.raises(fersweep.InputError, match=r"127\.0\.0\.1:9"):
        refused.wait(timeout=300)
    assert refused.state == "failed"


@pytest.mark.processes
def test_a_sweep_outlives_the_process_that_launched_it_and_is_stopped_by_another(
    tmp_path: Path, tiny_dataset: Path, ray_address: str
) -> None:
    code = (
        f"import fersweep\nfersweep.launch({SLOW!r}, {str(tiny_dataset)!r}, name='slow', home={str(tmp_path)!r}, "
        f"address={ray_address!r}, wait=False)\nimport os, signal; os.killpg(os.getpgid(0), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL
    sweep_json = tmp_path / "sweeps" / "slow" / "sweep.json"
    deadline = time.monotonic() + 300
    while not (sweep_json.exists() and fersweep.open_sweep("slow", home=tmp_path).trials()["epochs"].sum()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    running = fersweep.attach("slow", home=tmp_path)
    assert running.state == "running"
    with pytest.raises(TimeoutError, match="slow is running still"):
        running.wait(timeout=0.1)
    stopped = running.stop()
    assert stopped is not None
    assert (stopped.state, running.state) == ("interrupted", "interrupted")
    with pytest.raises(fersweep.SweepStopped, match=r"go on with fersweep\.resume\('slow', home="):
        running.wait(timeout=60)


NOTEBOOK = """
import os, signal, threading, asyncio
asyncio.get_running_loop()
import fersweep
first = fersweep.launch({curve!r}, {data!r}, name="first", home={home!r})
print(len(first.trials()), "trials")
def interrupt():
    import time
    path = {home!r} + "/sweeps/second/journal.jsonl"
    while not (os.path.exists(path) and '"report"' in open(path).read()):
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    fersweep.launch({slow!r}, {data!r}, name="second", home={home!r})
except KeyboardInterrupt as early:
    print("interrupted:", early)
import ray
print("ray", ray.is_initialized())
"""


@pytest.mark.processes
def test_in_a_notebook(tmp_path: Path, tiny_dataset: Path) -> None:
    """In a running loop, twice, interrupted as a kernel is; the cell shows the view, and no line after line."""
    client = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    code = NOTEBOOK.format(curve=CURVE, slow=SLOW, data=str(tiny_dataset), home=str(tmp_path))
    manager, kernel = client.start_new_kernel(kernel_name="python3", env=environment(), cwd=str(tmp_path))
    streams: dict[str, str] = {"stdout": "", "stderr": ""}
    views: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            streams[content["name"]] += content["text"]
        elif message["msg_type"] in ("display_data", "update_display_data"):
            views.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            streams["stderr"] += "\n".join(content["traceback"])

    try:
        kernel.execute_interactive(code, output_hook=hear, timeout=500)
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "2 trials" in streams["stdout"], streams
    assert (
        "interrupted: second was interrupted; nothing is lost; go on with fersweep.resume('second'"
        in (streams["stdout"])
    ), streams
    assert "ray False" in streams["stdout"]
    assert any("first · 2/2 trials" in view for view in views)
    assert "elapsed" not in streams["stderr"]
    assert fersweep.open_sweep("second", home=tmp_path).status.state == "interrupted"
