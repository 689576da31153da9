"""Every reader of the registry, plain and in every container, with corrupt members, and what they say about bad input."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.decode import Broken, decode
from fersweep.data_pipeline.sources.formats import READERS
from fersweep.data_pipeline.sources.source import open_source
from tests.sources import (
    CONTAINERS,
    EXAMPLES,
    Example,
    Files,
    content,
    encoded,
    folders,
    found,
    image,
    pixel_table,
    pixels,
    survey,
    write_folder,
    write_tar,
    write_zip,
)

FORMATS = {"ferplus"}  # hold what two formats can read: without --format, a question


def format_of(example: str) -> str:
    return example.split(",")[0]


IMAGES = [name for name in EXAMPLES if READERS[format_of(name)].kind == "image"]


def asked(name: str) -> str | None:
    return name if name in FORMATS else None


def test_every_format_has_an_example():
    assert list(dict.fromkeys(map(format_of, EXAMPLES))) == list(READERS)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", EXAMPLES)
class TestEveryReader:
    def test_reads_every_face_and_writes_nothing(self, name: str, container: str, tmp_path: Path):
        example = EXAMPLES[name]()
        path = CONTAINERS[container](tmp_path / "source", example.files)
        before = sorted(tmp_path.rglob("*"))
        if container.startswith("tar") and not example.tar:
            with pytest.raises(InputError, match=r"is a tar, .*: give the unpacked folder or a zip"):
                found(path, asked(name))
            return
        source = open_source(path, asked(name))
        assert source.format == format_of(name)
        assert found(path, format_of(name)) == found(path, asked(name)) == example.faces
        faces = list(source.faces())
        assert list(pickle.loads(pickle.dumps(source)).faces()) == faces
        assert len({face.source for face in faces}) == len(faces) == len(example.faces)
        assert sorted(tmp_path.rglob("*")) == before

    def test_survey_counts_what_faces_gives(self, name: str, container: str, tmp_path: Path):
        example = EXAMPLES[name]()
        if container.startswith("tar") and not example.tar:
            pytest.skip("refused")
        path = CONTAINERS[container](tmp_path / "source", example.files)
        result = survey(path, asked(name))
        counts = Counter(face.label for face in example.faces.values())
        assert Counter(dict(result.labels.values())) == counts
        assert (result.num_faces, result.dropped, result.kind) == (
            len(example.faces),
            example.dropped,
            READERS[format_of(name)].kind,
        )
        assert result.has_subjects == all(face.subject for face in example.faces.values())
        warning = READERS[format_of(name)].warning
        torn = ["4 of 4 persons are in several"] if name == "faces_csv" else []
        for said, expected in zip(result.warnings, [*([warning] if warning else []), *torn], strict=True):
            assert said.startswith(f"{path}: {expected}")

    def test_refuses_a_truncated_archive(self, name: str, container: str, tmp_path: Path):
        if container == "folder":
            pytest.skip("a folder has no end to lose")
        path = CONTAINERS[container](tmp_path / "source", EXAMPLES[name]().files)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 8])  # a tar of little ends with kilobytes of zeros
        with pytest.raises(InputError, match="no readable archive"):
            found(path, format_of(name))


@pytest.mark.parametrize("name", EXAMPLES)
class TestEveryFormat:
    def test_maps_and_drops_classes_by_name(self, name: str, tmp_path: Path):
        path = write_folder(tmp_path / "source", EXAMPLES[name]().files)
        plain = survey(path, format_of(name))
        own, count = next(iter(plain.labels.items()))
        for label in ("contempt", "drop"):
            result = survey(path, format_of(name), {own.upper(): label})
            faces = Counter(face.label for face in found(path, format_of(name), {own.upper(): label}).values())
            assert result.labels[own] == count._replace(label=None if label == "drop" else label)
            assert result.num_faces == sum(faces.values())
            assert (faces[count.label] == 0) or label == count.label
        assert result.dropped[f"class {own} dropped"] == count.num_faces

    def test_sha256_is_of_all_that_is_read(self, name: str, tmp_path: Path):
        example = EXAMPLES[name]()
        path = write_folder(tmp_path / "source", example.files)
        given = [path, *([path / example.alone] if example.alone else [])]
        before = [open_source(one, format_of(name)).sha256() for one in given]
        assert before == [open_source(one, format_of(name)).sha256() for one in given]
        for file, data in example.files.items():
            if file.endswith(("fer2013.csv", "ckextended.csv", "blends.csv")):
                (path / file).write_bytes(data.replace(b" 1", b" 2", 1).replace(b"0.1", b"0.3", 1))
            elif file.lower().endswith((".png", ".jpg", ".tiff")):
                (path / file).write_bytes(data + b"1")
        assert all(open_source(one, format_of(name)).sha256() != was for one, was in zip(given, before, strict=True))

    def test_a_list_may_be_given_alone(self, name: str, tmp_path: Path):
        example = EXAMPLES[name]()
        if example.alone is None:
            pytest.skip("it needs the folder")
        path = write_folder(tmp_path / "source", example.files) / example.alone
        assert open_source(path).format == format_of(name)
        assert found(path) == example.faces

    def test_of_another_format(self, name: str, tmp_path: Path):
        (tmp_path / "notes.txt").write_text("not data")
        with pytest.raises(InputError, match=f"holds nothing of the format {format_of(name)}: expected "):
            open_source(tmp_path, format_of(name))


# --- corrupt members ---


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return header + struct.pack(">I", 99) + b"IDAT" + zlib.compress(b"")


JPEG = encoded(pixels(7, 96), ".jpg")
START_OF_FRAME = JPEG.index(b"\xff\xc0")
CORRUPT = {
    "truncated PNG": (encoded(pixels(7))[:-200], "cut off"),
    "truncated JPEG": (JPEG[:-200], "cut off"),
    "empty": (b"", "empty file"),
    "text": (b"no image", "not a readable image"),
    "huge PNG": (png_header(30_000, 30_000), "too large"),
    "huge JPEG": (
        JPEG[: START_OF_FRAME + 5] + struct.pack(">HH", 30_000, 30_000) + JPEG[START_OF_FRAME + 9 :],
        "too large",
    ),
    "huge PGM": (b"P5\n30000 30000\n255\n", "too large"),
    "32-bit TIFF": (encoded(pixels(7).astype(np.float32), ".tiff"), "more than 16 bits a pixel"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
}


def spoilt(example: Example, data: bytes) -> tuple[Files, set[bytes]]:
    """The example with one face's content replaced, and the contents of the others."""
    victim = pixels(5).tobytes()
    files = {file: data if _pixels(old) == victim else old for file, old in example.files.items()}
    return files, set(example.faces) - {victim}


def _pixels(data: bytes) -> bytes | None:
    try:
        return decode(image(data)).tobytes()
    except Broken:
        return None


@pytest.mark.parametrize("name", IMAGES)
class TestEveryReaderOfImages:
    def test_corrupt_images_are_broken_and_no_others(
        self, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ):
        for number, (data, reason) in enumerate(CORRUPT.values()):
            files, others = spoilt(EXAMPLES[name](), data)
            path = (write_zip, write_folder)[number % 2](tmp_path / str(number), files)
            seen, broken = set(), []
            for face in open_source(path, format_of(name)).faces():
                try:
                    seen.add(content(face))
                except Broken as error:
                    broken.append(error)
            assert seen == others
            assert [error.reason for error in broken] == [reason]
            assert str(broken[0]).startswith(broken[0].source)
            assert survey(path, format_of(name)).num_faces == len(others) + 1  # it reads no image
        assert capfd.readouterr() == ("", "")

    def test_zip_member_with_a_wrong_sum(self, name: str, tmp_path: Path):
        files, others = spoilt(EXAMPLES[name](), b"stored here and nowhere else")
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for file, data in files.items():
                archive.writestr(file, data)
        data = (tmp_path / "x.zip").read_bytes()
        (tmp_path / "x.zip").write_bytes(data.replace(b"stored here", b"changed now"))
        faces = list(open_source(tmp_path / "x.zip", format_of(name)).faces())
        (broken,) = (face for face in faces if face.kind == "broken")
        assert {content(face) for face in faces if face is not broken} == others
        with pytest.raises(Broken, match="cannot be read"):
            decode(broken)


# --- containers ---


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_text_file_named_as_an_archive(suffix: str, tmp_path: Path):
    (tmp_path / f"x{suffix}").write_text("emotion,pixels,Usage\n")
    with pytest.raises(InputError, match="no readable archive"):
        open_source(tmp_path / f"x{suffix}")


COMPRESSED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_table_that_is_compressed_by_itself(suffix: str, tmp_path: Path):
    example = pixel_table(("angry", "disgust"), "x.csv")
    path = tmp_path / f"x.csv{suffix}"
    path.write_bytes(COMPRESSED[suffix](example.files["x.csv"]))
    assert open_source(path).format == "fer2013_csv"
    assert found(path) == example.faces
    path.write_bytes(path.read_bytes()[:-99])
    with pytest.raises(InputError, match=r"cannot be read|no readable archive"):
        found(path)


NOT_READ = {
    "x.7z": (
        b"7z\xbc\xaf\x27\x1c..",
        r"x.7z is an archive of a kind that is not read: repack it as .zip or .tar.gz, or",
    ),
    "x.rar": (b"Rar!\x1a\7\1\0", r"x.rar is an archive of a kind that is not read"),
    "a rar without suffix": (b"Rar!\x1a\7\1\0", r"suffix is an archive of a kind that is not read"),
    "x.tar.zst": (b"\x28\xb5\x2f\xfd..", r"x.tar.zst is an archive of a kind that is not read"),
    "x.zip.001": (b"PK\3\4", r"x.zip.001 is a part of a split archive: join the parts and give the whole"),
    "x.tar.gz.aa": (b"\x1f\x8b", r"x.tar.gz.aa is a part of a split archive"),
    "x.z01": (b"PK\7\x08", r"x.z01 is a part of a split archive"),
    "x.png.gz": (
        gzip.compress(b"\x89PNG"),
        r"x.png.gz is one compressed file, but no CSV by its name \(like fer2013.csv.gz\)",
    ),
    "x.csv.gz": (b"emotion,pixels,Usage\n", r"x.csv.gz is not compressed: rename it to x.csv"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_an_archive_that_is_not_read(name: str, tmp_path: Path):
    content, message = NOT_READ[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / name)


def test_a_zip_of_several_parts(tmp_path: Path):
    write_zip(tmp_path / "x", folders().files)
    (tmp_path / "x.z01").touch()
    with pytest.raises(InputError, match=r"x.zip is a part of a split archive"):
        open_source(tmp_path / "x.zip")


def test_links_in_a_tar_are_told(tmp_path: Path):
    path = write_tar(tmp_path / "x", {"happy/1.png": encoded(pixels(0))})
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE):
            info = tarfile.TarInfo(f"sad/{kind.decode()}.png")
            info.type, info.linkname = kind, "happy/1.png"
            archive.addfile(info)
    kinds = {face.source: face.kind for face in open_source(path).faces()}
    assert kinds == {"happy/1.png": "image", "sad/1.png": "broken", "sad/2.png": "broken"}


def test_archives_in_an_archive(tmp_path: Path):
    inner = {"Emotion_labels.zip": b"PK", "images.tar.gz": b"", "notes.txt": b""}
    for path in (write_folder(tmp_path / "x", inner), write_zip(tmp_path / "y", inner)):
        with pytest.raises(
            InputError, match=r"is packed itself \(Emotion_labels.zip, images.tar.gz\): give that, or unpack"
        ):
            open_source(path)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("data/喜び/1.png".encode(), "data/喜び/1.png"),  # UTF-8 that is not marked as such
        (b"data\\caf\x82\\1.png", "data/café/1.png"),  # the code page of DOS
        ("表情/笑/1.png".encode("cp932"), None),  # half of a letter is a backslash
    ],
)
def test_names_of_a_zip_in_another_encoding(raw: bytes, name: str | None, tmp_path: Path):
    path = write_zip(tmp_path / "x", {"a" * len(raw): encoded(pixels(0))})
    path.write_bytes(path.read_bytes().replace(b"a" * len(raw), raw))
    name = name or raw.decode("cp437")
    (face,) = open_source(path, labels={name.split("/")[-2]: "happy"}).faces()
    assert (face.source, content(face)) == (name, pixels(0).tobytes())


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_point_outside_are_only_names(write, tmp_path: Path):
    path = write(tmp_path / "x", {"../../../happy/1.png": encoded(pixels(0)), "/etc/sad/2.png": encoded(pixels(1))})
    assert {face.label for face in found(path).values()} == {"happy", "sad"}
    assert sorted(tmp_path.iterdir()) == [path]


def test_names_that_are_no_utf8(tmp_path: Path):
    name = b"data/happy/\xe9\xff.png"
    place = os.fsencode(tmp_path / "folder") + b"/" + name
    os.makedirs(os.path.dirname(place))
    Path(os.fsdecode(place)).write_bytes(encoded(pixels(0)))
    packed = write_zip(tmp_path / "x", {"data/happy/aa.png": encoded(pixels(0))})
    packed.write_bytes(packed.read_bytes().replace(b"data/happy/aa.png", name))
    tar = write_tar(tmp_path / "y", {os.fsdecode(name): encoded(pixels(0))})
    for path in (tmp_path / "folder", packed, tar):
        source = open_source(path)
        (face,) = source.faces()
        assert face.source.encode().startswith(b"data/happy/")
        assert content(face) == pixels(0).tobytes()
        assert source.survey().num_faces == 1
        assert source.sha256()


def test_a_folder_is_read_in_the_order_of_whole_names(tmp_path: Path):
    names = ["happy.d/1.png", "happy/1.png", "happy/a/sad/1.png", "happy/z.png", "happy0/1.png"]
    path = write_folder(tmp_path / "x", {name: encoded(pixels(0)) for name in reversed(names)})
    labels = {"happy.d": "sad", "happy0": "sad"}
    assert [face.source for face in open_source(path, labels=labels).faces()] == sorted(names)


def test_memory_is_bounded(tmp_path: Path):
    row = f"0,{' '.join(['200'] * 2304)},Training\n"
    path = write_zip(tmp_path / "x", {"x.csv": ("emotion,pixels,Usage\n" + row * 600).encode()})  # 5.5 MB
    tracemalloc.start()
    assert sum(1 for _ in open_source(path).faces()) == 600
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


# --- which format ---


def test_missing_and_empty_sources(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no faces: it is empty; give a CSV \(emotion,pixels or"):
        open_source(tmp_path / "empty")
    with pytest.raises(InputError, match=r"--format jafe: no such format; did you mean 'jaffe'"):
        open_source(tmp_path / "empty", "jafe")


@pytest.mark.parametrize("names", [("fer2013_csv", "folders"), ("folders", "ckplus"), ("faces_csv", "jonathanoheix")])
def test_where_two_formats_fit_it_is_asked_which(names: tuple[str, str], tmp_path: Path):
    path = write_zip(tmp_path / "both", EXAMPLES[names[0]]().files | EXAMPLES[names[1]]().files)
    with pytest.raises(InputError) as refusal:
        open_source(path)
    assert all(f"--format {name}" in str(refusal.value) for name in names)
    for name in names:
        assert open_source(path, name).format == name


def test_two_tables_of_one_format(tmp_path: Path):
    example = pixel_table(("happy",), "a.csv")
    path = write_zip(tmp_path / "two", example.files | {"b.csv": example.files["a.csv"]})
    with pytest.raises(InputError, match=r"ambiguous: it holds a.csv and b.csv; give the one"):
        open_source(path)


def test_a_copy_of_fer2013_is_recognised_by_its_folder(tmp_path: Path):
    path = write_folder(tmp_path, EXAMPLES["jonathanoheix"]().files) / "images"
    assert open_source(path).format == "jonathanoheix"
    assert "--split stratified" in survey(path).warnings[0]
    assert open_source(path / "train").format == "folders"
