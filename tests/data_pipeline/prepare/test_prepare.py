"""prepare on a real Ray with a real MediaPipe and a few faces: results, resumption, refusals."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.describe.summary import describe
from fersweep.data_pipeline.faces.crop import CONSTANT, fit
from fersweep.data_pipeline.faces.landmarker import Landmarker
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import _locked, prepare
from fersweep.data_pipeline.prepare.progress import Progress
from fersweep.data_pipeline.sources.decode import decode
from fersweep.data_pipeline.sources.demo_faces import CLASSES, make_faces
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.processes import kill, wait_until

SIZE = (48, 48)
NUM_FACES = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 demo faces in class folders, and a twin of one under another label."""
    directory = make_faces(tmp_path_factory.mktemp("source") / "faces", NUM_FACES)
    twin = (directory / "happy" / "00000.png").read_bytes()
    (directory / "sad" / "90000.png").write_bytes(twin)
    return directory


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    out = tmp_path_factory.mktemp("out") / "demo"
    prepare([source], out, Options(image_size=SIZE), workers=2)
    return out


def test_dataset(source: Path, dataset: Path):
    table, manifest = open_table(dataset), read_manifest(dataset)
    assert manifest["num_faces"] == NUM_FACES + 1
    assert set(manifest["classes"]) == set(CLASSES)
    assert manifest["landmarks"]["border"] == 0.25
    assert manifest["landmarks"]["size"] == 192
    assert 0.8 < (describe(dataset).detected_share or 0) <= 1.0
    assert describe(dataset).twins.conflicting == 1
    assert {split: sum(labels.values()) for split, labels in manifest["counts"].items()}["val"] in (5, 6, 7)
    assert table["source"].to_pylist() == [face.source for face in open_source(source).faces()]
    assert sorted(path.name for path in dataset.iterdir()) == [".verified.json", "faces", "manifest.json"]


def test_scores_are_those_of_the_landmarker(source: Path, dataset: Path):
    table = open_table(dataset).slice(0, 8)
    faces = list(open_source(source).faces())[:8]
    with Landmarker(find_bundle()) as landmarker:
        for face, row in zip(faces, table.to_pylist(), strict=True):
            pixels = fit(decode(face), SIZE)
            scores = landmarker.blendshapes(pixels)
            assert row["pixels"] == pixels.tobytes()
            assert row["detected"] == (scores is not None)
            if scores is not None:
                np.testing.assert_array_equal(scores, np.float32([row[name] for name in BLENDSHAPES]))


def test_demo_faces_can_be_learned(dataset: Path):
    train = Task(dataset, TaskSpec()).load("train")
    smile = Task(dataset, TaskSpec(blendshapes=["mouthSmileLeft"])).load("train").x[:, 0]
    assert smile[train.y == 0].mean() > smile[train.y != 0].mean() + 0.3


def test_finished_is_left_alone(source: Path, dataset: Path):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    reports: list[Progress] = []
    assert prepare([source], dataset, Options(image_size=SIZE), progress=reports.append) == read_manifest(dataset)
    assert [progress.phase for progress in reports] == ["finished"]
    assert before == {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}


def test_other_options_or_sources_are_refused(source: Path, dataset: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"begun with border 0.25, not 0.5"):
        prepare([source], dataset, Options(image_size=SIZE, border=0.5))
    other = make_faces(tmp_path / "other", 3)
    with pytest.raises(InputError, match="begun with other sources"):
        prepare([other], dataset, Options(image_size=SIZE))


def test_two_at_once_are_refused(source: Path, tmp_path: Path):
    (tmp_path / "faces").mkdir()
    with _locked(tmp_path), pytest.raises(InputError, match="prepared by another process"), _locked(tmp_path):
        pass


class Stopped(Exception):
    pass


def test_interrupted_and_resumed(source: Path, dataset: Path, tmp_path: Path, ray_session: None):
    def stop(progress: Progress) -> None:
        if list((tmp_path / "out" / "staged").glob("*.parquet")):
            raise Stopped

    options = Options(image_size=SIZE, part_rows=16)
    with pytest.raises(Stopped):
        prepare([source], tmp_path / "out", options, workers=1, progress=stop)
    first = sorted((tmp_path / "out" / "staged").glob("part-*"))[0]
    with pytest.raises(InputError, match="begun with seed 0, not 1"):
        prepare([source], tmp_path / "out", replace(options, seed=1))
    reports: list[Progress] = []
    first.write_bytes(first.read_bytes())  # it is opened, not written again
    written = first.stat().st_mtime_ns
    seen = []

    def look(progress: Progress) -> None:
        reports.append(progress)
        seen.append(first.stat().st_mtime_ns if first.exists() else written)

    manifest = prepare([source], tmp_path / "out", options, workers=1, progress=look)
    assert set(seen) == {written}
    extracted = [progress for progress in reports if progress.phase == "extract"]
    assert extracted[-1].done == extracted[-1].total == NUM_FACES + 1
    assert manifest["fingerprint"] == read_manifest(dataset)["fingerprint"]  # whatever the parts


KILLED = """
import sys
from pathlib import Path
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare
prepare([Path(sys.argv[1])], Path(sys.argv[2]), Options(image_size=(48, 48), part_rows=16), workers=2)
"""


def test_killed_and_resumed(source: Path, dataset: Path, tmp_path: Path, ray_session: None):
    """kill -9 as soon as a part is there: no more is lost than what was not yet written."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "out")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    wait_until(lambda: list((tmp_path / "out" / "staged").glob("*.parquet")), process)
    kill(process)
    assert not (tmp_path / "out" / "manifest.json").exists(), "it had ended already"
    manifest = prepare([source], tmp_path / "out", Options(image_size=SIZE, part_rows=16), workers=1)
    assert manifest["fingerprint"] == read_manifest(dataset)["fingerprint"]


def test_bad_input_leaves_nothing_behind(tmp_path: Path):
    pixels = " ".join(["7"] * 64)
    (tmp_path / "bad.csv").write_text(f"emotion,pixels,Usage\n0,{pixels},Training\n0,{pixels[2:]},Training\n")
    with pytest.raises(InputError, match="row 2: 63 pixels found, 64 expected"):
        prepare([tmp_path / "bad.csv"], tmp_path / "out")
    with pytest.raises(InputError, match="no source"):
        prepare([], tmp_path / "out")
    with pytest.raises(InputError, match="val_share: must lie in"):
        prepare([tmp_path / "bad.csv"], tmp_path / "out", Options(val_share=0.9))
    with pytest.raises(InputError, match=r"is not the face_landmarker.task expected"):
        prepare([tmp_path / "bad.csv"], tmp_path / "out", landmarker=tmp_path / "bad.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]
    (tmp_path / "bad.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(InputError, match="holds no face"):
        prepare([tmp_path / "bad.csv"], tmp_path / "out")


def test_directory_that_is_no_dataset(source: Path, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists and is no dataset"):
        prepare([source], tmp_path)


@pytest.mark.realdata
def test_real_faces(realdata: Path, tmp_path: Path, ray_session: None):
    """Every fourth: all of them take half a minute."""
    with (
        zipfile.ZipFile(realdata / "fer2013" / "fer2013_folders_sample.zip") as sample,
        zipfile.ZipFile(tmp_path / "fourth.zip", "w") as fourth,
    ):
        names = [name for name in sample.namelist() if name.endswith((".jpg", ".png"))]
        for name in names[::4]:
            fourth.writestr(name, sample.read(name))
    manifest = prepare([tmp_path / "fourth.zip"], tmp_path / "out", workers=2)
    assert len(names) == 2516
    assert (manifest["num_faces"], manifest["skipped"]) == (628, {CONSTANT: {"neutral": 1}})
    assert (describe(tmp_path / "out").detected_share or 0) > 0.95
    assert set(manifest["counts"]) == {"train", "val", "test"}
