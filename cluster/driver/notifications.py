"""A webhook hears of a sweep (`notify` in its sweep file): JSON by POST, sent by a thread that the sweep never waits for."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from http.client import HTTPMessage
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from fersweep.common.errors import InputError
from fersweep.common.text import masked
from fersweep.results.record.journal import Event, Journal
from fersweep.results.record.ranking import finalists
from fersweep.results.record.ranking.best_so_far import BestSoFar
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.ranking.order import order_of
from fersweep.search_spaces.sweep_file.schema import Sweep

PAUSE_S = {"best": 60.0, "failure": 60.0}  # at least so long between two of a kind; the newest one waits
TIMEOUT_S = 10.0  # of one try
RETRY_S, MAX_RETRY_S = 1.0, 60.0  # before the next one
FINISH_S = 5.0  # for what is left at the sweep's end
TRY_AGAIN = (408, 425, 429)  # and 5xx: what another try may mend

Payload = dict[str, Any]


def webhook(sweep: Sweep) -> str | None:
    """The address that hears of the sweep; None: nobody does. Raises InputError, which does not quote it."""
    if sweep.notify is None:
        return None
    name = sweep.notify.variable
    url = os.environ.get(name, "")
    what = f"notify.url: the environment variable {name}"
    if not url:
        raise InputError(f"{what} is not set: export it with the webhook's address, or leave `notify` out")
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{what} holds no webhook's address: want http://… or https://…, without USER:PASSWORD@")
    return url


class Notifier:
    """Hears of a journal's events from now on, and sends those that the sweep file asks for. Nothing here raises.

    `hint`: the command that looks at the sweep.
    """

    def __init__(self, sweep: Sweep, journal: Journal, hint: str):
        self._url, self._sweep, self._record, self._hint = webhook(sweep), sweep, journal.record, hint
        self._changed = threading.Condition()
        self._waiting: list[Payload] = []
        self._sent_at: dict[str, float] = {}
        self._sent = self._dropped = 0
        self._sending: Payload | None = None
        self._ending = self._over = False
        self._trouble = ""
        if self._url is not None:
            self._best = BestSoFar(self._record, order_of(sweep))
            journal.observers.append(self._hear)
            threading.Thread(target=self._run, name="notifications", daemon=True).start()

    def finish(self) -> None:
        """Wait a few seconds for what is left, then drop it; stderr says so."""
        if self._url is None:
            return
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and self._sending is None, FINISH_S)
            lost = self._dropped + len(self._waiting) + (self._sending is not None)
            self._over = True
            self._changed.notify_all()
        if lost:
            total, why = self._sent + lost, f" ({self._trouble})" if self._trouble else ""
            print(f"notify: {lost} of {total} notifications did not get through{why}", file=sys.stderr, flush=True)

    def _hear(self, event: Event) -> None:
        with contextlib.suppress(Exception):  # whatever is wrong here, the sweep goes on
            if (payload := self._payload(event)) is None:
                return
            with self._changed:
                if payload["event"] in PAUSE_S:  # it says more than the one that waits
                    self._waiting = [other for other in self._waiting if other["event"] != payload["event"]]
                self._waiting.append(payload)
                self._changed.notify_all()

    def _payload(self, event: Event) -> Payload | None:
        """What an event of the journal is to a webhook; None: nothing that it asked for."""
        assert self._sweep.notify is not None
        wanted, metric = self._sweep.notify.on, self._sweep.stop.metric
        kind, action = event["event"], event.get("action")
        if kind == "report":
            if (better := self._best.better(event)) is None or "best" not in wanted:
                return None
            what = (
                f"{metric} {better[metric]:.4f} in trial {event['trial']}, epoch {better['epoch']:.0f}: the best so far"
            )
            return self._about("best", event, what, epoch=int(better["epoch"]))
        if kind == "ended" and event["state"] == "failed" and "failure" in wanted:
            reason = masked(str(event.get("reason")))
            return self._about("failure", event, f"trial {event['trial']} failed: {reason}", reason=reason)
        if kind == "session" and action == "started" and "start" in wanted:
            how = "has started" if self._record.sessions == 1 else "goes on"
            return self._about("start", event, how)
        if (
            kind == "session"
            and action != "started"
            and ("end" in wanted or (action == "failed" and "failure" in wanted))
        ):
            reason = masked(str(event["reason"])) if "reason" in event else None
            what = f"{action}: {reason}" if reason else str(action)
            final = finalists.final(self._record, self._sweep)
            if final is not None and final.winner is not None:
                what += f"; of the finalists trial {final.winner.point.number} wins with {final.winner.result}"
            return self._about("end", event, what, state=action, **({"reason": reason} if reason else {}))
        return None

    def _about(self, kind: str, event: Event, what: str, **more: Any) -> Payload:
        counts = self._record.count(repeats=False)
        search, final = self._record.derived(SearchTotals), finalists.final(self._record, self._sweep)
        ended = f"{search.num_ended} of {self._sweep.search.num_trials} trials ended"
        ended += f"; finalists: {final.progress}" if final is not None else ""
        return {
            "id": uuid.uuid4().hex,
            "sweep": self._sweep.name,
            "event": kind,
            "time": datetime.fromtimestamp(event["time"], UTC).isoformat(timespec="seconds"),
            "trial": event.get("trial"),
            "metric": self._sweep.stop.metric,
            "value": self._best.value,
            "counts": {**counts, "asked": self._sweep.search.num_trials},
            "hint": self._hint,
            **more,
            "text": f"fersweep {self._sweep.name}: {what} ({ended}). {self._hint}",  # what chat programs show
        }

    def _run(self) -> None:
        while (payload := self._next()) is not None:
            delivered = self._deliver(payload)
            with self._changed:
                self._sent += delivered
                self._dropped += not delivered
                self._sent_at[payload["event"]], self._sending = time.monotonic(), None
                self._changed.notify_all()

    def _next(self) -> Payload | None:
        """The next one to send, when it is due; None: there will be none."""
        with self._changed:
            while not self._over:
                wait_s = {id(payload): self._pause_s(payload["event"]) for payload in self._waiting}
                due = next((payload for payload in self._waiting if wait_s[id(payload)] <= 0), None)
                if due is not None:
                    self._waiting.remove(due)
                    self._sending = due
                    return due
                self._changed.wait(min(wait_s.values(), default=None))
            return None

    def _pause_s(self, kind: str) -> float:
        """Seconds until one of a kind may be sent."""
        if self._ending or kind not in PAUSE_S or kind not in self._sent_at:
            return 0.0
        return self._sent_at[kind] + PAUSE_S[kind] - time.monotonic()

    def _deliver(self, payload: Payload) -> bool:
        """Try until it is delivered, or no other try would help."""
        wait_s = RETRY_S
        while (trouble := _post(str(self._url), payload)) is not None:
            self._trouble = trouble.reason
            if not trouble.passing:
                return False
            with self._changed:
                if not self._ending:
                    self._changed.wait_for(lambda: self._ending, wait_s)
                self._changed.wait_for(lambda: self._over, RETRY_S if self._ending else 0)
                if self._over:
                    return False
            wait_s = min(2 * wait_s, MAX_RETRY_S)
        return True


class _Trouble(NamedTuple):
    """Why a try failed, in words that do not quote the address; passing: another try may help."""

    reason: str
    passing: bool


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without what it says."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _post(url: str, payload: Payload) -> _Trouble | None:
    content = json.dumps(payload).encode()
    try:
        request = urllib.request.Request(url, content, {"Content-Type": "application/json", "User-Agent": "fersweep"})
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return _Trouble(f"HTTP {error.code}", error.code >= 500 or error.code in TRY_AGAIN)
    except Exception as error:
        cause = getattr(error, "reason", error)
        return _Trouble(getattr(cause, "strerror", None) or type(cause).__name__, isinstance(error, OSError))
