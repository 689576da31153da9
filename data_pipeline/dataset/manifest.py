"""`manifest.json` of a dataset."""

import json
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.data_pipeline.dataset.schema import SCHEMA_VERSION


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    write_whole(Path(directory) / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a dataset. InputError where it is missing, broken, or of another schema version."""
    path = Path(directory) / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory} is no finished dataset: it has no manifest.json (`prepare` makes one)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is broken ({error}): prepare the dataset anew") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema version {version}, this program reads version {SCHEMA_VERSION}")
    return manifest
