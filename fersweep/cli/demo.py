"""The verb demo: the other verbs, one after another, on faces made on the spot."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import typer

from fersweep.cli.data import prepare
from fersweep.cli.models import predict, promote
from fersweep.cli.options import RUNS, Home
from fersweep.cli.output import say
from fersweep.cli.sweeps import launch

app = typer.Typer()
ALIAS = "demo-champion"  # no champion of anybody's is replaced


def _as_called() -> str:
    """`fersweep`, or the path that it was called by where no PATH leads to it."""
    from fersweep.common.text import shell

    if shutil.which("fersweep"):
        return "fersweep"
    return shell(sys.argv[0]) if Path(sys.argv[0]).name == "fersweep" else "python -m fersweep"


@app.command(rich_help_panel="Data")
def demo(home: Home = RUNS) -> None:
    """The whole job on synthetic faces made on the spot: prepare, launch, compare, promote, predict."""
    from rich.text import Text
    from skimage import data, io

    from fersweep.common.display.console import SafeConsole
    from fersweep.common.files import new_directory
    from fersweep.common.ray_connection import connect
    from fersweep.common.text import shell
    from fersweep.data_pipeline.sources.demo_faces import make_faces
    from fersweep.results.record.home import home_option

    def rule(step: str, *command: object) -> None:
        SafeConsole(stderr=True).rule(Text(f"{step} {shell(*command)}".strip()), align="left")

    sweeps = home / "sweeps"
    name = next(n for n in ("demo", *(f"demo-{i}" for i in range(2, 10_000))) if not (sweeps / n).exists())
    connect(None)  # one Ray for both steps that need it
    rule("1 faces: synthetic, warps of one public-domain portrait")
    faces, portrait = home / "demo" / "faces", home / "demo" / "portrait.png"
    if not faces.exists():
        with new_directory(faces) as unfinished:  # a demo that was killed here begins again
            make_faces(unfinished)
            io.imsave(portrait, data.astronaut(), check_contrast=False)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    rule("2", "fersweep", "prepare", faces, "--out", home / "data" / "demo")
    prepare(sources=[faces], out=home / "data" / "demo")
    rule("3", "fersweep", "launch", "quick", "--data", home / "data" / "demo", "--name", name)
    launch("quick", data=str(home / "data" / "demo"), name=name, home=home)
    rule("4", "fersweep", "promote", name, "--alias", ALIAS, "--gate", "none")
    promote([name], alias=ALIAS, gate=["none"], home=home)
    rule("5", "fersweep", "predict", portrait, "--model", ALIAS)
    predict(inputs=[str(portrait)], model=[ALIAS], home=home)
    rule("done")
    say(
        "These faces are synthetic: the scores above say that everything works, not how good a model is.\n"
        f"Look at the trials:  {_as_called()} ui{home_option(home)}\n"
        f"With real data:      {_as_called()} prepare fer2013.csv --out runs/data/fer2013   (docs/how-to/own-data.md)\n"
        f"                     {_as_called()} launch blendshape_dense --data runs/data/fer2013"
    )
