"""Verbs about datasets: prepare, describe, data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.options import Address, AsJson, Dataset, Landmarker, spread
from fersweep.cli.output import progress_bar, say, show, write
from fersweep.common.errors import InputError
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
    from rich.console import Console

    from fersweep.data_pipeline.describe import summary
    from fersweep.data_pipeline.prepare.preparation import prepare as run
    from fersweep.data_pipeline.prepare.progress import bars

    if re.match(r"\w+:/", str(out)):
        raise InputError(
            f"--out {out}: a dataset is made on a disk; `aws s3 sync` or `rclone copy` then takes it to a bucket"
        )

    with bars(Console(stderr=True)) as progress:
        manifest = run(
            sources,
            out,
            options,
            formats=format_ or [],
            reader=reader,
            workers=workers,
            landmarker=landmarker,
            cache=cache,
            address=address,
            progress=progress,
        )
    for name, origin in manifest.get("origins", {}).items():
        for warning in origin.get("warnings", []):
            say(f"{name}: {warning}")
    show(summary.describe(out), summary.render, as_json)


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
    from fersweep.data_pipeline.dataset.staged import local
    from fersweep.data_pipeline.describe import summary

    directory = local(dataset)
    if html is not None:
        from fersweep.data_pipeline.describe.page import render

        with progress_bar("page") as tell:
            page = render(directory, faces=not no_faces, tell=tell)
        write(html, page)
    show(summary.describe(directory), summary.render, as_json)


@group.command("verify")
def data_verify(dataset: Dataset, as_json: AsJson = False) -> None:
    """Check every part against the manifest, and pixels against their names; exit code 1 where something is wrong."""
    from dataclasses import replace

    from fersweep.common.stores.buckets import is_address
    from fersweep.data_pipeline.dataset import verify as verification
    from fersweep.data_pipeline.dataset.staged import damaged, local

    if is_address(dataset) and (findings := damaged(dataset)):
        lines = "; ".join(findings[:3]) + (f"; and {len(findings) - 3} more" if len(findings) > 3 else "")
        raise RuntimeError(f"{dataset} is damaged: {lines}: copy it anew")
    result = verification.verify(local(dataset))
    if is_address(dataset):
        result = replace(result, directory=dataset)
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
    from fersweep.data_pipeline.dataset.export import export_dataset
    from fersweep.data_pipeline.dataset.staged import local

    written = export_dataset(local(dataset), out, layout)
    line = f"written: {written.out}, {written.num_faces:,} faces: {', '.join(written.files)}"
    show(written, lambda _: line, as_json)


@group.command("diff")
def data_diff(
    a: Annotated[str, typer.Argument(help="A dataset directory, or its address in a bucket.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Say what differs between two datasets: faces, labels, splits, scores, options and sources."""
    from fersweep.data_pipeline.dataset import diff as difference
    from fersweep.data_pipeline.dataset.staged import local

    show(difference.diff(local(a), local(b)), difference.render, as_json)
