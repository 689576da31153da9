"""What `prepare` can be asked for: several sources, splits, folds, copies, views, pixels alone, ready-made blendshapes.

One worker, in this process, to spare each case the start of Ray; test_prepare.py has it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.prepare import workers
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare as prepare_with
from fersweep.data_pipeline.prepare.staging import STAGED, Stage
from fersweep.data_pipeline.prepare.stored_size import stored_size
from fersweep.data_pipeline.sources.demo_faces import make_faces
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.tasks.arrays import preprocessing
from fersweep.data_pipeline.tasks.photo_reader import PhotoReader, read_photo
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

pytestmark = pytest.mark.slow

NUM_FACES = 24


prepare = partial(prepare_with, workers=1)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("source") / "faces", NUM_FACES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests that look at the same faces."""
    return tmp_path_factory.mktemp("readings")


def count_readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with each face that MediaPipe looks at."""
    looked: list[int] = []
    read = workers.Landmarker.read

    def counted(self: Any, face: np.ndarray) -> Any:
        looked.append(1)
        return read(self, face)

    monkeypatch.setattr(workers.Landmarker, "read", counted)
    return looked


def test_a_second_dataset_looks_at_new_faces_alone(
    faces: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    prepare([faces], tmp_path / "one", Options(image_size=(48, 48)), cache=cache)
    looked = count_readings(monkeypatch)
    more = make_faces(tmp_path / "more", 3, seed=5)
    options = Options(image_size=(48, 48), seed=1, landmarks=True)
    manifest = prepare([faces, more], tmp_path / "two", options, cache=cache)
    assert len(looked) == 3
    one, two = open_table(tmp_path / "one"), open_table(tmp_path / "two")
    assert two.slice(0, one.num_rows).select(BLENDSHAPES).equals(one.select(BLENDSHAPES))
    assert Counter(two["origin"].to_pylist()) == {"faces": NUM_FACES, "more": 3}
    assert list(manifest["origins"]) == ["faces", "more"]
    assert manifest["has"] == {"pixels": True, "landmarks": True}
    assert two["landmarks"].null_count == two.num_rows - sum(two["detected"].to_pylist())
    points = np.frombuffer(two["landmarks"].drop_null()[0].as_py(), np.float16).reshape(478, 3)
    assert 0 < points[33, 0] < points[263, 0] < 1  # the eyes' outer corners, in the face's picture


DEGENERATE = {
    "fewer than 8 pixels a side": {"happy": 1},
    "more than 4 times as long as wide": {"sad": 1},
    "one gray value all over": {"sad": 1, "neutral": 1},
}


def test_broken_faces_are_skipped_and_counted(tmp_path: Path):
    source = make_faces(tmp_path / "faces", 9)
    first = sorted((source / "happy").iterdir())[0]
    (source / "happy" / "cut.png").write_bytes(first.read_bytes()[:-200])
    (source / "sad" / "empty.jpg").write_bytes(b"")
    for name, shape in (("happy/0", (1, 1)), ("sad/0", (200, 40)), ("sad/1", (48, 48)), ("neutral/0", (300, 300))):
        cv2.imwrite(str(source / f"{name}.png"), np.full(shape, 90, np.uint8))
    manifest = prepare([source], tmp_path / "out", Options(pixels_only=True))
    assert manifest["num_faces"] == 9
    assert manifest["skipped"] == {"cut off": {"happy": 1}, "empty file": {"sad": 1}, **DEGENERATE}
    assert min(manifest["image_size"] or ()) > 64, "though the first picture is of one pixel"
    for path in source.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no picture of .* can be read"):
        prepare([source], tmp_path / "none", Options(pixels_only=True))
    with pytest.raises(InputError, match=r"no face is left of the sources: \d+ × "):
        prepare([source], tmp_path / "none", Options(pixels_only=True, image_size=(48, 48)))
    assert not (tmp_path / "none").exists()


def test_copies_are_of_train_faces_alone(faces: Path, cache: Path, tmp_path: Path):
    manifest = prepare([faces], tmp_path / "out", Options(image_size=(48, 48), augment=2, folds=3), cache=cache)
    table = open_table(tmp_path / "out")
    assert manifest["num_faces"] == NUM_FACES
    originals, copies = table.slice(0, NUM_FACES), table.slice(NUM_FACES)
    assert set(originals["augmentation"].to_pylist()) == {None}
    assert None not in copies["augmentation"].to_pylist()
    train = [row for row in originals.to_pylist() if row["split"] == "train"]
    assert copies.num_rows == 2 * len(train) == sum(manifest["augmented"].values())
    pairs = [(row["source"], row["label"], row["fold"]) for row in train for _ in range(2)]
    assert [(row["source"], row["label"], row["fold"]) for row in copies.to_pylist()] == pairs
    assert len(set(table["face_id"].to_pylist())) == table.num_rows
    flipped = np.frombuffer(copies["pixels"][0].as_py(), np.uint8).reshape(48, 48)
    np.testing.assert_array_equal(flipped, np.frombuffer(train[0]["pixels"], np.uint8).reshape(48, 48)[:, ::-1])


def test_a_part_is_whole_however_its_rows_come(tmp_path: Path):
    """Ray Data tears workers' tables into blocks, and brings them in any order."""
    rows, numbers = [0, 0, 0, 1, 2, 2, 3], [0, 1, 2, 0, 0, 1, 0]
    columns = {field.name: pa.nulls(len(rows), field.type) for field in STAGED}
    columns |= {"row": pa.array(rows), "number": pa.array(numbers, pa.int32()), "of": pa.array([3, 0, 0, 1, 2, 0, 1])}
    table = pa.table(columns).cast(STAGED)
    stage = Stage(tmp_path, [2, 2], part_rows=2)
    for index in (1, 0, 3, 5, 6):
        stage.add(table.slice(index, 1))
    assert stage.missing == {0, 1}
    assert stage.todo == 1
    stage.add(table.take([4, 2]))
    assert stage.missing == set()
    assert [part["number"].to_pylist() for part in stage.parts()] == [[0, 1, 2, 0], [0, 1, 0]]
    assert Stage(tmp_path, [2, 2], part_rows=2).missing == set()


def test_all_faces_of_a_photo(tmp_path: Path):
    from skimage import data

    photo = data.astronaut()
    wide = np.zeros((512, 1024, 3), np.uint8)
    wide[:, :512] = photo
    wide[100:400, 600:900] = cv2.resize(photo[:350, 50:400], (300, 300))
    nobody = cv2.resize(np.array([[[0], [90]]], np.uint8).repeat(3, axis=2), (300, 300))
    for name, picture in (("happy/wide", wide), ("sad/nobody", nobody), ("sad/one", photo)):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    manifest = prepare([tmp_path / "photos"], tmp_path / "all", Options(faces="all", part_rows=1))
    assert manifest["image_size"] == [128, 128]
    assert manifest["skipped"] == {"no face found in the picture": {"sad": 1}}
    assert manifest["kept_whole"] == {}
    table = open_table(tmp_path / "all")
    assert table["label"].to_pylist() == ["happy", "happy", "sad"]
    assert table["detected"].to_pylist() == [True] * 3
    manifest = prepare([tmp_path / "photos"], tmp_path / "one", Options())
    assert (manifest["num_faces"], manifest["kept_whole"]) == (3, {"sad": 1})
    assert open_table(tmp_path / "one")["detected"].to_pylist() == [True, False, True]


def test_pixels_alone_keep_every_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """MediaPipe is asked only where --crop auto asks for it. Most pictures decide the stored size; aspect is kept."""
    monkeypatch.setattr(workers, "Landmarker", None)
    monkeypatch.setattr("fersweep.data_pipeline.prepare.preparation.Landmarker", None)
    rng = np.random.default_rng(0)
    shapes = [(224, 224)] * 3 + [(60, 60), (60, 40)] * 3
    for number, shape in enumerate(shapes):
        path = tmp_path / "faces" / ("happy", "sad")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(1, 256, shape).astype(np.uint8))
    manifest = prepare([tmp_path / "faces"], tmp_path / "out", Options(pixels_only=True))
    assert (manifest["num_faces"], manifest["skipped"]) == (9, {})
    assert manifest["kept_whole"] == {"happy": 2, "sad": 1}
    assert (manifest["options"]["crop"], manifest["image_size"]) == ("none", [128, 128])
    faces = [
        np.frombuffer(row, np.uint8).reshape(128, 128) for row in open_table(tmp_path / "out")["pixels"].to_pylist()
    ]
    assert sum(not face[:, :21].any() and not face[:, 107:].any() for face in faces) == 3, "40 of 60 columns"
    model = {"feature_names": ["pixels"], "preprocessing": preprocessing(manifest)}
    with PhotoReader(model) as reader:  # `predict` sees the same, without MediaPipe, too
        for source, face in zip(open_table(tmp_path / "out")["source"].to_pylist(), faces, strict=True):
            (seen,) = reader.faces(read_photo(tmp_path / "faces" / source))
            np.testing.assert_array_equal(seen.features, face)
    with pytest.raises(TypeError):  # the landmarker that is none here
        prepare([tmp_path / "faces"], tmp_path / "found", Options(pixels_only=True, crop="auto"))


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(48, 48)] * 5, (48, 48)),
        ([(1, 1), *[(48, 48)] * 5], (48, 48)),
        ([(96, 64)] * 5, (96, 64)),
        ([(300, 200)] * 5, (128, 128)),
        ([(300, 300), *[(48, 48)] * 5], (48, 48)),
        ([(64, 48), (70, 90), (100, 80), (50, 50), (400, 300)], (80, 80)),
        ([(200, 300), (224, 224), (60, 60), (90, 70)], (128, 128)),
    ],
)
def test_the_stored_size_is_that_of_most_pictures(shapes: list[tuple[int, int]], size: tuple[int, int], tmp_path: Path):
    (tmp_path / "happy").mkdir()
    for number, shape in enumerate(shapes):
        cv2.imwrite(str(tmp_path / "happy" / f"{number}.png"), np.zeros(shape, np.uint8))
    assert stored_size([open_source(tmp_path)], [len(shapes)]) == size


def scores_csv(path: Path, num: int = 300, subjects: int | None = 20) -> Path:
    """Ready-made blendshapes: every 10th row has a twin further down."""
    rng = np.random.default_rng(0)
    scores = rng.random((num, 4)).round(3)
    scores[10::20] = scores[:-10:20]
    rows = [
        [*row, ("happy", "sad", "neutral")[index % 3], *([f"S{index // 10 % subjects}"] if subjects else [])]
        for index, row in enumerate(scores.tolist())
    ]
    header = [*BLENDSHAPES[1:5], "label", *(["subject"] if subjects else [])]
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


def test_ready_made_blendshapes_need_no_mediapipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fersweep.data_pipeline.prepare.preparation.Landmarker", None)
    source = scores_csv(tmp_path / "scores.csv")
    monkeypatch.setattr("fersweep.data_pipeline.prepare.ray_stream.ray_session", None)
    manifest = prepare_with([source], tmp_path / "out", Options(part_rows=64), workers=2)
    assert manifest["image_size"] is manifest["landmarks"] is None
    assert manifest["blendshapes"] == list(BLENDSHAPES[1:5])
    assert manifest["num_subjects"] == 20
    table = open_table(tmp_path / "out")
    assert "pixels" not in table.column_names
    assert table["jawOpen"].null_count == table.num_rows
    with pytest.raises(InputError, match="ready-made blendshapes have no pictures"):
        prepare([source], tmp_path / "other", Options(landmarks=True))


SPLITS: dict[str, Options] = {
    "auto": Options(),
    "subject": Options(split="subject"),
    "stratified": Options(split="stratified", seed=3),
    "folds": Options(folds=5),
    "folds by subject": Options(folds=4, split="subject", test_share=0.2),
    "without near-duplicates": Options(near_duplicates=False),
}


def sources() -> dict[str, Callable[[Path], Path]]:
    def twins(directory: Path) -> Path:
        """Class folders in which every face stands two to four times, twice under another class."""
        made = make_faces(directory / "faces", 36)
        for index, path in enumerate(sorted(made.rglob("*.png"))):
            for copy in range(1 + index % 3):
                other = path.parent if copy else made / "neutral"
                (other / f"{path.stem}-{copy}.png").write_bytes(path.read_bytes())
        return made

    return {
        "scores with subjects": lambda directory: scores_csv(directory / "scores.csv"),
        "scores": lambda directory: scores_csv(directory / "scores.csv", subjects=None),
        "folders full of twins": twins,
    }


@pytest.mark.parametrize("name", sources())
@pytest.mark.parametrize("split", SPLITS)
def test_no_twin_crosses_a_split(name: str, split: str, tmp_path: Path):
    source, options = sources()[name](tmp_path), SPLITS[split]
    if options.split == "subject" and "subjects" not in name:
        with pytest.raises(InputError, match="no subject"):
            prepare([source], tmp_path / "out", options)
        return
    options = Options(**{**vars(options), "pixels_only": "folders" in name})
    prepare([source], tmp_path / "out", options)
    table = open_table(tmp_path / "out")
    places = defaultdict(set)
    for row in table.select(["face_id", "split", "fold", "subject"]).to_pylist():
        place = (row["split"], row["fold"])
        places[row["face_id"]].add(place)
        if options.split == "subject" or ("subjects" in name and options.split == "auto"):
            places[row["subject"]].add(place)
    assert max(map(len, places.values())) == 1
    assert {"train", "test"} <= set(table["split"].to_pylist())
    if options.folds:
        assert set(table["fold"].to_pylist()) == {None, *range(options.folds)}
        assert "val" not in read_manifest(tmp_path / "out")["counts"]


def test_a_twin_in_a_given_split_is_named(tmp_path: Path):
    """The sources' own splits may share faces: those of train are marked, and a task leaves them out."""
    made = make_faces(tmp_path / "faces", 12)
    for index, path in enumerate(sorted(made.rglob("*.png"))):
        target = tmp_path / "given" / ("test" if index % 3 == 0 else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if index % 3 == 0:
            (tmp_path / "given" / "train" / path.parent.name).mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
            again = tmp_path / "given" / "train" / path.parent.name / f"again-{path.name}"
            if index % 2:
                again.write_bytes(path.read_bytes())
            else:
                cv2.imwrite(str(again), np.clip(pixels.astype(int) + 3, 0, 255).astype(np.uint8))
    prepare([tmp_path / "given"], tmp_path / "out", Options(pixels_only=True, image_size=(48, 48)))
    rows = open_table(tmp_path / "out").to_pylist()
    again = [row for row in rows if "again-" in row["source"]]
    assert len(again) == 4
    for row in again:
        exact, near = row["duplicate_of"], row["near_duplicate_of"]
        assert (exact or near) == row["source"].replace("again-", "").replace("train/", "test/")
        assert (exact is None) != (near is None)
    assert sum(row["duplicate_of"] is not None for row in rows) == 2
    carved = {row["source"] for row in rows if row["split"] == "val"}
    assert not carved & {row["source"] for row in again}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 5}, "views: must lie in 1–4, but got 5"),
        ({"augment": 99}, "augment: must lie in 0–16"),
        ({"folds": 1}, "folds: must lie in 2–100"),
        ({"crop": "always"}, "crop: there is no 'always'"),
        ({"split": "subjects"}, "split: there is no 'subjects'; did you mean 'subject'"),
        ({"pixels_only": True, "landmarks": True}, "pixels_only: landmarks, views and augment need MediaPipe"),
    ],
)
def test_wrong_options(options: dict, message: str):
    with pytest.raises(InputError, match=message):
        Options(**options)


def test_a_class_that_no_source_has(faces: Path, tmp_path: Path):
    with pytest.raises(InputError, match="bored"):
        prepare([faces], tmp_path / "out", Options(labels={"bored": "drop"}))
    manifest = prepare(
        [faces], tmp_path / "out", Options(labels={"sad": "drop", "happy": "surprise"}, pixels_only=True)
    )
    assert manifest["classes"] == ["surprise", "neutral"]
    (origin,) = manifest["origins"].values()
    assert origin["labels"]["sad"]["label"] is None
    assert sum(sum(labels.values()) for labels in origin["left_out"].values()) == origin["labels"]["sad"]["num_faces"]
