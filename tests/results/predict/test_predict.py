"""Predicting with photos: the astronaut of scikit-image, upright and turned, and what is no photo."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.photo_reader import read_photo
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.predict.prediction import predict
from fersweep.results.predict.tables import render
from fersweep.trainables import curve

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> FaceModel:
    directory = tmp_path_factory.mktemp("checkpoint")
    curve.build({}, Task(tiny_dataset).arrays(), 0).save(directory)
    return open_model(str(directory), directory)


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut())


def test_faces_of_photos(model: FaceModel, portrait: Image.Image, tmp_path: Path) -> None:
    upright, turned, nothing, pair, tight = (
        tmp_path / f"{name}.png" for name in ("up", "turned", "no", "pair", "tight")
    )
    portrait.save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° to see it upright
    portrait.rotate(90, expand=True).save(turned, exif=exif)
    Image.new("L", (300, 200)).save(nothing)
    wide = Image.new("RGBA", (1024, 512))
    wide.paste(portrait, (0, 0))
    wide.paste(portrait, (512, 0))
    wide.save(pair)
    portrait.crop((170, 50, 280, 180)).convert("L").resize((48, 48)).save(tight)

    results = predict([upright, turned, nothing, pair, tight], [model])
    assert [result.image for result in results] == [upright, turned, nothing, pair, tight]
    assert [len(result.faces) for result in results] == [1, 1, 0, 2, 1]
    face = results[0].faces[0]
    left, top, right, bottom = face.box
    assert 130 < left < 200 < 240 < right < 320
    assert 0 < top < 90 < 170 < bottom < 260
    probabilities = face.probabilities or {}
    assert set(probabilities) == {"happy", "sad", "neutral"}
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert face.label == max(probabilities, key=probabilities.__getitem__)
    assert results[0].as_json() == {
        "image": str(upright),
        "faces": [{"box": [left, top, right, bottom], "label": face.label, "probabilities": probabilities}],
    }
    assert results[1].faces[0] == face, "EXIF's turn is undone"
    first, second = results[3].faces
    assert second.box[0] - first.box[0] == pytest.approx(512, abs=20)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(render(results))
    assert "no face found" in capture.get()
    assert "happy" in capture.get()


def test_a_model_of_pixels(
    portrait: Image.Image, pixels: TaskArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sees the gray crop of each face, in the dataset's size; a picture that is a crop itself is one, if a face is in it."""
    model = trainables.load("cnn").build({"widths": [4, 6], "image_size": 24}, pixels, 0)
    model.save(tmp_path / "checkpoint")
    opened = [open_model(str(tmp_path / "checkpoint"), tmp_path)]
    upright, nothing, tight = (tmp_path / f"{name}.png" for name in ("up", "no", "tight"))
    portrait.save(upright)
    Image.new("L", (300, 200)).save(nothing)
    portrait.crop((170, 50, 280, 180)).convert("L").resize((48, 48)).save(tight)
    results = predict([upright, nothing, tight], opened)
    assert [len(result.faces) for result in results] == [1, 0, 1]
    left, top, right, bottom = results[0].faces[0].box
    assert 130 < left < 200 < 240 < right < 320
    assert 0 < top < 90 < 170 < bottom < 260

    monkeypatch.setattr("fersweep.data_pipeline.tasks.photo_reader.faces_in_photo", lambda *_: [])
    results = predict([tight, nothing], opened)
    assert [len(result.faces) for result in results] == [1, 0]
    (whole,) = results[0].faces
    assert whole.box == (0, 0, 48, 48)
    (wanted,) = model.predict(np.asarray(Image.open(tight))[None])
    assert list((whole.probabilities or {}).values()) == pytest.approx(wanted.tolist(), abs=1e-5)

    monkeypatch.setattr(
        "fersweep.data_pipeline.tasks.photo_reader.find_bundle", partial(find_bundle, url="file:///nowhere")
    )
    monkeypatch.setattr("fersweep.data_pipeline.faces.landmarker_bundle.CARRIERS", ())
    monkeypatch.setenv("FERSWEEP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match=r"no face_landmarker\.task.*--landmarker"):
        predict([upright], opened)


def test_what_is_no_photo(tmp_path: Path, portrait: Image.Image) -> None:
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no picture")
    portrait.save(cut)
    cut.write_bytes(cut.read_bytes()[:9000])
    for path, message in ((text, "cannot be read"), (cut, "cannot be read"), (tmp_path / "none.jpg", "no such file")):
        with pytest.raises(InputError, match=message):
            read_photo(path)
    with pytest.raises(InputError, match=str(tmp_path)):
        read_photo(tmp_path)


def test_grey_and_alpha_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "CMYK"):
        path = tmp_path / f"{mode}.tiff"
        Image.new(mode, (5, 4)).save(path)
        photo = read_photo(path)
        assert photo.shape == (4, 5, 3)
        assert photo.dtype == np.uint8


@pytest.mark.processes
def test_models_of_both_frameworks_in_one_process(pixels: TaskArrays, arrays: TaskArrays, tmp_path: Path) -> None:
    """Keras first: what aborts a process whose LLVM is TensorFlow's when torch brings Triton's."""
    trainables.load("blendshape_dense").build({"units": [8]}, arrays, 0).save(tmp_path / "dense")
    trainables.load("cnn").build({"widths": [4, 6], "image_size": 24}, pixels, 0).save(tmp_path / "cnn")
    code = f"""
import numpy as np
from pathlib import Path
from fersweep.results.models.open_model import open_model
from fersweep.results.predict.recogniser import Recogniser

with Recogniser([open_model(str(Path({str(tmp_path)!r}) / name), Path("nowhere")) for name in ("dense", "cnn")]) as both:
    both.ask(0, [np.zeros({len(arrays.feature_names)}, np.float32)])
    both.ask(1, [np.zeros((48, 48), np.uint8)])
    import torch._dynamo
print("both")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "both", done.stderr
    assert "CUDA" not in done.stderr
