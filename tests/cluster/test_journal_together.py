"""Events that are written at once (results/record/journal.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fersweep.results.record import journal
from fersweep.results.record.journal import read
from fersweep.results.record.storage import Storage
from tests.cluster.conftest import OpenJournal

SAMPLED: dict[str, Any] = {"hparams": {}, "params": {}, "distributions": {}, "point": None}


def test_events_together_are_on_disk_at_the_end_alone(
    open_journal: OpenJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)
    written, heard = open_journal(tmp_path / "journal.jsonl"), list[str]()
    written.observers.append(lambda event: heard.append(event["event"]))
    with written.together():
        for number in range(3):
            written.append("sampled", trial=number, **SAMPLED)
        assert len(written.record.trials) == 3
        assert not read(written.path).trials
        assert not heard
    assert len(read(written.path).trials) == len(heard) == 3
    assert len(synced) == 1
    with written.together():
        pass
    assert len(synced) == 1


def test_what_was_recorded_before_an_error_is_written(open_journal: OpenJournal, tmp_path: Path) -> None:
    written = open_journal(tmp_path / "journal.jsonl")

    def broken() -> None:
        with written.together():
            written.append("sampled", trial=0, **SAMPLED)
            raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        broken()
    written.append("sampled", trial=1, **SAMPLED)
    assert list(read(written.path).trials) == [0, 1]


def test_a_full_disk_leaves_none_of_them(
    open_journal: OpenJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = open_journal(tmp_path / "journal.jsonl")
    written.append("sampled", trial=0, **SAMPLED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)

    def append_two() -> None:
        with written.together():
            written.append("sampled", trial=1, **SAMPLED)
            written.append("sampled", trial=2, **SAMPLED)

    with pytest.raises(OSError, match="No space left"):
        append_two()
    assert list(read(written.path).trials) == [0]


def test_a_bucket_gets_them_at_once(open_journal: OpenJournal, tmp_path: Path) -> None:
    storage, writes = Storage(tmp_path), list[bytes]()
    segments = journal.Segments(storage)
    written = open_journal(tmp_path / "journal.jsonl")
    written._segments = segments
    segments.append = writes.append  # type: ignore[method-assign]
    with written.together():
        written.append("sampled", trial=0, **SAMPLED)
        written.append("sampled", trial=1, **SAMPLED)
    assert len(writes) == 1
    assert writes[0] == written.path.read_bytes()
