"""Verbs about the machines that a sweep runs on: plan, doctor, and `cluster` (render, up, down, status, submit, logs, stop)."""

from __future__ import annotations

import typer

app = typer.Typer()
group = typer.Typer(help="Files that start a cluster, and the jobs on it.", no_args_is_help=True)
