"""Write a finished sweep's report, and a page of still pictures into its MLflow run: `python -m fersweep.results.tracking.report_upload SWEEP_DIR`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fersweep.common.files import lock
from fersweep.common.processes import environment, module_command
from fersweep.results.mlflow_store import connection, limits
from fersweep.results.mlflow_store.description import add_report
from fersweep.results.mlflow_store.other_homes import is_read_only
from fersweep.results.record.sweep_json import FILE as SWEEP
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.report.page import FILE, render_still, write_report

LOCK = "report.lock"  # in the sweep's directory, while its page is made


def upload(sweep_dir: Path, content: str) -> bool:
    """Upload a page as `report.html` to the sweep's parent run in MLflow, if it has one. Returns whether it is there: not
    in a home that cannot be written.

    A store that cannot be reached is no error: stderr says so.
    """
    sweep = read_sweep_json(sweep_dir)
    uri = sweep.asked.tracking.uri
    home = connection.home_of(sweep_dir)
    if not uri and (is_read_only(home) or not (home / "mlflow.db").exists()):
        return False
    try:
        client, experiment = connection.open_store(sweep)
        query = f"tags.`fersweep.sweep_id` = '{sweep.sweep_id}' AND tags.`fersweep.kind` = 'sweep'"
        runs = client.search_runs([experiment], query, max_results=1)
        for run in runs:
            client.log_text(run.info.run_id, content, FILE)
            note = add_report(run.data.tags.get("mlflow.note.content", ""), experiment, run.info.run_id)
            client.set_tag(run.info.run_id, "mlflow.note.content", limits.value(note, limits.TAG))
    except Exception as error:
        print(f"MLflow did not get the page: {connection.one_line(error, uri or '')}", file=sys.stderr)
        return False
    return bool(runs)


def start_report(sweep_dir: Path) -> None:
    """Write and upload the report in a process of its own, for which nobody waits: it takes seconds, most of them
    imports. Errors go to this process's stderr. FERSWEEP_REPORT=0 in the environment: no report is made.
    """
    if os.environ.get("FERSWEEP_REPORT") != "0":
        command = module_command(__name__, Path(sweep_dir).resolve())
        subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment(), process_group=0)


def main(arguments: Sequence[str]) -> int:
    sweep_dir = Path(arguments[0])
    if not (sweep_dir / SWEEP).is_file():  # it was removed, or has another name by now
        return 0
    try:
        with lock(sweep_dir / LOCK):
            write_report(sweep_dir)
            upload(sweep_dir, render_still(sweep_dir))
    except Exception as error:
        print(f"{FILE} was not made: {connection.one_line(error, '')}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
