"""Pixels straight from the parts: the same as Arrow reads, mapped where they lie in one page."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset import pixels as reading
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.dataset.pixels import part_pixels, pixels
from tests.datasets import write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("reading") / "tiny", 120)


@pytest.fixture(scope="module")
def expected(dataset: Path) -> np.ndarray:
    """(120, 48, 48): what Arrow reads."""
    faces = open_table(dataset, ["pixels"])["pixels"].to_pylist()
    return np.frombuffer(b"".join(faces), np.uint8).reshape(-1, 48, 48)


@pytest.mark.parametrize(
    "rows", [None, [], [3], [0, 59, 60, 119], [119, 3, 61, 3, 60], list(range(60))], ids=lambda rows: str(rows)[:20]
)
def test_the_rows_that_are_asked_for_in_their_order(
    dataset: Path, expected: np.ndarray, rows: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "read_part", None)  # none is read: all are mapped
    found = pixels(dataset, None if rows is None else np.array(rows, np.int64))
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected if rows is None else expected[np.array(rows, int)])


def test_a_part_is_mapped_not_copied(dataset: Path, expected: np.ndarray) -> None:
    base = faces = part_pixels(dataset / "faces" / "part-00000.parquet", (48, 48))
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, memoryview)
    assert isinstance(base.obj, mmap.mmap)
    assert not faces.flags.writeable
    assert np.array_equal(faces, expected[:60])


@pytest.mark.parametrize(
    "how",
    [
        {"data_page_size": 50_000, "write_batch_size": 10},  # several pages, as in older parts
        {"row_group_size": 25},
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"data_page_version": "2.0"},
    ],
    ids=lambda how: next(iter(how)),
)
def test_other_layouts_are_read(dataset: Path, expected: np.ndarray, tmp_path: Path, how: dict) -> None:
    table = pq.read_table(dataset / "faces" / "part-00000.parquet")
    options = {"compression": "none", "use_dictionary": False, **how}
    pq.write_table(table, tmp_path / "part.parquet", **options)  # pyright: ignore[reportArgumentType]
    assert np.array_equal(part_pixels(tmp_path / "part.parquet", (48, 48)), expected[:60])


def test_what_cannot_be_read_is_told(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexError, match="0–119, but got 120–120"):
        pixels(dataset, np.array([120]))
    with pytest.raises(InputError, match="has no pixels"):
        pixels(write_tiny_dataset(tmp_path / "scores", 12, pixels=False))
    short = write_tiny_dataset(tmp_path / "short", 12)
    part = short / "faces" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"part-00001\.parquet has \d+ bytes, not \d+"):
        pixels(short)
    assert len(pixels(short, np.arange(6))) == 6  # the other part is sound
    manifest = read_manifest(short)  # a manifest that goes with it does not make it sound
    manifest["parts"][1]["num_bytes"] -= 1
    write_manifest(short, manifest)
    with pytest.raises(InputError, match=r"part-00001\.parquet cannot be read"):
        pixels(short)
