"""A directory in which the command blocks of the documentation are run: the files that its pages name, all of them small."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage import data

from fersweep.data_pipeline.sources.demo_faces import make_faces
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.docs.blocks import ROOT
from tests.sources import FER2013, USAGES
from tests.sweeps import FakeDriver, write_sweep_json

FACES = 70
SPLITS = ("train", "train", "train", "val", "test")
THREE = {"happy": ["happy"], "sad": ["sad"], "neutral": ["neutral"]}
NET: dict[str, Any] = {"units": [4], "batch_size": 32}
CNN: dict[str, Any] = {"widths": (4, 8), "image_size": 24, "batch_size": 32}


def write_files(scratch: Path) -> None:
    """Sources and pictures. FER2013's faces are real ones where FERSWEEP_REALDATA has some, else warps of one portrait."""
    make_faces(scratch / "faces", FACES)
    paths = sorted((scratch / "faces").glob("*/*.png"), key=lambda path: path.stem)
    faces = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    _zip(scratch / "fer2013.csv.zip", {"fer2013.csv": _fer2013(_real_faces() or faces)})
    shutil.copytree(ROOT / "examples", scratch / "examples")
    (scratch / "fer2013new.csv").write_text(_votes())
    (scratch / "blends.csv").write_text(_scores())
    for number, face in enumerate(faces[:24]):
        folder = scratch / "CK+48" / ("anger", "happy", "contempt")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"S{10 + number // 2:03d}_00{number % 3}_{number:08d}.png"), face)
    codes = ("AN", "HA", "NE", "SA")
    _zip(
        scratch / "jaffe.zip",
        {
            f"{('KA', 'KL', 'YM')[n % 3]}.{codes[n % 4]}{n % 3 + 1}.{n}.png": _png(face)
            for n, face in enumerate(faces[24:48])
        },
    )
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    (scratch / "holiday").mkdir()
    for name in ("photo.jpg", "holiday/one.jpg", "holiday/two.jpg"):
        cv2.imwrite(str(scratch / name), portrait)
    film = cv2.VideoWriter(str(scratch / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (256, 256))
    for _ in range(6):
        film.write(cv2.resize(portrait, (256, 256)))
    film.release()
    (scratch / "my_sweep.yaml").write_text("name: my_sweep\ntrainable: blendshape_dense\n")


def write_sweeps(home: Path, dataset: Path) -> None:
    """The sweeps that pages name beside `blendshape_dense`, each of two trials that were trained in this process."""
    for name, trainable, features, hparams in (
        ("blendshape_lstm", "blendshape_dense", TaskSpec(classes=THREE), NET),
        ("mine", "blendshape_dense", TaskSpec(classes=THREE), NET),
        ("cnn", "cnn", TaskSpec(features="pixels"), CNN),
    ):
        arrays = Task(dataset, features).arrays()
        sweep_dir = write_sweep_json(home, dataset, arrays, name, trainable)
        content = json.loads((sweep_dir / "sweep.json").read_text())
        content["sweep"] |= {"task": features.model_dump(), "space": {}}
        (sweep_dir / "sweep.json").write_text(json.dumps(content))
        driver = FakeDriver(sweep_dir, arrays)
        driver.journal.session("started")
        for trial in range(2):
            driver.run_trial(trial, hparams | {"learning_rate": 1e-3 * (trial + 1)}, 1, "finished")
        driver.journal.session("finished")
        driver.journal.close()


def _real_faces() -> list[np.ndarray]:
    """FACES of FER2013's, of each class in turns; none where they are not at hand."""
    sample = Path(os.environ.get("FERSWEEP_REALDATA", "nowhere")) / "fer2013/fer2013_folders_sample.zip"
    if not sample.exists():
        return []
    with zipfile.ZipFile(sample) as archive:
        names = {label: sorted(name for name in archive.namelist() if f"/{label}/" in name)[::20] for label in FER2013}
        chosen = [names[FER2013[number % 7]][number // 7] for number in range(FACES)]
        return [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE) for name in chosen]


def _fer2013(faces: list[np.ndarray]) -> str:
    """The CSV; of warped portraits the labels mean nothing."""
    rows = [
        f"{number % 7},{' '.join(map(str, cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA).ravel()))},"
        f"{USAGES[SPLITS[number // 7 % len(SPLITS)]]}"
        for number, face in enumerate(faces)
    ]
    return "\n".join(["emotion,pixels,Usage", *rows])


def _votes() -> str:
    """FER+'s table for these rows: ten votes for the label."""
    columns = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")
    lines = ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    for number in range(FACES):
        votes = [10 * (column == FER2013[number % 7]) for column in columns]
        usage = USAGES[SPLITS[number // 7 % len(SPLITS)]]
        lines.append(f"{usage},fer{number:07d}.png,{','.join(map(str, votes))},0,0,0")
    return "\n".join(lines)


def _scores() -> str:
    scores = np.random.default_rng(0).random((30, len(BLENDSHAPES))).round(3)
    rows = [",".join([str(number % 3), *map(str, row)]) for number, row in enumerate(scores.tolist())]
    return "\n".join([",".join(["emotion", *BLENDSHAPES]), *rows])


def _png(face: np.ndarray) -> bytes:
    return cv2.imencode(".png", face)[1].tobytes()


def _zip(path: Path, files: dict[str, str | bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
