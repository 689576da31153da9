"""A pipe, a socket, a device, links in a circle in the place of a file: one line, nothing is opened, nothing hangs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from fersweep.cluster.launchers.cluster_file import read_cluster_file
from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import BROKEN_LINK, NO_FILE
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.tasks.photo_reader import read_photo
from fersweep.results.models.open_model import open_model
from fersweep.results.predict import video_frames
from fersweep.results.predict.inputs import place_outputs, sort_inputs
from fersweep.results.predict.video_frames import Clip
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.hanging import ending

HANGS_S = 60


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    with ending(HANGS_S):
        yield


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


STRANGE: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "circle": lambda path: path.symlink_to(path.name),
}


def model(path: Path) -> Any:
    return open_model(str(path), path.parent / "home")


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "film": ("x.mp4", lambda path: sort_inputs([str(path)])),
    "photo": ("x.jpg", lambda path: sort_inputs([str(path)])),
    "unnamed": ("x", lambda path: sort_inputs([str(path)])),
    "clip": ("x.mkv", Clip),
    "picture": ("x.png", read_photo),
    "onnx": ("x.onnx", model),
    "tflite": ("x.tflite", model),
    "keras": ("x.keras", model),
    "safetensors": ("x.safetensors", model),
    "function": ("x.py", lambda path: open_model(f"{path}:classify", path.parent / "home")),
    "sweep": ("x.yaml", lambda path: read_sweep(str(path), [])),
    "sweep, no suffix": ("x", lambda path: read_sweep(str(path), [])),
    "cluster": ("x.yaml", read_cluster_file),
    "csv": ("x.csv", open_source),
    "archive": ("x.tar.gz", open_source),
    "grid": ("x.png", lambda path: place_outputs(sort_inputs([str(photo(path.parent))]), path)),
}


def photo(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_no_file_is_told_in_one_line(strange: str, reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    STRANGE[strange](path)
    with pytest.raises(InputError, match=str(path)) as refused:
        read(path)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_in_a_folder_is_left_out(tmp_path: Path) -> None:
    """For `prepare` and for `predict`, also links to /dev and in circles."""
    for label in ("happy", "sad"):
        (tmp_path / label).mkdir()
        photo(tmp_path / label)
        for strange, make in STRANGE.items():
            make(tmp_path / label / f"{strange}.png")
        (tmp_path / label / "up").symlink_to("..")
    survey = open_source(tmp_path).survey()
    assert survey.num_faces == 2
    assert survey.left_out[NO_FILE] == {"class unknown": 6}
    assert survey.left_out[BROKEN_LINK] == {"class unknown": 2}
    assert [picture.place.name for picture in sort_inputs([str(tmp_path)]).pictures] == ["photo.png"] * 2


def test_folders_in_folders_without_end(tmp_path: Path) -> None:
    tmp_path.joinpath(*"d" * 120).mkdir(parents=True)
    for read in (open_source, lambda path: sort_inputs([str(path)])):
        with pytest.raises(InputError, match=r"more than 100 folders in each other"):
            read(tmp_path)


def test_a_photo_that_would_run_a_program(tmp_path: Path) -> None:
    """Pillow gives EPS to Ghostscript, whatever the file is called."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.jpg").write_bytes(eps)
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_photo(tmp_path / "x.jpg")
    (tmp_path / "x.eps").write_bytes(eps)
    with pytest.raises(InputError, match="cannot be read as a picture or a video"):
        sort_inputs([str(tmp_path / "x.eps")])


def test_films_that_claim_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    for head, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):  # dwTotalFrames and dwLength
        place = content.index(head) + offset
        assert int.from_bytes(content[place : place + 4], "little") == 3
        content[place : place + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(content)
    clip = Clip(path)
    assert [frame.number for frame in clip.frames()] == [0, 1, 2]
    assert clip.promised() in (None, 10**9)
    monkeypatch.setattr(video_frames, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(InputError, match=r"frames of 64×48 pixels, more than 3,071 in all"):
        sort_inputs([str(path)])
