"""What `describe` returns: a dataset in figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fersweep.data_pipeline.vocabulary import Counts


@dataclass(frozen=True)
class Twins:
    """Faces with the same pixels."""

    groups: int
    faces: int
    """In all groups together."""
    conflicting: int
    """Groups with faces of different labels."""
    across_splits: dict[str, int]
    """Split → its faces that are also in a split above it."""


@dataclass(frozen=True)
class NearTwins:
    """Faces with nearly the same pixels as one in another split."""

    across_splits: dict[str, int]
    turned: dict[str, int]
    """Those of them that are so only as mirror images or turned by up to 15°."""


@dataclass(frozen=True)
class ScoreFigures:
    """What the blendshapes of one split say about the class."""

    split: str
    num_faces: int
    class_entropy_nats: float
    information_nats: dict[str, float]
    """Score → its mutual information with the class, the most informative score first."""
    dead: list[str]
    """Scores that stay below statistics.DEAD_BELOW or do not vary."""


@dataclass(frozen=True)
class Description:
    """A dataset in figures. Faces are the original ones, without augmented copies."""

    name: str
    directory: str
    fingerprint: str
    num_faces: int
    image_size: list[int] | None
    """[H, W] pixels; None: the dataset has no pixels."""
    num_bytes: int
    classes: list[str]
    counts: Counts
    undetected: Counts
    detected_share: float | None
    """Of all faces, those in which MediaPipe found one; None: it was not asked, and the source has no scores."""
    lost: dict[str, float]
    """Label → share of its faces in which MediaPipe found none; empty where it was not asked."""
    twins: Twins
    near_twins: NearTwins
    augmented: dict[str, int]
    """Label → augmented copies."""
    left_out: Counts
    """Reason → label, or UNKNOWN → rows and pictures of the sources that the dataset does not hold."""
    other_files: dict[str, int]
    """Suffix, or what it is → files of the sources that hold no faces."""
    carved: dict[str, int]
    """Split → its faces that no source put there."""
    carved_by: str | None
    """"subject" or "stratified"; None where nothing was carved."""
    seed: int | None
    kept_whole: dict[str, int]
    """Label → pictures of more than 128 pixels, taken as they are: no face was found in them, or looked for."""
    split_by: str | None
    folds: dict[str, int] | None
    """Fold → faces."""
    num_subjects: int | None
    has_landmarks: bool
    landmarks: Mapping[str, Any] | None
    """How MediaPipe saw the faces; None: it did not, the blendshapes came with the source."""
    origins: dict[str, Any]
    sources: list[Any]
    created: str
    scores: ScoreFigures | None
    """None: no face of the split has blendshapes."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
