"""A dataset's parts are those that its manifest names: told where it is opened, by stats alone where nothing has changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fersweep.common import files
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset import integrity
from fersweep.data_pipeline.dataset.integrity import MEMORY, check_parts
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.dataset.verify import verify
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task

CHANGED = (
    r"faces/part-00001\.parquet is not what the manifest names, it was changed: {}.*fersweep data verify .*prepare"
)
CHECKSUM = CHANGED.format("its sha256 is [0-9a-f]{12}…, not [0-9a-f]{12}…")


@pytest.fixture
def dataset(tmp_path: Path, tiny_dataset: Path) -> Path:
    """A copy, which was opened once."""
    copied = Path(shutil.copytree(tiny_dataset, tmp_path / "tiny"))
    Task(copied)
    return copied


def second_part(dataset: Path) -> Path:
    return dataset / "faces" / "part-00001.parquet"


def alter(dataset: Path, before: bytes = b"", after: bytes = b"") -> None:
    """Change the second part in place: it has its size, its inode and its time of change."""
    path = second_part(dataset)
    content, state = path.read_bytes(), path.stat()
    place = content.index(before) if before else len(content) // 2
    changed = after or bytes([content[place] ^ 1])
    with path.open("r+b") as file:
        file.seek(place)
        file.write(changed)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the parts that are read to be compared."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.extend([path.name] * (path.suffix == ".parquet"))
        return files.sha256(path)

    monkeypatch.setattr(integrity, "sha256", counted)
    return names


@pytest.mark.parametrize(
    "opened",
    [
        Task,
        lambda data: Task(data, TaskSpec(features="pixels"), learned=False),
        lambda data: node_arrays.load(Task(data)),
    ],
    ids=["task", "judged", "arrays"],
)
def test_a_part_that_was_changed_in_place_is_refused(dataset: Path, opened: Callable[[Path], object]) -> None:
    alter(dataset)
    for _ in range(2):
        with pytest.raises(InputError, match=CHECKSUM) as refused:
            opened(dataset)
        assert "\n" not in str(refused.value)


def test_what_was_read_is_not_read_again(dataset: Path, tiny_dataset: Path, tmp_path: Path, read: list[str]) -> None:
    Task(tiny_dataset)  # as `prepare` leaves it
    Task(dataset)
    assert read == []
    second_part(dataset).touch()
    Task(dataset)
    Task(dataset)
    assert read == [second_part(dataset).name], "once, and it alone"
    read.clear()
    copied = shutil.copytree(dataset, tmp_path / "copied", copy_function=shutil.copyfile)
    Task(copied)
    Task(copied)
    assert sorted(read) == sorted(Path(part["file"]).name for part in read_manifest(dataset)["parts"])


def test_before_test_is_judged_every_byte_is_read(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    check_parts(dataset, manifest, whole=True)
    alter(dataset)
    integrity.remember(dataset, manifest)  # what is remembered is wrong: forged, or of a clock and a disk that lie
    check_parts(dataset, manifest)
    with pytest.raises(InputError, match=CHECKSUM):
        check_parts(dataset, manifest, whole=True)


def test_verify_forgets_and_remembers(dataset: Path, read: list[str]) -> None:
    (dataset / MEMORY).unlink()
    assert verify(dataset).sound
    Task(dataset)
    assert read == []
    alter(dataset)
    integrity.remember(dataset, read_manifest(dataset))
    assert not verify(dataset).sound
    with pytest.raises(InputError, match=CHECKSUM):
        Task(dataset)


def test_another_manifest_is_compared_anew(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    parts = [{**part, "sha256": "0" * 64} for part in manifest["parts"]]
    write_manifest(dataset, {**manifest, "parts": parts})
    with pytest.raises(InputError, match=r"its sha256 is .*, not 000000000000…"):
        Task(dataset)


def whole_but(text: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_text(text.replace("MANIFEST", files.sha256(path.with_name("manifest.json"))))

    return write


@pytest.mark.parametrize(
    "forge",
    [
        lambda path: path.write_bytes(b"\xff{"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text("[]"),
        whole_but('{"manifest": "MANIFEST"}'),
        whole_but('{"manifest": "MANIFEST", "parts": 7}'),
        whole_but('{"manifest": "MANIFEST", "parts": {"faces/part-00001.parquet": "right"}}'),
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
    ],
    ids=["bytes", "deep", "list", "lacking", "number", "text", "fifo", "directory"],
)
def test_a_memory_that_is_damaged_is_none(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forge: Callable[[Path], object]
) -> None:
    monkeypatch.setenv("FERSWEEP_CACHE", str(tmp_path / "cache"))
    (dataset / MEMORY).unlink()
    forge(dataset / MEMORY)
    Task(dataset)
    alter(dataset)
    with pytest.raises(InputError, match=CHECKSUM):
        Task(dataset)


def test_a_dataset_that_can_only_be_read_is_remembered_elsewhere(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    monkeypatch.setenv("FERSWEEP_CACHE", str(tmp_path / "cache"))
    written = integrity.write_whole

    def read_only(path: Path, *rest: object, **options: bool) -> None:
        if path.is_relative_to(dataset):
            raise PermissionError(30, "Read-only file system")
        written(path, *rest, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(integrity, "write_whole", read_only)
    second_part(dataset).touch()
    Task(dataset)
    Task(dataset)
    assert read == [second_part(dataset).name]
    (memory,) = (tmp_path / "cache" / "verified").iterdir()
    memory.write_text(json.dumps({"manifest": 1}))
    Task(dataset)
    assert len(read) == 2


def test_an_older_manifest_has_no_checksums(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    parts = [{key: part[key] for key in ("file", "num_rows", "num_bytes")} for part in manifest["parts"]]
    write_manifest(dataset, {**manifest, "parts": parts})
    Task(dataset)
    assert (dataset / MEMORY).is_file()
    pixels = Task(dataset, TaskSpec(features="pixels")).load("test").x[-1].tobytes()
    alter(dataset, before=pixels[:64], after=bytes(64))
    with pytest.raises(InputError, match=CHANGED.format("1 faces are not those that their ids name")):
        Task(dataset)
    alter(dataset, before=bytes(64), after=pixels[:64])
    Task(dataset)
    alter(dataset, before=b"neutral", after=b"contemp")
    with pytest.raises(InputError, match=re.escape(f"{dataset}/faces is not what the manifest names")):
        Task(dataset)
