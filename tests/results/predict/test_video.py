"""`predict` on videos, cameras, folders and several models: what it finds, what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fersweep import trainables
from fersweep.cli.main import app
from fersweep.common.errors import InputError
from fersweep.common.video_file import is_cut_off
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.photo_reader import PhotoReader
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.models.open_model import open_model
from fersweep.results.predict import draw
from fersweep.results.predict.emoji import LOOKS, emoji
from fersweep.results.predict.face_tracker import Tracker
from fersweep.results.predict.options import Options, Watching
from fersweep.results.predict.outputs import Movie
from fersweep.results.predict.prediction import PictureResult, predict, run
from fersweep.results.predict.recogniser import Recogniser
from fersweep.results.predict.video import ClipResult, Screen, watch
from fersweep.results.predict.video_frames import Clip
from fersweep.trainables import curve

pytestmark = pytest.mark.slow

FPS, WITH_FACE, EMPTY = 10, 8, 3


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> str:
    directory = tmp_path_factory.mktemp("checkpoint")
    curve.build({}, Task(tiny_dataset).arrays(), 0).save(directory)
    return str(directory)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    from skimage import data

    return data.astronaut()[:400, :400]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


def write_clip(path: Path, images: list[np.ndarray]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, images[0].shape[1::-1])
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, portrait: np.ndarray) -> Path:
    """A face that moves to the right, then none."""
    moving = [np.roll(portrait, 6 * i, axis=1) for i in range(WITH_FACE)]
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return write_clip(path, [*moving, *[np.zeros_like(portrait)] * EMPTY])


def test_a_video(clip: Path, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fersweep.results.predict.outputs.BATCH_ROWS", 3)
    out, table, parquet = (tmp_path / name for name in ("out.mp4", "rows.csv", "rows.parquet"))
    how = Options(out=out, csv=table, parquet=parquet, emoji=True, watching=Watching(smooth_s=0))
    (result,) = run([str(clip)], [spec], tmp_path, how)
    assert isinstance(result, ClipResult)
    content = result.as_json()
    assert list(content) == [
        "video", "frames", "seconds", "frames_per_s", "frames_without_face", "faces", "labels", "promised", "out",
    ]  # fmt: skip
    assert (content["video"], content["out"]) == (str(clip), str(out))
    assert (result.frames, result.frames_without_face, result.faces) == (WITH_FACE + EMPTY, EMPTY, 1)
    assert sum(result.labels.values()) == WITH_FACE
    rows = rows_of(table)
    assert [int(row["frame"]) for row in rows] == list(range(WITH_FACE))
    assert [float(row["time_s"]) for row in rows] == pytest.approx([i / FPS for i in range(WITH_FACE)])
    assert {row["face"] for row in rows} == {"1"}
    lefts = [int(row["left"]) for row in rows]
    assert lefts[-1] - lefts[0] == pytest.approx(6 * (WITH_FACE - 1), abs=4)
    for row, other in zip(rows, pq.read_table(parquet).to_pylist(), strict=True):
        assert list(row) == list(other)
        assert row["label"] == other["label"] == max(("happy", "sad", "neutral"), key=lambda name: other[name])
        assert float(row["happy"]) == pytest.approx(other["happy"])

    first = next(Clip(clip).frames())
    Image.fromarray(first.image).save(tmp_path / "first.png")
    (photo,) = predict([tmp_path / "first.png"], [open_model(spec, tmp_path)])
    assert [float(rows[0][name]) for name in ("happy", "sad", "neutral")] == pytest.approx(
        list((photo.faces[0].probabilities or {}).values())
    ), "a frame is looked at as a photo is"

    drawn = list(Clip(out).frames())
    assert len(drawn) == WITH_FACE + EMPTY
    left, top = photo.faces[0].box[:2]
    colour = np.array(draw.COLOURS[photo.faces[0].label])
    assert np.abs(drawn[0].image[top + 60 : top + 90, left].astype(int) - colour).max() < 60, "the box's left side"
    assert np.abs(drawn[-1].image).max() < 20, "nothing is drawn where there is no face"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.png", "out.mp4", "rows.csv", "rows.parquet"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_frames_keep_their_times(suffix: str, tmp_path: Path) -> None:
    """Of a film whose frames come unevenly; AVI holds no times, so that its frames are repeated."""
    path, times = tmp_path / f"uneven{suffix}", [0.0, 0.1, 0.2, 1.0, 1.033, 1.066, 2.5, 2.6]
    with Movie(path, FPS) as movie:
        for number, time_s in enumerate(times):
            movie.write(np.full((64, 64, 3), 30 * number, np.uint8), time_s)
    shown = Clip(path)
    seen = {round(frame.image.mean() / 30): frame.time_s for frame in reversed(list(shown.frames()))}
    assert shown.promised() is None
    if suffix == ".avi":
        assert all(abs(seen[number] - times[number]) <= 0.5 / FPS + 1e-6 for number in seen)
    else:
        assert list(seen.values())[::-1] == pytest.approx(times, abs=1e-3)
        again = tmp_path / f"again{suffix}"
        with Movie(again, shown.fps) as movie:
            for frame in Clip(path).frames():
                movie.write(frame.image, frame.time_s)
        assert [frame.time_s for frame in Clip(again).frames()] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_film_that_is_cut_off(
    suffix: str, portrait: np.ndarray, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Said with what its head promised, and by the exit code; what could be seen is written all the same."""
    path, table = tmp_path / f"film{suffix}", tmp_path / "rows.csv"
    with Movie(path, FPS) as movie:
        for number in range(10):
            movie.write(np.roll(portrait, number, axis=1), number / FPS)
    assert not is_cut_off(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    code = app(["predict", str(path), "--model", spec, "--csv", str(table)], standalone_mode=False)
    printed = capsys.readouterr()
    num_read = len({row["frame"] for row in rows_of(table)})
    assert code == 1
    assert 0 < num_read < 10
    assert f"{num_read} of 10 frames could be read" in printed.err
    assert f"{num_read} of 10" in printed.out

    path.write_bytes(content[: len(content) // 3] + bytes(len(content) * 2 // 3))
    assert is_cut_off(path), "the rest of a download that was broken off"


def test_smoothing_follows_a_face(clip: Path, spec: str) -> None:
    """Exponential in time, of each face by itself; frames that are left out change the result little."""
    tracker = Tracker()
    left, right = (0, 0, 100, 100), (300, 0, 400, 100)
    assert [t.number for t in tracker.follow([left, right], 0.0)] == [1, 2]
    moved = tracker.follow([(310, 5, 405, 100), (15, 0, 110, 100)], 0.1)
    assert [t.number for t in moved] == [2, 1]
    assert [t.number for t in tracker.follow([left], 0.9)] == [1]
    assert [t.number for t in tracker.follow([left, right], 1.5)] == [1, 3], "one lost for a second is another one"
    track = tracker.tracks[0]
    track.smooth(0, np.array([0.0, 1.0]), 2.0, 0.5)
    assert track.smooth(0, None, 2.2, 0.5) is None
    smoothed = track.smooth(0, np.array([1.0, 0.0]), 2.5, 0.5)
    assert smoothed == pytest.approx([1 - np.exp(-1), np.exp(-1)])
    assert track.smooth(0, np.array([0.2, 0.8]), 3.0, 0.0) == pytest.approx([0.2, 0.8])
    with Recogniser([open_model(spec, Path())]) as recogniser:
        result = watch(Clip(clip), recogniser, Watching(every=3, num_frames=2))
    assert (result.frames, result.faces) == (2, 1)
    assert "out" not in result.as_json()


def test_names_that_do_not_print(
    portrait: np.ndarray, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, table = tmp_path / "photos", tmp_path / "rows.csv"
    folder.mkdir()
    Image.fromarray(portrait).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(folder / os.fsdecode(b"[red]\x1b[31m\n\xff.png"))
    (folder / os.fsdecode(b"\xfe.jpg")).write_bytes(b"broken")
    app(["predict", str(folder), "--model", spec, "--csv", str(table)], standalone_mode=False)
    (row,) = rows_of(table)
    assert row["input"] == f"{folder}/" + r"[red]\x1b[31m\n\udcff.png"
    printed = capsys.readouterr()
    assert r"[red]\x1b" in printed.out
    assert r"\udcfe.jpg: cannot be read as a picture" in printed.err
    assert "\x1b" not in printed.out + printed.err


def test_several_models_share_the_faces(
    clip: Path, spec: str, pixels: TaskArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainables.load("cnn").build({"widths": [4, 6], "image_size": 24}, pixels, 0).save(tmp_path / "net")
    calls = []
    whole = PhotoReader.faces
    monkeypatch.setattr(PhotoReader, "faces", lambda *given: calls.append(1) or whole(*given))
    table = tmp_path / "rows.csv"
    specs = [spec, str(tmp_path / "net")]
    (result,) = run([str(clip)], specs, tmp_path, Options(csv=table, watching=Watching(smooth_s=0)))
    assert isinstance(result, ClipResult)
    assert len(calls) == result.frames
    row = rows_of(table)[0]
    name = Path(spec).name
    assert {f"{name}.label", f"{name}.happy", "net.label", "net.happy"} <= set(row)
    Image.fromarray(next(Clip(clip).frames()).image).save(tmp_path / "first.png")
    (both,) = run([str(tmp_path / "first.png")], specs, tmp_path, Options())
    assert isinstance(both, PictureResult)
    (face,) = both.as_json()["faces"]
    assert list(face) == ["box", "label", "probabilities", "models"]
    assert face["label"] == face["models"][name]["label"], "the first model's"
    for model in specs:
        (alone,) = predict([tmp_path / "first.png"], [open_model(model, tmp_path)])
        (own,) = alone.as_json()["faces"]
        assert face["models"][Path(model).name] == {key: own[key] for key in ("label", "probabilities")}


def test_a_folder_and_its_grid(portrait: np.ndarray, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "in"
    for name in ("happy", "surprised", "sad"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(portrait).save(folder / name / "face.png")
    (folder / "sad" / "face.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture")
    out, grid = tmp_path / "drawn", tmp_path / "grid.png"
    app(
        ["predict", str(folder), "--model", spec, "--out", str(out), "--grid", str(grid), "--json"],
        standalone_mode=False,
    )
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [(Path(one["image"]).parent.name, one.get("true")) for one in found] == [
        ("happy", "happy"),
        ("sad", None),
        ("surprised", "surprise"),
    ]
    assert "error" in found[1]
    assert f"left out: {folder}/sad/face.png: cannot be read" in printed.err
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == ["happy/face.png", "surprised/face.png"]
    sheet = np.asarray(Image.open(grid))
    wanted = draw.RIGHT if found[0]["faces"][0]["label"] == "happy" else draw.WRONG
    frames = [tuple(sheet[60, 5]), tuple(sheet[60, 5 + draw.TILE + 12])]
    assert frames[0] == wanted
    assert frames[1] not in (draw.RIGHT, draw.WRONG), "no class of the model: neither right nor wrong"


def test_a_turned_video(clip: Path, portrait: np.ndarray, tmp_path: Path) -> None:
    """Phones write frames as their sensor sees them, and the turn into the file."""
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    (tmp_path / "turned.mp4").write_bytes(data)
    turned, plain = (next(Clip(path).frames()).image for path in (tmp_path / "turned.mp4", clip))
    assert np.abs(turned.astype(int) - np.rot90(plain, -1)).mean() < 3


class Camera:
    """Camera 0 is a file, and after some frames somebody presses Ctrl-C; there is no other camera."""

    def __init__(self, clip: Path, interrupted_at: int):
        self.clip, self.left, self.real = clip, interrupted_at, cv2.VideoCapture

    def __call__(self, source: Any, *backend: int) -> Any:
        capture = self.real(str(self.clip) if source == 0 else source, *backend)
        if source != 0:
            return capture
        camera = self

        class Capture:
            def grab(self) -> bool:
                camera.left -= 1
                if camera.left == 0:
                    raise KeyboardInterrupt
                return capture.grab()

            def __getattr__(self, name: str) -> Any:
                return getattr(capture, name)

        return Capture()


def test_a_camera_until_ctrl_c(
    clip: Path, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What was written until then is whole; without a display no window is opened."""
    monkeypatch.setattr(cv2, "VideoCapture", Camera(clip, 5))
    monkeypatch.setattr(Screen, "missing", lambda: "there is no display")
    out, table = tmp_path / "seen.avi", tmp_path / "rows.csv"
    (result,) = run(["0"], [spec], tmp_path, Options(out=out, csv=table))
    assert isinstance(result, ClipResult)
    assert (result.video, result.frames, result.faces) == ("camera 0", 5, 1)
    assert len(rows_of(table)) == 5
    assert len(list(Clip(out).frames())) >= 1
    printed = capsys.readouterr()
    assert "no window: there is no display" in printed.err
    assert "face 1  " in printed.out
    with pytest.raises(InputError, match="camera 7: there is none"):
        run(["7"], [spec], tmp_path, Options(out=tmp_path / "seven.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "seen.avi"]


def test_an_interrupted_video_leaves_nothing(
    clip: Path, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fersweep.results.predict.video.draw.annotate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run([str(clip)], [spec], tmp_path, Options(out=tmp_path / "out.mp4", csv=tmp_path / "rows.csv"))
    assert list(tmp_path.iterdir()) == []


def test_a_movie_that_was_cut_off_is_told(
    tmp_path: Path, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV says nothing of a full disk."""
    movie = Movie(tmp_path / "a.mp4", 10).__enter__()
    for _ in range(4):
        movie.write(portrait, 0.0)
    monkeypatch.setattr(movie, "_writer", None)  # never released: its end is not written
    with pytest.raises(RuntimeError, match="of 4 frames could be written"):
        movie.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_text_is_drawn_where_it_can_be_read(portrait: np.ndarray) -> None:
    small = np.zeros((48, 48, 3), np.uint8)
    marks = [draw.Mark((0, 0, 48, 48), "happy", "happy 93%"), draw.Mark((-5, 40, 20, 60), None, "no expression")]
    drawn = draw.annotate(small, marks, emojis=True)
    assert drawn.shape == (240, 240, 3), "a small image is enlarged for its labels"
    assert small.max() == 0, "the image given is left as it is"
    assert draw.annotate(portrait, []).tobytes() == portrait.tobytes()
    both = [draw.Mark((50, 50, 100, 100), "sad", "sad 51%"), draw.Mark((52, 50, 102, 100), "fear", "fear 60%")]
    apart = draw.annotate(np.zeros((300, 400, 3), np.uint8), both)
    for one in both:
        plate = (apart == draw.COLOURS[one.label]).all(axis=2).sum()
        assert plate > 0.5 * draw.text_plate(one.text, 13, draw.COLOURS[one.label])[..., 0].size
    faces = [emoji(label, 32) for label in (*LOOKS, "bored")]
    assert len({face.tobytes() for face in faces}) == len(LOOKS) + 1
    assert all(face.shape == (32, 32, 4) and face[0, 0, 3] == 0 and face[16, 16, 3] == 255 for face in faces)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["text.mp4"], {}, "text.mp4: cannot be read as a picture or a video"),
        (["cut.mp4"], {}, "cut.mp4: cannot be read as a picture or a video"),
        (["text.png"], {}, "text.png: cannot be read as a picture"),
        (["nowhere.mp4"], {}, "nowhere.mp4: there is no such file"),
        (["7"], {}, "camera 7: there is none that can be read"),
        (["empty"], {}, "empty: there are no pictures in it"),
        (["face.png"], {"out": "face.xyz"}, r"--out .*face.xyz: the name must end in \.png, "),
        (["clip.mp4"], {"out": "clip.png"}, r"--out .*clip.png: the name must end in \.mp4, "),
        (["face.png"], {"out": "no/face.png"}, "there is no directory .*/no$"),
        (["face.png"], {"out": "face.png"}, "face.png is an input, and would be overwritten"),
        (["clip.mp4", "face.png"], {"out": "out.mp4"}, "the results need a directory"),
        (
            ["clip.mp4", "face.png"],
            {"out": "text.png/out"},
            r"nothing can be written into .*text.png \(Not a directory\)",
        ),
        (["face.png", "full/face.png"], {"out": "drawn"}, "is the second input"),
        (["clip.mp4"], {"grid": "grid.png"}, "--grid .*: there are no pictures"),
        (["face.png"], {"grid": "grid.gif"}, "--grid .*: the name must end in"),
        (["clip.mp4"], {"csv": "rows.xls"}, r"rows.xls: the name must end in \.csv$"),
        (["clip.mp4"], {"watching": Watching(window=4)}, "--window 4: .* sees one frame"),
    ],
)
def test_what_is_refused(
    given: list[str], options: dict[str, Any], message: str, clip: Path, spec: str, portrait: np.ndarray, tmp_path: Path
) -> None:
    """Before anything is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    for name in ("face.png", "full/face.png"):
        Image.fromarray(portrait).save(tmp_path / name)
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:2000])
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "text.png").write_text("no picture")
    before = sorted(tmp_path.rglob("*"))
    for key in ("out", "grid", "csv"):
        if key in options:
            options = {**options, key: tmp_path / options[key]}
    inputs = [name if name.isdecimal() else str(tmp_path / name) for name in given]
    with pytest.raises(InputError, match=message):
        run(inputs, [spec], tmp_path, Options(**options))
    assert sorted(tmp_path.rglob("*")) == before
