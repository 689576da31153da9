"""Run a module of ours in a process of its own: `python -m results.refit …`. TensorFlow and torch do not share one well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_module(module: str, *arguments: object, otherwise: str) -> None:
    """Run it to its end. RuntimeError, beginning with `otherwise`, with the last line that it said if it failed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"{otherwise}: {last}")
