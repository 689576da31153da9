"""A webhook that hears of a sweep: a real server on this machine, a real journal and search, no Ray."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.driver import notifications
from fersweep.cluster.driver.notifications import Notifier, webhook
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.results.record.journal import Journal
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep, read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.servers import free_port

SECRET = "/services/T000/B000/sesame"


class Hook:
    """What a webhook got, and with which codes it answers (then 200)."""

    def __init__(self, *codes: int):
        self.codes, self.got = list(codes), list[dict[str, Any]]()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                code = hook.codes.pop(0) if hook.codes else 200
                if code == 200:
                    hook.got.append(content)
                self.send_response(code)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}{SECRET}"

    @property
    def events(self) -> list[str]:
        return [content["event"] for content in self.got]


NewHook = Callable[..., Hook]


@pytest.fixture
def new_hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[NewHook]:
    """Starts webhooks; HOOK has the address of the last one. Tries follow each other quickly."""
    hooks: list[Hook] = []

    def start(*codes: int) -> Hook:
        hooks.append(Hook(*codes))
        threading.Thread(target=hooks[-1].server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("HOOK", hooks[-1].url)
        return hooks[-1]

    monkeypatch.setattr(notifications, "RETRY_S", 0.01)
    yield start
    for hook in hooks:
        hook.server.shutdown()
        hook.server.server_close()


def asked(trials: int = 3, **notify: Any) -> Sweep:
    content = {
        "name": "s",
        "trainable": "curve",
        "search": {"num_trials": trials, "seed": 1},
        "stop": {"scheduler": "none", "max_epochs": 3},
        "failures": {"max_failed_share": 1.0},
        "notify": {"url": "${HOOK}", **notify},
    }
    return parse_sweep(content, "test")


def drive(sweep: Sweep, journal: Journal, failing: int | None = None, then: str = "finished") -> None:
    """A sweep as its driver runs it, one trial after another; `failing` fails at once."""
    notifier = Notifier(sweep, journal, "fersweep status s")
    journal.session("started")
    search = Search(sweep, journal)
    while (assignment := search.next()) is not None:
        if assignment.trial == failing:
            search.report(assignment.trial, [], "failed", "val_loss is nan, see http://me:pw@host")
            continue
        curve = Curve(Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial})
        for _ in range(3):
            search.report(assignment.trial, curve.fit(1), "finished" if curve.epoch == 3 else "running")
    journal.session(then, **({"reason": "too many"} if then == "failed" else {}))
    notifier.finish()


def test_events_arrive_in_order(tmp_path: Path, open_journal: OpenJournal, new_hook: NewHook) -> None:
    hook, journal = new_hook(), open_journal(tmp_path / "j.jsonl")
    drive(asked(), journal, failing=1)
    assert [hook.events[0], hook.events[-1]] == ["start", "end"]
    assert hook.events.count("failure") == 1
    assert 1 <= hook.events.count("best") <= 2  # the first at once, the newest of the others at the end
    start, end = hook.got[0], hook.got[-1]
    assert (start["sweep"], start["trial"], start["value"], start["metric"]) == ("s", None, None, "val_macro_f1")
    assert end["state"] == "finished"
    assert end["counts"] == {"running": 0, "finished": 2, "stopped": 0, "failed": 1, "asked": 3}
    assert end["value"] == journal.record.ranked("val_macro_f1", "max")[0].value("val_macro_f1", "max")
    assert end["hint"] == "fersweep status s"
    (failure,) = (got for got in hook.got if got["event"] == "failure")
    assert failure["trial"] == 1
    assert failure["reason"] == "val_loss is nan, see http://***@host"
    assert failure["text"].startswith("fersweep s: trial 1 failed: val_loss is nan")
    assert len({got["id"] for got in hook.got}) == len(hook.got)


def test_only_what_is_asked_for_is_sent_and_a_failed_sweep_is_a_failure(
    tmp_path: Path, open_journal: OpenJournal, new_hook: NewHook
) -> None:
    hook = new_hook()
    drive(asked(on=["end"]), open_journal(tmp_path / "a.jsonl"), failing=1)
    assert hook.events == ["end"]
    drive(asked(on=["failure"]), open_journal(tmp_path / "b.jsonl"), then="failed")
    assert (hook.events, hook.got[-1]["reason"]) == (["end", "end"], "too many")


def test_a_resumed_sweep_tells_of_what_is_better_than_before(
    tmp_path: Path, open_journal: OpenJournal, new_hook: NewHook
) -> None:
    hook, path = new_hook(), tmp_path / "j.jsonl"
    drive(asked(trials=2, on=["end"]), open_journal(path))
    before = hook.got[-1]["value"]
    journal = open_journal(path)
    drive(asked(trials=8), journal)
    assert "goes on" in hook.got[1]["text"]
    best = [got["value"] for got in hook.got if got["event"] == "best"]
    assert all(value > before for value in best)
    now = journal.record.ranked("val_macro_f1", "max")[0].value("val_macro_f1", "max")
    assert ([before, *best][-1], hook.got[-1]["value"]) == (now, now)


def test_what_fails_is_tried_again_and_what_is_refused_is_dropped(
    tmp_path: Path, open_journal: OpenJournal, new_hook: NewHook, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = new_hook(500, 503, 429)
    drive(asked(on=["start", "end"]), open_journal(tmp_path / "a.jsonl"))
    assert hook.events == ["start", "end"]
    assert capsys.readouterr().err == ""
    hook = new_hook(404, 302)
    drive(asked(on=["start", "failure", "end"]), open_journal(tmp_path / "b.jsonl"), failing=0)
    assert hook.events == ["end"]
    assert capsys.readouterr().err == "notify: 2 of 3 notifications did not get through (HTTP 302)\n"


def test_a_dead_webhook_disturbs_nothing(
    tmp_path: Path,
    open_journal: OpenJournal,
    new_hook: NewHook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{free_port()}{SECRET}")
    monkeypatch.setattr(notifications, "FINISH_S", 0.1)
    journal = open_journal(tmp_path / "j.jsonl")
    drive(asked(), journal)
    assert journal.record.action == "finished"
    told = capsys.readouterr().err
    assert told.startswith("notify: ")
    assert told.endswith("did not get through (Connection refused)\n")
    assert SECRET not in told + (tmp_path / "j.jsonl").read_text()
    deadline = time.monotonic() + 30
    while any(thread.name == "notifications" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "given",
    [
        "notify.url=https://hooks.example.com/T0/sesame",
        "notify={url: 'https://hooks.example.com/T0/sesame'}",
        "notify=https://hooks.example.com/T0/sesame",
        "notify.url=[https://hooks.example.com/T0/sesame",
        "notify.URL=https://hooks.example.com/T0/sesame",
        "notify.url=$HOOK/sesame",
    ],
)
def test_an_address_in_a_sweep_file_is_refused_and_not_quoted(given: str) -> None:
    with pytest.raises(InputError) as told:
        read_sweep("quick", [given])
    assert "notify" in str(told.value)
    assert "sesame" not in str(told.value)


def test_a_variable_is_looked_for_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("trainable: curve\nnotify:\n  url: ${HOOK}\n  on: [end]\n")
    sweep = read_sweep(str(tmp_path / "s.yaml"), [])  # `on` is no truth here
    assert sweep.notify is not None
    assert sweep.notify.on == ["end"]
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(InputError, match="environment variable HOOK is not set"):
        webhook(sweep)
    for wrong in (
        "sesame",
        "file:///sesame",
        "https://sesame@host",
        "http://[sesame",
        "http://host/ sesame",
        "ftp://sesame",
    ):
        monkeypatch.setenv("HOOK", wrong)
        with pytest.raises(InputError, match="HOOK holds no webhook's address: want http") as told:
            webhook(sweep)
        assert "sesame" not in str(told.value)
    assert webhook(read_sweep("quick", [])) is None
