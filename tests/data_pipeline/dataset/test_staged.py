"""Datasets that are staged on a machine's own disk: once, checked, and removed when there is no room. From a bucket: tests/cluster."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.errors import InputError
from fersweep.common.stores import node_cache
from fersweep.common.stores.buckets import Bucket, name_of, resolved
from fersweep.data_pipeline.dataset import staged
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.dataset.staged import local
from fersweep.data_pipeline.dataset.verify import verify
from tests.datasets import write_tiny_dataset
from tests.processes import ROOT, in_a_small_disk

TRUNCATED, ALTERED = (
    "part-00001.parquet has 9 bytes, not",
    "the sha256 of faces/part-00001.parquet is not the manifest's",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; every path is staged."""
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path / "staged"))
    monkeypatch.setenv("FERSWEEP_STAGE", "always")
    return tmp_path / "staged"


@pytest.fixture
def source(tmp_path: Path, tiny_dataset: Path) -> Path:
    return Path(shutil.copytree(tiny_dataset, tmp_path / "shared" / "tiny"))


def second_part(source: Path) -> Path:
    return source / "faces" / "part-00001.parquet"


def entries(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if not path.name.startswith(".")]


def let_go(path: Path) -> None:
    """As the end of this process would."""
    os.close(node_cache._used.pop(path))


def test_it_is_staged_once_and_verified(source: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = local(source)
    assert directory.parent == cache
    assert verify(directory).sound
    assert local(source) == directory
    assert capfd.readouterr().err.count("staging") == 1
    second_part(directory).write_bytes(b"short")  # somebody's mistake
    assert verify(local(source)).sound, "it is staged anew"
    altered(directory)
    assert verify(local(source)).sound, "also where its size is the same"
    assert entries(cache) == [directory.name]


def test_a_dataset_that_was_changed_is_another(source: Path, tmp_path: Path) -> None:
    before = local(source)
    shutil.rmtree(source)
    write_tiny_dataset(source, seed=1)
    after = local(source)
    assert after != before
    assert read_manifest(after)["fingerprint"] == read_manifest(source)["fingerprint"]
    assert verify(before).sound, "who learns from it goes on with it"


def test_paths_of_this_machine_are_not_staged(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FERSWEEP_STAGE")
    assert local(source) == source
    monkeypatch.setattr(staged, "_is_remote", lambda _: True)
    assert local(source).parent == cache
    monkeypatch.setenv("FERSWEEP_STAGE", "never")
    assert local(source) == source
    monkeypatch.setenv("FERSWEEP_STAGE", "yes")
    with pytest.raises(InputError, match="FERSWEEP_STAGE=yes: want always or never"):
        local(source)


def rewritten(source: Path, **changes: Any) -> None:
    write_manifest(source, {**read_manifest(source), **changes})


def named(source: Path, name: str) -> None:
    parts = [dict(part) for part in read_manifest(source)["parts"]]
    parts[1]["file"] = name
    rewritten(source, parts=parts)


def without_checksums(source: Path) -> None:
    parts = [{key: part[key] for key in ("file", "num_rows", "num_bytes")} for part in read_manifest(source)["parts"]]
    rewritten(source, parts=parts, fingerprint="0" * 64)


def altered(source: Path) -> None:
    content = second_part(source).read_bytes()
    second_part(source).write_bytes(content[:-9] + b"x" + content[-8:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda source: second_part(source).write_bytes(b"truncated"), TRUNCATED),
        (altered, ALTERED),
        (lambda source: second_part(source).unlink(), "faces/part-00001.parquet is missing: copy the dataset anew"),
        (lambda source: named(source, "../../elsewhere"), r"a part outside of the dataset, \.\./\.\./elsewhere"),
        (lambda source: named(source, "/etc/passwd"), "a part outside of the dataset, /etc/passwd"),
        (without_checksums, "its parts have another fingerprint than its manifest says"),
        (lambda source: rewritten(source, parts=7), "manifest.json is broken"),
        (
            lambda source: (source / "manifest.json").write_text('{"schema_version": 1}'),
            "manifest.json lacks fingerprint",
        ),
        (lambda source: (source / "manifest.json").unlink(), "is no finished dataset"),
    ],
    ids=["truncated", "altered", "missing", "outside", "absolute", "fingerprint", "broken", "lacking", "unfinished"],
)
def test_what_is_not_whole_is_refused(source: Path, cache: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(source)
    with pytest.raises(InputError, match=message) as caught:
        local(source)
    assert str(source) in str(caught.value), "what the user called it"
    assert not cache.exists() or entries(cache) == []


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved("s3://b/faces/tiny/?region=x") == "s3://b/faces/tiny?region=x"
    assert name_of("s3://b/faces/tiny?region=x") == name_of("b/tiny/") == "tiny"
    for address in ("s3://key:hidden@b/tiny", "s3://hidden@b/tiny?region=x"):
        with pytest.raises(InputError, match="an address holds no credentials") as caught:
            local(address)
        assert "hidden" not in str(caught.value)
    Bucket("gs://anonymous@public/tiny")
    for address, message in (
        ("s4://b/tiny", "Unrecognized filesystem"),
        ("s3://b/tiny?colour=x", "Unexpected query"),
    ):
        with pytest.raises(InputError, match=rf"{address.partition('?')[0]}.* cannot be read: {message}"):
            local(address)


@pytest.mark.processes
def test_processes_stage_it_once_and_one_that_is_killed_is_followed(source: Path, cache: Path) -> None:
    """One is killed at its second part; of two that follow at once, one reads what the first had not."""
    script = """
import os, signal, sys
from fersweep.data_pipeline.dataset import staged

source, read = sys.argv[1], []
open_file = staged._Source.open

def counted(self, name):
    read.append(name)
    if len(read) == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return open_file(self, name)

staged._Source.open, staged.AT_ONCE = counted, 1
for dies_at, together in ((2, 1), (0, 2)):
    children = []
    for _ in range(together):
        if not (child := os.fork()):
            staged.local(source)
            print("read", *read, flush=True)
            os._exit(0)
        children.append(child)
    print("ended", *sorted(os.waitpid(child, 0)[1] for child in children), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script, source], cwd=ROOT, capture_output=True, text=True, check=True)
    others = [part["file"] for part in read_manifest(source)["parts"]][1:]
    killed, *followers, ended = done.stdout.splitlines()
    assert (killed, ended) == ("ended 9", "ended 0 0")
    assert sorted(followers) == ["read", f"read {' '.join(others)}"]
    assert verify(local(source)).sound
    assert not list(cache.glob(".*.partial"))


def made(name: str, num_bytes: int) -> Path:
    return node_cache.entry(name, num_bytes, lambda path: (path / "x").write_bytes(bytes(num_bytes)), f"the {name}")


def test_what_was_used_least_lately_makes_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERSWEEP_CACHE_GB", "0.00001")  # 10 kB
    for age, name in enumerate(("newer", "older", "held")):
        made(name, 3000)
        os.utime(cache / f".{name}.use", (1000 - age, 1000 - age))
    let_go(cache / "newer")
    let_go(cache / "older")
    made("another", 2000)
    assert sorted(entries(cache)) == ["another", "held", "newer"], "held is older, and used"
    with pytest.raises(
        InputError, match=r"the large needs .* where .* are in use, and FERSWEEP_CACHE_GB is 0\.00001: make room"
    ):
        made("large", 6000)
    assert sorted(entries(cache)) == ["another", "held"]
    monkeypatch.setenv("FERSWEEP_CACHE_GB", "much")
    with pytest.raises(InputError, match="FERSWEEP_CACHE_GB=much: want a number of gigabytes"):
        made("other", 1)
    for name in ("another", "held"):
        let_go(cache / name)


def test_a_disk_that_is_full_after_all(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(staged._Source, "open", full)
        with pytest.raises(RuntimeError, match=f"{cache}/.* cannot be written: No space left on device"):
            local(source)
    assert verify(local(source)).sound


@pytest.mark.processes
def test_a_small_disk_is_told_before_anything_is_copied(tmp_path: Path, source: Path) -> None:
    """And an array that does not fit is an error, not the end of the process."""
    script = f"""
import os
from pathlib import Path

import numpy as np

from fersweep.data_pipeline.dataset.staged import local
from fersweep.data_pipeline.tasks.node_arrays import _new

disk = Path(os.environ["DISK"])
for call in (lambda: local("{source}"), lambda: _new(disk / "x.npy", (2**26,), np.dtype(np.uint8))):
    try:
        call()
    except (ValueError, OSError) as error:
        print(error)
"""
    (tmp_path / "script.py").write_text(script)
    filled = f"head -c 39M /dev/zero >$DISK/ballast; FERSWEEP_STAGED=$DISK/staged $PYTHON {tmp_path / 'script.py'}"
    done = in_a_small_disk(tmp_path, f"export DISK; {filled}")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert re.search(
        r"the dataset tiny needs 1\.\d MB of \S+, where 0\.0 MB are in use, and its disk has 1\.\d MB free: make room",
        lines[0],
    )
    assert "No space left on device" in lines[1]


def test_where_it_is_staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FERSWEEP_STAGED")
    monkeypatch.setenv("FERSWEEP_CACHE", str(tmp_path / "home"))
    assert node_cache.directory() == tmp_path / "home" / "staged"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(node_cache, "is_on_network", lambda _: True)
    assert node_cache.directory() == tmp_path / "tmp" / f"fersweep-{os.getuid()}" / "staged"
    (tmp_path / "file").touch()
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path / "file" / "x"))
    with pytest.raises(InputError, match="data cannot be staged there: Not a directory; name a directory"):
        node_cache.directory()


def test_what_another_user_made_ready_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under /tmp anybody may make a directory of our name, or a link of it to one that is ours."""
    monkeypatch.delenv("FERSWEEP_STAGED")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(node_cache, "is_on_network", lambda _: True)
    place, ours = tmp_path / f"fersweep-{os.getuid()}", tmp_path / "ours"
    ours.mkdir(mode=0o700)
    place.symlink_to(ours)
    with pytest.raises(InputError, match="it is a link, or others may write there; name a directory"):
        node_cache.directory()
    assert not list(ours.iterdir())
    place.unlink()
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(InputError, match="others may write there"):
        node_cache.directory()
    place.rmdir()
    before = os.umask(0)
    try:
        assert node_cache.directory().parent == place
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o700


def test_what_is_on_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    mounts = [("/", "ext4"), (str(tmp_path), "nfs4"), (str(tmp_path / "local"), "xfs")]
    part = type("Part", (), {})
    found = []
    for mountpoint, fstype in mounts:
        each = part()
        each.mountpoint, each.fstype = mountpoint, fstype
        found.append(each)
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: found)
    (tmp_path / "local").mkdir()
    on_network = [
        node_cache.is_on_network(path) for path in (tmp_path / "not" / "there", tmp_path / "local", tmp_path.parent)
    ]
    assert on_network == [True, False, False]


def test_json_alone_is_on_stdout(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    local(source)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert json.dumps(str(source))[1:-1] in captured.err
