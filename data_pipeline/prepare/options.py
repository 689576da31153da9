"""What decides the content of a dataset beside its sources: the options of `fersweep prepare`.

The command line reads them when it starts: nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from fersweep.common.errors import InputError, hint
from fersweep.common.options import Option
from fersweep.data_pipeline.sources.labels import read_map
from fersweep.data_pipeline.sources.split_names import read_split_folders
from fersweep.data_pipeline.vocabulary import By

SIDES = range(8, 1024 + 1)  # of a face, in pixels
Crop = Literal["auto", "none"]
Faces = Literal["largest", "all"]
READ, SEE, SPLIT = "What is read", "What is seen in a face", "Who learns and who tests"


def _square(side: int) -> tuple[int, int] | None:
    return (side, side) if side else None


@dataclass(frozen=True)
class Options:
    """What decides the content of a dataset beside its sources. InputError where a value is out of its range."""

    labels: Annotated[
        Mapping[str, str],
        Option(
            "What a class of the sources is called here, or drop.",
            READ,
            flag="--map",
            metavar="NAME=LABEL",
            given=list[str],
            read=read_map,
        ),
    ] = field(default_factory=dict[str, str])
    """The sources' class names → LABELS, or "drop"; beside the spellings that are known."""
    split_folders: Annotated[
        Mapping[str, str],
        Option(
            "Which split a folder is, where its name does not say: train, val, test, or none.",
            SPLIT,
            flag="--split-folder",
            metavar="FOLDER=SPLIT",
            given=list[str],
            read=read_split_folders,
        ),
    ] = field(default_factory=dict[str, str])
    crop: Annotated[
        Crop | None,
        Option(
            "auto: find the face in pictures that are no face already; or none. Default: auto, with --pixels-only none.",
            READ,
        ),
    ] = None
    """None: "none" with `pixels_only`, since only MediaPipe finds faces, else "auto"."""
    faces: Annotated[Faces, Option("Of a picture with several: the largest, or all.", READ)] = "largest"
    image_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Side of the stored faces in pixels; default: the sources', at most 128.",
            READ,
            given=int | None,
            read=_square,
        ),
    ] = None
    """(H, W) of every face; None: as large as the source's faces, at most 128."""
    views: Annotated[int, Option("Look at each face so many ways, 1 to 4, and take the mean.", SEE)] = 1
    landmarks: Annotated[bool, Option("Keep the 478 landmarks, too (2.9 kB a face).", SEE)] = False
    augment: Annotated[int, Option("Altered copies of each train face, for blendshape models.", SEE)] = 0
    pixels_only: Annotated[
        bool, Option("No MediaPipe: for nets of pixels alone. Pictures are kept whole, unless --crop auto.", SEE)
    ] = False
    border: Annotated[float, Option("Black border on each side, as a share of the side.", SEE)] = 0.25
    size: Annotated[int, Option("Side in pixels at which MediaPipe sees a face.", SEE)] = 192
    """`border` and `size` of the first view: see `landmarker.Landmarker`."""
    split: Annotated[
        By,
        Option("auto: the sources' splits, else by subject, else stratified; or official, subject, stratified.", SPLIT),
    ] = "auto"
    """This and the next three: see `splits.assign`."""
    val_share: Annotated[float, Option("Share of train that becomes val where there is none.", SPLIT)] = 0.1
    test_share: Annotated[float, Option("Share of train that becomes test where there is none.", SPLIT)] = 0.1
    folds: Annotated[int | None, Option("Deal train and val into so many folds (task.fold).", SPLIT)] = None
    near_duplicates: Annotated[bool, Option("Look for near-duplicates and keep them together.", SPLIT)] = True
    """Up to assemble.MAX_COMPARED faces."""
    seed: Annotated[int, Option("Of splits, folds and altered copies.", SPLIT)] = 0
    part_rows: int = 2048

    def __post_init__(self) -> None:
        from fersweep.data_pipeline.faces.altered_copies import MAX_COPIES
        from fersweep.data_pipeline.faces.landmarker import VIEWS
        from fersweep.data_pipeline.splits.assign import MAX_FOLDS

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
            if getattr(self, name) not in (*get_args(known), *[None] * (name == "crop")):
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
