"""The options of a verb are stated once: each field of their dataclass is an option with a help text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from fersweep.cli.main import app
from fersweep.cli.options import spread
from fersweep.common.options import Option
from fersweep.data_pipeline.prepare.options import Options as PrepareOptions
from fersweep.results.predict.options import Options as PredictOptions
from fersweep.results.predict.options import Watching


@pytest.mark.parametrize(
    ("kind", "verb", "others"),
    [
        (PrepareOptions, "prepare", {"part_rows"}),
        (PredictOptions, "predict", {"say", "watching"}),
        (Watching, "predict", set()),
    ],
)
def test_every_field_is_an_option_with_a_help_text(kind: type, verb: str, others: set[str]) -> None:
    printed = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"}).output
    hints = get_type_hints(kind, include_extras=True)
    for name in (one.name for one in fields(kind) if one.name not in others):
        (option,) = hints[name].__metadata__
        flag = option.flag or f"--{name.replace('_', '-')}"
        assert option.help.endswith(".")
        assert re.search(rf"{flag}\s.*{re.escape(option.help)}", printed), flag


@dataclass(frozen=True)
class Inner:
    depth: Annotated[int, Option("How deep.", flag="--deep", min=1)] = 2


@dataclass(frozen=True)
class Outer:
    kind: Annotated[Literal["a", "b"], Option("Which.")] = "a"
    on: Annotated[bool, Option("On.")] = False
    off: Annotated[bool, Option("Off.")] = True
    side: Annotated[tuple[int, int] | None, Option("Side.", given=int | None, read=lambda side: (side, side))] = None
    inner: Inner = field(default_factory=Inner)
    internal: int = 7


@pytest.mark.parametrize(
    ("arguments", "built"),
    [
        ([], Outer()),
        (["--kind", "b", "--on", "--no-off"], Outer(kind="b", on=True, off=False)),
        (["--side", "3", "--deep", "5"], Outer(side=(3, 3), inner=Inner(5))),
        (["--deep", "0"], None),
        (["--internal", "1"], None),
        (["--no-on"], None),
    ],
)
def test_a_verb_gets_the_dataclass_of_what_was_given(arguments: list[str], built: Outer | None) -> None:
    seen: list[Any] = []
    verbs = typer.Typer()

    @verbs.command()
    @spread
    def verb(*, name: Annotated[str, typer.Argument()], options: Outer, last: int = 1) -> None:
        seen.append((name, options, last))

    done = CliRunner().invoke(verbs, ["x", *arguments, "--last", "2"])
    assert seen == ([] if built is None else [("x", built, 2)])
    assert done.exit_code == (2 if built is None else 0)
