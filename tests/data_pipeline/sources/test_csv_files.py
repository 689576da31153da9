"""CSVs as people write them: separators, encodings, names of columns and classes, lists of pixels; and what is refused, why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.decode import Face, decode
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.sources import FER2013, Expected, encoded, found, pixels, survey, write_folder

SIDE = 8
FACES = [pixels(number, SIDE) for number in range(len(FER2013))]
BLANKS = [" ".join(map(str, face.ravel())) for face in FACES]
NAMES = ("Anger", "DISGUST ", "fearful", "happiness", "Sad", "surprised", "neutral")


def table(rows: Sequence[Sequence[str]], separator: str = ",") -> str:
    return "".join(separator.join(row) + "\n" for row in rows)


def pixel_rows(
    written: Sequence[str] = BLANKS, labels: Sequence[str] = NAMES, usage: str = "Training"
) -> list[list[str]]:
    rows = [[label, f'"{face}"', usage] for label, face in zip(labels, written, strict=True)]
    return [["emotion", "pixels", "Usage"], *rows]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def expected(split: str | None = "train") -> dict[bytes, Expected]:
    return {face.tobytes(): Expected(label, split) for face, label in zip(FACES, FER2013, strict=True)}


SCORES = np.random.default_rng(0).random(len(BLENDSHAPES)).round(4).astype("<f4")
SCORE_ROW = ["a/b.jpg", "Joy", "test", "josé", *map(str, SCORES)]
SCORE_HEAD = ["path", "label", "split", "subject", *(f"bs_{index:02d}" for index in range(len(BLENDSHAPES)))]
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_separators_and_encodings_of_every_kind_of_csv(encoding: str, separator: str, tmp_path: Path):
    path = write(tmp_path / "x.csv", table(pixel_rows(), separator).encode(encoding))
    assert found(path) == expected()
    rows = [["image", "emotion", "person"], ["é.png", "ANGRY ", "josé"]]
    (tmp_path / "é.png").write_bytes(encoded(pixels(0)))
    path = write(tmp_path / "y.tsv", table(rows, separator).encode(encoding))
    assert found(path) == {pixels(0).tobytes(): Expected("angry", None, "josé")}
    path = write(tmp_path / "z.txt", table([SCORE_HEAD, SCORE_ROW], separator).encode(encoding))
    assert found(path) == {SCORES.tobytes(): Expected("happy", "test", "josé")}


WRITTEN = {
    "commas": lambda face: ", ".join(map(str, face.ravel())),
    "a list": lambda face: str(face.ravel().tolist()),
    "a list of lists": lambda face: str(face.tolist()),
    "numpy's": lambda face: str(face.ravel()),
    "numpy's rows": lambda face: str(face),
    "doubled blanks": lambda face: "  ".join(map(str, face.ravel())),
    "fractions": lambda face: " ".join(f"{value:.1f}" for value in face.ravel()),
    "fractions of 1": lambda face: " ".join(f"{value / 255:.5f}" for value in face.ravel()),
    "exponents": lambda face: " ".join(f"{value / 255:.4e}" for value in face.ravel()),
    "three channels": lambda face: " ".join(f"{value} {value} {value}" for value in face.ravel()),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_pixels_however_they_are_written(how: str, tmp_path: Path):
    path = write(tmp_path / "x.csv", table(pixel_rows([WRITTEN[how](face) for face in FACES])))
    assert found(path) == expected()
    assert [("8×8×3" in warning) for warning in survey(path).warnings] == [True] * (how == "three channels")


@pytest.mark.parametrize(
    "names", [[f"pixel{index}" for index in range(64)], [f"px_{index + 1:02d}" for index in range(64)]]
)
def test_a_column_for_each_pixel(names: list[str], tmp_path: Path):
    faces = [[label, "7", *face.split()] for label, face in zip(NAMES, BLANKS, strict=True)]
    path = write(tmp_path / "x.csv", table([["class", "", *names], *faces]))
    assert found(path) == expected(None)
    unquoted = [[label, *face.split(), "Training"] for label, face in zip("0123456", BLANKS, strict=True)]
    path = write(tmp_path / "x.csv", table([["emotion", "pixels", "Usage"], *unquoted]))
    assert found(path) == expected()
    assert survey(path).warnings == []


def test_large_faces_in_colour(tmp_path: Path):
    rgb = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    path = write(tmp_path / "x.csv", f"label,image\nhappy,{' '.join(map(str, (rgb / 255).ravel()))}\n")
    (face,) = open_source(path).faces()
    assert (decode(face, colour=True) == rgb).all()
    gray = decode(face)
    assert gray.shape == (224, 224)
    assert np.abs(gray - rgb @ (0.299, 0.587, 0.114)).max() <= 1


def test_a_value_alone_does_not_end_the_file(tmp_path: Path):
    bad = ["300 " + "1 " * 63, "0.5 -0.1 " + "1 " * 62, "0x1 " + "1 " * 63, "1e999 " + "1 " * 63]
    path = write(tmp_path / "x.csv", table(pixel_rows([*BLANKS[:3], *bad])))
    assert survey(path).num_faces == 7
    for face in list(open_source(path).faces())[3:]:
        with pytest.raises(InputError, match=r"x.csv:\d: pixel"):
            decode(face)
    assert decode(Face("x", "happy", None, b"0.5 0 1 0.25", "text")).tolist() == [[128, 0], [255, 64]]


IDS = [str(number) for number in range(7)]


@pytest.mark.parametrize(
    ("head", "labels", "usage", "known", "said"),
    [
        ("emotion,pixels,Usage", IDS, "Training", True, False),
        ("label,pixels,Usage", IDS, "PublicTest", True, False),
        ("emotion,pixels,Usage", [f"{number}.0" for number in IDS], "Training", True, False),
        ("emotion,pixels,extra", IDS, "", True, True),
        ("Emotion,Pixels,usage", IDS, "train", True, True),
        ("label,pixels,extra", IDS, "", False, False),  # an alphabetical order is as likely
        ("emotion,pixels,extra", ["0", "1", "2", "0", "1", "2", "0"], "", False, False),
    ],
)
def test_numbers_are_fer2013s_where_the_table_shows_it(
    head: str, labels: list[str], usage: str, known: bool, said: bool, tmp_path: Path
):
    path = write(tmp_path / "x.csv", table([head.split(","), *pixel_rows(BLANKS, labels, usage)[1:]]))
    if known:
        assert [face.label for face in open_source(path).faces()] == list(FER2013)
        assert ["FER2013's ids: 0 angry, 1 disgust" in warning for warning in survey(path).warnings] == [True] * said
    else:
        with pytest.raises(
            InputError, match=r"unknown classes '0' \(\d faces\), '1' .* say what each is: --map 0=LABEL"
        ):
            survey(path)
        floats = [f"{label}.0" for label in labels]
        path = write(tmp_path / "x.csv", table([head.split(","), *pixel_rows(BLANKS, floats, usage)[1:]]))
        assert survey(path, labels=dict.fromkeys(labels, "happy")).num_faces == 7


def test_of_two_columns_of_labels_that_with_names_is_read_and_it_is_said(tmp_path: Path):
    rows = ["label,emotion,pixels", f"7,Joy,{BLANKS[0]}", f",sad,{BLANKS[1]}", f"8,,{BLANKS[2]}", "8,sad,"]
    path = write(tmp_path / "x.csv", "\n".join(rows))
    assert [face.label for face in open_source(path).faces()] == ["happy", "sad"]
    result = survey(path)
    assert result.dropped == {"no label": 1, "no pixels": 1}
    assert result.warnings == [f"{path}: the column emotion is read, label is not"]


# --- blendshapes ---


def snake(name: str) -> str:
    return re.sub("(?=[A-Z])", "_", name).lower()


FAMILIES = {
    "bs_00": [f"bs_{index:02d}" for index in range(52)],
    "any prefix": [f"Feature {index}" for index in range(52)],
    "numbers alone": [str(index) for index in range(52)],
    "lower case": [name.lower() for name in BLENDSHAPES],
    "capitals": [name[:1].upper() + name[1:] for name in BLENDSHAPES],
    "snake case": [snake(name) for name in BLENDSHAPES],
    "a prefix": [f"bs_{name}" for name in BLENDSHAPES],
    "a prefix in snake case": [f"mp.{snake(name)}" for name in BLENDSHAPES],
    "a prefix without a mark": [f"blendshape{name}" for name in BLENDSHAPES],
    "sides as letters": [re.sub("(?:eft|ight)$", "", re.sub("(?=(?:Left|Right)$)", "_", name)) for name in BLENDSHAPES],
    "neutral": [name.removeprefix("_") for name in BLENDSHAPES],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_blendshapes_by_any_name(name: str, tmp_path: Path):
    order = np.random.default_rng(1).permutation(52)
    columns, scores = [FAMILIES[name][index] for index in order], [str(SCORES[index]) for index in order]
    path = write(tmp_path / "x.csv", table([["path", "label", *columns], ["a/b.jpg", "joy", *scores]]))
    source = open_source(path)
    (face,) = source.faces()
    assert (source.format, face.source, face.label) == ("blendshape_csv", "x.csv:1 a/b.jpg", "happy")
    assert face.data == SCORES.tobytes()


def test_blendshapes_without_neutral_and_with_decimal_commas(tmp_path: Path):
    scores = [str(score).replace(".", ",") for score in SCORES[1:]]
    path = write(tmp_path / "x.csv", table([["label", *BLENDSHAPES[1:]], ["sad", *scores]], ";"))
    (face,) = open_source(path).faces()
    np.testing.assert_array_equal(np.frombuffer(face.data, "<f4"), [np.nan, *SCORES[1:]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            [f"bs_{index}" for index in range(1, 53)],
            r"columns bs_1 … bs_52 are 52 scores numbered from 1; MediaPipe's are",
        ),
        ([f"f{index}" for index in range(51)], r"columns f0 … f50 are 51 scores numbered from 0; MediaPipe's are"),
        ([*FAMILIES["bs_00"], *BLENDSHAPES], r"columns bs_00 and _neutral both are _neutral; leave one of them in"),
        ([f"{name}_{index}" for name in "ab" for index in range(52)], r"columns a_0 and b_0 both are _neutral"),
        (["blend1", "blend01"], r"columns blend1 and blend01 both are browDownLeft"),
    ],
)
def test_blendshapes_that_may_be_others_are_refused(columns: list[str], message: str, tmp_path: Path):
    path = write(tmp_path / "x.csv", table([["path", "label", *columns], ["a.jpg", "sad", *("0.5" for _ in columns)]]))
    with pytest.raises(InputError, match=f"^x.csv: {message}"):
        survey(path)


# --- lists of images ---


@pytest.mark.parametrize(
    "columns", ["Image,Emotion", "file_name,class", "filepath,expression", "img,category", "File,LABEL"]
)
def test_lists_by_other_names(columns: str, tmp_path: Path):
    files = {"images/0.png": encoded(pixels(0)), "x.csv": f",{columns}\n0,images/0.png, ANGRY\n".encode()}
    assert found(write_folder(tmp_path, files)) == {pixels(0).tobytes(): Expected("angry")}


@pytest.mark.parametrize("written", ["images/0.png", "../images/0.png", "{source}/images/0.png", "{name}/images/0.png"])
def test_paths_from_folders_above_the_list(written: str, tmp_path: Path):
    path = written.format(source=tmp_path / "data", name="data")
    files = {"images/0.png": encoded(pixels(0)), "lists/x.csv": f"path,label\n{path},happy\nnone.png,sad\n".encode()}
    result = survey(write_folder(tmp_path / "data", files))
    assert (result.num_faces, result.dropped) == (1, {"image is missing": 1})


def test_a_list_says_where_it_looked(tmp_path: Path):
    write_folder(tmp_path, {"a/b/x.csv": b"path,label\nc/0.png,happy\n"})
    with pytest.raises(
        InputError, match=r"\(row 1: 'c/0.png' was looked for as a/b/c/0.png and a/c/0.png and c/0.png\)"
    ):
        survey(tmp_path)


LISTS = {
    "path": lambda number: ({f"{number}.png": encoded(FACES[number])}, f"path,label\n../{number}.png,happy\n"),
    "pixels": lambda number: ({}, f"label,pixels\nhappy,{BLANKS[number]}\n"),
    "blendshapes": lambda number: ({}, table([["label", *BLENDSHAPES], ["happy", *map(str, np.roll(SCORES, number))]])),
}


@pytest.mark.parametrize("names", [("a/train.csv", "a/fer_test_2.csv"), ("train/labels.csv", "test/labels.csv")])
@pytest.mark.parametrize("kind", LISTS)
def test_several_lists_are_splits_by_their_names(kind: str, names: tuple[str, str], tmp_path: Path):
    for number, name in enumerate(names):
        files, text = LISTS[kind](number)
        write_folder(tmp_path, files | {name: text.encode()})
    faces = list(open_source(tmp_path).faces())
    assert sorted(str(face.split) for face in faces) == ["test", "train"]
    assert len({face.source for face in faces}) == 2
    assert survey(tmp_path).warnings == [
        f"{tmp_path}: {names[1]} is test, {names[0]} is train, by their names, where a row does not say"
    ]
    (tmp_path / names[1]).rename(tmp_path / "other.csv")
    with pytest.raises(InputError, match=r"ambiguous: it holds .*; give the one that you mean, or name them by their"):
        open_source(tmp_path)


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("emotion,Usage\n3,Training\n", r"has labels \(emotion\), but no columns of pixels, paths or blendshapes, only emotion,Usage"),
        ("id,pixels\n3,1 2\n", r"has no column of labels \(label, emotion, class or expression\), only id,pixels"),
        ("emotion pixels\n3 1 2\n", r"has one column \(emotion pixels\); columns are separated by a comma, ';', a tab"),
        ("3,1 2 3 4,Training\n0,1 2 3 4,Training\n", r"has numbers in its first line \(3,1 2 3 4,Training\), which must name"),
        ("", "x.csv is empty"),
        (encoded(pixels(0)), "x.csv has one column"),
        ("a,label\n".encode("utf-16")[:-1], "begins like UTF-16, but is none"),
        (f"emotion,pixels\nsad,{BLANKS[0]} 1\n", "x.csv row 1: 65 pixels are no square face, gray or in three channels"),
        (f"emotion,pixels\nsad,{BLANKS[0]}\nsad,{BLANKS[0]} 1\n", "x.csv row 2: 65 pixels found, 64 expected"),
        (f"emotion,pixels\nsad,{BLANKS[0].replace(' ', '.5 -')}\n", r"x.csv row 1: pixels lie below 0 \(standardised\?\)"),
        ("emotion,pixels\nsad,\nsad,iVBORw0KGgo=\n", r"x.csv row 2: pixels are 'iVBORw0KGgo=', expected numbers"),
        (f"label,pixels\nsad,{'1 2 3 255 ' * 64}\n", r"x.csv row 1: four numbers a pixel, .* \(RGBA\?\)"),
        ("emotion,pixels\nsad,[1 2 ... 3 4]\n", r"x.csv row 1: numpy left pixels out \('...'\); write all of them"),
    ],
)  # fmt: skip
def test_why_a_csv_is_refused(content: str | bytes, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message) as refusal:
        survey(write(tmp_path / "x.csv", content))
    assert len(str(refusal.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (("x.parquet",), "x.parquet", "x.parquet is neither a CSV nor an image: write the table as a CSV; give a CSV"),
        (("x.txt",), "x.txt", "x.txt is neither a CSV nor an image: write the table as a CSV"),
        (("x.doc",), "x.doc", "x.doc is neither a CSV nor an image; give a CSV"),
        (
            ("a.json", "b/c.json", "d", ".e"),
            "",
            r"it has only files that are neither .* \(2 .json, 1 no suffix\): write",
        ),
        ((".e",), "", "holds no faces: it is empty; give a CSV"),
    ],
)
def test_what_is_no_csv(files: tuple[str, ...], given: str, message: str, tmp_path: Path):
    write_folder(tmp_path, dict.fromkeys(files, b"x"))
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / given)
