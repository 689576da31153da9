"""What is said of a dataset: numbers for the terminal, and the page; also of datasets that hardly are any."""

import base64
import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fersweep.cli.main import app
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.dataset.schema import make_rows
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.describe import statistics
from fersweep.data_pipeline.describe.brightness import brightness_grids
from fersweep.data_pipeline.describe.description import Twins
from fersweep.data_pipeline.describe.page import render
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.describe.summary import conflicts, describe
from fersweep.data_pipeline.describe.summary import render as render_text
from fersweep.data_pipeline.describe.train_scores import TrainScores
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.datasets import write_tiny_dataset

pytestmark = pytest.mark.slow

HEADINGS = ("At a glance", "Classes", "Some faces", "did not find", "Twins", "Near twins", "came from", "was made")
ANGRY_SURPRISE = ((0.581, 0.622, 0.563), (0.641, 0.698, 0.618), (0.652, 0.636, 0.645))  # of an earlier project
LANDMARKS = {"border": 0.25, "size": 192, "bundle_sha256": "0" * 64, "mediapipe": "1.2.2"}


def terminal_text(directory: Path) -> str:
    """What the terminal shows, without its line breaks."""
    console = Console(record=True, width=400, file=io.StringIO())
    console.print(render_text(describe(directory)))
    return console.export_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with all that one can have."""
    directory = tmp_path_factory.mktemp("data") / "full"
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
    write_tiny_dataset(directory, 480, labels, landmarks=True, folds=4, origins=["<one>", "two"], augmented=True)
    manifest = read_manifest(directory)
    manifest["origins"]["two"] |= {
        "num_faces": 240,
        "labels": {"joy": {"label": "happy", "num_faces": 30}, "bored": {"label": None, "num_faces": 7}},
        "dropped": {"no face": 3},  # of an older dataset
        "left_out": {"image is missing": {"sad": 12_000}},
        "other_files": {".txt": 2},
        "warnings": ["its split mixes another's"],
    }
    write_manifest(directory, manifest | {"skipped": {"cut off": {"happy": 2, "sad": 1}}, "split_by": "subject"})
    return directory


@pytest.fixture(scope="module")
def full_page(full: Path) -> str:
    return render(full)


def write_faces(
    directory: Path, labels: list[str], splits: list[str], side: int = 48, blendshapes: np.ndarray | None = None
) -> Path:
    """A dataset of random faces, not detected by MediaPipe if no blendshapes (N, 52) are given."""
    rng, number = np.random.default_rng(1), len(labels)
    scores = np.full((number, 52), np.nan, np.float32) if blendshapes is None else blendshapes.astype(np.float32)
    faces = rng.integers(0, 256, (number, side, side)).astype(np.uint8)
    sources = [f"f:{index}" for index in range(number)]
    rows = make_rows(
        (side, side),
        blendshapes=scores,
        source=sources,
        split=splits,
        label=labels,
        duplicate_of=[None] * number,
        pixels=faces,
    )
    fields = {"image_size": (side, side), "landmarks": LANDMARKS, "sources": [], "options": {}}
    write_dataset(directory, rows, fields)
    return directory


def figures(page: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)]


def test_the_page_holds_all_there_is_to_see(full: Path, full_page: str):
    for heading in (*HEADINGS, "Views", "heads are held", "mean face of each class", "Pairs", "t-SNE", "Folds"):
        assert heading in full_page
    assert "&lt;one&gt;" in full_page
    assert "<one>" not in full_page
    for text in ("bored", "dropped", "cut off", "its split mixes another&#39;s", "augmented copies", "subjects", "no face",
                 "image is missing", "sad 12,000", ".txt"):  # fmt: skip
        assert text in full_page
    markup = re.sub(r"<script.*?</script>", "", full_page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!data:|#)|url\((?!data:)', markup)
    assert len(full_page.encode()) < 10e6
    assert len(figures(full_page)) > 12
    sheets = re.findall(r"--sheet: url\(data:image/png;base64,([^)]*)\)", full_page)
    assert all(base64.b64decode(sheet).startswith(b"\x89PNG") for sheet in sheets)
    assert len(sheets) > 16  # a sheet for each class, not a picture for each face


def test_what_can_be_chosen_is_there(full_page: str):
    """Every combination of options of every list finds its values."""
    choosable = [figure for figure in figures(full_page) if "choices" in figure]
    assert len(choosable) >= 6
    lists = re.findall(r'<select name="(.*?)">(.*?)</select>', full_page)
    options = {name: re.findall("<option>(.*?)</option>", items) for name, items in lists}
    for figure in choosable:
        for path, template in figure["choices"]["bindings"].items():
            if "title" in path:
                continue
            names = re.findall(r"\{(.+?)\}", template)
            for first in options[names[0]]:
                for second in options[names[1]] if len(names) > 1 else [""]:
                    key = template.replace(f"{{{names[0]}}}", first).replace(f"{{{names[-1]}}}", second)
                    assert key in figure["choices"]["values"]


def test_numbers_of_a_full_dataset(full: Path):
    description = describe(full)
    json.dumps(description.as_json(), allow_nan=False)
    assert description.num_faces == 480
    assert description.augmented
    assert description.folds
    assert sum(description.folds.values()) + sum(description.counts["test"].values()) == 480
    assert description.num_subjects == 240
    assert description.near_twins.across_splits["train"] > 0
    text = terminal_text(full)
    for part in (
        "near twins",
        "subjects: 240",
        "folds: 4 of",
        "augmented copies",
        "3 × cut off (happy 2, sad 1)",
        "12,000 × image is missing (sad 12,000)",
        "sad: 12,001 of 12,0",
        "other files: 2 .txt",
        "origins: <one>, 240 of two",
    ):
        assert part in text


def test_statistics_are_of_train_without_copies_and_twins(full: Path):
    rows = DatasetRows(full)
    scores = TrainScores(rows)
    table = rows.take(scores.faces, ["split", "augmentation", "duplicate_of", "detected"])
    assert set(table["split"].to_pylist()) == {"train"}
    assert table["augmentation"].null_count == table["duplicate_of"].null_count == len(scores.y) > 200
    assert all(table["detected"].to_pylist())
    assert set(scores.dead) == set(BLENDSHAPES[-4:])
    assert scores.names[scores.ranked()[0]] in {
        BLENDSHAPES[i] for i in (1, 2, 3, 4, 9, 10, 21, 22, 25, 30, 31, 32, 44, 45, 48, 49)
    }


def no_pixels(directory: Path) -> Path:
    return write_tiny_dataset(directory, 60, pixels=False)


def some_scores(directory: Path) -> Path:
    """33 scores; of them one that only half of the faces have."""
    scores = np.random.default_rng(0).random((40, 52))
    scores[:, 33:] = np.nan
    scores[::2, 5] = np.nan
    return write_faces(directory, ["happy", "sad"] * 20, ["train", "train", "val", "train"] * 10, blendshapes=scores)


def nothing_found(directory: Path) -> Path:
    return write_faces(directory, ["happy", "sad"] * 5, ["train", "test"] * 5)


def one_class(directory: Path) -> Path:
    return write_tiny_dataset(directory, 60, ["fear"])


def two_faces(directory: Path) -> Path:
    return write_faces(
        directory, ["happy", "sad"], ["train", "train"], blendshapes=np.random.default_rng(0).random((2, 52))
    )


def one_face(directory: Path) -> Path:
    return write_faces(directory, ["happy"], ["test"], blendshapes=np.full((1, 52), 0.5))


def constant_scores(directory: Path) -> Path:
    return write_faces(directory, ["happy", "sad"] * 10, ["train"] * 20, blendshapes=np.full((20, 52), 0.5))


def large_faces(directory: Path) -> Path:
    return write_faces(directory, ["happy", "sad"] * 3, ["train"] * 6, 1024, np.random.default_rng(0).random((6, 52)))


def small_faces(directory: Path) -> Path:
    return write_faces(directory, ["happy", "sad"] * 3, ["train"] * 6, 2, np.random.default_rng(0).random((6, 52)))


def older(directory: Path) -> Path:
    """Without what manifests had later."""
    write_tiny_dataset(directory, 60)
    manifest = read_manifest(directory)
    for name in ("near_twins", "augmented", "blendshapes", "has", "folds", "origins", "skipped"):
        manifest.pop(name, None)
    write_manifest(directory, manifest)
    return directory


@pytest.mark.parametrize(
    "make",
    [
        no_pixels, some_scores, nothing_found, one_class, two_faces, one_face, constant_scores, large_faces, small_faces, older,
    ],
)  # fmt: skip
def test_odd_datasets_have_a_page(make: Callable[[Path], Path], tmp_path: Path):
    directory = make(tmp_path / "data")
    page = render(directory)
    for heading in HEADINGS:
        assert heading in page
    assert figures(page)
    assert ("--sheet: url" in page) == (make is not no_pixels)
    json.dumps(describe(directory).as_json(), allow_nan=False)
    assert terminal_text(directory)


def test_the_command_writes_the_page(tmp_path: Path):
    directory = no_pixels(tmp_path / "data")
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["describe", str(directory), "--html", str(out), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["scores"]["class_entropy_nats"] == pytest.approx(np.log(3), abs=0.05)
    assert out.read_text().startswith("<!doctype html>")


def test_a_page_without_faces(full: Path):
    done: list[float] = []
    page = render(full, faces=False, tell=lambda _, share: done.append(share))
    assert len(done) > 5
    assert done == sorted(done), "progress"
    assert 0 == done[0] < done[-1] < 1
    assert "--sheet: url" not in page
    assert "different labels" in page


def test_conflicting_twins(tmp_path: Path):
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (4, 8, 8)).astype(np.uint8)[[0, 1, 0, 2, 1, 1]]
    rows = make_rows(
        (8, 8),
        pixels=faces,
        blendshapes=rng.random((6, 52)).astype(np.float32),
        source=[f"f:{i}" for i in range(6)],
        split=["train"] * 6,
        label=["sad", "happy", "sad", "sad", "fear", "happy"],
        duplicate_of=[None] * 6,
    )
    fields = {"image_size": (8, 8), "landmarks": None, "sources": [], "options": {}}
    write_dataset(tmp_path / "data", [rows.slice(0, 2), rows.slice(2)], fields)
    assert [group.tolist() for group in conflicts(DatasetRows(tmp_path / "data"))] == [[1, 4, 5]]
    assert describe(tmp_path / "data").twins == Twins(groups=2, faces=5, conflicting=1, across_splits={})
    assert "fear: train" in render(tmp_path / "data")


def test_rows_come_in_the_order_asked_for(full: Path):
    rows = DatasetRows(full)
    order = np.array([450, 3, 120, 3])
    sources = rows.take(order, ["source"])["source"].to_pylist()
    assert sources == [f"tiny:{row}" for row in order]
    pictures = rows.pictures(order)
    assert np.array_equal(pictures[1], pictures[3])
    assert not np.array_equal(pictures[0], pictures[1])
    assert rows.find({"tiny:120", "none"}) == {"tiny:120": 120}


def test_shrinking_is_pillows():
    from PIL import Image

    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 40)).astype(np.uint8)
    for cells in (3, 12):
        size = (cells, cells)
        theirs = [np.asarray(Image.fromarray(face).resize(size, Image.Resampling.LANCZOS)) for face in faces]
        assert np.abs(statistics.shrink(faces, cells) - np.stack(theirs)).max() <= 1


def test_auc_counts_pairs():
    rng = np.random.default_rng(0)
    faces, y = rng.integers(0, 9, (60, 6, 6)).astype(np.uint8), rng.integers(0, 2, 60)
    grid = statistics.BrightnessGrid(6, 2)
    grid.add(faces[:25], y[:25])
    grid.add(faces[25:], y[25:])
    low, high = faces[y == 0][:, None], faces[y == 1][None]
    wanted = ((low < high) + (low == high) / 2).mean(axis=(0, 1))
    np.testing.assert_allclose(grid.auc(0, 1), wanted, atol=1e-6)
    np.testing.assert_allclose(grid.auc(1, 0), 1 - wanted, atol=1e-6)


def test_information_and_correlations():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 4000)
    x = np.stack([y + 0.0, rng.random(4000), np.where(rng.random(4000) < 0.5, np.nan, y), np.full(4000, 0.3)], axis=1)
    bits = statistics.information(x, y, 2)
    assert bits[0] == pytest.approx(statistics.class_entropy(y), abs=1e-6)
    assert bits[1] < 4 * statistics.information_noise(4000, 2)
    assert bits[2] == pytest.approx(np.log(2), abs=0.01)
    assert bits[3] == 0
    signs = rng.integers(0, 2, (4000, 2))  # neither is informative about their exclusive or, both together determine it
    nats, i, j = statistics.pair_information(signs + 0.01 * rng.random((4000, 2)), signs[:, 0] ^ signs[:, 1])[0]
    assert (nats, i, j) == (pytest.approx(np.log(2), abs=0.06), 0, 1)
    correlations = statistics.class_correlations(x, y, 2)
    assert correlations[0] == pytest.approx([-1, 1])
    assert np.isnan(correlations[3]).all()
    assert statistics.dead_scores(np.array([[0.01, 0.5, 0.1], [0.04, 0.5, 0.7]])).tolist() == [True, True, False]


@pytest.mark.realdata
def test_angry_against_surprise_on_fer2013(realdata: Path, tmp_path: Path):
    """The nine numbers of an earlier project, from the official training data."""
    faces, labels = [], []
    with (
        zipfile.ZipFile(realdata / "fer2013" / "fer2013.csv.zip") as archive,
        archive.open(archive.namelist()[0]) as table,
    ):
        for row in csv.DictReader(io.TextIOWrapper(table)):
            if row["Usage"] == "Training" and row["emotion"] in "05":
                faces.append(np.array(row["pixels"].split(), np.uint8).reshape(48, 48))
                labels.append({"0": "angry", "5": "surprise"}[row["emotion"]])
    number = len(faces)
    rows = make_rows(
        (48, 48),
        pixels=np.stack(faces),
        blendshapes=np.full((number, 52), np.nan, np.float32),
        source=[str(index) for index in range(number)],
        split=["train"] * number,
        label=labels,
        duplicate_of=[None] * number,
    )
    fields = {"image_size": (48, 48), "landmarks": LANDMARKS, "sources": [], "options": {}}
    write_dataset(tmp_path / "data", rows, fields)
    read = DatasetRows(tmp_path / "data")
    grids, _, used = brightness_grids(read, TrainScores(read))
    assert used == number == 7166
    np.testing.assert_allclose(grids[3].auc(0, 1), ANGRY_SURPRISE, atol=0.02)
