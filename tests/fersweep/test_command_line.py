"""The command line as a user meets it: help, mistakes, and the verbs that need no Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from fersweep.cli.main import main
from fersweep.cli.options import known_recipes, known_sweeps
from fersweep.cli.output import show
from fersweep.common.display.tables import table
from fersweep.common.processes import module_command
from fersweep.common.versions import own
from fersweep.search_spaces import RECIPES
from fersweep.search_spaces.sweep_file.recipe_list import TIMES
from tests.sweeps import write_sweep

VERBS = [
    "demo",
    "prepare",
    "describe",
    "data",
    "check",
    "new",
    "recipes",
    "launch",
    "resume",
    "stop",
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


def test_the_version_is_the_installed_one_and_the_commit_of_a_checkout() -> None:
    said = run("--version").stdout
    assert said == f"fersweep {own()}\n"
    assert said.split()[1].rstrip(",") == version("fersweep")
    assert json.loads(run("--version", "--json").stdout) == {"fersweep": own()}


@pytest.mark.processes
def test_a_mistake_is_the_exit_code_of_the_process() -> None:
    done = run("launch", "quik", "--data", "x")
    check_mistake(done.returncode, done.stdout, done.stderr, "did you mean 'quick'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lunch"], "No such command 'lunch'. Did you mean 'launch'?"),
        (["--json", "status"], "want a verb first: fersweep VERB --json"),
        (
            ["launch", "quick", "--home", "{tmp}/home"],
            "--data is missing: a dataset directory made by `fersweep prepare`",
        ),
        (
            ["launch", "quick", "--data", "x", "--trials", "0"],
            "Invalid value for '--trials': Input should be greater than or equal to 1",
        ),
        (["launch", "quick", "--data", "x", "--name", "a b"], "--name: may hold letters (a to z), digits"),
        (["launch", "quick", "--data", "/x", "--submit"], "--home runs: on the cluster it would be another directory"),
        (["cluster", "submit", "quick", "--data", "x", "--home", "/x"], "--data x: on the cluster it would be another"),
        (["launch", "quick", "--data", "/x", "--submit", "--dry-run"], "--submit with --dry-run"),
        (["launch", "quick", "--data", "/x", "--trust-network"], "--trust-network without --submit"),
        (["cluster", "status", "--address", "ftp://x"], "want the address of the cluster's Jobs API"),
        (["cluster", "logs", "x", "--address", "127.0.0.1:9"], "no Jobs API answers there"),
        (["cluster", "stop", "x", "--address", "127.0.0.1:9"], "no Jobs API answers there"),
        (["cluster", "up", "{tmp}/home"], "`fersweep cluster render TARGET` writes them"),
        (["stop", "nothing", "--home", "{tmp}/home"], "no sweep 'nothing'"),
        (["recipes", "quik"], "did you mean 'quick'"),
        (["launch", "quik", "--data", "x"], "did you mean 'quick'"),
        (["launch", "quick", "--data", "no/such"], "no/such is no finished dataset"),
        (["launch", "quick", "--data", "x", "--set", "stop.max_epoch=3"], "did you mean 'max_epochs'"),
        (["prepare", "no/such.csv", "--out", "{tmp}/out"], "no/such.csv"),
        (["describe", "no/such"], "no/such is no finished dataset"),
        *(
            (
                [*verb, "s3://me:hidden@b/x", *where],
                "an address holds no credentials",
            )  # so it has arrived as an address
            for verb, where in (
                (["launch", "quick", "--data"], ["--home", "{tmp}/home"]),
                (["launch", "quick", "--dry-run", "--data"], ["--home", "{tmp}/home"]),
                (["launch", "quick", "--resume", "--data"], ["--home", "{tmp}/home"]),
                (["plan", "quick", "--data"], ["--home", "{tmp}/home"]),
                (["describe"], []),
                (["data", "verify"], []),
            )
        ),
        (["prepare", "x.csv", "--out", "s3://b/x"], "a dataset is made on a disk"),
        (["prepare", ".", "--reader", "no.py", "--out", "{tmp}/x"], "reader: no.py cannot be read: No such file"),
        (["prepare", ".", "--reader", "mine", "--out", "{tmp}/x"], "there is no 'mine': want FILE.py, package.module"),
        (["check", "reader", "no.such.module", "."], "reader: no module no is found"),
        (["new", "reader", "{tmp}/reader.txt"], "the name must end in .py"),
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


def call(
    arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """The command line in this process → exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["fersweep", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    printed = capfd.readouterr()
    return end.value.code, printed.out, printed.err


def test_recipes_are_shown_also_where_none_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(["recipes", "--json"], capfd, monkeypatch)
    found = {one["name"]: one for one in json.loads(out)}
    assert code == 0
    assert found.keys() == {path.stem for path in RECIPES.glob("*.yaml")} >= TIMES.keys()
    assert (found["fer_sota"]["needs"], found["fer_sota"]["time"]) == (["GPU"], None)
    assert (found["transfer"]["needs"], found["seven_landmarks"]["needs"]) == (["weights"], ["--landmarks"])
    code, out, err = call(["launch"], capfd, monkeypatch)
    assert (code, err) == (2, "fersweep: launch wants a recipe or a sweep file, and --data\n")
    assert all(name in out for name in found)
    assert "curve" not in out
    assert call(["recipes", "quick"], capfd, monkeypatch)[1] == (RECIPES / "quick.yaml").read_text()


def test_what_does_not_run_is_not_stopped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_sweep(tmp_path)
    where = ["tiny", "--home", str(tmp_path)]
    code, out, err = call(["stop", *where], capfd, monkeypatch)
    assert (code, err) == (0, "")
    assert out.startswith("tiny does not run: it is ")
    assert not (directory / "stop").exists()
    code, out, _ = call(["status", *where, "--watch", "--json"], capfd, monkeypatch)
    assert (code, json.loads(out)[0]["sweep"]) == (0, "tiny")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_h(verb: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = call([verb, "-h"], capfd, monkeypatch)
    assert code == 0
    assert f"fersweep {verb}" in out


def test_the_shell_completes_recipes_and_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(tmp_path)
    monkeypatch.setenv("FERSWEEP_HOME", str(tmp_path))
    context = SimpleNamespace(params={})
    assert known_sweeps(context, "ti") == ["tiny"]  # pyright: ignore[reportArgumentType]
    assert known_recipes("seven") == ["seven_classes", "seven_landmarks"]


@pytest.mark.parametrize("options", [["recipes"], ["recipes", "--json"], ["--version"]])
def test_a_reader_that_goes_away_ends_a_verb_without_a_word(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`fersweep recipes | head -1`"""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "argv", ["fersweep", *options])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 141
    assert capfd.readouterr().err == ""
