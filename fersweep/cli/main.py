"""`fersweep`: all verbs, and how errors become exit codes. A verb imports its rooms only when it is called.

Exit codes: 0 done; 1 failed at run time; 2 what the user gave is wrong (one line says what); 130 interrupted (Ctrl-C), 143 (SIGTERM),
129 (a terminal that was closed); 141: nobody reads its output any more.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from fersweep.api.settings import quiet_process
from fersweep.cli import check, cluster, data, demo, housekeeping, judging, models, sweeps
from fersweep.cli.output import complain

UNREAD = 141  # 128 + SIGPIPE
USAGE_ERROR: Any = typer.BadParameter.__base__  # Typer brings its own Click and exports only the subclass

app = typer.Typer(
    name="fersweep",
    help="Hyperparameter search for facial expression recognition, on Ray, with MLflow records.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for verbs in (demo, data, sweeps, housekeeping, cluster, judging, models):  # in the order of --help
    app.add_typer(verbs.app)
app.add_typer(data.group, name="data", rich_help_panel="Data")
app.add_typer(check.check, name="check", rich_help_panel="Data")
app.add_typer(check.new, name="new", rich_help_panel="Data")
app.add_typer(cluster.group, name="cluster", rich_help_panel="Cluster")
app.add_typer(models.champion, name="champion", rich_help_panel="Models")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    """Options of fersweep itself."""
    if version:
        import json

        from fersweep.common.versions import own

        print(json.dumps({"fersweep": own()}) if as_json else f"fersweep {own()}")
        raise typer.Exit
    if as_json or context.invoked_subcommand is None:
        from fersweep.common.errors import InputError

        raise InputError("want a verb first: fersweep VERB --json")


def main() -> None:
    """Run the command line; turn every error into one line and an exit code."""
    from fersweep.common.display import terminal
    from fersweep.common.text import shell
    from fersweep.common.versions import called

    terminal.open_streams()
    quiet_process()
    with terminal.interrupts(), called(shell("fersweep", *sys.argv[1:])):
        try:
            code = _run()
            if code == 130 and terminal.interrupted():  # Typer makes that of a KeyboardInterrupt
                complain("interrupted", code)
        except KeyboardInterrupt:
            code = complain("interrupted", 130)
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in terminal.NOBODY_READS:
            raise
        code = code or UNREAD
    if code == UNREAD:
        terminal.to_nowhere(sys.stdout.fileno())  # Python writes what is left when it ends
    sys.exit(code)


def _not_installed(error: Exception) -> str | None:
    from fersweep.common.errors import not_installed

    return not_installed(error) if isinstance(error, ImportError | OSError) else None


def _run() -> int:
    from fersweep.common.errors import InputError

    try:
        code = app(prog_name="fersweep", standalone_mode=False)
    except InputError as error:
        return complain(error, 2)
    except USAGE_ERROR as error:
        return complain(error.format_message(), 2)
    except typer.Abort:
        return complain("interrupted", 130)
    except SystemExit as end:  # Typer's and Rich's, where a pipe is closed
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return UNREAD
    except ImportError as error:
        if os.environ.get("FERSWEEP_DEBUG") or (line := _not_installed(error)) is None:
            raise
        return complain(line, 1)
    except (RuntimeError, OSError) as error:
        if os.environ.get("FERSWEEP_DEBUG"):
            raise
        return complain(_not_installed(error) or error, 1)
    except Exception as error:
        if os.environ.get("FERSWEEP_DEBUG") or not type(error).__module__.startswith(
            ("mlflow.", "sqlalchemy.", "google.protobuf.")
        ):
            raise
        from fersweep.results.mlflow_store.connection import one_line

        return complain(f"MLflow: {one_line(error, os.environ.get('FERSWEEP_TRACKING_URI', ''))}", 1)
    return code if isinstance(code, int) else 0
