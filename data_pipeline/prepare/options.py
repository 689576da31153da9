"""What `prepare` settles before it looks at a face: options, and that what was begun is gone on with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.faces.altered_copies import MAX_COPIES
from fersweep.data_pipeline.faces.landmarker import VIEWS
from fersweep.data_pipeline.sources.source import Source
from fersweep.data_pipeline.splits.assign import MAX_FOLDS, By

STATE = "unfinished.json"
SIDES = range(8, 1024 + 1)  # of a face, in pixels
Crop = Literal["auto", "none"]
Faces = Literal["largest", "all"]


@dataclass(frozen=True)
class Options:
    """What decides the content of a dataset beside its sources. InputError where a value is out of its range."""

    image_size: tuple[int, int] | None = None
    """(H, W) of every face; None: as large as the source's faces, at most 128."""
    border: float = 0.25
    size: int = 192
    views: int = 1
    """`border` and `size` of the first view, and how many views: see `landmarks.Landmarker`."""
    landmarks: bool = False
    """Keep all 478 landmarks: 2.9 kB a face."""
    pixels_only: bool = False
    """No MediaPipe: for nets of pixels alone."""
    crop: Crop = "auto"
    faces: Faces = "largest"
    """Of pictures, see crop.py: "auto" finds the face in what is no face already."""
    split: By = "auto"
    val_share: float = 0.1
    test_share: float = 0.1
    folds: int | None = None
    """See `splits.assign`."""
    near_duplicates: bool = True
    """Look for near twins (near_duplicates.py), up to assemble.MAX_COMPARED faces."""
    augment: int = 0
    """Augmented copies of each train face."""
    seed: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    """The sources' class names → LABELS, or "drop"; beside the spellings that are known."""
    part_rows: int = 2048

    def __post_init__(self) -> None:
        if self.image_size is not None and not all(side in SIDES for side in self.image_size):
            raise InputError(f"image_size: both sides must lie in 8–1024 pixels, but got {self.image_size}")
        if not 0.0 <= self.border <= 2.0:
            raise InputError(f"border: must lie in 0–2 (a share of the side), but got {self.border}")
        if not 64 <= self.size <= 1024:
            raise InputError(f"size: must lie in 64–1024 pixels, but got {self.size}")
        for name, share in (("val_share", self.val_share), ("test_share", self.test_share)):
            if not 0.0 <= share <= 0.45:
                raise InputError(f"{name}: must lie in 0–0.45, but got {share}")
        for name, known in (("crop", Crop), ("faces", Faces), ("split", By)):
            if getattr(self, name) not in get_args(known):
                raise InputError(
                    f"{name}: there is no '{getattr(self, name)}'; {hint(getattr(self, name), get_args(known))}"
                )
        if not 1 <= self.views <= len(VIEWS):
            raise InputError(f"views: must lie in 1–{len(VIEWS)}, but got {self.views}")
        if not 0 <= self.augment <= MAX_COPIES:
            raise InputError(f"augment: must lie in 0–{MAX_COPIES}, but got {self.augment}")
        if self.folds is not None and not 2 <= self.folds <= MAX_FOLDS:
            raise InputError(f"folds: must lie in 2–{MAX_FOLDS}, but got {self.folds}")
        if self.part_rows < 1:
            raise InputError(f"part_rows: must be 1 or more, but got {self.part_rows}")
        if self.pixels_only and (self.landmarks or self.augment or self.views > 1):
            raise InputError("pixels_only: landmarks, views and augment need MediaPipe; leave them or pixels_only out")

    def as_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


def request(sources: Sequence[Source], options: Options) -> dict[str, Any]:
    """What the dataset is made of, for the manifest and to compare with what was begun."""
    described = [{"path": str(source.path), "format": source.format, "sha256": source.sha256()} for source in sources]
    return {"sources": described, "options": options.as_json()}


def begun(out: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest where `out` is finished, else None. InputError where it was begun as another dataset, or is none."""
    manifest = read_manifest(out) if (out / "manifest.json").exists() else None
    if manifest is not None:
        before = manifest
    elif (out / STATE).exists():
        before = json.loads((out / STATE).read_bytes())
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is no dataset: give a new directory")
    else:
        return None
    usual = {option.name: getattr(Options(), option.name) for option in fields(Options)}
    usual["near_duplicates"] = False  # of datasets that were made before there was this option
    for key, value in wanted["options"].items():
        if (was := before["options"].get(key, usual[key])) != value:
            raise InputError(f"{out} was begun with {key} {was}, not {value}: give a new directory")
    if [source["sha256"] for source in before["sources"]] != [source["sha256"] for source in wanted["sources"]]:
        paths = ", ".join(source["path"] for source in before["sources"])
        raise InputError(
            f"{out} was begun with other sources ({paths}, or their content changed): give a new directory"
        )
    return manifest
