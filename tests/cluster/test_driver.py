"""What a driver shows and watches, without Ray: the live view, requests to stop, a Ray that is gone while it stops."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fersweep.cluster.driver import live_view, watchdog
from fersweep.cluster.driver.progress import Progress
from fersweep.cluster.driver.stopping import Stopping
from fersweep.common.display import terminal
from fersweep.common.processes import environment
from fersweep.results.record.drivers import (
    HEARTBEAT,
    SILENT_S,
    directory_driver,
    request_stop,
    stop_requested,
    withdraw_stop,
)
from fersweep.results.record.journal import SweepRecord, read_events
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.cluster.conftest import OpenJournal


def record(trials: int, running: int) -> SweepRecord:
    """Trials with one epoch each; the first of them have ended."""
    made = SweepRecord()
    for number in range(trials):
        params = {"optimizer": "adam", "learning_rate": 0.01 / (number + 1), "units_0": 32 + number}
        made.apply({"event": "sampled", "trial": number, "hparams": {}, "params": params, "time": 0})
        epochs = [{"epoch": 1, "val_macro_f1": 0.5 + number / 100}]
        made.apply({"event": "report", "trial": number, "epochs": epochs, "time": 1})
        if number < trials - running:
            made.apply({"event": "ended", "trial": number, "state": "stopped", "time": 1})
    return made


@pytest.mark.parametrize("size", [(80, 23), (60, 14), (200, 49), (40, 8), (12, 3), (1, 1)])
@pytest.mark.parametrize(("trials", "running"), [(0, 0), (2, 2), (30, 4), (30, 25)])
def test_the_live_view_fits_the_terminal(size: tuple[int, int], trials: int, running: int) -> None:
    sweep, made = read_sweep("blendshape_dense", []), record(trials, running)
    parts = live_view.summary(sweep, made, 62, made.num_ended, made.num_epochs, 0.198)
    lines = live_view.frame(sweep.name, parts, sweep, made, *size)
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    if size[0] >= 60 and trials:
        text = "\n".join(lines)
        assert all(
            word in text for word in (f"{made.num_ended}/48 trials", "best val_macro_f1 0.", "elapsed 1:02", "ETA ")
        )
        states = [line.split()[1] for line in lines if line[:4].isdigit()]
        assert states == sorted(states), "running ones first"
        assert "learning_rate" in text
        assert "optimizer" not in text, "it is the same in all"


def test_a_request_stops_a_driver_and_a_ray_that_is_gone_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended, storage, stopping = threading.Event(), Storage(tmp_path), Stopping()
    codes: list[int] = []
    events: list[str] = []

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(watchdog.os, "_exit", leave)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.01)
    monkeypatch.setattr(watchdog, "LOST_STOPPING_S", 0.05)
    recorder = cast(Any, SimpleNamespace(check=lambda: None))
    session = lambda action, **_: events.append(action)  # noqa: E731
    with socket.create_server(("127.0.0.1", 0)) as head:
        watching = watchdog.Watchdog(tmp_path, storage, recorder, stopping, session, "fersweep resume c")
        watching.watch_ray(f"127.0.0.1:{head.getsockname()[1]}", None)
        with watching:
            assert not stopping.asked
            request_stop(storage)
            request_stop(storage)
            for _ in range(500):
                if stopping.asked:
                    break
                ended.wait(0.01)
            assert stopping.asked
            head.close()
            assert ended.wait(10)
    assert (set(codes), set(events)) == ({130}, {"interrupted"})
    err = capfd.readouterr().err
    assert err.count("stopping, as `fersweep stop` asks") == 1
    assert err.endswith("interrupted; nothing is lost; go on with: fersweep resume c\n")
    withdraw_stop(storage)
    assert not stop_requested(storage)


def test_a_dead_raylet_ends_the_driver_in_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended, events, codes = threading.Event(), list[tuple[str, str]](), list[int]()
    monkeypatch.setattr(watchdog.os, "_exit", lambda code: (codes.append(code), ended.set()))
    recorder = cast(Any, SimpleNamespace(check=lambda: None))
    session = lambda action, reason: events.append((action, reason))  # noqa: E731
    ours, raylet = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as head:
        watching = watchdog.Watchdog(tmp_path, Storage(tmp_path), recorder, Stopping(), session, "fersweep resume c")
        watching.watch_ray(f"127.0.0.1:{head.getsockname()[1]}", ours)
        with watching:
            raylet.close()
            assert ended.wait(10)
    ((action, reason),) = events
    assert (codes, action) == ([1], "failed")
    assert reason.startswith("Ray on this machine has died")
    assert capfd.readouterr().err == f"fersweep: {reason}\nfailed; nothing is lost; go on with: fersweep resume c\n"


WATCHED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from fersweep.cluster.driver import stopping, watchdog
from fersweep.results.record.storage import Storage
here, recorder = Path(sys.argv[1]), SimpleNamespace(check=lambda: None)
with watchdog.Watchdog(here, Storage(here), recorder, stopping.Stopping(), print, "fersweep resume c"):
    if sys.argv[2] == "killed":
        os._exit(1)
"""


@pytest.mark.parametrize(
    ("how", "last"), [("killed", "interrupted; nothing is lost; go on with: fersweep resume c"), ("ended", "")]
)
def test_a_driver_that_ends_without_a_word_has_one_said_for_it(tmp_path: Path, how: str, last: str) -> None:
    """Ray's native code ends it where its object store is gone; or somebody kills it."""
    command = [sys.executable, "-P", "-c", WATCHED, str(tmp_path), how]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
    assert "".join(done.stderr.splitlines()[1:]) == last, done.stderr


def test_an_orderly_end_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(watchdog.os, "_exit", codes.append)
    ours, raylet = socket.socketpair()
    recorder = cast(Any, SimpleNamespace(check=lambda: None))
    with socket.create_server(("127.0.0.1", 0)) as head, raylet:
        watching = watchdog.Watchdog(tmp_path, Storage(tmp_path), recorder, Stopping(), lambda *_: None, "")
        watching.watch_ray(f"127.0.0.1:{head.getsockname()[1]}", ours)
        with watching:
            pass
        assert raylet.recv(1) == b"", "its thread has ended"
    assert codes == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_warning_and_a_closed_terminal_stop_as_sigterm_does(number: signal.Signals) -> None:
    """`tune.run` takes SIGUSR1, a batch system's warning, for itself, and the driver takes it back."""
    stopping, harmless = Stopping(), lambda *_: None
    before = signal.signal(number, harmless)
    with stopping.signals():
        if number == signal.SIGUSR1:
            signal.signal(number, signal.SIG_IGN)
        stopping.take_signals()
        signal.raise_signal(number)
        assert (stopping.asked, stopping.signal) == (True, number)
    assert signal.signal(number, before) == harmless


def test_below_nohup_a_closed_terminal_stops_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopping = Stopping()
        with stopping.signals():
            signal.raise_signal(signal.SIGHUP)
            assert not stopping.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_ctrl_c_that_a_library_swallowed_stops_the_run() -> None:
    with terminal.interrupts():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), Stopping().signals():
            pass
    with terminal.interrupts(), Stopping().signals():
        pass


def test_a_clock_that_is_set_does_not_change_what_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_journal: OpenJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Back by an hour while a sweep runs: elapsed, ETA and rates stay, lines are still drawn, the journal goes on."""
    made = open_journal(tmp_path / "journal.jsonl")
    sweep = read_sweep("blendshape_dense", [])
    shown = Progress(
        cast(Any, SimpleNamespace(sweep=sweep, record=made.record, active={}, needed_rungs=list)),
        Stopping(),
        cast(Any, None),
        None,
    )
    made.session("started")
    for shift_s in (-3600.0, 3600.0):
        now = time.time() + shift_s
        monkeypatch.setattr(time, "time", lambda now=now: now)
        made.session("started")
        shown._drawn -= 60
        shown.on_step_end(1, [])
        assert "elapsed 0:00; ETA ? " in capsys.readouterr().err
    times = [event["time"] for event in read_events(tmp_path / "journal.jsonl")]
    assert 0 <= times[1] - times[0] <= times[2] - times[0] < 60


@pytest.mark.parametrize("skew_s", [-3600.0, 90.0, 3600.0])
def test_the_clock_of_another_machine_says_nothing_of_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew_s: float
) -> None:
    """A heartbeat's age is by the clock of the storage that has it."""
    last, now = {"action": "started", "host": "elsewhere", "pid": 7}, time.time()
    (tmp_path / HEARTBEAT).touch()
    monkeypatch.setattr(time, "time", lambda: now + skew_s)
    driver = directory_driver(tmp_path, last)
    assert driver is not None
    assert driver.alive
    assert 0 <= driver.silent_s < SILENT_S
    os.utime(tmp_path / HEARTBEAT, (now - 60, now - 60))
    assert directory_driver(tmp_path, last) is None
