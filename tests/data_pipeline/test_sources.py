"""Every reader of the registry, plain and in every container, and what they say about bad input."""

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.sources import CSV_LABELS, READERS, decode, fit, open_source

Files = dict[str, bytes]
NUM_FACES = 12
LABELS = [CSV_LABELS[index % 7] for index in range(NUM_FACES)]
SPLITS = [("train", "val", "test")[index % 3] for index in range(NUM_FACES)]
USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


def faces(num_faces: int = NUM_FACES, side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_faces, side, side)).astype(np.uint8)


def csv_files() -> Files:
    lines = ["emotion,pixels,Usage"]
    for face, label, split in zip(faces(), LABELS, SPLITS, strict=True):
        lines.append(f"{CSV_LABELS.index(label)},{' '.join(map(str, face.ravel()))},{USAGES[split]}")
    return {"data/fer2013.csv": "\n".join(lines).encode(), "data/README.md": b"not data"}


def folder_files() -> Files:
    files = {"__MACOSX/train/happy/._0.png": b"junk", "notes.txt": b"not data"}
    for index, (face, label, split) in enumerate(zip(faces(), LABELS, SPLITS, strict=True)):
        files[f"data/{split}/{label}/{index}.png"] = png(face)
    return files


EXAMPLES: dict[str, Callable[[], Files]] = {"csv": csv_files, "folders": folder_files}


def png(face: np.ndarray) -> bytes:
    return cv2.imencode(".png", face)[1].tobytes()


def write_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


def write_tar(path: Path, files: Files, suffix: str = ".tar") -> Path:
    path = path.with_name(path.name + suffix)
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_tar_gz(path: Path, files: Files) -> Path:
    return write_tar(path, files, ".tar.gz")


CONTAINERS = {"folder": write_folder, "zip": write_zip, "tar": write_tar, "tar.gz": write_tar_gz}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", READERS)
class TestEveryReader:
    def test_reads_every_face(self, name: str, container: str, tmp_path: Path):
        source = open_source(CONTAINERS[container](tmp_path / "source", EXAMPLES[name]()))
        found = {decode(face).tobytes(): (face.label, face.split) for face in source.faces()}
        expected = zip(LABELS, SPLITS, strict=True)
        assert source.format == name
        assert found == {face.tobytes(): pair for face, pair in zip(faces(), expected, strict=True)}

    def test_reads_the_same_twice_and_names_each_face(self, name: str, container: str, tmp_path: Path):
        source = open_source(CONTAINERS[container](tmp_path / "source", EXAMPLES[name]()))
        assert list(source.faces()) == list(source.faces())
        assert len({face.source for face in source.faces()}) == NUM_FACES
        assert source.sha256() == open_source(source.path).sha256()

    def test_writes_nothing(self, name: str, container: str, tmp_path: Path):
        path = CONTAINERS[container](tmp_path / "source", EXAMPLES[name]())
        before = sorted(tmp_path.rglob("*"))
        list(open_source(path).faces())
        assert sorted(tmp_path.rglob("*")) == before

    def test_refuses_a_truncated_archive(self, name: str, container: str, tmp_path: Path):
        if container == "folder":
            pytest.skip("a folder has no end to lose")
        path = CONTAINERS[container](tmp_path / "source", EXAMPLES[name]())
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match="no readable archive"):
            list(open_source(path).faces())


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_text_file_named_as_an_archive(suffix: str, tmp_path: Path):
    (tmp_path / f"x{suffix}").write_text("emotion,pixels,Usage\n")
    with pytest.raises(InputError, match="no readable archive"):
        open_source(tmp_path / f"x{suffix}")


def test_missing_empty_and_ambiguous_sources(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no faces"):
        open_source(tmp_path / "empty")
    both = write_folder(tmp_path / "both", csv_files() | folder_files())
    with pytest.raises(InputError, match=r"ambiguous: .*csv.* and folders"):
        open_source(both)
    two = write_zip(tmp_path / "two", {"a.csv": csv_files()["data/fer2013.csv"], **csv_files()})
    with pytest.raises(InputError, match=r"ambiguous: it holds a.csv and data/fer2013.csv"):
        open_source(two)


def test_header_with_blanks(tmp_path: Path):
    path = tmp_path / "icml_face_data.csv"
    path.write_text("emotion, Usage, pixels\n3,PrivateTest,1 2 3 4\n")
    (face,) = open_source(path).faces()
    assert (face.label, face.split, decode(face).tolist()) == ("happy", "test", [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,1 2 3,Training", r"row 2: 3 pixels found, 4 expected"),
        ("9,1 2 3 4,Training", r"row 2: emotion is '9', expected 0 \(angry\) to 6"),
        ("0,1 2 3 4,Sunday", r"row 2: Usage is 'Sunday'"),
        ("0,1 2 3 4", r"row 2: 2 columns found, 3 expected"),
        ("0,1 2 3 400,Training", r"x.csv:2: pixel values must lie in 0–255"),
        ("0,1 2 3 x,Training", r"x.csv:2: pixels are not whole numbers"),
    ],
)
def test_bad_csv_row(row: str, message: str, tmp_path: Path):
    (tmp_path / "x.csv").write_text(f"emotion,pixels,Usage\n0,1 2 3 4,Training\n{row}\n")
    with pytest.raises(InputError, match=message):
        [decode(face) for face in open_source(tmp_path / "x.csv").faces()]


def test_first_row_that_is_no_square(tmp_path: Path):
    (tmp_path / "x.csv").write_text("emotion,pixels,Usage\n0,1 2 3,Training\n")
    (face,) = open_source(tmp_path / "x.csv").faces()
    with pytest.raises(InputError, match=r"x.csv:1: 3 pixels are no square"):
        decode(face)


def test_folder_names(tmp_path: Path):
    image = png(faces()[0])
    files = {
        "validation/Anger/1.png": image,
        "happiness/2.png": image,
        "test/sad/Training_3.png": image,  # the file name keeps the official split
        "test/sad/PublicTest_4.png": image,
        "test/sad/5.png": image,
        ".hidden/fear/6.png": image,
    }
    found = {(face.label, face.split) for face in open_source(write_zip(tmp_path / "x", files)).faces()}
    assert found == {("angry", "val"), ("happy", None), ("sad", "train"), ("sad", "val"), ("sad", "test")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/bored/1.png", "folder 'bored' is no known class; known are angry"),
        ("1.png", "stands in no class folder"),
    ],
)
def test_unknown_class(name: str, message: str, tmp_path: Path):
    source = open_source(write_folder(tmp_path / "x", {name: png(faces()[0])}))
    with pytest.raises(InputError, match=message):
        list(source.faces())


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_broken_image(content: bytes, tmp_path: Path):
    (face,) = open_source(write_folder(tmp_path / "x", {"happy/1.jpg": content})).faces()
    with pytest.raises(InputError, match=r"happy/1.jpg: not a readable image"):
        decode(face)


def test_names_that_point_outside_are_only_names(tmp_path: Path):
    path = write_tar(tmp_path / "x", {"../../../happy/1.png": png(faces()[0]), "/etc/sad/2.png": png(faces()[1])})
    assert {face.label for face in open_source(path).faces()} == {"happy", "sad"}
    assert sorted(tmp_path.iterdir()) == [path]


def test_memory_is_bounded(tmp_path: Path):
    row = f"0,{' '.join(['200'] * 2304)},Training\n"
    path = write_zip(tmp_path / "x", {"x.csv": ("emotion,pixels,Usage\n" + row * 600).encode()})  # 5.5 MB
    tracemalloc.start()
    assert sum(1 for _ in open_source(path).faces()) == 600
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_fit():
    face = faces(1, 96)[0]
    assert fit(face, (96, 96)) is face
    assert fit(face, (48, 64)).shape == (48, 64)
    assert fit(face, (128, 96)).dtype == np.uint8


@pytest.mark.realdata
def test_real_csv_and_real_folders(realdata: Path):
    folders = list(open_source(realdata / "fer2013" / "fer2013_folders_sample.zip").faces())
    assert len(folders) == 2516
    assert {face.split for face in folders} == {"train", "val"}  # `test` there is official PublicTest
    first = next(open_source(realdata / "fer2013" / "fer2013.csv.zip").faces())
    assert (first.label, first.split, decode(first).shape) == ("angry", "train", (48, 48))
