"""An ensemble of trials of two sweeps, one of pixels and one of blendshapes: chosen, judged once, registered and used."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from skimage import data as pictures

from fersweep.cli.main import main
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.features import mixed
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.champion.champion import champion, rollback
from fersweep.results.ensembles.choice import choose
from fersweep.results.ensembles.selection import mean, score
from fersweep.results.evaluate import ledger
from fersweep.results.evaluate.model_judgement import judge_model
from fersweep.results.mlflow_store import addresses, connection
from fersweep.results.models.export import export
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.predict.recogniser import Recogniser
from fersweep.results.promote.gates import before_test, read_gates
from fersweep.results.promote.promotion import Promoted, Refused, promote
from fersweep.results.record import checkpoints
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from tests.datasets import write_tiny_dataset
from tests.sweeps import FakeDriver, write_sweep_json

pytestmark = pytest.mark.slow

PIXELS = [{"units": [8], "learning_rate": rate} for rate in (0.001, 0.0015)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Sweeps `numbers`, of blendshapes, whose second trial has no checkpoint any more, and `pixels`."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home)
    dataset = write_tiny_dataset(home / "data" / "tiny", num_faces=360, undetected=0.25)
    for name, trainable, hparams, features in (
        ("numbers", "curve", [{"rate": 0.3}, {"rate": 0.3}], "blendshapes"),
        ("pixels", "pixel_mlp", PIXELS, "pixels"),
    ):
        arrays = Task(dataset, TaskSpec(features=features)).arrays()
        driver = FakeDriver(write_sweep_json(home, dataset, arrays, name, trainable), arrays)
        driver.journal.session("started")
        for trial, values in enumerate(hparams):
            driver.run_trial(trial, values, 3, "finished" if trial else "stopped", 3)
        driver.journal.session("finished")
        driver.journal.close()
    checkpoints.prune(Storage(home / "sweeps" / "numbers"), 1, [])
    return home


@pytest.fixture(scope="module")
def sweeps(home: Path) -> list[Path]:
    return [home / "sweeps" / "numbers", home / "sweeps" / "pixels"]


@pytest.fixture(scope="module")
def promoted(sweeps: list[Path]) -> tuple[Promoted, list[str]]:
    told: list[str] = []
    return promote(sweeps, ensemble="greedy", tell=told.append), told


def test_it_is_chosen_on_val_and_judged_once_on_all_faces(
    home: Path, sweeps: list[Path], promoted: tuple[Promoted, list[str]]
) -> None:
    found, told = promoted
    choice = found.figures.joined
    assert choice is not None
    assert (choice.num_trials, choice.num_left_out) == (3, 1)
    numbers = load_sweep(sweeps[0])
    assert numbers.val_predictions(numbers.record.trials[1]) is not None, "its answers are kept without its checkpoint"
    assert {one.sees for one in choice.members} > {"pixels"}, "members of both sweeps"
    assert choice.value > choice.best_value
    assert "3 trials, 1 left out, which have no checkpoint or break a constraint" in told[0]
    assert "val chose the members, so both are optimistic" in told[1]

    task = Task(home / "data" / "tiny", TaskSpec(features="pixels"))
    assert found.figures.detected.num_faces == len(task.load("test").y)
    assert found.figures.detected == found.figures.all, "every face is answered"
    name = f"{choice.members[0].name} (ensemble {Path(found.checkpoint).name})"
    client = connection.open_home(home)
    assert [line.model for line in ledger.lines(client, ledger.faces_of(task))] == [name]
    unfinished = Path(found.checkpoint).with_name(f".{Path(found.checkpoint).name}-0123abcd")
    unfinished.mkdir()
    again = promote(sweeps[::-1], "again", ensemble="greedy", gates={})
    assert (again.version, again.checkpoint, again.figures) == (found.version, found.checkpoint, found.figures)

    assert not unfinished.exists(), "what a promotion that was killed had begun to copy"

    bagged = choose([load_sweep(one) for one in sweeps], "bagged")
    assert sum(bagged.weights) >= 20, "a choice a bag"
    assert bagged.identity != Path(found.checkpoint).name

    card, tags = champion(home).card or "", champion(home).tags
    for one in choice.members:
        assert f"| {one.name} | `{one.trainable}` |" in card
    assert "answered by the members that see pixels" in card
    assert tags["fersweep.members"] == ", ".join(f"{one.weight} × {one.name}" for one in choice.members)


def test_its_checkpoint_answers_val_as_it_was_chosen(home: Path, promoted: tuple[Promoted, list[str]]) -> None:
    choice = promoted[0].figures.joined
    assert choice is not None
    model = open_model("champion", home)
    val = model.task(home / "data" / "tiny", model.groups).load("val")
    assert np.isnan(val.x["features"]).any()
    value = score(model.predict(val.x), val.y, "macro_f1")
    np.testing.assert_allclose(value, choice.value, atol=1e-6)
    judged = judge_model(model, home)
    np.testing.assert_allclose(judged.figures.detected.macro_f1.value, value)
    with pytest.raises(InputError, match="learned train"):
        judge_model(model, home, split="train")
    assert {record["task"]["features"] for record in model.described["learned"]} == {"blendshapes", "pixels"}


def test_it_looks_at_a_face_once_and_answers_without_landmarks(
    home: Path, promoted: tuple[Promoted, list[str]]
) -> None:
    photo, ensemble = pictures.astronaut(), open_model("champion", home)
    members = [open_model(str(path), home) for path in sorted(Path(promoted[0].checkpoint).glob("member-*"))]
    weights = np.array([one["weight"] for one in ensemble.described["members"]])
    with Recogniser([ensemble, *members]) as recogniser:
        (seen,) = recogniser.faces(photo)
        (answers,) = recogniser.answers([seen])
    by_hand = mean(np.stack([answer[None] for answer in answers[1:] if answer is not None]), weights)[0]
    assert answers[0] is not None
    np.testing.assert_allclose(answers[0], by_hand, atol=1e-6)

    pixels = [model.features == "pixels" for model in members]
    face, names = seen.views[0].face, ensemble.described["feature_names"][1:]
    blind = mixed(face[None], np.full((1, len(names)), np.nan))
    alone = np.stack([model.predict(face[None]) for model, sees in zip(members, pixels, strict=True) if sees])
    np.testing.assert_allclose(ensemble.predict(blind), mean(alone, weights[pixels]), atol=1e-6)

    mlflow.set_tracking_uri(addresses.tracking_uri(home))
    served = mlflow.pyfunc.load_model("models:/fersweep@champion")
    assert served.metadata.get_input_schema().input_names() == ["image", "face", *names]
    answer = served.predict(pd.DataFrame({"image": [photo]}))
    np.testing.assert_allclose(answer.loc[0, ensemble.classes].astype(float), answers[0], atol=1e-6)
    x = seen.views[0].features
    assert x is not None
    rows = pd.DataFrame({"face": [face, face], **{name: [x["features"][i], np.nan] for i, name in enumerate(names)}})
    wanted = np.concatenate([ensemble.predict(np.stack([x])), ensemble.predict(blind)])
    for given, expected in ((rows, wanted), (rows[["face"]], wanted[[1, 1]])):
        np.testing.assert_allclose(served.predict(given)[ensemble.classes].astype(float), expected, atol=1e-6)


def test_gates_and_rollbacks(home: Path, sweeps: list[Path], promoted: tuple[Promoted, list[str]]) -> None:
    single = promote(sweeps[1], "rolls", gates={})
    assert single.version != promoted[0].version, "its member's own checkpoint is another model"
    with pytest.raises(Refused) as refusal:
        promote(sweeps, "rolls", ensemble="greedy", gates=read_gates(["min_accuracy=0,max_latency_ms=0.00001"]))
    assert [verdict.passed for verdict in refusal.value.verdicts] == [True, False], "asked in a process of its own"
    assert champion(home, "rolls").version == single.version
    assert promote(sweeps, "rolls", ensemble="greedy", gates={}).before == single.version
    assert rollback(home, "rolls").version == single.version


@pytest.mark.parametrize(
    ("model", "is_other"),
    [("cnn:7", False), ("cnn:7, seed 1", False), ("cnn:70", True), ("cnn:7 (ensemble 0123456789ab)", True)],
)
def test_faces_are_fresh_where_only_the_model_itself_asked(model: str, is_other: bool) -> None:
    texts = dict.fromkeys(("faces", "fingerprint", "dataset", "verb", "user", "host", "against", "alias", "run_id"), "")
    line = ledger.Line(number=1, at=0.0, model=model, macro_f1=0.5, **texts)
    verdict = before_test({"fresh_test": 0.0}, FaceModel("cnn:7", {}), None, False, [line])["fresh_test"]
    assert verdict.passed != is_other


def test_what_cannot_be_joined_or_asked_is_refused(home: Path, sweeps: list[Path]) -> None:
    numbers, pixels = sweeps
    with pytest.raises(InputError, match=r"no other trial improves numbers:0 on val .*promote numbers --trial 0"):
        choose([load_sweep(numbers)], "greedy")
    for asked, options, message in (
        (sweeps, {}, "takes one sweep, or several with --ensemble greedy or bagged, but got 2"),
        ([pixels, pixels], {"ensemble": "greedy"}, "want each sweep once"),
        (pixels, {"ensemble": "gredy"}, "want greedy, bagged, or mean beside --refit"),
        (pixels, {"ensemble": "mean"}, "wants --refit 2 or more"),
        (pixels, {"ensemble": "greedy", "refit": 2}, "none of --refit, --trial and --pick"),
        (pixels, {"ensemble": "greedy", "trial": 0}, "none of --refit, --trial and --pick"),
    ):
        with pytest.raises(InputError, match=message):
            promote(asked, "refused", **options)
    content = json.loads((pixels / "sweep.json").read_text())
    for name, change, message in (
        ("fold", {"sweep": {**content["sweep"], "task": {**content["sweep"]["task"], "fold": 1}}}, "has other val"),
        ("data", {"dataset": {**content["dataset"], "fingerprint": "0" * 64}}, "has other data than 'numbers'"),
        ("classes", {"classes": content["classes"][::-1]}, "has other classes than 'numbers'"),
    ):
        other = home / "sweeps" / name
        other.mkdir()
        changed = {**content, **change, "sweep_id": name}
        (other / "sweep.json").write_text(json.dumps({**changed, "sweep": {**changed["sweep"], "name": name}}))
        shutil.copy(pixels / "journal.jsonl", other)
        with pytest.raises(InputError, match=message):
            choose([load_sweep(numbers), load_sweep(other)], "greedy")
        shutil.rmtree(other)


def test_the_command_line_shows_the_members(
    home: Path,
    promoted: tuple[Promoted, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["promote", "numbers", "pixels", "--ensemble", "greedy", "--alias", "told", "--gate", "none"]
    monkeypatch.setattr("sys.argv", ["fersweep", *command, "--home", str(home)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    out, err = capsys.readouterr()
    assert f"version {promoted[0].version} is now told: an ensemble of" in out
    assert "members" in out
    assert "pixel_mlp" in out
    assert "val chose the members" in " ".join(out.split())
    assert "left out, which have no checkpoint" in " ".join(err.split())
    with pytest.raises(InputError, match=r"its member numbers:0 \(curve\) is no net that can"):
        export("told", home / "told.onnx", home)
