"""What is asked of the home that an older version wrote, once of that version (make.py), then of each later one."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from fersweep.cli.main import app

MADE_AT = "/srv/fersweep-home"  # where it was made: what is recorded of sources and weights goes on to say so
READING = [
    "status",
    "champion history",
    "champion show",
    *[
        f"compare {name}"
        for name in ("curve", "curve-full", "after", "interrupted", "dense", "cnn", "trees", "dense cnn")
    ],
    *[f"evaluate {name}" for name in ("champion", "2", "dense", "cnn:0 --tta", "trees", "curve")],
    "predict HOME/files/photo.jpg --model champion --model cnn --model trees",
    "describe HOME/data/faces",
    "describe HOME/data/tiny",
    "data verify HOME/data/faces",
    "data diff HOME/data/faces HOME/data/tiny",
]
# Finished sweeps that go on: one more trial, which learns from those before and from an older sweep; one more epoch of
# trials that ended, with the state of optimizer, schedule, averages and random numbers that their checkpoints hold.
WRITING = ["resume after --trials +1", "resume dense --max-epochs 5", "resume cnn --max-epochs 4"]


def ask(question: str, home: Path) -> Any:
    """The JSON that the command line answers with; HOME for the home's path in it."""
    words = question.replace("HOME", str(home)).split()
    where = [] if words[0] in ("describe", "data") else ["--home", str(home)]
    done = CliRunner().invoke(app, [*words, *where, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, f"{question}: {done.output}"
    return json.loads(done.stdout.replace(str(home), "HOME").replace(MADE_AT, "HOME"))


def losses(home: Path, sweep: str) -> list[list[float]]:
    """The loss on train of each epoch of each trial."""
    from fersweep.results.record.journal import read

    record = read(home / "sweeps" / sweep / "journal.jsonl")
    return [[row["train_loss"] for row in trial.epochs] for trial in record.trials.values()]
