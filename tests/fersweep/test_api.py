"""`import fersweep`: what it loads, what it has, and that a user's files are never taken for ours."""

from __future__ import annotations

import ast
import inspect
import os
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import fersweep
from fersweep.common.processes import ROOT

USERS = ("cluster/__init__", "trainables/__init__", "results", "common", "data_pipeline", "search_spaces", "cli")


def test_every_name_is_there_for_people_and_for_type_checkers() -> None:
    tree = ast.parse(Path(str(fersweep.__file__)).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {name: f"fersweep.{place}" for name, place in fersweep._PLACES.items()}
    assert sorted(imported) == sorted(fersweep.__all__)
    assert all(callable(getattr(fersweep, name)) for name in fersweep.__all__)
    assert {*fersweep.__all__, "__version__"} <= set(dir(fersweep))
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        fersweep.lunch  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018


def test_help_says_what_a_function_wants() -> None:
    for name in set(fersweep.__all__) - {"Task", "TaskSpec"}:
        assert getattr(fersweep, name).__doc__, name
    shown = pydoc.plain(pydoc.render_doc(fersweep.prepare))
    for name, option in (("image_size", "Side of the stored faces"), ("landmarks", "Keep the 478 landmarks")):
        assert f"{name}: {option}" in shown
        assert name in inspect.signature(fersweep.prepare).parameters
    assert "SweepInterrupted" in pydoc.plain(pydoc.render_doc(fersweep.launch))


def test_importing_it_loads_the_standard_library_alone() -> None:
    check = "import sys; before = set(sys.modules); import fersweep; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.split(".")[0] for name in loaded.split()} - sys.stdlib_module_names == {"fersweep"}


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "fersweep", "--help"],
        ["-m", "fersweep", "status", "--home", "nowhere", "--json"],
        ["-c", "import fersweep\nprint(*(getattr(fersweep, name) for name in fersweep.__all__))"],
    ],
    ids=["help", "status", "API"],
)
def test_files_of_the_user_are_not_taken_for_ours(tmp_path: Path, command: list[str]) -> None:
    """The whole job from such a directory is in test_users_directory.py."""
    for name in USERS:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text('raise SystemExit("a file of the user was imported")\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
