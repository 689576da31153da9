"""The reference says all that there is: what is made of the code has words for everything, what is written by hand lacks no name."""

from __future__ import annotations

import re
import shlex

import command_line
import models
import pytest
import sweep_file
import trainables_page

from fersweep import trainables
from fersweep.data_pipeline.dataset.manifest import Manifest
from fersweep.data_pipeline.dataset.schema import arrow_schema
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.docs.blocks import ROOT

MLFLOW = (ROOT / "docs/reference/mlflow.md").read_text()
DATASET = (ROOT / "docs/reference/parquet.md").read_text()
VERBS = {name: command for name, _, command in command_line.verbs()}
CODE = [path for room in ("results", "cluster") for path in (ROOT / room).rglob("*.py")]


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_says_what_it_does_and_its_examples_are_read(name: str) -> None:
    command = VERBS[name]
    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.help and parameter.name != "help"] == []
    for example in command_line.examples(command):
        words = shlex.split(example.split(" > ")[0])
        verb = ["fersweep", *name.split()]
        assert words[: len(verb)] == verb
        command.make_context(name, words[len(verb) :])


def test_each_key_of_a_sweep_file_has_words() -> None:
    silent = [
        f"{section}.{key}".strip(".")
        for section, model in sweep_file.sections()
        for key in model.model_fields
        if sweep_file.meaning(section, model, key) is None
    ]
    assert silent == [], "say below the field what it means, or in docs/generate/sweep_file.py"
    known = {f"{section}.{key}".strip(".") for section, model in sweep_file.sections() for key in model.model_fields}
    assert sweep_file.WORDS.keys() <= known


def test_pages_name_every_sampler_scheduler_and_hparam() -> None:
    page = sweep_file.render()
    assert all(f"### {name}\n" in page for name in (*sweep_file.SAMPLERS, *sweep_file.SCHEDULERS))
    page = trainables_page.render()
    for name in trainables.NAMES:
        if name != trainables.DOUBLE:
            assert f"## {name}\n" in page
            assert all(f"| `{key}` |" in page for key in trainables.load(name).Hparams.model_fields)


def test_types_are_in_words() -> None:
    assert models.kind(int | float) == "number"
    assert models.kind(float | None) == "number, or null"


def test_the_tags_of_the_code_are_on_the_page() -> None:
    written = {tag for path in CODE for tag in re.findall(r'"(fersweep\.[a-z_]+)"', path.read_text())}
    modules = {f"fersweep.{path.stem}" for path in (*CODE, *(ROOT / "fersweep").iterdir())} | {"fersweep.results"}
    assert {tag for tag in written - modules if f"`{tag}`" not in MLFLOW} == set()


def test_the_columns_of_a_dataset_are_on_the_page() -> None:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in DATASET.split("\n") if line.startswith("|")]
    for field in arrow_schema((48, 48)):
        if field.name not in BLENDSHAPES:
            (row,) = [row for row in cells if f"`{field.name}`" in row[0] and len(row) == 4]
            assert row[2] == ("yes" if field.nullable else "no")
            assert row[1].split()[0] == str(field.type).split("<")[0].split("[")[0].replace(
                "fixed_size_binary", "fixed"
            )
    assert [key for key in Manifest.__annotations__ if f"`{key}`" not in DATASET] == []


def test_pages_that_are_made_are_not_committed() -> None:
    by_hand = {path.name for path in (ROOT / "docs/reference").iterdir()}
    assert by_hand == {"index.md", "mlflow.md", "parquet.md"}
