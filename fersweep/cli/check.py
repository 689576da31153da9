"""The verbs check and new: try own code before it is used, and begin some."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.options import AsJson
from fersweep.cli.output import progress_bar, say, show

check = typer.Typer(help="Try own code before it is used; nothing is written.", no_args_is_help=True)
new = typer.Typer(help="Begin own code: a small file that works, to be changed.", no_args_is_help=True)


@check.command("reader", epilog="Example: fersweep check reader my_reader.py faces.zip")
def check_reader(
    reader: Annotated[
        str, typer.Argument(help="FILE.py, an installed one's name, or package.module.", metavar="READER")
    ],
    source: Annotated[Path, typer.Argument(help="What it reads: a folder, an archive, or a file.")],
    labels: Annotated[
        list[str] | None,
        typer.Option("--map", help="What a class of the source is called here, or drop.", metavar="NAME=LABEL"),
    ] = None,
    most: Annotated[int | None, typer.Option(help="Stop after so many faces; default: read all.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Read a source with your own reader: counts, what is dropped and why, and faults. Exit code 1 where it has some."""
    from fersweep.api import datasets
    from fersweep.data_pipeline.sources.labels import read_map
    from fersweep.data_pipeline.sources.own_reader import trial

    with progress_bar("read") as draw:
        result = datasets.check_reader(
            reader,
            source,
            map=read_map(labels or []),
            most=most,
            tell=lambda number, rate: draw(f"{number:,} faces, {rate:,.0f} a second", 0.0),
        )
    show(result, trial.render, as_json)
    if result.faults:
        raise typer.Exit(1)


@check.command("trainable", epilog="Example: fersweep check trainable my_model.py --data runs/data/fer2013")
def check_trainable(
    trainable: Annotated[
        str,
        typer.Argument(help="FILE.py, package.module, an installed one's name, or one of ours.", metavar="TRAINABLE"),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="A dataset to learn, at most 2,000 of its faces; default: faces that are made up.", metavar="DATASET"
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="What it sees, as task.features has it; default: the first that it can learn from."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a trainable on what a sweep relies on: resuming, seeds, predictions, exports, speed. Exit code 1 where it fails."""
    from fersweep.checks import findings
    from fersweep.checks import trainable as checks

    with redirect_stdout(sys.stderr):  # what it prints is no result
        checked = checks.check_trainable(trainable, data, features)
    show(checked, findings.render, as_json)
    if not checked.is_sound:
        raise typer.Exit(1)


@new.command("trainable", epilog="Example: fersweep new trainable my_model.py")
def new_trainable(
    file: Annotated[Path, typer.Argument(help="A new file, FILE.py.", metavar="FILE.py")] = Path("my_model.py"),
    keras: Annotated[bool, typer.Option("--keras", help="A net in Keras; default: in PyTorch.")] = False,
    features: Annotated[
        bool, typer.Option("--features", help="A net of blendshapes or landmarks; default: of pixels.")
    ] = False,
) -> None:
    """Write a small trainable of your own that can be searched, to be changed."""
    from fersweep.checks.template import template

    write_new(file, template(file.name, "keras" if keras else "torch", "features" if features else "pixels"))
    say(f"change it, then: fersweep check trainable {file}")


@new.command("reader", epilog="Example: fersweep new reader my_reader.py")
def new_reader(
    file: Annotated[Path, typer.Argument(help="A new file, FILE.py.", metavar="FILE.py")] = Path("my_reader.py"),
) -> None:
    """Write a small reader of your own, with comments, to be changed."""
    from fersweep.data_pipeline.sources.own_reader.template import filled

    write_new(file, filled(file.name))
    say(f"change it, then: fersweep check reader {file} SOURCE")


def write_new(file: Path, text: str) -> None:
    """Write a file of code that is not there yet. InputError where it is, or cannot be."""
    from fersweep.api.settings import write
    from fersweep.common.errors import InputError
    from fersweep.common.files import check_target

    if file.exists():
        raise InputError(f"{file} exists: give a new name")
    write(check_target(file, "FILE", (".py",)), text)
