"""A home, a registry and a bucket that an older version wrote go on to work: what it said of them is said again, what it
began is ended, what it registered is judged, served and replaced. README.md says how they were made.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import copy_files

from fersweep.data_pipeline.faces.landmarker_bundle import NAME as BUNDLE
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.results.mlflow_store import addresses, connection, other_homes
from fersweep.results.mlflow_store.registry import MODEL
from fersweep.results.record import journal
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from tests.older.bucket import BUCKET, SWEEP, serve
from tests.older.questions import READING, WRITING, ask, losses
from tests.processes import run
from tests.recorded import check_all_recorded
from tests.servers import free_port, post, wait_for

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
OF_NOW = ("age_s", "disk_bytes")  # differ at every call
PHOTO = next(question for question in READING if question.startswith("predict"))
LOAD = """
import json, sys
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
images = pandas.DataFrame({"image": [open(sys.argv[2], "rb").read()]})
print(json.dumps(model.predict(images).to_dict("records")))
"""


def unpack(archive: str, directory: Path) -> Path:
    with tarfile.open(HERE / archive) as tar:
        tar.extractall(directory, filter="data")
    return directory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Moved, as if by a user, to where it was not made. MediaPipe's bundle is put back into the registered models."""
    home = unpack("home.tar.xz", tmp_path_factory.mktemp("older") / "home")
    for checkpoint in home.glob("artifacts/models/*/artifacts/artifacts/*/model.json"):
        shutil.copyfile(find_bundle(), checkpoint.parents[1] / BUNDLE)
    other_homes.follow_move(home)
    return home


def check_same(found: Any, expected: Any, tolerance: float, where: str = "") -> None:
    """Numbers within the tolerance, everything else equal; there may be more to say by now."""
    if isinstance(expected, dict):
        assert [key for key in found if key in expected] == list(expected), where
        for key in [key for key in expected if key not in OF_NOW]:
            check_same(found[key], expected[key], tolerance, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, one in enumerate(expected):
            check_same(found[i], one, tolerance, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("question", READING)
def test_what_it_said_is_said_again(question: str, home: Path) -> None:
    seen_by_mediapipe = question == PHOTO  # whose last digits are the machine's
    check_same(ask(question, home), EXPECTED[question], 0.02 if seen_by_mediapipe else 1e-3)


def test_registered_versions_answer_with_their_own_code(home: Path, tmp_path: Path) -> None:
    """Version 1 behind `mlflow models serve`, version 2 in Python, both in processes that know nothing of this code."""
    photo, port = home / "files" / "photo.jpg", free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the server starts uvicorn by name
    environment = {
        **os.environ,
        **connection.ENVIRONMENT,
        "MLFLOW_TRACKING_URI": addresses.tracking_uri(home),
        "PATH": path,
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL}/1", "--env-manager", "local"]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        command = [sys.executable, "-c", LOAD, f"models:/{MODEL}/2", str(photo)]
        loaded = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True)
        wait_for(f"http://127.0.0.1:{port}/ping", server, tmp_path / "server.log")
        image = base64.b64encode(photo.read_bytes()).decode()
        served = post(port, {"dataframe_records": [{"image": image}]})["predictions"]
    finally:
        with contextlib.suppress(ProcessLookupError):  # it did not start
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    (face,) = EXPECTED[PHOTO][0]["faces"]
    for found, model in ((served, "champion"), (json.loads(loaded.stdout), "cnn:0")):
        expected = face["models"][model]
        wanted = {**expected["probabilities"], "label": expected["label"]}
        assert {name: found[0][name] for name in wanted} == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("model", ["champion", "cnn"])
def test_old_models_are_exported(model: str, home: Path, tmp_path: Path) -> None:
    made = ask(f"export {model} --out {tmp_path / 'model.onnx'}", home)
    assert made["difference"] < 1e-4


@pytest.mark.usefixtures("ray_session", "recorded_here")
@pytest.mark.parametrize("question", WRITING)
def test_finished_sweeps_go_on(question: str, home: Path) -> None:
    """With the numbers that the older version would have gone on with."""
    name = question.split()[1]
    before = journal.read(home / "sweeps" / name / "journal.jsonl")
    ask(question, home)
    check_same(losses(home, name), EXPECTED["losses"][name], 1e-3)
    check_went_on(home / "sweeps" / name, before)


@pytest.mark.usefixtures("ray_session", "recorded_here")
def test_an_interrupted_sweep_is_ended(home: Path) -> None:
    directory = home / "sweeps" / "interrupted"
    before = journal.read(directory / "journal.jsonl")
    assert before.count()["running"], "it was killed in its midst"
    ended = ask("resume interrupted", home)
    assert ended["states"]["finished"] + ended["states"]["stopped"] == 5
    check_went_on(directory, before)
    report = ask("report interrupted --no-faces", home)["report"].replace("HOME", str(home))
    assert Path(report).stat().st_size > 10_000


def test_a_bucket_is_adopted(home: Path, tmp_path: Path) -> None:
    """By a machine that has only the bucket's address, and the dataset. Its Ray is new, since it must know the server."""
    with serve():
        copy_files(str(unpack("bucket.tar.xz", tmp_path / "bucket")), BUCKET)
        (tmp_path / "before").write_bytes(journal.Segments(Storage(SWEEP)).read())
        before = journal.read(tmp_path / "before")
        assert before.count()["running"], "it was killed in its midst"
        run("resume", SWEEP, home=home)
        assert load_sweep(home / "sweeps" / "away").record.action == "finished"
        check_went_on(home / "sweeps" / "away", before)


def test_an_old_champion_is_replaced_and_comes_back(home: Path) -> None:
    assert ask("champion show", home)["version"] == 1
    promoted = ask("promote after --force", home)
    assert (promoted["version"], promoted["before"]) == (3, 1)
    assert [verdict["gate"] for verdict in promoted["verdicts"]] == ["better_than_champion"], (
        "the old one was asked, too"
    )
    assert ask("promote dense --gate none", home)["version"] == 1, "what an older version registered is found again"
    assert ask("champion rollback", home)["version"] == 3
    assert [move["version"] for move in ask("champion history", home)] == ["3", "1", "3", "1", "2", "1"]


def check_went_on(directory: Path, before: journal.SweepRecord) -> None:
    """Nothing that was told is lost, and MLflow holds all of it, each run once."""
    after = journal.read(directory / "journal.jsonl")
    for number, trial in before.trials.items():
        assert after.trials[number].epochs[: trial.num_epochs] == trial.epochs
    check_all_recorded(directory)
