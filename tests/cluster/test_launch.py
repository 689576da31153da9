"""Whole sweeps on real Ray, from launch to end."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fersweep import trainables
from fersweep.cli.output import show
from fersweep.cluster.driver.run_sweep import Outcome
from fersweep.cluster.launch import dry, launch
from fersweep.cluster.resume import resume
from fersweep.common.errors import InputError
from fersweep.common.stores.buckets import Bucket
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from tests.datasets import write_tiny_dataset
from tests.processes import write_curve


def curve_sweep(tmp_path: Path, name: str, trials: int = 8, epochs: int = 10, cpus: float = 1) -> Sweep:
    path = write_curve(tmp_path / f"{name}.yaml", trials=trials, epochs=epochs, cpus=cpus)
    return read_sweep(str(path), [], name=name)


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_runs_to_its_end_and_records_everything(tmp_path: Path, tiny_dataset: Path) -> None:
    outcome = launch(curve_sweep(tmp_path, "curve"), tiny_dataset, tmp_path / "runs")
    assert outcome.state == "finished"
    recorded = load_sweep(outcome.directory)
    sweep, record = recorded.sweep, recorded.record
    assert sweep.dataset.fingerprint
    assert sweep.baseline.majority_class in sweep.classes
    assert record.action == "finished"
    assert len(record.trials) == 8
    assert {t.state for t in record.trials.values()} == {"finished", "stopped"}
    for trial in record.trials.values():
        assert [row["epoch"] for row in trial.epochs] == list(range(1, trial.num_epochs + 1))
    for trial in recorded.kept_trials():
        checkpoint = recorded.best_checkpoint(trial)
        assert checkpoint is not None
        model = json.loads((checkpoint / "model.json").read_text())
        assert model["epoch"] == trial.best("val_macro_f1", "max")["epoch"]  # type: ignore[index]
    with (outcome.directory / "driver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is running this sweep"):
            resume(outcome.directory)
    with pytest.raises(InputError, match="a sweep of this name exists"):
        launch(curve_sweep(tmp_path, "curve"), tiny_dataset, tmp_path / "runs")


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_real_model_is_searched(tmp_path: Path, tiny_dataset: Path) -> None:
    sweep = read_sweep("quick", ["stop.report_s=0"], search__num_trials=2, stop__max_epochs=6)
    record = load_sweep(launch(sweep, tiny_dataset, tmp_path).directory).record
    assert record.ranked("val_macro_f1", "max")[0].value("val_macro_f1", "max") > 0.3  # type: ignore[operator]


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_an_image_model_is_searched(
    tmp_path: Path, tiny_dataset: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a dataset in a bucket, whose arrays the worker is not sent: it stages the dataset as another machine would."""
    monkeypatch.setattr(node_arrays, "SENT_BYTES", 0)
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path / "of the driver"))
    data = bucket.replace("/team?", "/faces/tiny?")
    for path in sorted(path for path in tiny_dataset.rglob("*") if path.is_file()):
        Bucket(data).write(str(path.relative_to(tiny_dataset)), path.read_bytes())
    small = [f"space.range.width_{i}=[16, 16]" for i in range(4)]
    sweep = read_sweep("cnn", [*small, "stop.grace_epochs=1"], search__num_trials=2, stop__max_epochs=2)
    recorded = load_sweep(launch(sweep, data, tmp_path).directory)
    record = recorded.record
    assert (recorded.sweep.dataset.path, recorded.sweep.dataset.name) == (data, "tiny")
    assert recorded.sweep.feature_names == ["pixels"]
    assert {trial.state for trial in record.trials.values()} <= {"finished", "stopped"}
    assert record.num_epochs >= 3
    staged = Path(os.environ["STAGED_BY_WORKERS"])
    assert {path.name.partition("-")[0] for path in staged.iterdir()} >= {"dataset", "arrays"}
    write_tiny_dataset(tmp_path / "tiny", seed=1)
    for path in sorted(path for path in (tmp_path / "tiny").rglob("*") if path.is_file()):
        Bucket(data).write(str(path.relative_to(tmp_path / "tiny")), path.read_bytes())
    with pytest.raises(InputError, match="is not that of the data that the sweep learned"):
        resume(recorded.directory, trials="+1")


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_what_trials_need_is_fetched_before_anything_is_written(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(trainables.load("curve"), "fetch", asked.append, raising=False)
    for module in ("launch", "resume"):  # nothing is to be trained here
        monkeypatch.setattr(f"fersweep.cluster.{module}.run_sweep", lambda *known, **_: Outcome("finished", known[2]))
    path = write_curve(tmp_path / "c.yaml", trials=2, epochs=2, fix="", range="noise: [0.0, 0.0]")
    sweep = read_sweep(str(path), ["search.start_from=[easy]"])
    dry(sweep, tiny_dataset, tmp_path / "runs")
    directory = launch(sweep, tiny_dataset, tmp_path / "runs").directory
    resume(directory, trials="+1")
    assert len(asked) == 3
    for hparams in asked:
        assert hparams == asked[0]
        assert {"top": 0.9, "rate": 0.3, "noise": 0.0, "epoch_s": 0.0, "early_stopping_patience": None} in hparams
        assert len({json.dumps(one) for one in hparams}) == len(hparams) > 100

    def offline(hparams: list[dict[str, Any]]) -> None:
        raise InputError("weights: imagenet cannot be fetched")

    monkeypatch.setattr(trainables.load("curve"), "fetch", offline)
    for run in (dry, launch):
        with pytest.raises(InputError, match="weights: imagenet cannot be fetched"):
            run(sweep, tiny_dataset, tmp_path / "offline")
    assert not (tmp_path / "offline").exists()
    content = (directory / "sweep.json").read_bytes()
    with pytest.raises(InputError, match="weights: imagenet cannot be fetched"):
        resume(directory, trials="+1")
    assert (directory / "sweep.json").read_bytes() == content


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_what_the_cluster_or_the_data_lacks_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "runs"
    with pytest.raises(InputError, match=r"resources\.cpus: a trial wants 64 CPUs, but the largest node has 2"):
        launch(curve_sweep(tmp_path, "big", cpus=64), tiny_dataset, home)
    with pytest.raises(InputError, match=r"resources\.gpus: a trial wants 1 GPUs, but the largest node has 0"):
        launch(read_sweep("quick", ["resources.gpus=1"]), tiny_dataset, home)
    with pytest.raises(InputError, match=r"'angry'.*happy, sad, neutral"):
        launch(read_sweep("quick", ["task.classes={a: [angry], b: [sad]}"]), tiny_dataset, home)
    with pytest.raises(InputError, match=r"manifest\.json"):
        launch(read_sweep("quick", []), tmp_path / "nothing", home)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--home .*file: .*file is a file, where a directory is needed"):
        launch(read_sweep("quick", []), tiny_dataset, tmp_path / "file")
    assert not home.exists()
    checked = dry(read_sweep("quick", []), tiny_dataset, home)
    (tmp_path / "again.yaml").write_text(checked.as_yaml())
    assert read_sweep(str(tmp_path / "again.yaml"), []) == read_sweep("quick", [])
    capsys.readouterr()
    show(checked, None, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"sweep": checked.sweep, "facts": checked.facts}
    assert not home.exists()


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_of_two_launches_of_one_name_the_slower_is_refused(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = tmp_path / "runs" / "sweeps" / "curve" / "sweep.json"

    def be_faster(*_: Any) -> None:
        rival.parent.mkdir(parents=True)
        rival.write_text("{}")

    monkeypatch.setattr("fersweep.cluster.launch.fetch", be_faster)  # after the first look at what is there
    with pytest.raises(InputError, match="a sweep of this name exists"):
        launch(curve_sweep(tmp_path, "curve"), tiny_dataset, tmp_path / "runs")
    assert rival.read_text() == "{}"
    assert [path.name for path in rival.parents[1].iterdir()] == ["curve"]
