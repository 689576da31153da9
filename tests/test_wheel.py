"""What is built: a wheel and an sdist with exactly the package's files. That they run where they are installed: `make wheel`."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.imports import ROOMS, ROOT, files, imports

FOR_A_BUILD = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"  # as pip and uv call it
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(kind: str, tree: Path, out: Path) -> Path:
    out.mkdir()
    command = [sys.executable, "-c", BUILD.format(kind), str(out)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


def contents(wheel: Path) -> dict[str, str]:
    """Name → sha256."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(wheel, sdist) of a copy of the tree, in which lie files that belong into neither."""
    place = tmp_path_factory.mktemp("wheel")
    tree = place / "tree"
    tree.mkdir()
    for name in FOR_A_BUILD:
        shutil.copy(ROOT / name, tree)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for stray in ("tests/test_mine.py", "benchmarks/mine.py", "docs/mine.md", "runs/mine.py", "my_model.py"):
        (tree / stray).parent.mkdir(exist_ok=True)
        (tree / stray).write_text("mine = True\n")
    return build("wheel", tree, place / "from-tree"), build("sdist", tree, place / "sdist")


@pytest.mark.processes
def test_a_wheel_holds_the_files_of_the_rooms_and_no_others(built: tuple[Path, Path]) -> None:
    rooms = {
        f"fersweep/{path.relative_to(ROOT / 'fersweep' if room == 'fersweep' else ROOT)}": path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"  # what is written for a reader
    }
    held = contents(built[0])
    package = {name: digest for name, digest in held.items() if name.startswith("fersweep/")}
    assert package == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in rooms.items()}
    assert {name.split("/")[0] for name in held} == {"fersweep", f"fersweep-{PROJECT['version']}.dist-info"}
    assert {"fersweep/py.typed", "fersweep/__main__.py", "fersweep/search_spaces/recipes/quick.yaml"} <= package.keys()


@pytest.mark.processes
def test_an_sdist_holds_no_more_and_builds_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    with tarfile.open(built[1]) as archive:
        members = archive.getmembers()
        assert all(member.isfile() or member.isdir() for member in members), "no links"
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    made = {"PKG-INFO", "setup.cfg", "fersweep.egg-info"}
    assert {path.name for path in tree.iterdir()} == {"fersweep", *FOR_A_BUILD, *made}
    assert contents(build("wheel", tree, tmp_path / "out")) == contents(built[0])


@pytest.mark.processes
def test_a_wheel_says_what_it_is(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        about = f"fersweep-{PROJECT['version']}.dist-info"
        said = message_from_bytes(archive.read(f"{about}/METADATA"))
        assert archive.read(f"{about}/entry_points.txt").decode().split() == [
            *("[console_scripts]", "fersweep", "=", "fersweep.cli.main:main")
        ]
    assert said["Description-Content-Type"] == "text/markdown"
    assert str(said.get_payload(decode=True), "utf-8").strip() == (ROOT / "README.md").read_text().strip()
    assert set(said.get_all("Provides-Extra", [])) == PROJECT["optional-dependencies"].keys()
    assert "Typing :: Typed" in said.get_all("Classifier", [])


def test_the_version_stands_in_one_place() -> None:
    """The code asks the installed package for it; the citation has a copy."""
    copies = re.findall(r"^ *version *= *\{(.*)\}", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(copies) <= {PROJECT["version"]}


def test_what_is_imported_is_declared() -> None:
    """What came with somebody else's dependency may go with it."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {re.split(r"[^\w.-]", need)[0].lower().replace("_", "-") for needs in lists for need in needs}
    declared |= {"opencv-contrib-python"}  # MediaPipe's: two of OpenCV's packages overwrite each other
    declared |= {"grpcio"}  # ray[default]'s, asked where Ray itself uses it
    declared |= {"aiohttp"}  # Ray's own, in the process that becomes its agent
    brought_by = metadata.packages_distributions()
    wrong: set[str] = set()
    for path in files():
        for dotted, _ in imports(path):
            module = dotted.split(".")[0]
            if module in sys.stdlib_module_names or module == "fersweep" or module not in brought_by:
                continue  # a module that is not installed here is one of an extra: tests/test_extras.py
            if not {name.lower().replace("_", "-") for name in brought_by[module]} & declared:
                wrong.add(f"{path} imports {module}, of {', '.join(brought_by[module])}")
    assert sorted(wrong) == []
