"""What a verb prints with `--json`, the Python API says: for every verb that has the option, on one small sweep."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image

import fersweep
from fersweep.api import machines, models
from fersweep.cli.main import app, main
from fersweep.cluster.jobs.jobs import Job
from fersweep.cluster.jobs.machines import ClusterStatus, Node
from fersweep.cluster.jobs.stop import StoppedJob
from fersweep.results.champion.champion import Rollback
from fersweep.results.models.export import ExportedModel, Input
from fersweep.results.tracking.recorder_process import record
from tests.processes import ROOT
from tests.sweeps import write_sweep

PEER = """
import numpy as np
def classify(faces):
    share = faces.reshape(len(faces), -1).mean(axis=1) / 255
    return np.stack([share, 1 - share], axis=1)
classify.classes = ["happy", "sad"]
"""

READER = """
def read(files):
    for picture in files.pictures():
        split, label, _ = picture.name.split("/")
        yield {"face": picture, "label": label, "split": split}
"""


class Case(NamedTuple):
    """A verb of the command line, and the call of the API that says the same. `{home}`: the directory of everything.

    differs: keys whose values are of the moment (a time, where it was written).
    """

    verb: str
    options: str
    call: Callable[[Path], Any]
    differs: tuple[str, ...] = ()


CASES = [
    Case(
        "prepare",
        "{home}/faces --out {home}/made --pixels-only --image-size 16 --no-near-duplicates",
        lambda home: fersweep.prepare(
            home / "faces", home / "made", pixels_only=True, image_size=16, near_duplicates=False
        ),
    ),
    Case("describe", "{home}/data/tiny", lambda home: fersweep.describe(home / "data" / "tiny")),
    Case("data verify", "{home}/data/tiny", lambda home: fersweep.data_verify(home / "data" / "tiny")),
    Case(
        "data export",
        "{home}/data/tiny {home}/cli --as numpy",
        lambda home: fersweep.data_export(home / "data" / "tiny", home / "api", "numpy"),
        ("out",),
    ),
    Case("data diff", "{home}/data/tiny {home}/data/tiny", lambda home: fersweep.data_diff(*[home / "data/tiny"] * 2)),
    Case("recipes", "", lambda home: fersweep.recipes()),
    Case("recipes", "cnn", lambda home: fersweep.recipe("cnn")),
    Case(
        "launch",
        "{home}/curve.yaml --data {home}/data/tiny --name run",
        lambda home: fersweep.open_sweep("run", home=home),
    ),
    Case("resume", "run --trials +1", lambda home: fersweep.open_sweep("run", home=home)),
    Case(
        "launch",
        "{home}/curve.yaml --data {home}/data/tiny --dry-run --trials 5",
        lambda home: fersweep.dry_run(home / "curve.yaml", home / "data" / "tiny", trials=5, home=home),
    ),
    Case("stop", "tiny", lambda home: fersweep.stop("tiny", home=home)),
    Case("status", "", lambda home: fersweep.status(home=home), ("age_s",)),
    Case("status", "tiny", lambda home: fersweep.status("tiny", home=home), ("age_s",)),
    Case("compare", "tiny", lambda home: fersweep.compare("tiny", home=home)),
    Case("compare", "tiny run", lambda home: fersweep.compare("tiny", "run", home=home)),
    Case("compare", "tiny:0 tiny:3", lambda home: fersweep.open_sweep("tiny", home=home).compare_trials(0, 3)),
    Case("report", "tiny", lambda home: fersweep.report("tiny", home=home), ("seconds", "bytes")),
    Case("promote", "tiny --gate none", lambda home: fersweep.promote("tiny", gate="none", home=home)),
    Case("champion show", "", lambda home: fersweep.champion(home=home)),
    Case("champion history", "", lambda home: fersweep.champion_history(home=home)),
    Case("evaluate", "tiny --split val", lambda home: fersweep.evaluate("tiny", split="val", home=home)),
    Case(
        "predict",
        "{home}/face.png --model {home}/peer.py:classify",
        lambda home: fersweep.predict(home / "face.png", f"{home}/peer.py:classify", home=home),
    ),
    Case(
        "plan",
        "{home}/curve.yaml --data {home}/data/tiny",
        lambda home: fersweep.plan(home / "curve.yaml", home / "data" / "tiny", home=home),
        ("*",),
    ),
    Case(
        "check reader",
        "{home}/reader.py {home}/faces",
        lambda home: fersweep.check_reader(home / "reader.py", home / "faces"),
        ("*",),
    ),
    Case(
        "check trainable",
        "{home}/linear.py",
        lambda home: fersweep.check_trainable(str(home / "linear.py")),
        ("*",),
    ),
    Case("mv", "tiny other --dry-run", lambda home: fersweep.mv("tiny", "other", dry_run=True)),
    Case("gc", "--dry-run", lambda home: fersweep.gc(dry_run=True), ("*",)),
    Case("rm", "tiny --dry-run", lambda home: fersweep.rm("tiny", dry_run=True)),
    Case("doctor", "", lambda home: fersweep.doctor(home=home), ("*",)),
]
JOB = Job("job-1", "cnn", "RUNNING", joined=True)
STAND_INS: dict[
    str, tuple[Any, str, str, Any]
] = {  # what needs a cluster, or a framework: the verb prints the API's result
    "cluster submit": (machines, "cluster_submit", "cnn --data /data --home /home", JOB),
    "cluster stop": (machines, "cluster_stop", "cnn", StoppedJob("cnn", "job-1", "stopped", "it is stopped", None)),
    "cluster status": (
        machines,
        "cluster_status",
        "",
        ClusterStatus("a:1", "2.60", True, [Node("1", "a", True, 2, 0, 1, 0, None)], [({"CPU": 1.0}, 2)], [JOB]),
    ),
    "export": (
        models,
        "export",
        "tiny --out x.onnx",
        ExportedModel("x.onnx", "onnx", 9, "cnn", ["a"], Input("pixels", ["N", 8, 8], "uint8"), 3, 0.0, 0.0),
    ),
    "champion rollback": (models, "champion_rollback", "", Rollback("champion", 1, 2)),
}


ONLY_TYPED = {"ui", "demo", "new_reader", "new_trainable"}  # what a notebook does not call


def verbs_of(with_json: bool) -> list[str]:
    """All verbs, or those with `--json`."""
    found: list[str] = []

    def walk(command: Any, name: str) -> None:
        for part, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {part}".strip())
        parts = hasattr(command, "commands")
        if not parts and (not with_json or any("--json" in parameter.opts for parameter in command.params)):
            found.append(name)

    walk(typer.main.get_command(app), "")
    return found


def test_no_verb_says_more_than_the_api() -> None:
    """A new verb wants a function of its name, with `_` between its words; one with `--json` a case above, too."""
    verbs = verbs_of(with_json=True)
    assert {"launch", "data verify", "cluster submit"} <= set(verbs)
    assert sorted({*(case.verb for case in CASES), *STAND_INS}) == sorted(verbs)
    named = [verb.replace(" ", "_").replace("champion_show", "champion") for verb in verbs_of(with_json=False)]
    assert {name for name in named if name not in fersweep.__all__} == ONLY_TYPED


def printed(arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["fersweep", *arguments, "--json"])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert end.value.code == 0, err
    return json.loads(out)


def without(value: Any, keys: tuple[str, ...]) -> Any:
    """The value without what differs; with `*` its shape alone: keys, and lists without a number of parts."""
    if isinstance(value, dict):
        return {key: without(part, keys) for key, part in value.items() if key not in keys}
    if isinstance(value, list):
        parts = [without(part, keys) for part in value]
        return parts[:1] if "*" in keys else parts
    return type(value).__name__ if "*" in keys and not isinstance(value, str) else value if "*" not in keys else ""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home)
    assert record(write_sweep(home))
    (home / "peer.py").write_text(PEER)
    (home / "reader.py").write_text(READER)
    shutil.copy(ROOT / "examples" / "sklearn_linear.py", home / "linear.py")
    rng = np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 4)):
        for label in ("happy", "sad"):
            folder = home / "faces" / split / label
            folder.mkdir(parents=True)
            for index in range(number):
                Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(folder / f"{index}.png")
    Image.fromarray(rng.integers(0, 255, (48, 48), np.uint8)).save(home / "face.png")
    (home / "curve.yaml").write_text(
        "trainable: curve\nsearch: {num_trials: 2, sampler: random}\nstop: {max_epochs: 3, scheduler: none}\n"
        "resources: {cpus: 1}\n"
    )
    return home


@pytest.mark.usefixtures("ray_session", "recorded_here")
def test_the_api_says_what_json_says(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERSWEEP_HOME", str(home))
    fersweep.promote("tiny", gate="none")  # so that each of two promotions is of what is champion already
    wrong: list[str] = []
    for case in CASES:
        said = printed([*case.verb.split(), *case.options.format(home=home).split()], capfd, monkeypatch)
        result = case.call(home)
        assert hasattr(result, "as_json") or isinstance(result, dict), case
        ours = without(fersweep.as_json(result), case.differs)
        if ours != without(said, case.differs):
            wrong.append(f"{case.verb} {case.options}: {ours} is not {said}")
    assert wrong == []


@pytest.mark.parametrize("verb", STAND_INS)
def test_a_verb_prints_the_result_of_its_function(
    verb: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, options, result = STAND_INS[verb]
    monkeypatch.setattr(module, name, lambda *_, **__: result)
    assert printed([*verb.split(), *options.split()], capfd, monkeypatch) == fersweep.as_json(result)


def test_a_refused_promotion_says_the_same(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERSWEEP_HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["fersweep", *["promote", "tiny", "--gate", "min_macro_f1=0.999", "--json"]])
    with pytest.raises(SystemExit) as end:
        main()
    said = json.loads(capfd.readouterr().out)
    with pytest.raises(fersweep.Refused) as refused:
        fersweep.promote("tiny", gate="min_macro_f1=0.999")
    assert (end.value.code, refused.value.as_json()) == (1, said)


def test_the_files_of_a_cluster(tmp_path: Path) -> None:
    """What the command line prints of them line by line, the API says as JSON."""
    file, out = tmp_path / "cluster.yaml", tmp_path / "out"
    assert fersweep.as_json(fersweep.cluster_render("example", file=file))["written"] == [str(file)]
    done = fersweep.as_json(fersweep.cluster_render("slurm", file=file, out=out))
    assert str(out / "job.sh") in done["written"]
    assert fersweep.cluster_render("slurm", file=file, out=out).written == []
    step = fersweep.as_json(fersweep.cluster_up(out))
    assert step == {"line": f"sbatch {out}/job.sh", "command": None, "directory": str(out)}
    with pytest.raises(fersweep.InputError, match=r"none of cluster\.sh"):
        fersweep.cluster_down(tmp_path)
