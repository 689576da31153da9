"""A trial in its worker, without Ray: what it saves, what it picks up, what it tells."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.worker.actor import TrialActor
from fersweep.cluster.worker.trial_report import TrialReport, verdict
from fersweep.cluster.worker.trial_settings import TrialSettings, trial_settings
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.trainables import curve
from fersweep.trainables.curve import Curve, build
from fersweep.trainables.gpu_share import SHARE
from fersweep.trainables.protocol import TrialFailed
from tests.one_trial import OneTrial

RISING = {"top": 0.9, "rate": 0.3, "noise": 0.0}


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset).arrays()


@pytest.fixture
def begin(tmp_path: Path, arrays: TaskArrays) -> Callable[..., OneTrial]:
    """Begins an attempt at trial 0 of a sweep that reports after every epoch."""

    def begin(known: int = 0, hparams: dict[str, Any] = RISING, trainable: str = "curve", **changes: Any) -> OneTrial:
        changing = {"rungs": (3,), "report_s": 0.0, "timeout_s": None, "max_epochs": 9, "gpus": 0, **changes}
        common = {
            "seed": 1,
            "metric": "val_macro_f1",
            "mode": "max",
            "directory": tmp_path,
            "storage": Storage(tmp_path),
        }
        return OneTrial(TrialSettings(trainable=trainable, **common, **changing), arrays, 0, hparams, known)

    return begin


def test_a_worker_takes_what_the_sweep_began_with(
    begin: Callable[..., OneTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, str]] = []
    monkeypatch.setattr(curve, "expect", told.append, raising=False)
    begin(fetched={"imagenet of x": "0" * 64})
    assert told == [{"imagenet of x": "0" * 64}]


def epochs(report: TrialReport) -> list[float]:
    return [row["epoch"] for row in report.epochs]


def test_a_trial_keeps_its_best_and_its_newest_two(begin: Callable[..., OneTrial], tmp_path: Path) -> None:
    session = begin()
    for number in range(1, 6):
        assert epochs(session.run()) == [number]
    assert checkpoints.saved(Storage(tmp_path), 0) == [3, 4, 5]
    sinking = begin(known=5)
    sinking.epochs[0]["val_macro_f1"] = 1.0  # so that its best epoch is an early one
    assert sinking._needed() == {1, 4, 5}


def test_what_was_saved_but_never_reported_is_a_report_of_its_own(begin: Callable[..., OneTrial]) -> None:
    """The rung at epoch 3 must be judged before epoch 4 is trained."""
    first = begin()
    for _ in range(3):
        first.run()
    resumed = begin(known=2)
    assert epochs(resumed.run()) == [3]
    assert epochs(resumed.run()) == [4]


def test_a_report_ends_at_a_rung_and_saves_the_best_epoch_in_between(
    begin: Callable[..., OneTrial], tmp_path: Path, arrays: TaskArrays
) -> None:
    session = begin(report_s=60.0)
    assert epochs(session.run()) == [1, 2, 3]
    sinking = begin(known=3, report_s=60.0)
    sinking.epochs[1]["val_macro_f1"] = 0.99  # so that no later epoch is the best
    report = sinking.run()
    assert (epochs(report), report.status) == ([4, 5, 6, 7, 8, 9], "finished")
    found = checkpoints.read_predictions(Storage(tmp_path), 0)
    assert found is not None
    assert found[1].shape == (len(arrays.val.y), len(arrays.classes))


def test_a_report_ends_at_a_rung_of_seconds_and_a_trial_at_the_last_one(begin: Callable[..., OneTrial]) -> None:
    """Epochs of 1/128 s each, as they say of themselves: rungs at 2 and 4.5 of them, the end at 6."""
    hparams, epoch_s = {**RISING, "epoch_s": 1 / 128}, 1 / 128
    of_seconds = {"unit": "seconds", "rungs": (2 * epoch_s, 4.5 * epoch_s), "max_s": 6 * epoch_s, "report_s": 60.0}
    session = begin(hparams=hparams, **of_seconds)
    assert [epochs(session.run()) for _ in range(2)] == [[1, 2], [3, 4, 5]]
    resumed = begin(known=5, hparams=hparams, **of_seconds)
    report = resumed.run()
    assert (epochs(report), report.status, report.reason) == ([6], "finished", "trained for 0.046875 s")
    patient = begin(known=6, hparams={**hparams, "early_stopping_patience": 1}, **{**of_seconds, "max_s": 1.0})
    patient.epochs[4]["val_macro_f1"] = 1.0
    report = patient.run()
    assert (report.status, report.reason) == ("finished", "no better epoch in 1")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", ["state.npz", "model.json", "epochs.json", "checksums.json"])
def test_a_damaged_checkpoint_is_passed_over(
    begin: Callable[..., OneTrial], tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    session = begin()
    for _ in range(4):
        session.run()
    damage(tmp_path / checkpoints.place(0, 4) / name)
    resumed = begin(known=4)
    (note,) = resumed.notes
    assert note.startswith("checkpoint trials/0000/epoch-0004 is damaged: ")
    assert note.endswith("trial 0000 goes on from epoch 3")
    report = resumed.run()
    assert (report.notes, epochs(report)) == ([note], [])  # epoch 4 again, which the journal knows
    assert epochs(resumed.run()) == [5]
    for number in (3, 4, 5):
        (tmp_path / checkpoints.place(0, number) / name).unlink(missing_ok=True)
    assert "goes on from the start" in begin(known=5).notes[-1]


def test_an_unforeseen_error_reports_what_has_a_checkpoint(
    begin: Callable[..., OneTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained since is trained again; a failure of the trial's own is final, and reports all."""
    real = Curve._metrics

    def breaks(self: Curve, error: Exception) -> dict[str, float]:
        if self.epoch == 3:
            raise error
        return real(self)

    monkeypatch.setattr(Curve, "_metrics", lambda self: breaks(self, LookupError("gone")))
    report = begin(report_s=60.0).run()
    assert (epochs(report), report.status, report.reason) == ([], "fault", "LookupError: gone")
    monkeypatch.setattr(Curve, "_metrics", lambda self: breaks(self, TrialFailed("val_loss is nan at epoch 3")))
    report = begin(report_s=60.0).run()
    assert (epochs(report), report.status, report.reason) == ([1, 2], "failed", "val_loss is nan at epoch 3")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "storage", "OSError: [Errno 28] No space left"),
        (MemoryError("Unable to allocate 1 TiB"), "failed", "out of memory: Unable to allocate 1 TiB"),
        (ValueError("units: too many"), "failed", "ValueError: units: too many"),
        (RuntimeError("CUDA error"), "fault", "RuntimeError: CUDA error"),
        (OSError("a pipe broke"), "fault", "OSError: a pipe broke"),
    ],
)
def test_an_error_is_somebodys_fault(error: Exception, status: str, reason: str) -> None:
    found = verdict(error)
    assert found[0] == status
    assert found[1].startswith(reason)


def start_actor(directory: Path, arrays: TaskArrays, gpus: float, hparams: dict[str, Any]) -> TrialActor:
    """The worker of trial 0 of a sweep over `curve`, in this process."""
    sweep = parse_sweep({"name": "s", "trainable": "curve", "resources": {"gpus": gpus}}, "test")
    actor = TrialActor.__new__(TrialActor)
    config = {"members": [{"trial": 0, "hparams": hparams, "known_epochs": 0}]}
    actor.setup(config, arrays=arrays, settings=trial_settings(sweep, directory, Storage(directory)))
    return actor


@pytest.mark.parametrize(
    ("gpus", "share", "visible"), [(0.25, "0.25", "0"), (1, None, "0"), (2, None, "0"), (0, None, "")]
)
def test_a_worker_knows_its_share_of_a_gpu_before_it_loads_a_framework(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arrays: TaskArrays, gpus: float, share: str | None, visible: str
) -> None:
    monkeypatch.setenv(SHARE, "0.9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    start_actor(tmp_path, arrays, gpus, RISING)
    assert (os.environ.get(SHARE), os.environ["CUDA_VISIBLE_DEVICES"]) == (share, visible)


OTHER = {**RISING, "rate": 0.2}


def test_a_checkpoint_of_other_hparams_is_set_aside(
    begin: Callable[..., OneTrial], tmp_path: Path, arrays: TaskArrays
) -> None:
    """What an older journal finds: another trial of this number was there. Its scores are not taken, its files stay."""
    foreign = begin(hparams=OTHER)
    for _ in range(3):
        foreign.run()
    before = {
        path.relative_to(tmp_path / "trials" / "0000"): path.read_bytes()
        for path in (tmp_path / "trials" / "0000").rglob("*.*")
    }
    session = begin()
    (note,) = session.notes
    assert note == (
        "trials/0000: epoch-0001, epoch-0002, epoch-0003, predictions.npz of other hparams (rate 0.2, not 0.3): set aside "
        "as trials/0000.foreign-1; trial 0000 goes on from the start"
    )
    (row,) = session.run().epochs
    assert row == begin(known=1).epochs[0]
    assert row["val_macro_f1"] == pytest.approx(0.9 * (1 - np.exp(-0.3)))
    aside = tmp_path / "trials" / "0000.foreign-1"
    assert {path.relative_to(aside): path.read_bytes() for path in aside.rglob("*.*")} == before
    assert begin(known=1).notes == [], "said once"
    assert checkpoints.trials(Storage(tmp_path)) == [0]


@pytest.mark.parametrize("is_older", [False, True])
def test_a_trial_goes_on_from_the_newest_checkpoint_that_is_its_own(
    begin: Callable[..., OneTrial], tmp_path: Path, is_older: bool
) -> None:
    """Also where checkpoints are of a version that wrote no `trial.json`: `model.json` has hparams and data."""
    session, storage = begin(), Storage(tmp_path)
    for _ in range(3):
        session.run()
    other = begin(hparams=RISING).trainable
    other.model["hparams"]["rate"] = 0.2  # type: ignore[attr-defined]
    other.fit(3)
    owner = None if is_older else replace(session.owner, hparams=OTHER)
    checkpoints.save(storage, 0, other, [*session.epochs, *session.epochs], owner)
    if is_older:
        for epoch in (1, 2, 3):
            directory = tmp_path / checkpoints.place(0, epoch)
            (directory / checkpoints.OWNER).unlink()
            sums = json.loads((directory / checkpoints.CHECKSUMS).read_text())
            del sums[checkpoints.OWNER]
            (directory / checkpoints.CHECKSUMS).write_text(json.dumps(sums))
    resumed = begin(known=3)
    assert resumed.notes == [
        "trials/0000: epoch-0006 of other hparams (rate 0.2, not 0.3): set aside as trials/0000.foreign-1; trial 0000 goes "
        "on from epoch 3"
    ]
    assert epochs(resumed.run()) == [4]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sweep_id", "theirs", r"another sweep \(its id is theirs, not ours\)"),
        ("trial", 1, "trial 1"),
        ("hparams", OTHER, r"other hparams \(rate 0\.2, not 0\.3\)"),
        ("seed", 4, r"another seed \(4, not 3\)"),
        ("fingerprint", "e" * 64, r"other data \(fingerprint eeeeeeeeeeee, not ffffffffffff\)"),
    ],
)
def test_a_checkpoint_is_refused_by_name(
    tmp_path: Path, arrays: TaskArrays, key: str, value: Any, message: str
) -> None:
    storage, owner = Storage(tmp_path), checkpoints.Owner("ours", 0, RISING, 3, "f" * 64, "0.1")
    model = build(RISING, arrays, 3)
    checkpoints.save(storage, 0, model, model.fit(1), replace(owner, fersweep="0.2"))
    assert checkpoints.fetch(storage, 0, 1, tmp_path, owner), "other code is no other trial"
    checkpoints.save(storage, 0, model, model.fit(2), replace(owner, **{key: value}))
    with pytest.raises(
        InputError, match=f"trials/0000/epoch-0002 in .* is not of trial 0000, but of {message}: put back"
    ):
        checkpoints.fetch(storage, 0, 2, tmp_path, owner)


def test_a_model_that_cannot_be_built_fails_its_trial_alone(tmp_path: Path, arrays: TaskArrays) -> None:
    actor = start_actor(tmp_path, arrays, 0, {"top": 2})
    (report,) = actor.step()["reports"]
    assert list(report) == ["trial", "epochs", "status", "reason", "notes", "worker", "costs"]
    assert (report["status"], report["worker"]) == ("failed", {})
    actor.reset_config({"members": [{"trial": 1, "hparams": RISING, "known_epochs": 0}]})
    assert [each["status"] for each in actor.step()["reports"]] == ["running"]


def test_a_report_says_what_its_process_took(begin: Callable[..., OneTrial], tmp_path: Path) -> None:
    worker = begin().run().as_json()["worker"]
    assert worker.keys() == {"host", "pid", "cpu_percent", "rss_bytes"}
    assert worker["pid"] == os.getpid()
    assert worker["rss_bytes"] > 10_000_000
    assert begin(gpus=1).run().as_json()["worker"].keys() >= worker.keys(), "also where there is no GPU after all"
