"""A dataset on this machine's own disk, wherever it is: `local("s3://faces/fer2013")`, `local("runs/data/fer2013")`.

One in a bucket, or on a file system of other machines, is staged: copied once a machine, each part checked against the
manifest, into the directory that common/stores/node_cache.py keeps. A path on this machine's disk is taken as it is. FERSWEEP_STAGE
is `always` to stage every path, or `never` to stage none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.stores import node_cache
from fersweep.common.stores.buckets import OF_THE_DISK, Bucket, is_address, name_of, retried
from fersweep.common.untrusted import open_regular
from fersweep.data_pipeline.dataset.integrity import fingerprint, remember
from fersweep.data_pipeline.dataset.manifest import MOST_BYTES, UNFINISHED, Manifest, Part, parse_manifest, read_content
from fersweep.data_pipeline.dataset.parts import open_part

AT_ONCE = 8  # parts that are read at a time
PIECE_BYTES = 8 * 2**20
MANIFEST_S = 10.0  # for which a bucket that does not answer is asked for the manifest
MODES = ("always", "never")


def local(place: str | Path) -> Path:
    """The directory of the dataset at `place`, a path or a bucket's address, on this machine.

    A bucket is asked for the manifest each time, so that a dataset that was changed is staged anew. InputError where there
    is no dataset, where it is not whole, and where there is no room for it.
    """
    if not is_address(place) and not _is_to_be_staged(Path(place)):
        return Path(place)
    source, content = _Source(place), manifest_of(place)
    manifest = parse_manifest(content, f"{place}: manifest.json")
    if lacking := [key for key in ("fingerprint", "image_size", "parts") if key not in manifest]:
        raise InputError(f"{place}: manifest.json lacks {', '.join(lacking)}: prepare the dataset anew")
    if not manifest["parts"]:
        raise InputError(f"{place}: manifest.json names no part: prepare the dataset anew")
    num_bytes = sum(part["num_bytes"] for part in manifest["parts"])

    def make(directory: Path) -> None:
        print(f"staging {place} ({num_bytes / 1e9:,.1f} GB) on this machine: {directory.parent}", file=sys.stderr)
        _copy(source, manifest, directory)
        (directory / "manifest.json").write_bytes(content)
        if all("sha256" in part for part in manifest["parts"]):  # they were compared while they were copied
            remember(directory, manifest)

    name = f"dataset-{identity(content)[:32]}"
    return node_cache.entry(name, num_bytes + len(content), make, f"the dataset {name_of(place)}")


def damaged(address: str) -> list[str]:
    """What is wrong with the parts of a dataset in a bucket, each read once: one line each. InputError where it has no
    manifest, or does not answer.
    """
    source, findings = _Source(address), list[str]()
    for part in parse_manifest(manifest_of(address), f"{address}: manifest.json")["parts"]:
        try:
            num_bytes, digest = _read(source, part["file"])
        except OSError as error:
            findings.append(f"{part['file']}: {_line(error)}")
            continue
        if num_bytes != part["num_bytes"]:
            findings.append(f"{part['file']}: {num_bytes} bytes, not {part['num_bytes']}")
        elif digest != part.get("sha256", digest):
            findings.append(f"{part['file']}: its sha256 is not the manifest's")
    return findings


def manifest_of(place: str | Path) -> bytes:
    """The manifest.json of the dataset at `place`, where it is stored. InputError where there is none, or no answer."""
    try:
        if is_address(place):
            return Bucket(str(place), MANIFEST_S).read("manifest.json", MOST_BYTES)
        return read_content(Path(place))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{place} {UNFINISHED}") from None
    except (OSError, ValueError) as error:  # of an address that is none, pyarrow raises a ValueError
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place} cannot be read: {_line(error)}") from None


def identity(manifest: bytes) -> str:
    """What tells a dataset from every other, its preprocessing included: sha256 (hex) of its manifest.json."""
    return hashlib.sha256(manifest).hexdigest()


def _is_to_be_staged(path: Path) -> bool:
    mode = os.environ.get("FERSWEEP_STAGE")
    if mode and mode not in MODES:
        raise InputError(f"FERSWEEP_STAGE={mode}: want {' or '.join(MODES)}, or nothing: paths of other machines alone")
    return mode == "always" or (mode != "never" and _is_remote(path.absolute()))


_is_remote = functools.cache(node_cache.is_on_network)


class _Source:
    """Files of a dataset where it is stored."""

    def __init__(self, place: str | Path):
        self.place = place
        self._bucket = Bucket(str(place)) if is_address(place) else None

    def open(self, name: str) -> Any:
        return open_regular(Path(self.place) / name) if self._bucket is None else self._bucket.stream(name)


def _copy(source: _Source, manifest: Manifest, directory: Path) -> None:
    """Copy the parts that the directory lacks. Raises InputError for one that is not as the manifest has it."""
    stopped = threading.Event()

    def copy(part: Part) -> None:
        _copy_part(source, part, directory, stopped)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for _ in pool.map(copy, manifest["parts"]):
            pass
    finally:  # also of Ctrl-C: none of the other parts is waited for
        stopped.set()
        pool.shutdown(cancel_futures=True)
    if all("sha256" in part for part in manifest["parts"]):
        return
    tables = (open_part(directory, part) for part in manifest["parts"])
    if fingerprint(tables, manifest["image_size"]) != manifest["fingerprint"]:
        raise InputError(f"{source.place} is damaged: its parts have another fingerprint than its manifest says")


def _copy_part(source: _Source, part: Part, directory: Path, stopped: threading.Event) -> None:
    name = part["file"]  # which the manifest's reader has checked
    target = directory / name
    if target.exists():  # of a call that broke off: it has its name because it is whole
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.tmp")

    def copy() -> tuple[int, str]:
        with unfinished.open("wb") as file:
            return _read(source, str(name), file.write, stopped)

    try:
        num_bytes, digest = retried(copy)
    except FileNotFoundError:
        raise InputError(f"{source.place}: {name} is missing: copy the dataset anew") from None
    except OSError as error:
        if error.errno in OF_THE_DISK:  # of this machine's
            raise
        raise InputError(f"{source.place}: {name} cannot be read: {_line(error)}") from None
    if stopped.is_set():
        return
    if num_bytes != part["num_bytes"]:
        raise InputError(
            f"{source.place}: {name} has {num_bytes} bytes, not {part['num_bytes']}: it is not the manifest's; copy the dataset anew"
        )
    if digest != part.get("sha256", digest):
        raise InputError(f"{source.place}: the sha256 of {name} is not the manifest's; copy the dataset anew")
    unfinished.rename(target)


def _read(
    source: _Source,
    name: str,
    keep: Callable[[bytes], object] = lambda piece: None,
    stopped: threading.Event | None = None,
) -> tuple[int, str]:
    """Number of bytes and sha256 of a file, each piece of which is given to `keep`, until `stopped`. Raises OSError."""
    digest, num_bytes = hashlib.sha256(), 0
    with source.open(name) as stream:
        while (piece := stream.read(PIECE_BYTES)) and not (stopped is not None and stopped.is_set()):
            keep(piece)
            digest.update(piece)
            num_bytes += len(piece)
    return num_bytes, digest.hexdigest()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
