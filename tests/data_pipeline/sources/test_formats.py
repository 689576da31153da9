"""What is special about each format, and what its reader says about bad rows."""

from __future__ import annotations

import bz2
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.decode import Broken, decode
from fersweep.data_pipeline.sources.labels import read_map
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.vocabulary import LABELS
from tests.sources import EXAMPLES, encoded, found, npy, pixels, survey, write_folder, write_tar, write_zip

# --- FER2013 and its kin ---


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
        ("-1,1 2 3 4,Training", r"row 2: emotion is '-1', expected 0 \(angry\) to 6 \(neutral\) or a name"),
        ("12,1 2 3 4,Training", r"row 2: emotion is '12'"),
        ("7,1 2 3 4,Training", r"row 2: emotion is '7', .*: --format ckextended"),
        ("0,1 2 3 4,Sunday", r"row 2: Usage is 'Sunday'"),
        ("0,1 2 3 4,", r"row 2: Usage is empty, expected Training, PublicTest or PrivateTest"),
        ("0,1 2 3 4", r"row 2: 2 columns found, 3 expected"),
    ],
)
def test_bad_csv_row(row: str, message: str, tmp_path: Path):
    (tmp_path / "x.csv").write_text(f"emotion,pixels,Usage\n0,1 2 3 4,Training\n{row}\n")
    for read in (found, survey):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        (
            "1 2 3 400",
            "pixels not numbers from 0 to 255",
            r"x.csv:1: pixel values must lie in 0–255 .*go from 1 to 400",
        ),
        ("1 2 3 -4", "pixels not numbers from 0 to 255", r"x.csv:1: pixel values must lie in 0–255 .*go from -4 to 3"),
        ("1 2 3 x", "pixels not numbers from 0 to 255", r"x.csv:1: pixels are not numbers"),
        ("1 2 3 4e", "pixels not numbers from 0 to 255", r"x.csv:1: pixels are not numbers"),
    ],
)
def test_bad_pixels(row: str, reason: str, message: str, tmp_path: Path):
    (tmp_path / "x.csv").write_text(f"emotion,pixels,Usage\n0,{row},Training\n")
    (face,) = open_source(tmp_path / "x.csv").faces()
    with pytest.raises(Broken, match=message) as broken:
        decode(face)
    assert broken.value.reason == reason


def test_folders_and_names_keep_the_split(tmp_path: Path):
    files = {
        "validation/Anger/1.png": encoded(pixels(1)),
        "happiness/2.png": encoded(pixels(2)),
        "test/sad/Training_3.png": encoded(pixels(3)),  # the file name keeps the official split
        "test/sad/PublicTest_4.png": encoded(pixels(4)),
        "test/sad/5.png": encoded(pixels(5)),
        ".hidden/fear/6.png": encoded(pixels(6)),
    }
    pairs = [(face.label, face.split) for face in found(write_zip(tmp_path / "x", files)).values()]
    assert sorted(pairs, key=str) == sorted(
        [("angry", "val"), ("happy", None), ("sad", "train"), ("sad", "val"), ("sad", "test")], key=str
    )


def test_persons_are_known_by_their_names_in_any_folders(tmp_path: Path):
    persons = {
        "S010_004_00000017": "S010",
        "S010_004_00000017_flipped": "S010",
        "KA.AN1.39": "KA",
        "km-sa3-11 (1)": "KM",
        "AF01ANS": "F01",
        "Rafd090_07_Moroccan_male_fearful_left": "07",
        "Training_10118481": None,
        "IMG_2020_10": None,
        "train_00001_aligned": None,
    }
    files = {f"happy/{name}.png": encoded(pixels(number)) for number, name in enumerate(persons)}
    faces = open_source(write_folder(tmp_path / "x", files), "folders").faces()
    assert {Path(face.source).stem: face.subject for face in faces} == persons


def test_images_in_no_class_folder(tmp_path: Path):
    path = write_folder(tmp_path / "x", {"1.png": encoded(pixels(0))})
    with pytest.raises(InputError, match=r"holds no face that can be used \(1 in no class folder\)"):
        survey(path)


# --- CK+'s sequences, AffectNet's annotations ---


def test_sequences_without_their_labels(tmp_path: Path):
    files = EXAMPLES["ckplus, sequences"]().files
    images = {name: data for name, data in files.items() if name.endswith(".png")}
    labels = {name: data for name, data in files.items() if name.endswith(".txt")}
    with pytest.raises(InputError, match=r"CK\+'s sequences, but their labels are missing: give .* Emotion/S005/…"):
        survey(write_folder(tmp_path / "images", images))
    with pytest.raises(InputError, match=r"\(3 image is missing\): give the folder that holds both"):
        survey(write_folder(tmp_path / "labels", labels))


@pytest.mark.parametrize("written", [b"8", b"3.5", b"nan"])
def test_a_bad_label_of_a_sequence(written: bytes, tmp_path: Path):
    path = write_folder(tmp_path / "x", EXAMPLES["ckplus, sequences"]().files)
    (path / "CK+/Emotion/S005/001/S005_001_00000008_emotion.txt").write_bytes(written)
    with pytest.raises(InputError, match=r"S005_001_00000008_emotion.txt says '.*', expected .* 0 \(neutral\) to 7"):
        survey(path)


@pytest.mark.parametrize("written", [b"", b"\xff"])
def test_a_label_of_a_sequence_that_cannot_be_read_is_none(written: bytes, tmp_path: Path):
    path = write_folder(tmp_path / "x", EXAMPLES["ckplus, sequences"]().files)
    before = survey(path)
    (path / "CK+/Emotion/S005/001/S005_001_00000008_emotion.txt").write_bytes(written)
    assert survey(path).num_faces < before.num_faces
    assert survey(path).dropped["frame of a sequence without a label"] > before.dropped.get(
        "frame of a sequence without a label", 0
    )


def test_a_short_sequence_has_only_its_peak(tmp_path: Path):
    files = EXAMPLES["ckplus, sequences"]().files
    last = {name: data for name, data in files.items() if "0000000" not in name or name[-5] in "3678" or "emot" in name}
    assert Counter(face.label for face in found(write_folder(tmp_path / "x", last)).values()) == {
        "disgust": 3,
        "contempt": 3,
    }


def test_class_folders_of_ckplus_keep_the_split(tmp_path: Path):
    path = write_folder(tmp_path / "x", {"train/anger/S010_004_00000017.png": encoded(pixels(0))})
    (face,) = found(path).values()
    assert face == ("angry", "train", "S010")


def test_a_set_of_affectnet_by_itself_is_its_split(tmp_path: Path):
    files = EXAMPLES["affectnet_npy"]().files
    val = {name.removeprefix("AffectNet/val_set/"): data for name, data in files.items() if "val_set" in name}
    for path in (write_folder(tmp_path / "val_set", val), write_tar(tmp_path / "val_set", val)):
        assert {face.split for face in found(path).values()} == {"val"}


def test_an_unknown_number_of_affectnet(tmp_path: Path):
    path = write_folder(tmp_path / "x", EXAMPLES["affectnet_npy"]().files)
    (path / "AffectNet/val_set/annotations/1_exp.npy").write_bytes(npy(np.array("11")))
    with pytest.raises(InputError, match=r"val_set/annotations/1_exp.npy: expression is '11', expected 0"):
        survey(path)


# --- FER+ ---


def test_ferplus_keeps_all_votes(tmp_path: Path):
    path = write_folder(tmp_path, EXAMPLES["ferplus"]().files) / "data" / "fer2013new.csv"
    face = next(open_source(path).faces())
    assert dict(zip(LABELS, face.votes or (), strict=True)) == {
        **dict.fromkeys(LABELS, 0.0), "neutral": 6.0, "surprise": 1.0, "sad": 1.0,
    }  # fmt: skip
    dropped = next(open_source(path, labels={"surprise": "drop", "sadness": "happy"}).faces())
    assert (dropped.votes or ())[LABELS.index("surprise")] == 0.0
    assert (dropped.votes or ())[LABELS.index("happy")] == 1.0


@pytest.mark.parametrize(
    "name",
    ["fer2013.csv.zip", "fer2013.zip", "data/fer2013.tar.gz", "fer2013.tar.xz", "fer2013.csv.gz", "fer2013.csv.bz2"],
)
def test_ferplus_beside_an_archive(name: str, tmp_path: Path):
    example = EXAMPLES["ferplus"]()
    folder = write_folder(tmp_path / "x", {"fer2013new.csv": example.files["data/fer2013new.csv"]})
    with pytest.raises(
        InputError, match=r"has votes alone: put fer2013.csv or icml_face_data.csv .*\.csv\.gz, .*\.tar\.gz"
    ):
        survey(folder / "fer2013new.csv")
    pixels_csv = example.files["data/fer2013.csv"]
    packed = {
        "zip": lambda: write_zip(tmp_path / "packed", {"README": b"", "fer2013/fer2013.csv": pixels_csv}).read_bytes(),
        "tar.gz": lambda: write_tar(tmp_path / "x", {"fer2013/fer2013.csv": pixels_csv}, ".tar.gz").read_bytes(),
        "tar.xz": lambda: write_tar(tmp_path / "x", {"fer2013/icml_face_data.csv": pixels_csv}, ".txz").read_bytes(),
        "csv.gz": lambda: gzip.compress(pixels_csv),
        "csv.bz2": lambda: bz2.compress(pixels_csv),
    }
    write_folder(folder, {name: next(pack() for end, pack in packed.items() if name.endswith(end))})
    assert found(folder) == found(folder / "fer2013new.csv") == example.faces


def test_ferplus_beside_an_archive_of_something_else(tmp_path: Path):
    files = {
        "fer2013new.csv": EXAMPLES["ferplus"]().files["data/fer2013new.csv"],
        "fer2013.tar.gz": gzip.compress(b"x"),
    }
    with pytest.raises(InputError, match=r"fer2013.tar.gz is no readable archive"):
        survey(write_folder(tmp_path / "x", files))
    write_zip(tmp_path / "x" / "fer2013", {"train.csv": b""}).replace(tmp_path / "x" / "fer2013.zip")
    with pytest.raises(InputError, match=r"fer2013.zip holds no fer2013.csv or icml_face_data.csv"):
        survey(tmp_path / "x")


LAST = b"PrivateTest,fer0000011.png,0,0,0,0,2,8,0,0,0,0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            LAST,
            b"Training,,0,0,0,0,2,8,0,0,0,0",
            "do not belong together: row 12 is Training in the one, test in the other",
        ),
        (LAST, b"", "do not belong together: the second has more rows"),
        (LAST, LAST + b"\n" + LAST, "do not belong together: the first has more rows"),
        (LAST, LAST[:-1] + b"x", r"row 12: votes are '0,0,0,0,2,8,0,0,0,x', expected ten whole"),
        (LAST, LAST[:-2], r"row 12: 11 columns found, 12 expected"),
    ],
)
def test_ferplus_that_does_not_fit(old: bytes, new: bytes, message: str, tmp_path: Path):
    files = EXAMPLES["ferplus"]().files
    votes = files["data/fer2013new.csv"].replace(old, new)
    path = write_folder(tmp_path / "x", files | {"data/fer2013new.csv": votes})
    with pytest.raises(InputError, match=message):
        survey(path, "ferplus")


# --- lists of images ---


def test_affectnet_knows_where_the_face_is(tmp_path: Path):
    path = write_zip(tmp_path / "x", EXAMPLES["affectnet"]().files)
    assert {face.box for face in open_source(path).faces()} == {(4, 5, 24, 35)}


def test_rafdb_takes_the_original_where_no_aligned_image_is(tmp_path: Path):
    files = {name: data for name, data in EXAMPLES["rafdb"]().files.items() if "aligned" not in name}
    assert pixels(100).tobytes() in found(write_folder(tmp_path / "x", files))


@pytest.mark.parametrize(
    "path", ["../../secret.png", "/etc/passwd", "images/../../secret.png", "C:\\secret.png", ".", ""]
)
def test_a_list_that_points_outside_is_refused(path: str, tmp_path: Path):
    write_folder(tmp_path, {"secret.png": encoded(pixels(0)), "x/faces.csv": f"path,label\n{path},happy\n".encode()})
    with pytest.raises(InputError, match=r"faces.csv row 1: '.*' is no file of the source; paths are relative"):
        survey(tmp_path / "x")


def test_a_list_without_its_images(tmp_path: Path):
    (tmp_path / "faces.csv").write_text("path,label\na.png,happy\nb.png,sad\n")
    with pytest.raises(
        InputError,
        match=r"faces.csv: no image of its 2 rows is there \(row 1: 'a.png' was looked for as a.png\): give the folder",
    ):
        survey(tmp_path / "faces.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,happy,sunday,", "row 1: split is 'sunday', expected train, val or test"),
        ("a.png,happy,train,happy", "row 1: votes are 'happy', expected some like 'happy:7 sad:3'"),
        ("a.png,happy,train,bored:3", r"unknown class 'bored'; say what each is: --map bored=LABEL"),
        ("a.png,happy,train", "row 1: 3 columns found, 4 expected"),
    ],
)
def test_bad_row_of_a_list(row: str, message: str, tmp_path: Path):
    write_folder(tmp_path, {"a.png": encoded(pixels(0)), "faces.csv": f"path,label,split,votes\n{row}\n".encode()})
    with pytest.raises(InputError, match=message):
        survey(tmp_path)


def test_a_list_written_on_windows(tmp_path: Path):
    write_folder(
        tmp_path, {"a/b.png": encoded(pixels(0)), "faces.csv": b"\xef\xbb\xbfPath,Label\r\na\\b.png,Happy\r\n"}
    )
    (face,) = open_source(tmp_path / "faces.csv").faces()
    assert (face.source, face.label, face.subject, face.votes) == ("a/b.png", "happy", None, None)


# --- ready-made blendshapes ---


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("blend1,blend2,emotion\n0.1,0.2,0\n", r"unknown class '0' \(1 faces\); say what each is: --map 0=LABEL"),
        ("blend1,blend52,emotion\n0.1,0.2,happy\n", "column blend52: blendshapes are numbered from 0 to 51"),
        ("blend1,browDownLeft,emotion\n0.1,0.2,sad\n", "columns blend1 and browDownLeft both are browDownLeft"),
        ("blend1,blend2,emotion\n0.1,0.2\n", r"x.csv row 1: 2 columns found, 3 expected \(blend1,blend2,emotion\)"),
        ("blend1,blend2,emotion,split\n0.1,0.2,sad,monday\n", "x.csv:1: split is 'monday'"),
        (
            "blend1,blend2,emotion\n0.1,2,sad\n",
            r"x.csv: scores must lie between 0 and 1, but go from 0.1 to 2$",
        ),
        ("blend1,blend2,emotion\n50.1,2,sad\n", r"but go from 2 to 50.1 \(in percent\? divide them by 100\)"),
        ("blend1,blend2,emotion\n0.1,-2,sad\n", r"x.csv: scores must lie between 0 and 1, but go from -2 to 0.1$"),
        ("blend1,blend2,emotion\n0.1,,sad\n", r"no face that can be used \(1 a score missing or no number\)"),
    ],
)
def test_bad_blendshapes(table: str, message: str, tmp_path: Path):
    (tmp_path / "x.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        survey(tmp_path / "x.csv")


def test_blendshapes_have_no_pixels(tmp_path: Path):
    path = write_folder(tmp_path / "x", EXAMPLES["blendshape_csv"]().files)
    with pytest.raises(Broken, match="ready-made blendshapes has no pixels"):
        decode(next(open_source(path).faces()))


@pytest.mark.realdata
def test_real_ferplus(realdata: Path):
    source = open_source(realdata / "fer2013" / "fer2013new.csv")
    assert Counter(face.split for face in source.faces()) == {"train": 25_060, "val": 3_199}


@pytest.mark.realdata
def test_real_blendshapes(realdata: Path):
    result = survey(
        realdata / "ferblend" / "blends_validation_set.csv", labels=read_map(["0=happy", "1=sad", "2=neutral"])
    )
    assert dict(result.labels.values()) == {
        "happy": 850,
        "sad": 523,
        "neutral": 574,
    }
