"""A removal that broke off, has to wait, or meets another one: each is said in a line, and loses nothing."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from fersweep.cluster.launch import check_quickly
from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.housekeeping import sweep_runs
from fersweep.results.housekeeping.collection import gc
from fersweep.results.housekeeping.out_of_sight import held
from fersweep.results.housekeeping.removal import plan, rm
from fersweep.results.housekeeping.renaming import mv
from fersweep.results.record.drivers import LOCK
from fersweep.results.record.home import (
    MOVE,
    REMOVED,
    background_place,
    begun,
    find_sweep,
    hidden_path,
    sweep_names,
)
from fersweep.results.record.sweep_json import read_sweep_json
from tests.sweeps import change_asked, write_sweep


def test_its_report_is_waited_for(own_home: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fersweep.results.housekeeping import out_of_sight
    from fersweep.results.tracking import report_upload

    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    monkeypatch.setattr(out_of_sight, "WAIT_S", 0.1)
    with lock(sweep_dir / report_upload.LOCK), pytest.raises(InputError, match="its report is being written"):
        rm(["cnn"], own_home)
    rm(["cnn"], own_home)
    assert report_upload.main([str(sweep_dir)]) == 0
    assert not sweep_dir.exists()


def test_what_broke_off_is_named_and_told_from_a_new_sweep(own_home: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    asked = read_sweep_json(sweep_dir).asked
    left = sweep_dir.rename(hidden_path(sweep_dir, "3f2a9c81", REMOVED))
    line = f"removing cnn broke off: `fersweep rm cnn --home {own_home}` finishes it"
    assert begun(own_home) == begun(own_home, "cnn") == [line]
    assert begun(own_home, "other") == []
    with pytest.raises(InputError, match=f"no sweep 'cnn'.*{line}"):
        find_sweep(own_home, "cnn")
    with pytest.raises(InputError, match=line):
        check_quickly(asked, tiny_dataset, own_home)
    other = write_sweep(own_home, tiny_dataset, 1, "other")
    with pytest.raises(InputError, match=line):
        mv("other", "cnn", own_home)

    new = write_sweep(own_home, tiny_dataset, 1, "cnn")  # by an older version, say
    log = background_place(new)
    log.mkdir()
    with lock(left / LOCK):
        assert not [item for item in gc(own_home).leftovers if item.kind == "removals"], "somebody is at it"
    (planned,) = plan(["cnn"], own_home)
    assert planned.directory == left
    assert "the sweep cnn that is there now stays" in planned.notes[0]
    rm(["cnn"], own_home)
    assert (left.exists(), new.exists(), log.exists(), begun(own_home)) == (False, True, True, [])
    rm(["cnn"], own_home)
    assert sorted(os.listdir(own_home / "sweeps")) == ["other"]

    (other / MOVE).write_text('{"from": "other", "to": "new"}')
    for name in ("other", "new", None):
        assert begun(own_home, name) == [
            f"renaming other to new broke off: `fersweep mv other new --home {own_home}` finishes it"
        ]
    with pytest.raises(InputError, match="renaming other to new broke off"):
        rm(["other"], own_home)


def test_a_busy_store_is_waited_for_and_what_is_left_is_said(
    own_home: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked(*_: object) -> None:
        sweep_runs.patient(lambda: sqlite3.connect(own_home / "mlflow.db", timeout=0).execute("BEGIN IMMEDIATE"))

    write_sweep(own_home, tiny_dataset, 1, "cnn")
    monkeypatch.setattr(sweep_runs, "BUSY_S", 0.3)
    monkeypatch.setattr(sweep_runs, "remove", locked)
    with contextlib.closing(sqlite3.connect(own_home / "mlflow.db", timeout=0)) as other:
        plan(["cnn"], own_home)  # which opens the store
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RuntimeError, match=r"another process is writing.*`fersweep rm cnn .*` removes the rest"):
            rm(["cnn"], own_home)
    assert capsys.readouterr().err.count("waiting for its end, up to 0 s") == 1
    monkeypatch.undo()
    rm(["cnn"], own_home)
    assert os.listdir(own_home / "sweeps") == []


def test_two_at_once(own_home: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    with held(sweep_dir, None, REMOVED):
        for call in (lambda: rm(["cnn"], own_home), lambda: mv("cnn", "new", own_home)):
            with pytest.raises(InputError, match=f"cnn is being removed by process {os.getpid()}: wait for its end"):
                call()
        left = sweep_dir.rename(hidden_path(sweep_dir, "3f2a9c81", REMOVED))
        with pytest.raises(InputError, match=f"cnn is being removed by process {os.getpid()}"):
            rm(["cnn"], own_home)
        with (
            pytest.raises(InputError, match=f"cnn is being removed by process {os.getpid()}"),
            held(sweep_dir, None, REMOVED),
        ):
            pass
        shutil.rmtree(left)
    with (
        pytest.raises(InputError, match="cnn was removed or renamed by another process meanwhile"),
        held(sweep_dir, None, REMOVED),
    ):
        pass


def test_a_sweep_whose_second_one_is_about_to_begin(own_home: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    change_asked(sweep_dir, then={"best": 1})
    with pytest.raises(InputError, match=f"process {os.getpid()} begins cnn-full, which follows it"):
        rm(["cnn"], own_home)
    write_sweep(own_home, tiny_dataset, 1, "cnn-full")
    rm(["cnn"], own_home)
    assert sweep_names(own_home) == ["cnn-full"]
