"""Datasets made by a reader of one's own are those that ours make of the same faces, whatever interrupts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import Manifest, read_manifest
from fersweep.data_pipeline.dataset.verify import verify
from fersweep.data_pipeline.faces.crop import BESIDE
from fersweep.data_pipeline.prepare import preparation
from fersweep.data_pipeline.prepare.batches import Sources
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare
from fersweep.data_pipeline.prepare.staging import KNOWN
from fersweep.data_pipeline.prepare.workers import Extractor, Job
from fersweep.data_pipeline.sources.demo_faces import make_faces
from fersweep.data_pipeline.sources.source import Source
from tests.processes import kill, wait_until

NUM_FACES = 60
OPTIONS = Options(image_size=(48, 48), pixels_only=True, part_rows=16)
READER = """
import time

def read(files):
    for file in files.pictures():
        time.sleep({wait_s})
        yield {{"face": file, "label": file.path.parent.name}}
"""
KILLED = """
import sys
from pathlib import Path
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare
options = Options(image_size=(48, 48), pixels_only=True, part_rows=16)
prepare([Path(sys.argv[1])], Path(sys.argv[2]), options, reader=sys.argv[3], workers=1)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("source") / "faces", NUM_FACES)


@pytest.fixture(scope="module")
def ours(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare([source], tmp_path_factory.mktemp("ours") / "demo", OPTIONS, workers=1)


def write_reader(directory: Path, wait_s: float = 0.0) -> str:
    (directory / "my_reader.py").write_text(READER.format(wait_s=wait_s))
    return str(directory / "my_reader.py")


def test_the_same_faces_are_the_same_dataset(source: Path, ours: Manifest, tmp_path: Path, ray_session: None) -> None:
    """Through Ray: a process of its own reads. A copy of the code lies beside the parts, and is compared by `verify`."""
    out = tmp_path / "out"
    manifest = prepare([source], out, OPTIONS, reader=write_reader(tmp_path), workers=2)
    assert manifest["fingerprint"] == ours["fingerprint"]
    (name, sums) = next(iter(manifest.get("code", {}).items()))
    (file,) = manifest["sources"]
    assert (file["format"], list(sums)) == (name, ["my_reader.py"])
    assert len(file.get("records", "")) == 64
    assert verify(out).sound
    assert prepare([source], out, OPTIONS, reader=write_reader(tmp_path), workers=2) == manifest
    with pytest.raises(InputError, match=rf"begun with the reader {name}, not folders: give a new directory"):
        prepare([source], out, OPTIONS)
    copy = out / "code" / name / "my_reader.py"
    copy.write_text(copy.read_text() + "\n")
    assert "is not what was copied there" in "".join(verify(out).findings)


def test_processes_with_another_working_directory_find_the_sources(
    source: Path, ours: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(sources: Sequence[Source], missing: set[int], part_rows: int) -> Sources:
        monkeypatch.chdir(tmp_path)
        return Sources(sources, missing, part_rows)

    monkeypatch.setattr(preparation, "Sources", elsewhere)
    for reader in (None, write_reader(tmp_path)):
        monkeypatch.chdir(source.parent)
        manifest = prepare([Path(source.name)], tmp_path / f"out {reader is None}", OPTIONS, reader=reader, workers=1)
        assert manifest["fingerprint"] == ours["fingerprint"]
        assert manifest["sources"][0]["path"] == source.name


def test_a_box_beside_its_picture_drops_the_face() -> None:
    """With an own reader; AffectNet's boxes may be those of larger pictures."""
    picture = np.arange(200 * 200, dtype=np.uint8).reshape(200, 200)
    data = b"P5 200 200 255\n" + picture.tobytes()
    boxes = [(200, 0, 300, 100), (-50, -50, 100, 100)]
    known = pa.table([pa.nulls(2, field.type) for field in KNOWN], schema=pa.schema(KNOWN)).drop_columns("source")
    columns = pa.table({"source": ["beside", "partly"], "data": [data] * 2, "kind": ["image"] * 2, "box": boxes})
    batch = pa.table([*known.columns, *columns.columns], names=[*known.column_names, *columns.column_names])
    job = Job((48, 48), None, False, None, None, True, False, 0, 0)
    assert Extractor(job._replace(strict_boxes=True))(batch)["broken"].to_pylist() == [BESIDE, None]
    assert Extractor(job)(batch)["broken"].to_pylist() == [None, None]


@pytest.mark.processes
def test_killed_and_resumed(source: Path, ours: Manifest, tmp_path: Path) -> None:
    reader, out = write_reader(tmp_path, 0.01), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(source), str(out), reader]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE)
    wait_until(lambda: (out / "staged" / "part-00000.parquet").exists(), process)
    kill(process)
    assert not (out / "manifest.json").exists(), "it had ended already"
    begun = (out / "staged" / "part-00000.parquet").stat().st_mtime_ns
    (tmp_path / "changed").mkdir()
    with pytest.raises(InputError, match=r"begun with the reader my_reader.py@\w+, not my_reader.py@\w+: give a new"):
        prepare([source], out, OPTIONS, reader=write_reader(tmp_path / "changed"), workers=1)
    assert (out / "staged" / "part-00000.parquet").stat().st_mtime_ns == begun
    assert prepare([source], out, OPTIONS, reader=reader, workers=1)["fingerprint"] == ours["fingerprint"]


def test_what_a_reader_takes_from_elsewhere_is_noticed(source: Path, tmp_path: Path) -> None:
    """Labels that lie outside the source are in no sha256 of it: those of all records are compared."""
    reader, labels = tmp_path / "r.py", tmp_path / "labels.txt"
    labels.write_text("happy")
    reader.write_text(
        f"from pathlib import Path\n\ndef read(files):\n    label = Path({str(labels)!r}).read_text()\n"
        "    for file in files.pictures():\n        yield {'face': file, 'label': label}\n"
    )
    prepare([source], tmp_path / "out", OPTIONS, reader=str(reader), workers=1)
    labels.write_text("sad")
    with pytest.raises(InputError, match=r"begun when r.py@\w+ read something else of .*: give a new directory"):
        prepare([source], tmp_path / "out", OPTIONS, reader=str(reader), workers=1)


def test_several_sources_have_an_order_each(source: Path, tmp_path: Path) -> None:
    other = make_faces(tmp_path / "other", 12, seed=1)
    manifest = prepare([source, other], tmp_path / "out", OPTIONS, reader=write_reader(tmp_path), workers=1)
    assert manifest["num_faces"] == NUM_FACES + 12
    assert len({file.get("records") for file in read_manifest(tmp_path / "out")["sources"]}) == 2


def test_a_reading_that_differs_in_a_worker_is_refused(source: Path, tmp_path: Path, ray_session: None) -> None:
    """In one line, as in this process; and nothing is left of it."""
    reader = write_reader(tmp_path).replace("my_reader", "pid")
    Path(reader).write_text(
        "import os\n\ndef read(files):\n    for file in files.pictures():\n"
        "        yield {'face': file, 'label': 'sad', 'name': f'{file.name} of {os.getpid()}'}\n"
    )
    with pytest.raises(InputError, match=r"^pid.py, line 5, record 1: .* another face was before: want the same faces"):
        prepare([source], tmp_path / "out", OPTIONS, reader=reader, workers=2)
    assert not (tmp_path / "out").exists()


def test_ready_made_blendshapes(tmp_path: Path) -> None:
    header = ",".join(f"bs_{number:02d}" for number in range(52))
    rows = [",".join(f"0.{(7 * row + number) % 100:02d}" for number in range(52)) for row in range(30)]
    labels = [("happy", "sad", "fear")[row % 3] for row in range(30)]
    lines = [f"{row},{label}" for row, label in zip(rows, labels, strict=True)]
    (tmp_path / "scores.csv").write_text("\n".join([f"{header},label", *lines]))
    (tmp_path / "r.py").write_text(
        "def read(files):\n    for row in files.table('scores.csv'):\n"
        "        label = row.pop('label')\n"
        "        yield {'blendshapes': [float(cell) for cell in row.values()], 'label': label}\n"
    )
    ours = prepare([tmp_path / "scores.csv"], tmp_path / "ours")
    theirs = prepare([tmp_path / "scores.csv"], tmp_path / "theirs", reader=str(tmp_path / "r.py"))
    assert (theirs["num_faces"], theirs["fingerprint"]) == (30, ours["fingerprint"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"formats": ["folders"]}, "with --format folders: give one of them"),
        ({"options": Options(split_folders={"a": "test"})}, "with --split-folder a=test: the reader says the split"),
    ],
)
def test_what_does_not_go_with_a_reader(more: dict[str, object], message: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        prepare([source], tmp_path / "out", reader=write_reader(tmp_path), **more)  # pyright: ignore[reportArgumentType]
