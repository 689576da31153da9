"""Runs the lines of a command block: `fersweep` in this process, everything else in bash."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fersweep.cli.main import main

HERE_DOCUMENT = re.compile(r".*<<'(?P<end>\w+)'")

# What is changed in the commands of the pages, so that they take seconds; `small` does it.
#   launch   everything is checked, and nothing is started (--dry-run), under another name where the sweep is there
#   resume   no more trials than there are (2), no more epochs: the tutorial and tests/cluster resume what was interrupted
#   prepare  one worker, which is this process; into another directory where the dataset is there
TRIALS = "2"


def run(block: str) -> None:
    """Run a block in the working directory. Raises AssertionError where a command fails."""
    lines = iter(block.replace("\\\n", " ").split("\n"))
    if block.startswith("$ "):  # a terminal's, with what it printed
        lines = iter([line.removeprefix("$ ") for line in lines if line.startswith("$ ")])
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if document := HERE_DOCUMENT.fullmatch(line):
            _bash("\n".join([line, *iter(lambda: next(lines), document["end"]), document["end"]]))
        elif line.startswith("fersweep "):
            fersweep(small(shlex.split(line, comments=True)[1:]), line)
        elif export := re.fullmatch(r"export (\w+)=(\S+)(\s+#.*)?", line):
            os.environ[export[1]] = export[2]  # who calls knows the environment before
        else:
            _bash(line)


def small(arguments: list[str]) -> list[str]:
    """The arguments of a command that takes seconds."""
    verb, *given = arguments
    if verb == "launch":
        name = [] if "--name" in given else ["--name", f"{Path(given[0]).stem}-again"]  # a page may launch it again
        return [verb, *given, *name, *([] if "--dry-run" in given else ["--dry-run"])]
    if verb == "resume":
        given = [TRIALS if before == "--trials" else one for before, one in zip(["", *given], given, strict=False)]
        if "--max-epochs" in given:
            where = given.index("--max-epochs")
            del given[where : where + 2]
    if verb == "prepare":
        where = given.index("--out") + 1
        while Path(given[where]).exists():
            given[where] += "-again"
        given += ["--workers", "1"]
    return [verb, *given]


def _bash(command: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", command], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def fersweep(arguments: list[str], line: str) -> None:
    """Run a verb in this process. `line`: as it stands on the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fersweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0, f"{line}: exit code {end.value.code}, run as: fersweep {shlex.join(arguments)}"
