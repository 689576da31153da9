"""Are a dataset's parts those that its manifest names? Asked where a dataset is opened, before anything is learned from it.

    check_parts(directory, manifest)                  # stats alone, where nothing has changed since they were last read
    check_parts(directory, manifest, whole=True)      # every byte: before test is judged

What was read and found right is remembered in MEMORY beside the parts, or in the user's cache directory where the dataset's
cannot be written: size, times and inode of each part, and the manifest's sha256.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fersweep.common.errors import InputError
from fersweep.common.files import cache_directory, sha256, write_whole
from fersweep.common.stores import node_cache
from fersweep.data_pipeline.dataset.columns import floats
from fersweep.data_pipeline.dataset.manifest import Manifest
from fersweep.data_pipeline.dataset.parts import open_part, part_file, unreadable
from fersweep.data_pipeline.dataset.schema import SCHEMA_VERSION
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

MEMORY = ".verified.json"
MEMORY_BYTES = 2**26  # a longer one is none of ours
AT_ONCE = 8  # parts that are read at a time
TOLD_BYTES = 10**9  # to read more takes seconds, which is said


def check_parts(directory: Path, manifest: Manifest, whole: bool = False) -> None:
    """Raise InputError, in a line with the file, where a part is missing or is not the one that the manifest names.

    Args:
        directory: of a dataset on this machine, which has the manifest `manifest`.
        whole: read every part, whatever is remembered.

    Older manifests have no checksums: of them the fingerprint is made anew, and the faces' ids are compared with the faces.
    """
    directory = Path(directory)
    looks, unknown = _looks(directory, manifest), list(manifest["parts"])
    for path in () if whole else _memories(directory):
        remembered = _remembered(path, directory)
        unknown = [part for part in unknown if remembered.get(part["file"]) != looks[part["file"]]]
        if not unknown:
            return
    if (num_bytes := sum(part["num_bytes"] for part in unknown)) > TOLD_BYTES:
        print(f"reading {num_bytes / 1e9:,.1f} GB of {directory} to compare it with its manifest", file=sys.stderr)
    with_checksum = [part for part in unknown if "sha256" in part]
    paths = [directory / part["file"] for part in with_checksum]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for part, digest in zip(with_checksum, pool.map(_digest, paths), strict=True):
            if digest != part.get("sha256"):
                _refuse(directory, part["file"], f"its sha256 is {digest[:12]}…, not {part.get('sha256', '')[:12]}…")
    if len(with_checksum) < len(unknown):
        digest = fingerprint(_without_checksums(directory, manifest), manifest["image_size"])
        if digest != manifest["fingerprint"]:
            _refuse(directory, "faces", f"their fingerprint is {digest[:12]}…, not {manifest['fingerprint'][:12]}…")
    _write_memory(directory, looks)  # as they were before they were read: a change meanwhile is seen the next time


def remember(directory: Path, manifest: Manifest) -> None:
    """The parts are right: they were just read, or written. Never fails: what is not remembered is read again."""
    with contextlib.suppress(InputError):
        _write_memory(Path(directory), _looks(Path(directory), manifest))


def forget(directory: Path) -> None:
    """The parts are read again by the next `check_parts`."""
    for path in _memories(Path(directory)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _looks(directory: Path, manifest: Manifest) -> dict[str, list[int]]:
    """Of each part: size, times of change (ns) and inode. InputError where one is missing or of another size."""
    looks: dict[str, list[int]] = {}
    for part in manifest["parts"]:
        state = part_file(directory, part).stat()
        looks[part["file"]] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    return looks


def _memories(directory: Path) -> Iterator[Path]:
    """Files that may hold what is remembered of a dataset."""
    yield directory / MEMORY
    with contextlib.suppress(OSError, RuntimeError):  # nobody's home
        name = hashlib.sha256(str(directory.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
        yield cache_directory() / "verified" / f"{name}.json"


def _remembered(path: Path, directory: Path) -> dict[str, Any]:
    """Part → how it looked when it was right. Empty for another manifest; a file that is damaged is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        if path.is_file() and path.stat().st_size <= MEMORY_BYTES:
            memory = json.loads(path.read_bytes())
            if memory["manifest"] == sha256(directory / "manifest.json"):
                return dict(memory["parts"])
    return {}


def _write_memory(directory: Path, looks: dict[str, list[int]]) -> None:
    with contextlib.suppress(OSError):
        content = json.dumps({"manifest": sha256(directory / "manifest.json"), "parts": looks}).encode()
        for path in _memories(directory):
            with contextlib.suppress(OSError):
                write_whole(path, content, sync=False)
                return


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise unreadable(path, error) from None


def _without_checksums(directory: Path, manifest: Manifest) -> Iterator[pa.Table]:
    """The parts, for `fingerprint`, which goes by the faces' ids: here they are compared with the faces."""
    for part in manifest["parts"]:
        table = open_part(directory, part)
        if wrong := wrong_ids(table):
            _refuse(directory, part["file"], f"{len(wrong)} faces are not those that their ids name")
        yield table


def _refuse(directory: Path, file: str, what: str) -> NoReturn:
    staged = (directory / node_cache.SIZES).is_file()
    mend = f"remove {directory}: it is staged anew" if staged else "prepare the dataset anew, or copy it anew"
    raise InputError(
        f"{directory / file} is not what the manifest names, it was changed: {what}; `fersweep data verify {directory}` looks "
        f"at all parts; {mend}"
    )


def wrong_ids(table: pa.Table) -> list[int]:
    """Rows whose face_id is not the sha256 of the pixels, or of the scores of a dataset without pixels. A copy's also
    covers what was done to the face.
    """
    contents = (
        table["pixels"].to_pylist()
        if "pixels" in table.column_names
        else map(np.ndarray.tobytes, floats(table, BLENDSHAPES))
    )
    wrong: list[int] = []
    columns = (table["face_id"].to_pylist(), contents, table["augmentation"].to_pylist())
    for row, (name, content, augmentation) in enumerate(zip(*columns, strict=True)):
        digest = hashlib.sha256(content or b"")
        if name != digest.hexdigest() and (
            augmentation is None or name != hashlib.sha256(digest.digest() + augmentation.encode()).hexdigest()
        ):
            wrong.append(row)
    return wrong


def fingerprint(tables: Iterable[pa.Table], image_size: Sequence[int] | None) -> str:
    """sha256 (hex) of what a model can see, in row order: pixels (by face_id), labels, splits, twins, blendshapes, and
    folds, near twins, landmarks and origins where the dataset has them.

    Independent of how rows are cut into parts, of the names of sources and of time.
    """
    texts = ("face_id", "split", "label", "duplicate_of", "augmentation")
    later: dict[str, bool] = dict.fromkeys(("fold", "near_duplicate_of", "landmarks", "origin"), False)
    digests = {name: hashlib.sha256() for name in (*texts, "votes", *BLENDSHAPES, *later)}
    origins: dict[str | None, int] = {}
    for table in tables:
        for name in texts:
            _digest_texts(digests[name], table[name].to_pylist(), is_twin=name == "duplicate_of")
        for value in table["votes"].to_pylist():
            digests["votes"].update(b"-" if value is None else np.asarray(value, "<f4").tobytes())
        for name in BLENDSHAPES:
            scores = pc.fill_null(table[name], -1.0).to_numpy()
            digests[name].update(np.ascontiguousarray(scores, "<f4").tobytes())
        for name in later:
            values = table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
            later[name] = later[name] or any(value is not None for value in values)
            if name == "landmarks":
                for value in values:
                    digests[name].update(value or b"-")
            elif name == "origin":
                codes = [origins.setdefault(value, len(origins)) for value in values]
                _digest_texts(digests[name], codes, is_twin=False)
            else:
                _digest_texts(digests[name], values, is_twin=name == "near_duplicate_of")
    later["origin"] = len(origins) > 1
    size = "no pixels" if image_size is None else f"{image_size[0]}x{image_size[1]}"
    whole = hashlib.sha256(f"{SCHEMA_VERSION} {size}".encode())
    for name, digest in digests.items():
        if later.get(name, True):  # a dataset without them is the one that it was before there were any
            whole.update(name.encode() + digest.digest())
    return whole.hexdigest()


def _digest_texts(digest: Any, values: Sequence[Any], is_twin: bool) -> None:
    """Values as lines. A twin's name is a source: only whether there is one counts."""
    for value in values:
        digest.update((("twin" if is_twin else str(value)) if value is not None else "-").encode() + b"\n")
