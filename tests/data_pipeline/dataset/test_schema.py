"""The dataset on disk: what is written is read, what is damaged is refused, what is the same has one fingerprint."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.integrity import fingerprint
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.dataset.schema import arrow_schema, face_id
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.describe.summary import describe, render
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.datasets import write_tiny_dataset


def test_round_trip(tiny_dataset: Path):
    table = open_table(tiny_dataset)
    assert table.schema.equals(arrow_schema((48, 48)))
    assert table.num_rows == read_manifest(tiny_dataset)["num_faces"] == 360
    row = table.slice(7, 1).to_pylist()[0]
    assert row["face_id"] == face_id(np.frombuffer(row["pixels"], np.uint8))
    undetected = table.filter(pa.compute.field("detected") == pa.scalar(value=False))
    assert undetected.num_rows > 0
    assert all(undetected[name].null_count == undetected.num_rows for name in BLENDSHAPES)


def test_columns_and_split(tiny_dataset: Path):
    table = open_table(tiny_dataset, ["label", "jawOpen"], split="val")
    assert table.column_names == ["label", "jawOpen"]
    assert table.num_rows == sum(read_manifest(tiny_dataset)["counts"]["val"].values())


def test_fingerprint_sees_content_and_not_layout(tiny_dataset: Path, tmp_path: Path):
    manifest, table = read_manifest(tiny_dataset), open_table(tiny_dataset)
    fields = {key: manifest[key] for key in ("image_size", "landmarks", "sources", "options")}
    layout = [table.slice(0, 100), table.slice(100, 7), table.slice(107)]
    assert write_dataset(tmp_path / "other", layout, fields)["fingerprint"] == manifest["fingerprint"]

    index = table.column_names.index("jawOpen")
    scores = table["jawOpen"].to_numpy().copy()
    scores[0] = np.nextafter(scores[0], np.float32(2))
    column = pa.array(scores, pa.float32(), mask=np.isnan(scores))
    other = table.set_column(index, table.schema.field(index), column)
    assert fingerprint([other], (48, 48)) != manifest["fingerprint"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "scramble"])
def test_damaged_part(damage: str, tmp_path: Path):
    directory = write_tiny_dataset(tmp_path / "tiny")
    part = directory / "faces" / "part-00001.parquet"
    content = part.read_bytes()
    if damage == "remove":
        part.unlink()
    else:
        part.write_bytes(content[:-100] if damage == "truncate" else b"x" * len(content))
    with pytest.raises(InputError, match=r"part-00001.parquet"):
        open_table(directory, ["label"])


def test_damaged_manifest(tmp_path: Path):
    with pytest.raises(InputError, match="no finished dataset"):
        read_manifest(tmp_path)
    path = write_tiny_dataset(tmp_path / "tiny") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(InputError, match="schema version 99, this program reads version 1"):
        read_manifest(path.parent)
    path.write_text(path.read_text()[:50])
    with pytest.raises(InputError, match="broken"):
        read_manifest(path.parent)


def test_describe(tiny_dataset: Path):
    from rich.console import Console

    description = describe(tiny_dataset)
    as_json = description.as_json()
    assert json.loads(json.dumps(as_json)) == as_json
    assert as_json["twins"] == {"groups": 12, "faces": 24, "conflicting": 0, "across_splits": {"train": 12}}
    assert 0.02 < 1 - (description.detected_share or 0) < 0.1
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(description))
    assert description.fingerprint in console.export_text()
