"""Verbs about the machines that a sweep runs on: plan, doctor, and `cluster` (render, up, down, status, submit, logs, stop)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fersweep.cli.output import say

app = typer.Typer()
group = typer.Typer(help="Files that start a cluster, and the jobs on it.", no_args_is_help=True)


@group.command(
    "render", epilog="Examples: fersweep cluster render example\n\nfersweep cluster render slurm --out my-slurm"
)
def cluster_render(
    target: Annotated[str | None, typer.Argument(help="Kind of cluster; without it, they are listed.")] = None,
    file: Annotated[Path, typer.Option("--file", "-f", help="The cluster file.")] = Path("cluster.yaml"),
    out: Annotated[Path | None, typer.Option(help="Directory of the files; default: NAME-TARGET.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were changed.")] = False,
) -> None:
    """Write the files that start a cluster, from one cluster.yaml; `render example` writes a commented cluster.yaml."""
    from fersweep.cluster import launchers
    from fersweep.cluster.launchers import rendering
    from fersweep.common.text import printable

    if target is None:
        print("example  a commented cluster.yaml to begin with")
        for name in launchers.TARGETS:
            print(f"{name:8} {launchers.load(name).SUMMARY}")
        return
    done = rendering.example(file, force) if target == "example" else rendering.render(target, file, out, force)
    for path in done.unchanged:
        say(f"unchanged: {path}")
    for path in done.written:
        print(f"written: {printable(path)}")
    print(f"next: {printable(done.next)}")
