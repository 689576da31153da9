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

HERE_DOCUMENT = re.compile(r"cat > (?P<file>\S+) <<'(?P<end>\w+)'")

# What is changed in the commands of the pages, so that they take seconds. A sweep is run once, by README.md; wherever else one is
# launched, everything is checked, and nothing is started.
SMALL = {
    "launch": ["--trials", "2", "--max-epochs", "2", "--set", "resources.cpus=2"],
    "resume": ["--set", "resources.cpus=2"],
    "prepare": ["--workers", "1"],
}


def run(block: str, launching: bool = False) -> None:
    """Run a block in the working directory. launching: really launch its sweeps. Raises AssertionError where a command fails."""
    lines = iter(block.replace("\\\n", " ").split("\n"))
    for line in lines:
        line = line.strip().removeprefix("$ ")
        if not line or line.startswith("#"):
            continue
        if document := HERE_DOCUMENT.fullmatch(line):
            inside = iter(lambda: next(lines), document["end"])
            Path(document["file"]).write_text("".join(f"{text}\n" for text in inside))
        elif line.startswith("fersweep "):
            _fersweep(small(shlex.split(line, comments=True)[1:], launching), line)
        elif export := re.fullmatch(r"export (\w+)=(\S+)(\s+#.*)?", line):
            os.environ[export[1]] = export[2]  # who calls knows the environment before
        else:
            done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def small(arguments: list[str], launching: bool) -> list[str]:
    """The arguments of a command that takes seconds."""
    verb, *given = arguments
    if verb == "launch" and not launching:
        name = [] if "--name" in given else ["--name", f"{Path(given[0]).stem}-again"]  # a page may launch it again
        return [verb, *given, *name, *([] if "--dry-run" in given else ["--dry-run"])]
    if verb == "resume":
        given = ["3" if before == "--max-epochs" else one for before, one in zip(["", *given], given, strict=False)]
        given = [one.replace("+16", "+1") for one in given]
    if verb == "prepare":
        where = given.index("--out") + 1
        while Path(given[where]).exists():  # a page makes it again
            given[where] += "-again"
    return [verb, *given, *SMALL.get(verb, [])]


def _fersweep(arguments: list[str], line: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fersweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0, f"{line}: exit code {end.value.code}, run as: fersweep {shlex.join(arguments)}"
