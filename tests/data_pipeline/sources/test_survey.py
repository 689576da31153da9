"""What of a source is not used, and which split a folder is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.decode import decode
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.sources.split_names import refuse_unused
from fersweep.data_pipeline.sources.survey import _official
from tests.sources import encoded, pixels, write_folder


def test_links_are_followed_without_loops_and_what_is_not_used_is_counted(tmp_path: Path):
    path = write_folder(tmp_path / "x", {"happy/1.png": encoded(pixels(0)), "notes.txt": b"", ".hidden": b""})
    outside = write_folder(tmp_path / "y", {"2.png": encoded(pixels(1))})
    (path / "sad").symlink_to(outside)
    (path / "happy" / "3.png").symlink_to(outside / "2.png")
    (path / "happy" / "gone.png").symlink_to(tmp_path / "nowhere")
    (path / "happy" / "loop").symlink_to(path)
    result = open_source(path).survey()
    assert {name: count.num_faces for name, count in result.labels.items()} == {"happy": 2, "sad": 1}
    assert result.dropped == {"link that leads nowhere": 1, "link to a folder that is read anyway": 1}
    assert result.other_files == {".txt": 1, "hidden": 1}


@pytest.mark.parametrize(
    ("name", "format"), [("1.jpe", "JPEG"), ("1.avif", "AVIF"), ("1.JP2", "JPEG2000"), ("1", "PNG")]
)
def test_pictures_are_known_by_any_suffix_of_pillows_or_none(name: str, format: str, tmp_path: Path):
    content = io.BytesIO()
    Image.fromarray(pixels(0)).save(content, format)
    path = write_folder(
        tmp_path / "x", {f"happy/{name}": content.getvalue(), "happy/2": b"no picture", "sad/3.heic": b""}
    )
    assert [decode(face).shape for face in open_source(path).faces()] == [pixels(0).shape]
    assert open_source(path).survey().other_files == {"no suffix": 1, ".heic": 1}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *(("train_set", "train"), ("training_data", "train"), ("images_train", "train"), ("Train-Images", "train")),
        *(("dev", "val"), ("val2017", "val"), ("TestSet", "test"), ("test/photos", "test"), ("trains", None)),
        *(("anna", None), ("validity", None), ("PublicTest", "val"), ("train/validation_2", "val")),
    ],
)
def test_split_folders_are_known_by_their_words(folder: str, split: str | None, tmp_path: Path):
    path = write_folder(tmp_path / "x", {f"{folder}/happy/1.png": encoded(pixels(0))})
    source = open_source(path, "folders", split_folders={})
    assert [face.split for face in source.faces()] == [split]
    assert source.survey().num_faces == 1


@pytest.mark.parametrize("folder", ["eval", "train_test", "extra"])
def test_an_unclear_split_folder_is_asked_for(folder: str, tmp_path: Path):
    files = {f"{folder}/happy/1.png": encoded(pixels(0)), "train/happy/1.png": encoded(pixels(1))}
    path = write_folder(tmp_path / "x", files)
    with pytest.raises(InputError, match=f"the folder {folder} .*--split-folder {folder}=train"):
        open_source(path, split_folders={}).survey()
    assert open_source(path).survey().num_faces == 2, "splits do not matter"
    for answer, split in {"test": "test", "none": None}.items():
        source = open_source(path, split_folders={folder.upper(): answer})
        assert source.survey().num_faces == 2
        assert {face.split for face in source.faces()} == {split, "train"}
    with pytest.raises(InputError, match="no such split"):
        open_source(path, split_folders={folder: "tset"})


def test_row_counts_that_are_not_as_published_are_said():
    published = {"train": 28_709, "val": 3_589, "test": 3_589}
    assert not [*_official(published, published), *_official({"train": 12}, published), *_official({"train": 12}, {})]
    assert not [*_official({None: 32_298}, published)]
    (note,) = _official({"train": 28_709, "val": 3_436}, published)
    assert note == "it has 3,436 val rows where 3,589 were published, no test rows where 3,589 were published"


def test_a_list_without_its_images(tmp_path: Path):
    rows = [f"{number}.png,{('happy', 'sad')[number % 2]}" for number in range(20)]
    files = {"faces.csv": "\n".join(["path,label", *rows]).encode(), "0.png": encoded(pixels(0))}
    result = open_source(write_folder(tmp_path / "x", {**files, "99.png": encoded(pixels(1))})).survey()
    assert result.left_out == {
        "image is missing": {"sad": 10, "happy": 9},
        "picture that the list does not use": {"class unknown": 1},
    }


def test_what_folders_above_and_below_classes_are_read_as(tmp_path: Path):
    files = {
        f"TrainingSet/{name}/1.png": encoded(pixels(number))
        for number, name in enumerate(["happy", "sad/anna", "sad/S010"])
    }
    files |= {f"TrainingSet/p{number}/happy/1.png": encoded(pixels(9 + number)) for number in range(3)}
    source = open_source(write_folder(tmp_path / "x", files), labels={"anna": "sad"}, split_folders={})
    assert [(face.label, face.split, face.subject) for face in source.faces()] == [
        *[("happy", "train", None)] * 4,
        *(("sad", "train", "S010"), ("sad", "train", None)),
    ]
    by_name, unread = source.survey().warnings
    assert by_name.endswith(": TrainingSet is train, by the names of the folders")
    assert "the folders above the classes (p0, p1, p2) are not read: if they are persons" in unread
    assert source.survey().folders == {"TrainingSet", "p0", "p1", "p2", "sad"}
    with pytest.raises(
        InputError, match=r"--split-folder trainingst=test: no class folder .* did you mean 'TrainingSet'"
    ):
        refuse_unused({"trainingst": "test"}, source.survey().folders)
