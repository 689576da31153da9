"""The verb ui."""

from __future__ import annotations

from typing import Annotated

import typer

from fersweep.cli.options import RUNS, Home

app = typer.Typer()


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep ui cnn")
def ui(
    name: Annotated[str | None, typer.Argument(help="Name of the sweep to open; default: everything.")] = None,
    optuna: Annotated[bool, typer.Option("--optuna", help="Optuna's dashboard of the sweep instead.")] = False,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
    home: Home = RUNS,
) -> None:
    """Open the MLflow UI, or Optuna's dashboard of a sweep, on this machine's loopback address."""
    from fersweep.results.record.home import find_sweep

    if optuna and name is None:
        raise typer.BadParameter("wants the name of a sweep: fersweep ui NAME --optuna", param_hint="--optuna")
    directory = None if name is None else find_sweep(home, name)
    if directory is not None and optuna:
        from fersweep.results.dashboards.optuna_ui import serve

        serve(directory, port)
    else:
        from fersweep.results.dashboards.mlflow_ui import ui as run

        run(home, port, directory)
