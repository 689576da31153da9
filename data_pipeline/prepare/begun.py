"""What a dataset is made of, compared with what is in its directory already: a prepare that was interrupted is continued."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # which pydantic can check before Python 3.12

from fersweep.common.errors import InputError
from fersweep.common.own_code.code import is_own
from fersweep.common.untrusted import MB, parse_json, read_regular, why
from fersweep.data_pipeline.dataset.manifest import Manifest, SourceFile, read_manifest
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.sources.source import Source

LOCK = ".lock"  # of the process that prepares it
STATE = "unfinished.json"


class Request(TypedDict):
    """What a dataset is made of: the content of STATE, and a part of the manifest."""

    sources: list[SourceFile]
    options: dict[str, Any]


def request(sources: Sequence[Source], options: Options) -> Request:
    """What the dataset is to be made of."""
    files = [_file(source) for source in sources]
    return {"sources": files, "options": json.loads(json.dumps(asdict(options)))}


def _file(source: Source) -> SourceFile:
    file = SourceFile(path=str(source.path), format=source.format, sha256=source.sha256())
    if source.own is not None:
        file["records"] = source.own.digest
    return file


def begun(out: Path, wanted: Request) -> Manifest | None:
    """The manifest where `out` is finished, else None. InputError where it was begun as another dataset, or is none."""
    manifest = read_manifest(out) if (out / "manifest.json").exists() else None
    before: Manifest | Request
    if manifest is not None:
        before = manifest
    elif (out / STATE).exists():
        before = _before(out / STATE)
    elif out.exists() and (not out.is_dir() or any(file.name != LOCK for file in out.iterdir())):
        raise InputError(f"{out} exists and is no dataset: give a new directory")
    else:
        return None
    usual = {option.name: getattr(Options(), option.name) for option in fields(Options)}
    usual["near_duplicates"] = False  # datasets that are older than this option have none
    for key, value in wanted["options"].items():
        if (earlier := before["options"].get(key, usual[key])) != value:
            raise InputError(f"{out} was begun with {key} {earlier}, not {value}: give a new directory")
    if [source["sha256"] for source in before["sources"]] != [source["sha256"] for source in wanted["sources"]]:
        paths = ", ".join(source["path"] for source in before["sources"])
        raise InputError(
            f"{out} was begun with other sources ({paths}, or their content changed): give a new directory"
        )
    for earlier, source in zip(before["sources"], wanted["sources"], strict=True):
        if (is_own(earlier["format"]) or is_own(source["format"])) and earlier["format"] != source["format"]:
            raise InputError(
                f"{out} was begun with the reader {earlier['format']}, not {source['format']}: give a new directory, or that "
                "version of the reader"
            )
        if earlier.get("records") != source.get("records"):
            raise InputError(
                f"{out} was begun when {source['format']} read something else of {source['path']}: give a new directory; a "
                "reader should read nothing but the source"
            )
    return manifest


def _before(path: Path) -> Request:
    try:
        before = parse_json(read_regular(path, 256 * MB))
        return TypeAdapter(Request).validate_python(before, strict=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({why(error)}): delete its directory, and prepare anew") from None
