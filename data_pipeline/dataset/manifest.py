"""`manifest.json` of a dataset."""

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, cast

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict  # which pydantic can check before Python 3.12

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.untrusted import MB, is_plain_path, parse_json, read_regular, why
from fersweep.data_pipeline.dataset.schema import SCHEMA_VERSION
from fersweep.data_pipeline.vocabulary import UNKNOWN, Counts

if TYPE_CHECKING:
    from pydantic import TypeAdapter

UNFINISHED = "is no finished dataset: it has no manifest.json (`prepare` makes one)"

MOST_BYTES = 256 * MB
MAX_SIDE = 16384  # px
NEEDED = ("fingerprint", "name", "classes", "num_faces", "counts", "image_size", "parts")  # whatever version wrote it


def _path_within(path: str) -> str:
    if not is_plain_path(path):
        raise ValueError(f"a part outside of the dataset, {path or 'without a name'}")
    return path


def _all_differ(parts: "list[Part]") -> "list[Part]":
    if len({part["file"] for part in parts}) < len(parts):
        raise ValueError("a part comes twice")
    return parts


class Part(TypedDict):
    """A Parquet file of the dataset."""

    file: Annotated[str, AfterValidator(_path_within)]
    """Path within the dataset."""
    num_rows: Annotated[int, Field(ge=0, lt=2**31)]
    num_bytes: Annotated[int, Field(ge=0, lt=2**50)]
    sha256: NotRequired[str]


class SourceFile(TypedDict):
    """What a dataset was made of."""

    path: str
    format: str
    """One of ours, or the name of the user's own reader: `my_reader.py@3f2a9c81d0e4`."""
    sha256: str
    records: NotRequired[str]
    """sha256 of all that an own reader said of the faces."""


class LandmarkOptions(TypedDict):
    """How faces were shown to MediaPipe (see `landmarker.Landmarker`), and which MediaPipe."""

    border: float
    size: int
    views: NotRequired[int]
    bundle_sha256: str
    mediapipe: str


class Origin(TypedDict, total=False):
    """What a source was, as far as it is counted here."""

    left_out: Counts
    dropped: dict[str, int]
    other_files: dict[str, int]
    warnings: list[str]


class Manifest(TypedDict):
    """What `manifest.json` holds. Datasets made by earlier versions lack the keys that are NotRequired."""

    schema_version: int
    name: str
    fingerprint: str
    """See `seal.fingerprint`."""
    classes: list[str]
    num_faces: Annotated[int, Field(ge=0)]
    """Without augmented copies, as are all counts."""
    counts: Counts
    undetected: Counts
    twins: Counts
    near_twins: NotRequired[Counts]
    augmented: NotRequired[dict[str, int]]
    """Augmented copies per label."""
    blendshapes: NotRequired[list[str]]
    """Those that the dataset has; all where the key is missing."""
    created: str
    """UTC, ISO 8601."""
    sources: list[SourceFile]
    options: dict[str, Any]
    """Of `prepare`: see `prepare.options.Options`."""
    origins: NotRequired[dict[str, Origin]]
    """Name of a source → {"format", "num_faces", "labels", "left_out", "other_files", "warnings"}: see `survey.Survey`.
    Earlier versions wrote "dropped", reason → number, for "left_out"."""
    code: NotRequired[dict[str, dict[str, str]]]
    """Own readers that read the sources, by their names: path → sha256 of each file. A copy of each is in `code/`."""
    landmarks: LandmarkOptions | None
    """None: MediaPipe did not see the faces."""
    has: NotRequired[dict[str, bool]]
    """"pixels" and "landmarks": are these columns filled?"""
    split_by: NotRequired[str]
    folds: NotRequired[Annotated[int, Field(ge=1, le=127)] | None]
    num_subjects: NotRequired[int]
    compared: NotRequired[bool]
    """Near twins were looked for."""
    turned_twins: NotRequired[dict[str, int]]
    """Of `near_twins`, per split, those that are so only as mirror images or turned; older datasets did not look for them."""
    skipped: NotRequired[Counts]
    """Reason → label → pictures that could not be used; what the sources' names and tables leave out is in `origins`."""
    carved: NotRequired[dict[str, int]]
    """Split → its faces that no source put there: they were drawn from train."""
    carved_by: NotRequired[str]
    """"subject" or "stratified"."""
    kept_whole: NotRequired[dict[str, int]]
    """Pictures per label, of more than 128 pixels, that were taken as they are: no face was found in them, or looked for."""
    fit: NotRequired[str]
    """"pad": a picture of another shape than `image_size` is set into black. Older datasets stretched it."""
    image_size: Annotated[list[Annotated[int, Field(ge=1, le=MAX_SIDE)]], Field(min_length=2, max_length=2)] | None
    """[H, W] in pixels; None: the dataset has no pixels."""
    command: str
    fersweep: NotRequired[str]
    """Its version, with the commit where it ran from its own checkout."""
    parts: Annotated[list[Part], AfterValidator(_all_differ)]


def left_out(manifest: Manifest) -> Counts:
    """All that the sources hold and the dataset does not: reason → label, or UNKNOWN → rows and pictures."""
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for origin in manifest.get("origins", {}).values():
        for reason, number in origin.get("dropped", {}).items():
            total[reason][UNKNOWN] += number
        for reason, labels in origin.get("left_out", {}).items():
            total[reason].update(labels)
    for reason, labels in manifest.get("skipped", {}).items():
        total[reason].update(labels)
    ordered = sorted(total.items(), key=lambda item: -item[1].total())
    return {reason: dict(labels) for reason, labels in ordered}


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    write_whole(Path(directory) / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a dataset. InputError where it is missing, broken, or of another schema version."""
    path = Path(directory) / "manifest.json"
    return parse_manifest(read_content(Path(directory)), str(path))


def read_content(directory: Path) -> bytes:
    """The content of a dataset's manifest.json. InputError where there is none that can be read."""
    path = Path(directory) / "manifest.json"
    try:
        return read_regular(path, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory} {UNFINISHED}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {why(error)}") from None


def parse_manifest(content: bytes, path: str) -> Manifest:
    """A manifest that was read from `path`. InputError as in `read_manifest`."""
    try:
        manifest: Any = parse_json(content)
    except ValueError as error:
        raise InputError(f"{path} is broken ({error}): prepare the dataset anew") from None
    version: Any = cast(dict[str, Any], manifest).get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema version {version}, this program reads version {SCHEMA_VERSION}")
    from pydantic import ValidationError

    try:
        _checker().validate_python(manifest, strict=True)
    except ValidationError as error:
        for wrong in error.errors():
            if wrong["type"] != "missing" or len(wrong["loc"]) > 1:  # an older version may not have written a key
                where = ".".join(map(str, wrong["loc"]))
                raise InputError(f"{path} is broken ({where}: {wrong['msg']}): prepare the dataset anew") from None
    except UnicodeEncodeError:
        raise InputError(f"{path} is broken (a text that is none): prepare the dataset anew") from None
    if lacking := [key for key in NEEDED if key not in manifest]:
        raise InputError(f"{path} lacks {', '.join(lacking)}: prepare the dataset anew")
    return cast(Manifest, manifest)


@functools.cache
def _checker() -> "TypeAdapter[Manifest]":
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)
