"""Reading a sweep back: which sweeps there are, and which trials won."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import recall_score

from data_pipeline.errors import InputError
from data_pipeline.task import Task, TaskSpec
from results import journal, tracking
from results.compare import compare, render
from results.sweeps import find_sweep, load_sweep
from tests.recorded import check_all_recorded
from tests.sweeps import METRIC, FakeDriver, write_sweep, write_sweep_json


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    return write_sweep(tmp_path_factory.mktemp("home"), tiny_dataset, num_trials=6)


def shown(found: dict) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(render(found))
    return capture.get()


def test_the_best_come_first_with_what_their_predictions_say(sweep_dir: Path) -> None:
    found = compare(sweep_dir, top=3)
    json.dumps(found, allow_nan=False)
    record = journal.read(sweep_dir / "journal.jsonl")
    values = [row["value"] for row in found["trials"]]
    everything = [t.value(METRIC, "max") or 0 for t in record.trials.values() if t.state != "failed"]
    assert values == sorted(everything, reverse=True)[:3]
    assert found["states"] == {"running": 0, "finished": 3, "stopped": 2, "failed": 1}
    assert found["total_epochs"] == 3 * 9 + 2 * 2 + 2
    row = found["trials"][0]
    with np.load(sweep_dir / "trials" / f"{row['trial']:04d}" / "predictions.npz") as val:
        wanted = recall_score(val["y"], val["probabilities"].argmax(axis=1), average=None)
    assert list(row["recall"].values()) == pytest.approx(wanted)
    assert row["hparams"].keys() == {"rate"}
    assert found["hparams"] == {"top": 0.8, "noise": 0.01}


def test_the_baselines_stand_beside(sweep_dir: Path) -> None:
    sweep, _ = load_sweep(sweep_dir)
    (majority,) = compare(sweep_dir)["baselines"]
    assert majority["scores"]["val_macro_f1"] == sweep["baseline"]["macro_f1"]
    assert sorted(majority["recall"].values()) == [0.0, 0.0, 1.0]
    text = shown(compare(sweep_dir))
    assert f"always {sweep['baseline']['majority_class']}" in text
    assert "0002" not in text, "a failed trial is not among the best"


def test_a_sweep_under_way(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset).arrays()
    sweep_dir = write_sweep_json(tmp_path, tiny_dataset, arrays)
    assert compare(sweep_dir)["trials"] == []
    assert "No trials yet" in shown(compare(sweep_dir))
    driver = FakeDriver(sweep_dir, arrays)
    driver.sample(0, {"rate": 0.1})
    driver.report(0, [{"epoch": 1, METRIC: 0.4, "val_accuracy": 0.5}])
    driver.sample(1, {"rate": 0.1, "extra": 1})
    (row,) = compare(sweep_dir)["trials"]
    assert (row["value"], row["recall"], row["state"]) == (0.4, None, "running")
    assert compare(sweep_dir)["hparams"] == {"rate": 0.1}
    assert "–" in shown(compare(sweep_dir))
    driver.journal.close()


def test_scores_with_the_mirror_image_stand_apart(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset, TaskSpec(features="pixels")).arrays()
    sweep_dir = write_sweep_json(tmp_path, tiny_dataset, arrays, trainable="cnn")
    driver = FakeDriver(sweep_dir, arrays)
    driver.journal.session("started")
    hparams = {"widths": [4, 6], "image_size": 24}
    driver.run_trial(0, {**hparams, "tta": True}, 2, "finished")
    driver.run_trial(1, {**hparams, "tta": False}, 1, "finished")
    driver.journal.session("finished")
    driver.journal.close()
    found = compare(sweep_dir)
    assert found["faces"] == "all faces"
    first, second = sorted(found["trials"], key=lambda row: row["trial"])
    assert first["scores"].keys() - second["scores"].keys() == {
        "val_tta_accuracy",
        "val_tta_balanced_accuracy",
        "val_tta_macro_f1",
    }
    text = shown(found)
    assert text.count("mirror image") == 1
    assert f"{first['scores']['val_tta_accuracy']:.4f}" in text.partition("mirror image")[2]
    tracking.record(sweep_dir)
    runs = check_all_recorded(sweep_dir)
    at_best = runs["0000"].data.metrics["at_best/val_tta_accuracy"]
    assert at_best == first["scores"]["val_tta_accuracy"]


def test_an_unknown_sweep_is_refused_with_the_known_ones(sweep_dir: Path, tmp_path: Path) -> None:
    home = sweep_dir.parents[1]
    assert find_sweep(home, "tiny") == sweep_dir
    with pytest.raises(InputError, match=r"no sweep 'tony'.*known: tiny"):
        find_sweep(home, "tony")
    with pytest.raises(InputError, match="none yet"):
        find_sweep(tmp_path, "tiny")
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match="not a sweep's record"):
        load_sweep(tmp_path)


def test_comparing_imports_no_framework() -> None:
    heavy = ("mlflow", "tensorflow", "torch", "ray", "sklearn", "pandas", "matplotlib")
    code = f"import sys, results.compare, results.evaluate; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
