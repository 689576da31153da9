"""Verbs about datasets: prepare, describe, data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.options import Address, AsJson, Dataset, Landmarker, spread
from fersweep.cli.output import progress_bar, show
from fersweep.data_pipeline.prepare.options import READ, Options

app = typer.Typer()
group = typer.Typer(
    help="Check a dataset, write it out for other tools, or compare it with another.", no_args_is_help=True
)


@app.command(rich_help_panel="Data", epilog="Example: fersweep prepare fer2013.csv --out runs/data/fer2013")
@spread
def prepare(
    *,
    sources: Annotated[
        list[Path], typer.Argument(help="CSVs, folders or archives of faces, one or several.", metavar="SOURCE...")
    ],
    out: Annotated[Path, typer.Option(help="Directory of the dataset.")],
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="Of all sources, or given once for each; default: found out.", rich_help_panel=READ
        ),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            help="Your own reader: FILE.py, an installed one's name, or package.module. Its code is run.",
            metavar="FILE.py",
            rich_help_panel=READ,
        ),
    ] = None,
    options: Options,
    landmarker: Landmarker = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; default: one per CPU.", min=1)] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar="FERSWEEP_READINGS",
            help="MediaPipe's readings of earlier runs; default: ~/.cache/fersweep/readings.",
        ),
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset: faces through MediaPipe into Parquet. The same command picks up an interrupted run."""
    from fersweep.api import datasets
    from fersweep.data_pipeline.describe import summary

    described = datasets.prepare(
        sources,
        out,
        options,
        format=format_,
        reader=reader,
        landmarker=landmarker,
        workers=workers,
        cache=cache,
        address=address,
    )
    show(described, summary.render, as_json)


@app.command(rich_help_panel="Data", epilog="Example: fersweep describe runs/data/fer2013 --html fer2013.html")
def describe(
    dataset: Dataset,
    html: Annotated[
        Path | None,
        typer.Option("--html", dir_okay=False, help="Also write all there is to see in it as a page.", metavar="FILE"),
    ] = None,
    no_faces: Annotated[bool, typer.Option("--no-faces", help="Leave faces out of the page.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a dataset holds: faces per split and class, those lost, twins, what the scores tell; or show it on a page."""
    from fersweep.api import datasets
    from fersweep.data_pipeline.describe import summary

    with progress_bar("page", wanted=html is not None) as tell:
        described = datasets.describe(dataset, html=html, faces=not no_faces, tell=tell)
    show(described, summary.render, as_json)


@group.command("verify")
def data_verify(dataset: Dataset, as_json: AsJson = False) -> None:
    """Check every part against the manifest, and pixels against their names; exit code 1 where something is wrong."""
    from fersweep.api import datasets
    from fersweep.data_pipeline.dataset import verify as verification

    result = datasets.data_verify(dataset)
    show(result, verification.render, as_json)
    if not result.sound:
        raise typer.Exit(1)


@group.command("export")
def data_export(
    dataset: Dataset,
    out: Annotated[Path, typer.Argument(help="A new directory.")],
    layout: Annotated[
        str,
        typer.Option(
            "--as", help="csv (Kaggle's layout and a table of scores), numpy (mapped arrays) or imagefolder (PNGs)."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Write a dataset's faces for other tools; `prepare` reads the CSVs and the folders back."""
    from fersweep.api import datasets

    written = datasets.data_export(dataset, out, layout)
    line = f"written: {written.out}, {written.num_faces:,} faces: {', '.join(written.files)}"
    show(written, lambda _: line, as_json)


@group.command("diff")
def data_diff(
    a: Annotated[str, typer.Argument(help="A dataset directory, or its address in a bucket.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Say what differs between two datasets: faces, labels, splits, scores, options and sources."""
    from fersweep.api import datasets
    from fersweep.data_pipeline.dataset import diff as difference

    show(datasets.data_diff(a, b), difference.render, as_json)
