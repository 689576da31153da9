"""Optuna's dashboard on a sweep, on this machine only: `fersweep ui NAME --optuna`.

The study is made from the journal, in memory, and made again when a request finds that the journal has grown: what
somebody changes or deletes in the dashboard does not change the sweep, and lasts until then.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from fersweep.results.dashboards.mlflow_ui import HOST, check_port
from fersweep.results.record.optuna_study import frozen
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep

if TYPE_CHECKING:
    import optuna

# What a browser asks for. Another name that leads here was made to (DNS rebinding): a page of the web would read the
# sweep. Any port, as a tunnel has another.
HERE = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
NOTE = """\
**Importances here are other numbers than in `fersweep report`.** This dashboard computes its own, of finished trials alone,
and takes their best tenth. The report counts trials that were stopped early with their best value, too, and takes at least five
as the best: under a scheduler those that finish are good ones, and what makes a trial bad cannot be seen in them.
"""


def serve(sweep_dir: Path, port: int) -> None:
    """Serve the dashboard until Ctrl-C, its address on stderr. Raises InputError if the port is taken."""
    check_port(port)
    server = make_server(HOST, port, Dashboard(sweep_dir), _Threads, _Silent)
    print(f"Optuna's dashboard: http://{HOST}:{port}/dashboard/studies/0 (Ctrl-C ends it)", file=sys.stderr, flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


class Dashboard:
    """The WSGI application."""

    def __init__(self, sweep_dir: Path):
        self._sweep_dir, self._lock = Path(sweep_dir), threading.Lock()
        self._size, self._app = -1, None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not HERE.fullmatch(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"this address is answered as 127.0.0.1 and localhost alone\n"]
        return self._current()(environ, start_response)

    def _current(self) -> Any:
        journal = self._sweep_dir / "journal.jsonl"
        with self._lock:
            size = journal.stat().st_size if journal.exists() else 0
            if size != self._size:
                from optuna_dashboard import wsgi  # pyright: ignore[reportUnknownVariableType]

                recorded = load_sweep(self._sweep_dir)
                self._app, self._size = wsgi(named_study(recorded)._storage), size
            return self._app


def named_study(recorded: RecordedSweep) -> optuna.Study:
    """The sweep as a study of its name, in memory; a trial's point, and the reason of its end, are user attributes. Of several
    objectives, trials that were stopped are complete ones, as Optuna stops none there.
    """
    import optuna
    from optuna_dashboard import save_note

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep = recorded.sweep
    order = sweep.order
    study = optuna.create_study(study_name=sweep.asked.name, directions=order.directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(order.names)
    for trial in recorded.record.trials.values():
        made = frozen(trial, order, judge_stopped=bool(order.objectives), curve=not order.objectives)
        made.datetime_start = datetime.fromtimestamp(trial.sampled_at)
        if trial.ended_at is not None:
            made.datetime_complete = datetime.fromtimestamp(trial.ended_at)
        attributes = {"point": trial.point, "reason": trial.reason, "infeasible": order.infeasible(trial)}
        made.user_attrs = {name: value for name, value in attributes.items() if value}
        study.add_trial(made)
    save_note(study, NOTE)
    return study


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a page makes a request every few seconds."""
