"""`fersweep data`: verify finds what is damaged, export writes what others read, diff says what differs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fersweep.cli.main import app
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset import diff as difference
from fersweep.data_pipeline.dataset import verify as verification
from fersweep.data_pipeline.dataset.diff import diff
from fersweep.data_pipeline.dataset.export import LAYOUTS, export_dataset
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.dataset.parts import open_table, write_part
from fersweep.data_pipeline.dataset.seal import seal
from fersweep.data_pipeline.dataset.verify import verify
from fersweep.data_pipeline.sources.decode import decode
from fersweep.data_pipeline.sources.source import open_source
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, SPLITS
from tests.datasets import write_tiny_dataset


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One dataset of each kind; they are only read."""
    home = tmp_path_factory.mktemp("datasets")
    return {
        "plain": write_tiny_dataset(home / "plain", 120),
        "full": write_tiny_dataset(home / "full", 120, landmarks=True, folds=3, origins=("a", "b"), augmented=True),
        "scores": write_tiny_dataset(home / "scores", 120, pixels=False),
    }


@pytest.fixture
def damaged(datasets: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(datasets["plain"], tmp_path / "plain")


def edited(directory: Path, number: int, edit: Callable[[pa.Table], pa.Table], sealed: bool = False) -> None:
    """Change the rows of a part; `sealed`: with a manifest that goes with them."""
    manifest = read_manifest(directory)
    start = sum(part["num_rows"] for part in manifest["parts"][:number])
    rows = open_table(directory).slice(start, manifest["parts"][number]["num_rows"])
    write_part(directory, number, edit(rows))
    if sealed:
        seal(directory, {key: manifest[key] for key in ("image_size", "landmarks", "sources", "options", "command")})


def with_column(name: str, values: Callable[[list], list]) -> Callable[[pa.Table], pa.Table]:
    def edit(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        column = pa.array(values(table[name].to_pylist()), field.type)
        return table.set_column(table.column_names.index(name), field, column)

    return edit


# --- verify ---


@pytest.mark.parametrize("kind", ["plain", "full", "scores"])
def test_a_sound_dataset_is_said_to_be(datasets: dict[str, Path], kind: str) -> None:
    result = verify(datasets[kind])
    assert result.findings == []
    assert result.sound


def _first_pixel(faces: list) -> list:
    return [bytes([faces[0][0] ^ 1]) + faces[0][1:], *faces[1:]]


DAMAGE: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing": (lambda path: (path / "faces/part-00001.parquet").unlink(), ["faces/part-00001.parquet is missing"]),
    "truncated": (
        lambda path: (path / "faces/part-00001.parquet").write_bytes(b"PAR1"),
        ["faces/part-00001.parquet has 4 bytes, not"],
    ),
    "flipped": (lambda path: _flip(path / "faces/part-00001.parquet"), ["sha256", "face_id is not the sha256"]),
    "stray": (
        lambda path: shutil.copy(path / "faces/part-00000.parquet", path / "faces/part-00007.parquet"),
        ["faces/part-00007.parquet: no part that the manifest names"],
    ),
    "counts": (lambda path: _recount(path), ["manifest.json: num_faces is 121, counted were 120"]),
    "pixels": (
        lambda path: edited(path, 0, with_column("pixels", _first_pixel), sealed=True),
        ["faces/part-00000.parquet: face_id is not the sha256 of the pixels in 1 rows, first in row 0"],
    ),
    "scores": (
        lambda path: edited(path, 1, with_column("jawOpen", lambda scores: [7.0, *scores[1:]]), sealed=True),
        ["faces/part-00001.parquet: 1 rows have scores outside of 0–1, first row 0"],
    ),
    "twins": (
        lambda path: edited(path, 0, with_column("duplicate_of", lambda twins: [None] * len(twins)), sealed=True),
        ["duplicate_of is wrong in 2 rows, first of face"],
    ),
    "labels": (
        lambda path: edited(path, 0, with_column("label", lambda labels: ["bored", *labels[1:]]), sealed=True),
        ["faces/part-00000.parquet: label has the unknown bored"],
    ),
    "fold": (
        lambda path: edited(path, 0, with_column("fold", lambda folds: [1, *folds[1:]]), sealed=True),
        ["faces/part-00000.parquet: fold is wrong in 1 rows, first in row 0"],
    ),
    "column": (
        lambda path: edited(path, 0, lambda table: table.drop_columns(["jawOpen"])),
        ["faces/part-00000.parquet"],
    ),
}


def _flip(path: Path) -> None:
    """One bit of a pixel: the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _recount(path: Path) -> None:
    manifest = read_manifest(path)
    manifest["num_faces"] += 1
    write_manifest(path, manifest)


@pytest.mark.parametrize("what", DAMAGE)
def test_each_damage_is_found(damaged: Path, what: str) -> None:
    damage, said = DAMAGE[what]
    damage(damaged)
    result = verify(damaged)
    assert not result.sound
    for line in said:
        assert any(line in finding for finding in result.findings), result.findings
    if what not in ("flipped", "counts"):
        assert len(result.findings) == 1


def test_verify_on_the_command_line(datasets: dict[str, Path], damaged: Path) -> None:
    run = CliRunner().invoke(app, ["data", "verify", str(datasets["plain"]), "--json"])
    assert run.exit_code == 0
    result = json.loads(run.stdout)
    assert list(result) == ["directory", "sound", "findings", "num_parts", "num_faces", "fingerprint"]
    assert result["sound"]
    (damaged / "faces" / "part-00000.parquet").unlink()
    run = CliRunner().invoke(app, ["data", "verify", str(damaged)])
    assert run.exit_code == 1
    assert "part-00000.parquet is missing" in run.stdout
    assert shown(verification.render(verify(damaged))).count("\n") == 2


# --- export ---


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["plain", "full", "scores"])
def test_export_writes_every_original_face(datasets: dict[str, Path], tmp_path: Path, kind: str, layout: str) -> None:
    if kind == "scores" and layout == "imagefolder":
        with pytest.raises(InputError, match="has no pixels"):
            export_dataset(datasets[kind], tmp_path / "out", layout)
        assert list(tmp_path.iterdir()) == []
        return
    export = export_dataset(datasets[kind], tmp_path / "out", layout)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing unfinished is left beside
    assert export.num_faces == 120
    table = open_table(datasets[kind])
    check = {"csv": check_csv, "numpy": check_numpy, "imagefolder": check_imagefolder}[layout]
    check(tmp_path / "out", table.filter(table["augmentation"].is_null()), kind)


def faces_of(path: Path) -> list[tuple[str, str | None, bytes]]:
    """(label, split, pixels) of each face, as `prepare` reads a source."""
    return [(face.label, face.split, decode(face).tobytes()) for face in open_source(path).faces()]


def check_csv(out: Path, table: pa.Table, kind: str) -> None:
    if kind != "scores":
        columns = (table[name].to_pylist() for name in ("label", "split", "pixels"))
        assert faces_of(out / "fer2013.csv") == list(zip(*columns, strict=True))
    seen = table.filter(table["detected"])
    read = list(open_source(out / "blendshapes.csv").faces())
    assert [(face.label, face.split) for face in read] == list(
        zip(seen["label"].to_pylist(), seen["split"].to_pylist(), strict=True)
    )
    scores = np.stack([np.frombuffer(face.data, "<f4") for face in read])
    assert np.array_equal(scores, np.column_stack([seen[name].to_numpy() for name in BLENDSHAPES]))


def check_numpy(out: Path, table: pa.Table, kind: str) -> None:
    names = json.loads((out / "names.json").read_text())
    for split in SPLITS[:3]:
        mine = table.filter(pa.array([name == split for name in table["split"].to_pylist()]))
        if not mine.num_rows:
            assert not (out / split).exists()
            continue
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in (out / split).glob("*.npy")}
        assert set(arrays) == set(names["arrays"])
        assert ("pixels" in arrays, "landmarks" in arrays) == (kind != "scores", kind == "full")
        assert [names["labels"][label] for label in arrays["labels"]] == mine["label"].to_pylist()
        for index, name in enumerate(names["blendshapes"]):
            assert np.array_equal(arrays["blendshapes"][:, index], mine[name].to_numpy(), equal_nan=True)
        if kind != "scores":
            assert [face.tobytes() for face in arrays["pixels"]] == mine["pixels"].to_pylist()
        if kind == "full":
            landmarks = [None if np.isnan(points[0, 0]) else points.tobytes() for points in arrays["landmarks"]]
            assert landmarks == mine["landmarks"].to_pylist()
        with (out / split / "rows.csv").open(newline="") as file:
            assert [row["face_id"] for row in csv.DictReader(file)] == mine["face_id"].to_pylist()


def check_imagefolder(out: Path, table: pa.Table, kind: str) -> None:
    columns = (table[name].to_pylist() for name in ("label", "split", "pixels"))
    assert sorted(faces_of(out)) == sorted(zip(*columns, strict=True))
    rows = {}
    for split in {*table["split"].to_pylist()}:
        metadata = map(json.loads, (out / split / "metadata.jsonl").read_text().splitlines())
        rows |= {row["source"]: row for row in metadata if (out / split / row["file_name"]).is_file()}
    for source, label, jaw in zip(*(table[name].to_pylist() for name in ("source", "label", "jawOpen")), strict=True):
        assert (rows[source]["label"], rows[source]["jawOpen"]) == (label, jaw and pytest.approx(jaw))


def test_export_refuses_what_is_there(datasets: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export_dataset(datasets["scores"], tmp_path / "empty", "csv")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="exists and is not empty"):
        export_dataset(datasets["scores"], tmp_path / "empty", "csv")
    with pytest.raises(InputError, match="did you mean 'numpy'"):
        export_dataset(datasets["scores"], tmp_path / "new", "nunpy")
    assert sorted(tmp_path.rglob("*")) == before


# --- diff ---


def shown(renderable: Any) -> str:
    text = io.StringIO()
    Console(file=text, width=300).print(renderable)
    return text.getvalue()


def test_a_dataset_does_not_differ_from_its_copy(datasets: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(datasets["full"], tmp_path / "elsewhere")
    result = diff(datasets["full"], copy)
    assert result.same
    assert result.in_both == 120
    assert result.only_a == result.only_b == result.manifest == {}
    changes = (result.label, result.split, result.fold, result.detected, result.scores)
    assert {change.num for change in changes} == {0}
    assert shown(difference.render(result)).startswith("the same: 120 faces")


def test_what_differs_is_reported(datasets: dict[str, Path], damaged: Path) -> None:
    before = open_table(damaged)
    assert before["split"][2].as_py() == "train"
    rows = before.slice(0, 60)
    rows = with_column("label", lambda labels: [*labels[:1], "fear", *labels[2:]])(rows)
    rows = with_column("split", lambda splits: [*splits[:2], "val", *splits[3:]])(rows)
    rows = with_column("jawOpen", lambda values: [*values[:3], None if values[3] is None else 0.9, *values[4:]])(rows)
    write_part(damaged, 0, rows)
    write_part(damaged, 1, before.slice(60, 50))  # without the last ten
    fields = {key: read_manifest(damaged)[key] for key in ("image_size", "landmarks", "sources", "options", "command")}
    seal(damaged, {**fields, "options": {"seed": 3}})

    result = diff(datasets["plain"], damaged)
    labels = before["label"].to_pylist()
    assert not result.same
    assert (result.in_both, result.only_b) == (110, {})
    assert sum(sum(labels.values()) for labels in result.only_a.values()) == 10
    assert result.label.num == 1
    assert result.label.changes == {f"{labels[1]} → fear": 1}
    assert result.label.examples[0].face_id == before["face_id"][1].as_py()
    assert result.split.changes == {"train → val": 1}
    assert result.scores.num == 1
    apart = 0.9 - before["jawOpen"][3].as_py()
    assert result.scores.max == pytest.approx(abs(apart), abs=1e-6)
    assert result.manifest["options.seed"] == [None, 3]
    text = shown(difference.render(result))
    assert "another split: 1 faces (train → val 1)" in text
    assert "only in A, " in text

    back = diff(damaged, datasets["plain"])
    assert back.only_b == result.only_a
    assert back.split.changes == {"val → train": 1}


def test_diff_on_the_command_line(datasets: dict[str, Path]) -> None:
    run = CliRunner().invoke(app, ["data", "diff", str(datasets["plain"]), str(datasets["full"]), "--json"])
    assert run.exit_code == 0
    result = json.loads(run.stdout)
    assert (result["same"], result["in_both"]) == (False, 120)
    assert result["fold"]["num"] == 100
    assert result["manifest"]["has"] == [None, {"pixels": True, "landmarks": True}]
