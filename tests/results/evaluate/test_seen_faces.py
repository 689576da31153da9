"""Figures on faces that a model learned: refused, left out, or marked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fersweep import trainables
from fersweep.cli.main import app
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset import integrity
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.learned_faces import FILE
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate import page, tables
from fersweep.results.evaluate.model_judgement import ModelJudgement, judge_model
from fersweep.results.models.learned import faces_of, older_record, records_of
from fersweep.results.models.open_model import open_model
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.trainables import ensemble
from fersweep.trainables.saved_model import read_model
from tests.datasets import write_with_faces_of
from tests.sweeps import FakeDriver, write_sweep_json

REFUSED = (
    r"learned {} of .*data/tiny: figures on it say nothing about new faces; take --split test, or another dataset with "
)


def shown(judged: ModelJudgement) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tables.render_judgement(judged))
    return capture.get()


@pytest.fixture(scope="module")
def sweep(home: Path, arrays: TaskArrays) -> Path:
    """A sweep that is called as its directory is."""
    directory = write_sweep_json(home, home / "data" / "tiny", arrays, "seen")
    driver = FakeDriver(directory, arrays)
    driver.run_trial(0, {"rate": 0.3}, 1, "finished")
    driver.journal.close()
    return directory


@pytest.fixture(scope="module")
def refit(home: Path, sweep: Path) -> Path:
    """The checkpoint of a refit of its trial."""
    checkpoint = sweep / "refit" / "0000-epochs-1-seed-0"
    learned = Task(home / "data" / "tiny").arrays(with_val=True)
    trainables.load("curve").build({"rate": 0.3}, learned, 0).save(checkpoint)
    return checkpoint


def without_learned(checkpoint: Path) -> dict[str, Any]:
    """A model.json as a version wrote it that did not say what a model learned."""
    return {key: value for key, value in read_model(checkpoint).items() if key != "learned"}


def test_val_of_a_trial_is_judged_and_train_is_refused(
    home: Path, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = open_model(sweep.name, home)
    assert records_of(model)[0]["splits"] == ["train"]
    plain = judge_model(model, home)
    assert plain.figures.seen is None
    assert "learned" not in shown(plain)
    for data in (None, home / "data" / "tiny"):
        with pytest.raises(InputError, match=f"^seen:0 {REFUSED.format('train')}--data, or --allow-seen"):
            judge_model(model, home, data, "train")
    app(["evaluate", "seen", "--split", "train", "--allow-seen", "--home", str(home), "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["seen"]["judged"]
    assert said["seen"]["same"] == said["all"]["num_faces"] - len(Task(home / "data" / "tiny").undetected("train"))
    judged = judge_model(model, home, split="train", allow_seen=True)
    for text in (shown(judged), page.html(judged)):
        assert "seen:0 on train of tiny (with faces that it learned)" in text
        assert "seen:0 learned these faces (train is among what it was trained on): no figures of new faces" in text


@pytest.mark.parametrize("is_older", [False, True], ids=["", "older"])
def test_a_refit_has_learned_val(home: Path, refit: Path, monkeypatch: pytest.MonkeyPatch, is_older: bool) -> None:
    tiny = home / "data" / "tiny"
    if is_older:
        monkeypatch.setattr("fersweep.results.models.open_model.read_model", without_learned)
    model = open_model(str(refit), home)
    assert records_of(model)[0]["splits"] == ["train", "val"]
    with pytest.raises(InputError, match=REFUSED.format("val")):
        judge_model(model, home, tiny, "val")
    assert judge_model(model, home, tiny, "test").figures.seen is None
    assert judge_model(model, home, tiny, "val", allow_seen=True).figures.seen


def test_a_registered_refit_of_an_older_version(sweep: Path) -> None:
    """Its tags say that it is one; the sweep may be gone."""
    described, of_sweep = {"fingerprint": "f" * 64}, read_sweep_json(sweep)
    for known in (of_sweep, None):
        (record,) = older_record(described, known, refit=True)
        assert record["splits"] == ["train", "val"]
        assert (record["task"] is None) == (known is None)
    assert older_record({}, None, refit=False) == []


def test_an_older_trial_has_learned_train(home: Path, sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fersweep.results.models.open_model.read_model", without_learned)
    checkpoint = open_model("seen:0", home).checkpoint
    for spec in (str(checkpoint), "seen:0"):
        assert judge_model(open_model(spec, home), home, home / "data" / "tiny", "val").figures.seen is None
        with pytest.raises(InputError, match=REFUSED.format("train")):
            judge_model(open_model(spec, home), home, home / "data" / "tiny", "train")


def test_an_ensemble_has_learned_what_its_members_have(home: Path, sweep: Path, refit: Path, tmp_path: Path) -> None:
    trial = open_model(sweep.name, home).checkpoint
    assert trial is not None
    ensemble.write(tmp_path / "both", [trial, refit, refit])
    model = open_model(str(tmp_path / "both"), home)
    assert [record["splits"] for record in records_of(model)] == [["train"], ["train", "val"]]
    with pytest.raises(InputError, match=REFUSED.format("val")):
        judge_model(model, home, home / "data" / "tiny", "val")


def test_faces_of_another_dataset_that_it_learned_are_left_out(home: Path, sweep: Path, tmp_path: Path) -> None:
    """3 are the same pictures as some of train, 2 are a little darker; and where the learned dataset is not here."""
    pictures = Task(home / "data" / "tiny", TaskSpec(features="pixels")).load("train")
    known = pictures.x[np.isin(pictures.face_ids, Task(home / "data" / "tiny").load("train").face_ids)]
    data = write_with_faces_of(tmp_path / "other", {"test": np.concatenate([known[:3], np.maximum(known[3:5], 1) - 1])})
    model = open_model(sweep.name, home)
    judged = judge_model(model, home, data)
    num = len(Task(data).load("test").y)
    assert judged.figures.detected.num_faces == num - 5 == len(judged.y)
    assert judged.figures.seen is not None
    assert judged.figures.seen.as_json() == {"same": 3, "near": 2, "judged": False}
    note = "faces of test may have been learned by seen:0: 3 the same picture, 2 near twins; judged "
    assert f"{note}without them" in judged.notes[0]
    assert "learned)" not in shown(judged)
    everything = judge_model(model, home, data, allow_seen=True)
    assert everything.figures.detected.num_faces == num
    assert f"{note}all the same" in everything.notes[0]
    assert "(with faces that it learned)" in shown(everything)

    moved, elsewhere = tmp_path / "artifacts" / "epoch", tmp_path / "home"
    shutil.copytree(str(model.checkpoint), moved)
    away = judge_model(open_model(str(moved), elsewhere), elsewhere, data)
    assert "which faces of test" in away.notes[-1]
    assert "learned is not known: dataset tiny is not here" in away.notes[-1]
    faces_of(model, home / "data" / "tiny").save(moved.parent / FILE)
    packed = judge_model(open_model(str(moved), elsewhere), elsewhere, data)
    assert packed.figures.seen is not None
    assert packed.figures.seen.as_json() == {"same": 3, "near": None, "judged": False}
    assert packed.notes[0].endswith("near twins were not looked for: dataset tiny is not here")


def test_a_record_that_is_damaged_is_none(home: Path, sweep: Path) -> None:
    model = open_model(sweep.name, home)
    for learned in (
        7,
        [7],
        [{"fingerprint": 1}],
        [{"fingerprint": "f", "splits": "train"}],
        [{"fingerprint": "f", "splits": ["x"]}],
    ):
        model.described["learned"] = learned
        assert records_of(model) == []
    assert judge_model(model, home, split="train").figures.seen is None


def test_parts_that_were_changed_are_not_judged(home: Path, sweep: Path, tmp_path: Path) -> None:
    """Test is judged on faces of which every byte was read, whatever is remembered of them."""
    data = Path(shutil.copytree(home / "data" / "tiny", tmp_path / "copy"))
    part = data / "faces" / "part-00001.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-400] + b"\0" + content[-399:])
    integrity.remember(data, read_manifest(data))
    with pytest.raises(InputError, match=r"part-00001\.parquet is not what the manifest names"):
        judge_model(open_model(sweep.name, home), home, data, "test")
