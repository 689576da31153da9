"""The verb recipes."""

from __future__ import annotations

from typing import Annotated

import typer

from fersweep.cli import completion
from fersweep.cli.options import AsJson
from fersweep.cli.output import show
from fersweep.common.errors import InputError

app = typer.Typer()


@app.command(rich_help_panel="Sweeps", epilog="Example: fersweep recipes cnn > my_sweep.yaml")
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="A recipe, to print its sweep file; default: all.", autocompletion=completion.recipes),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes: task, needs, and time; or print one as YAML."""
    from fersweep.search_spaces import recipe
    from fersweep.search_spaces.sweep_file import recipe_list, yaml_file

    if name is None:
        show(recipe_list.recipes(), recipe_list.render, as_json)
        return
    try:
        path = recipe(name)
    except ValueError as error:
        raise InputError(str(error)) from None
    if as_json:
        show(yaml_file.read(path), None, as_json)
    else:
        print(path.read_text(), end="")
