"""Checks of what all nodes share: the place of checkpoints, and the dataset."""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fersweep.cluster.doctor.findings import Asked, Finding, ok, problem, reason, warning
from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.stores.buckets import Bucket, is_address
from fersweep.data_pipeline.dataset.manifest import Manifest, parse_manifest, read_manifest
from fersweep.results.record.storage import Storage

SMALL, LARGE = 4 * 2**10, 16 * 10**6  # bytes: an event, and a checkpoint
SLOW_SMALL_S = {"directory": 0.1, "bucket": 2.0}  # each event is one; a trial's report waits for it
SLOW_BYTES_S = 5e6
BUCKET_REMEDY = (
    "look at the address, and at this node's credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS, or the machine's role"
)


def check_storage(asked: Asked) -> Iterator[Finding]:
    """Write, read and delete a small file and one of 16 MB, where checkpoints go."""
    storage = Storage(asked.probe, retry_s=5)
    if storage.path is None:
        where, kind, remedy = str(asked.storage), "bucket", BUCKET_REMEDY
    else:
        where, kind = str(asked.home), "directory"
        if Path(where).exists() and not Path(where).is_dir():
            yield problem(f"{where} is a file, where a directory is needed", "want another --home")
            return
        remedy = f"look at who owns {where}, and whether its disk is full or read-only"
        if not storage.path.is_dir() and not asked.node.is_driver:
            yield problem(
                f"{where} is not the directory that it is on the driver's machine: trials could not save there",
                "want a directory that all nodes share (NFS, EFS, Lustre) at the same path, or a bucket: storage: s3://…",
            )
            return
    try:
        small_s, write_s, read_s = _measured(storage, asked.node.name)
    except (OSError, ValueError) as error:
        yield problem(f"{where}: {reason(error)}", remedy)
        return
    text = f"{where}: a small file in {small_s * 1000:.0f} ms, {LARGE / 1e6 / write_s:.0f} MB/s written, {LARGE / 1e6 / read_s:.0f} read"
    values: dict[str, Any] = {"small_s": small_s, "write_bytes_s": LARGE / write_s, "read_bytes_s": LARGE / read_s}
    if small_s > SLOW_SMALL_S[kind] or LARGE / write_s < SLOW_BYTES_S or LARGE / read_s < SLOW_BYTES_S:
        yield warning(
            f"{text}: slow", "trials wait for it: want a place nearer to the nodes, or larger stop.report_s", **values
        )
    else:
        yield ok(text, **values)


def _measured(storage: Storage, name: str) -> tuple[float, float, float]:
    """Seconds to write a small file, to write a large one, and to read that. OSError where one is not what was written."""
    name = hashlib.sha256(name.encode()).hexdigest()[:12]
    small, large = f"{name}-small", f"{name}-large"
    content = os.urandom(LARGE)  # no storage makes it smaller
    began = time.perf_counter()
    for _ in range(3):
        _write(storage, small, content[:SMALL])
    small_s = (time.perf_counter() - began) / 3
    began = time.perf_counter()
    _write(storage, large, content)
    write_s = time.perf_counter() - began
    if storage.path is not None:  # read from the disk, not from memory
        with (storage.path / large).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    back = storage.read(large)
    read_s = time.perf_counter() - began
    if back != content:
        raise OSError("what was read is not what was written")
    if storage.path is not None:
        for file in (small, large):
            (storage.path / file).unlink()
    return small_s, write_s, read_s


def _write(storage: Storage, name: str, content: bytes) -> None:
    """As the journal does: on disk before anybody goes on."""
    if storage.path is not None:
        write_whole(storage.path / name, content, sync=True)
    else:
        storage.write(name, content)


def check_dataset(asked: Asked) -> Iterator[Finding]:
    if asked.data is None:
        return
    try:
        fingerprint = manifest_of(asked.data)["fingerprint"]
    except (OSError, ValueError) as error:
        said = str(error) if isinstance(error, InputError) else f"{asked.data}: {reason(error)}"
        if asked.node.is_driver:
            yield problem(said, "want a dataset that `fersweep prepare` made: --data DIRECTORY, or s3://…")
        elif asked.is_sent:
            yield warning(f"cannot be read: {said}", "it is small: trials get their faces from the driver")
        else:
            yield problem(f"cannot be read: {said}", "want it in a bucket, or at a path that all nodes share")
        return
    if asked.fingerprint is not None and fingerprint != asked.fingerprint:
        yield problem(
            f"{asked.data} is another dataset here: {fingerprint[:19]}, not {asked.fingerprint[:19]}",
            "copy the driver's there, or share one directory",
        )
    else:
        yield ok(f"{asked.data}: {fingerprint[:19]}", fingerprint=fingerprint)


def manifest_of(data: str) -> Manifest:
    """The manifest of a dataset, of whose first part the beginning is read, too. Raises InputError or OSError."""
    if not is_address(data):
        manifest = read_manifest(Path(data))
        with (Path(data) / manifest["parts"][0]["file"]).open("rb") as part:
            part.read(SMALL)
        return manifest
    bucket = Bucket(data, retry_s=5)
    manifest = parse_manifest(bucket.read("manifest.json"), f"{data}: manifest.json")
    with bucket.stream(manifest["parts"][0]["file"]) as part:
        part.read(SMALL)
    return manifest
