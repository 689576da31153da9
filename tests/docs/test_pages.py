"""Every command block of README and docs/ is run on small data, or says in the page's source why it is not.

A page's blocks are run in their order, in a directory of its own: that in which the tutorial was run, with the files of scratch.py. shell.py has what is changed
in the commands, so that they take seconds.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from fersweep.cluster.launchers.cluster_file import ClusterFile, read_cluster_file
from fersweep.cluster.launchers.rendering import example
from fersweep.results.tracking.recorder_process import record
from fersweep.search_spaces.sweep_file import yaml_file
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from tests.docs import blocks, scratch, shell, tutorial

INDENTED = re.compile(r"(?ms)^[-*] .*?(?=^\S)|^ *```.*?^ *```$")
"""Lists, and fenced blocks: within them an indented line is no block of its own."""
NEEDS_A_HOME = re.compile(r"(?m)^\s*(\$ )?(fersweep (?!cluster)|import |from )")
PAGES = [page for page in blocks.pages() if any(block.runs for block in blocks.blocks(page))]
WITH_A_HOME = [
    page for page in PAGES if any(NEEDS_A_HOME.search(block.text) for block in blocks.blocks(page) if block.runs)
]


@pytest.mark.parametrize("page", blocks.pages())
def test_every_block_has_a_language_and_every_mark_a_reason(page: str) -> None:
    found = blocks.blocks(page)
    assert [block.place for block in found if block.language not in blocks.RUN + blocks.SHOWN] == []
    assert [block.place for block in found if block.why is not None and len(block.why.split()) < 2] == []
    text = (blocks.ROOT / page).read_text()
    assert len(found) == text.count("\n```") // 2 + text.startswith("```"), (
        "a fence that is not closed, or within a list"
    )
    assert not re.search(r"(?m)^\n {4}\S", INDENTED.sub("", text)), "code without a fence"
    marks = [line for line in text.split("\n") if blocks.MARK.fullmatch(line)]
    assert len(marks) == sum(block.why is not None for block in found), "a mark that no block follows"


def test_a_mark_without_a_reason_is_seen() -> None:
    (marked,) = blocks.blocks("x.md", "<!-- not run -->\n```bash\nfalse\n```\n")
    assert marked.why == ""
    assert not marked.runs


@pytest.fixture(scope="module")
def after_tutorial(tmp_path_factory: pytest.TempPathFactory, ray_session: None, recorded_here: None) -> Path:
    """A directory in which the tutorial was run: a dataset, the sweep `blendshape_dense`, its champion; and three sweeps more."""
    directory = tmp_path_factory.mktemp("pages")
    scratch.write_files(directory)
    tutorial.run(directory)
    scratch.write_sweeps(directory / "runs", directory / "runs/data/fer2013")
    for name in ("blendshape_lstm", "mine", "cnn"):
        assert record(directory / "runs/sweeps" / name)
    return directory


@pytest.fixture
def directory(after_tutorial: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, for one page."""
    copy = tmp_path / "page"
    shutil.copytree(after_tutorial, copy)
    yield copy
    shutil.rmtree(copy)


def test_the_tutorial_is_run(after_tutorial: Path) -> None:
    assert (after_tutorial / "annotated.png").exists()


def test_the_tutorial_is_kept_small_and_names_no_machine() -> None:
    text = tutorial.NOTEBOOK.read_text()
    assert len(text) < 200_000
    assert "/home/" not in text
    assert str(blocks.ROOT) not in text


def test_the_reference_names_all_that_mlflow_holds(after_tutorial: Path) -> None:
    from fersweep.results.mlflow_store.connection import open_home

    client = open_home(after_tutorial / "runs")
    named = re.findall(r"`([^`]+)`", (blocks.ROOT / "docs/reference/mlflow.md").read_text())
    known = re.compile(
        "|".join(re.escape(name).replace("…", ".+") + (".*" if name.endswith("/") else "") for name in named)
    )
    found: set[str] = set()
    for run in client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]):
        found |= {
            *run.data.tags,
            *run.data.metrics,
            *(file.path for file in client.list_artifacts(run.info.run_id) if not file.is_dir),
        }
    found |= {tag for version in client.search_model_versions() for tag in version.tags}
    assert {name for name in found if not known.fullmatch(name)} == set()
    assert {"fersweep.kind", "best/val_macro_f1", "history.csv", "fersweep.moves"} <= found


@pytest.mark.usefixtures("recorded_here")
@pytest.mark.parametrize("page", WITH_A_HOME)
def test_the_blocks_of_a_page(page: str, directory: Path) -> None:
    _run_page(page, directory)


@pytest.mark.parametrize("page", sorted({*PAGES} - {*WITH_A_HOME}))
def test_the_blocks_of_a_page_without_faces(page: str, tmp_path: Path) -> None:
    _run_page(page, tmp_path)


def _run_page(page: str, directory: Path) -> None:
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, mock.patch.dict(os.environ):
        patch.chdir(directory)
        for block in (each for each in blocks.blocks(page) if each.runs):
            try:
                if block.file is not None:
                    Path(block.file).write_text(block.text)
                if block.language == "yaml":
                    _read_yaml(block.text)
                elif block.language == "python":
                    exec(compile(block.text, block.place, "exec"), names)
                else:
                    shell.run(block.text)
            except Exception as error:
                raise AssertionError(f"{block.place}: {error}") from error


def _read_yaml(text: str) -> None:
    """A sweep file, or a part of one, is read, and is my_sweep.yaml from there on; of a cluster, cluster.yaml."""
    Path("block.yaml").write_text(text)
    content = yaml_file.read(Path("block.yaml"))
    if content.keys() <= Sweep.model_fields.keys():
        whole = {"name": "my_sweep", "trainable": "blendshape_dense"} | content
        _write(Path("my_sweep.yaml"), whole)
        read_sweep("my_sweep.yaml", [])
        return
    assert content.keys() <= ClusterFile.model_fields.keys(), (
        f"keys of no sweep file and of no cluster file: {list(content)}"
    )
    cluster = Path("cluster.yaml")
    if not cluster.exists():
        example(cluster)
    needed = {
        name: yaml.safe_load(cluster.read_text())[name]
        for name in ("name", "nodes", "gpus", "cpus", "memory_gb", "run")
    }
    _write(cluster, needed | content)
    read_cluster_file(cluster)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
