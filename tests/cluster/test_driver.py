"""What a driver shows and watches, without Ray: the live view, requests to stop, a Ray that is gone while it stops."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fersweep.cluster.driver import live_view, watchdog
from fersweep.cluster.driver.stopping import Stopping
from fersweep.results.record.drivers import request_stop, stop_requested, withdraw_stop
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep


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


def test_sigusr1_stops_as_sigterm_does() -> None:
    """A batch system's warning; `tune.run` takes the signal for itself, and the driver takes it back."""
    stopping, before = Stopping(), signal.getsignal(signal.SIGUSR1)
    with stopping.signals():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        stopping.take_signals()
        signal.raise_signal(signal.SIGUSR1)
        assert (stopping.asked, stopping.signal) == (True, signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before
