"""`fersweep cluster render`: writes the files of a target, and leaves alone those that a person has changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fersweep.cluster import launchers
from fersweep.cluster.launchers.cluster_file import read_cluster_file
from fersweep.cluster.launchers.templates import FILES, fill_line
from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError
from fersweep.common.files import cannot_write, sha256, write_whole

RECORD = ".rendered.json"  # file name → sha256 of what was written: a file that differs was changed by a person
EXAMPLE = FILES / "cluster.yaml"


@dataclass
class Rendered(AsJson):
    """written, unchanged: files. next: the command to type."""

    written: list[Path]
    unchanged: list[Path]
    next: str


def example(path: Path, force: bool = False) -> Rendered:
    """Write a commented cluster file. Raises InputError where there is one, unless `force`."""
    if path.exists() and not force:
        raise InputError(f"{path} is there already; --force overwrites it, --file names another")
    _write(path, EXAMPLE.read_text())
    return Rendered([path], [], f"fersweep cluster render TARGET  ({', '.join(launchers.TARGETS)})")


def render(target: str, cluster_file: Path, out: Path | None = None, force: bool = False) -> Rendered:
    """Write the files of `target` into `out` (None: NAME-TARGET). Raises InputError before anything is written."""
    module = launchers.load(target)
    cluster = read_cluster_file(cluster_file)
    out = out or Path(f"{cluster.name}-{target}")
    try:
        files: dict[str, str] = module.render(cluster)
    except InputError as error:
        raise InputError(f"{cluster_file}: {error}") from None
    record = _record(out)
    changed = [name for name, text in files.items() if _is_changed(out / name, text, record.get(name))]
    if changed and not force:
        raise InputError(
            f"{out}: {', '.join(changed)} was changed since it was rendered; --force overwrites it, --out names another place"
        )
    same = [out / name for name, text in files.items() if _digest(out / name) == _sha256(text)]
    for name, text in files.items():
        if out / name not in same:
            _write(out / name, text)
    _write(out / RECORD, json.dumps(record | {name: _sha256(text) for name, text in files.items()}, indent=1))
    line = fill_line(module.NEXT, cluster=cluster, out=str(out))
    return Rendered([out / name for name in files if out / name not in same], same, line)


def _is_changed(path: Path, text: str, recorded: Any) -> bool:
    """Would a person's work be lost if `text` were written?"""
    return (digest := _digest(path)) is not None and digest not in (recorded, _sha256(text))


def _record(out: Path) -> dict[str, Any]:
    try:
        record = json.loads((out / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}  # then every file counts as changed
    return cast(dict[str, Any], record) if isinstance(record, dict) else {}


def _digest(path: Path) -> str | None:
    """Of a file; None where there is none."""
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return sha256(path)
    except OSError:
        return ""  # a directory, or one that cannot be read: not ours


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
        if path.suffix == ".sh":
            path.chmod(0o755)
    except OSError as error:
        raise cannot_write(path, error) from None
