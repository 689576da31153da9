"""Verbs that show how sweeps did: compare, report, ui."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.options import RUNS, AsJson, Home, Name, Trees
from fersweep.cli.output import say, show, write
from fersweep.common.text import printable

app = typer.Typer()


@app.command(
    rich_help_panel="Sweeps",
    epilog="Examples: fersweep compare cnn\n\nfersweep compare cnn transfer --html compared.html",
)
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="A sweep: its trials. Several: by their best. SWEEP:3 SWEEP:7: two trials.", metavar="NAME..."
        ),
    ],
    top: Annotated[int, typer.Option(help="Number of trials to show.", min=1)] = 10,
    trees: Trees = False,
    differences: Annotated[
        tuple[str, str] | None, typer.Option(help="Two trials of the sweep, or SWEEP:TRIAL each.", metavar="A B")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", dir_okay=False, help="Also write it as a page.", metavar="FILE")
    ] = None,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare the trials of a sweep, several sweeps, or two trials: scores, what is noise, hparams, baselines."""
    from fersweep.results.compare.comparison import comparison
    from fersweep.results.evaluate.tree_baseline import tree_baseline_of

    compared = comparison(home, names, top, tree_baseline_of if trees else None, differences)
    if html is not None:
        write(html, compared.page())
    show(compared, lambda compared: compared.render(), as_json)


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep report cnn")
def report(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Where to write it, as one file to pass on; default: report.html in the sweep's directory.",
            metavar="FILE",
        ),
    ] = None,
    trees: Trees = False,
    no_faces: Annotated[
        bool, typer.Option("--no-faces", help="Leave out the faces that the best trial got wrong.")
    ] = False,
    home: Home = RUNS,
    as_json: AsJson = False,
) -> None:
    """Write a sweep's story as one HTML page that opens offline; its MLflow run gets one of still pictures."""
    from fersweep.results.evaluate.tree_baseline import tree_baseline_of
    from fersweep.results.record.home import find_sweep
    from fersweep.results.report.page import render_still, write_report
    from fersweep.results.tracking import report_upload

    directory = find_sweep(home, name)
    baseline = tree_baseline_of(directory) if trees else None
    written = write_report(directory, out, baseline, not no_faces)
    say(f"written: {printable(written.report)}")
    in_mlflow = report_upload.upload(directory, render_still(directory, baseline))
    if as_json:
        show({**asdict(written), "mlflow": in_mlflow}, None, as_json)


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
