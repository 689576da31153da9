"""What `prepare` settles before it looks for landmarks: options, splits, twins, and that the sources are sound."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_pipeline.errors import InputError
from data_pipeline.schema import face_id, read_manifest
from data_pipeline.sources import Face, Source, decode, fit
from data_pipeline.splits import assign_splits, find_twins

STATE = "unfinished.json"

SIDES = range(8, 1024 + 1)  # of a face, in pixels


@dataclass(frozen=True)
class Progress:
    """What `prepare` tells its caller now and then."""

    phase: str  # "read" (check the sources), "extract" (landmarks) or "finished" (was already: nothing to do)
    done: int  # faces
    total: int | None  # None while reading: not known yet
    rate: float  # faces a second in this phase and session
    eta_s: float | None


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Options:
    """What decides the content of a dataset beside its sources; see `prepare`."""

    image_size: tuple[int, int]
    border: float
    size: int
    val_share: float
    test_share: float
    seed: int
    part_rows: int

    def __post_init__(self) -> None:
        if not all(side in SIDES for side in self.image_size):
            raise InputError(f"image_size: both sides must lie in 8–1024 pixels, but got {self.image_size}")
        if not 0.0 <= self.border <= 2.0:
            raise InputError(f"border: must lie in 0–2 (a share of the side), but got {self.border}")
        if not 64 <= self.size <= 1024:
            raise InputError(f"size: must lie in 64–1024 pixels, but got {self.size}")
        for name, share in (("val_share", self.val_share), ("test_share", self.test_share)):
            if not 0.0 <= share <= 0.45:
                raise InputError(f"{name}: must lie in 0–0.45, but got {share}")
        if self.part_rows < 1:
            raise InputError(f"part_rows: must be 1 or more, but got {self.part_rows}")


@dataclass(frozen=True)
class Plan:
    """What is known of each face before landmarks are looked for. Lists of N."""

    sources: list[str]
    labels: list[str]
    splits: list[str]
    duplicate_of: list[str | None]
    mean_bytes: float  # of an encoded face


def all_faces(sources: Sequence[Source]) -> Iterator[Face]:
    for source in sources:
        yield from source.faces()


def read_through(sources: Sequence[Source], options: Options, tell: Tell) -> Plan:
    """Decode every face once: all errors of the input show here."""
    ids, labels, splits, names, num_bytes = [], [], [], [], 0
    started = time.monotonic()
    for face in all_faces(sources):
        ids.append(face_id(fit(decode(face), options.image_size)))
        labels.append(face.label)
        splits.append(face.split)
        names.append(face.source)
        num_bytes += len(face.data)
        if len(ids) % 500 == 0:
            tell(Progress("read", len(ids), None, len(ids) / (time.monotonic() - started), None))
    tell(Progress("read", len(ids), len(ids), len(ids) / (time.monotonic() - started), None))
    assigned = assign_splits(
        ids, labels, splits, val_share=options.val_share, test_share=options.test_share, seed=options.seed
    )
    return Plan(names, labels, assigned, find_twins(ids, assigned, names), num_bytes / len(ids))


def request(sources: Sequence[Source], options: Options) -> dict[str, Any]:
    """What the dataset is made of, for the manifest and to compare with what was begun."""
    described = [{"path": str(source.path), "format": source.format, "sha256": source.sha256()} for source in sources]
    return {"sources": described, "options": json.loads(json.dumps(asdict(options)))}


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
    for key, value in wanted["options"].items():
        if (was := before["options"].get(key)) != value:
            raise InputError(f"{out} was begun with {key} {was}, not {value}: give a new directory")
    if [source["sha256"] for source in before["sources"]] != [source["sha256"] for source in wanted["sources"]]:
        paths = ", ".join(source["path"] for source in before["sources"])
        raise InputError(
            f"{out} was begun with other sources ({paths}, or their content changed): give a new directory"
        )
    return manifest
