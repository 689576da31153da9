"""The command line as a user meets it: help, mistakes, and the verbs that need no Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fersweep.cli.main import main
from fersweep.cli.output import show
from fersweep.common.display.tables import table
from fersweep.common.processes import module_command
from tests.sweeps import write_sweep

VERBS = [
    "demo",
    "prepare",
    "describe",
    "data",
    "launch",
    "resume",
    "status",
    "compare",
    "report",
    "promote",
    "champion",
    "evaluate",
    "predict",
    "export",
    "ui",
]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(module_command("fersweep", *arguments), capture_output=True, text=True, check=False)


def check_mistake(code: object, out: str, err: str, message: str) -> None:
    assert code == 2, err
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.processes
def test_help_names_every_verb() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)


def test_the_version_is_the_installed_one() -> None:
    assert run("--version").stdout == f"fersweep {version('fersweep')}\n"


@pytest.mark.processes
def test_a_mistake_is_the_exit_code_of_the_process() -> None:
    done = run("launch", "quik", "--data", "x")
    check_mistake(done.returncode, done.stdout, done.stderr, "did you mean 'quick'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lunch"], "No such command 'lunch'. Did you mean 'launch'?"),
        (["launch"], "Missing argument 'RECIPE|FILE'"),
        (["launch", "quik", "--data", "x"], "did you mean 'quick'"),
        (["launch", "quick", "--data", "no/such"], "no/such is no finished dataset"),
        (["launch", "quick", "--data", "x", "--set", "stop.max_epoch=3"], "did you mean 'max_epochs'"),
        (["prepare", "no/such.csv", "--out", "{tmp}/out"], "no/such.csv"),
        (["describe", "no/such"], "no/such is no finished dataset"),
        (["compare", "nothing", "--home", "{tmp}/home"], "no sweep 'nothing'"),
        (["resume", "nothing", "--home", "{tmp}/home"], "no sweep 'nothing'"),
        (["status", "nothing", "--home", "{tmp}/home"], "no sweep 'nothing'"),
        (["promote", "nothing", "--home", "{tmp}/home"], "no sweep 'nothing'"),
        (["evaluate", "nothing", "--home", "{tmp}/home"], "no model 'nothing'"),
        (["report", "nothing", "--home", "{tmp}/home"], "no sweep 'nothing'"),
        (["export", "nothing", "--out", "{tmp}/x.onnx", "--home", "{tmp}/home"], "no model 'nothing'"),
        (["champion", "show", "--home", "{tmp}/home"], "nothing is recorded under"),
        (["champion", "rollback", "--home", "{tmp}/home"], "nothing is recorded under"),
        (["promote", "nothing", "--gate", "min_f1=1", "--home", "{tmp}/home"], "did you mean 'min_macro_f1'"),
        (["predict", "x.png", "--home", "{tmp}/home"], "x.png: there is no such file"),
        (["ui", "--home", "{tmp}/home"], "nothing is recorded"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["fersweep", *given])
    with pytest.raises(SystemExit) as end:
        main()
    check_mistake(end.value.code, *capfd.readouterr(), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    found = json.loads(run("compare", "tiny", "--home", tmp_path, "--json").stdout)
    assert found["trials"]
    figures = json.loads(run("evaluate", "tiny", "--home", tmp_path, "--split", "val", "--json").stdout)
    assert figures["split"] == "val"
    done = run("evaluate", "tiny", "--home", tmp_path, "--split", "vla")
    assert done.returncode == 2
    assert "vla" in done.stderr


def test_what_is_piped_is_not_cut_to_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = table(["name", *(f"class {index}" for index in range(40))], 1)
    shown.add_row("long " * 40, *["12,345.678901"] * 40)
    show(shown, None, as_json=False)
    assert sum("12,345.678901" in line for line in capsys.readouterr().out.splitlines()) == 1
