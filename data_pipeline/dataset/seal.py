"""Parts become a dataset: counted, fingerprinted, and named in a manifest, which is written last."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import pyarrow as pa
import pyarrow.compute as pc

from fersweep.common.files import sha256
from fersweep.data_pipeline.dataset.integrity import fingerprint, remember
from fersweep.data_pipeline.dataset.manifest import Manifest, write_manifest
from fersweep.data_pipeline.dataset.parts import read_part, write_part
from fersweep.data_pipeline.dataset.schema import SCHEMA_VERSION, arrow_schema
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, SPLITS, Counts


def _pairs(table: pa.Table) -> Counter[tuple[str, str]]:
    return Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))


def _nested(pairs: Counter[tuple[str, str]]) -> Counts:
    """Rows per split and label, in canonical order."""
    return {
        split: {label: pairs[split, label] for label in LABELS if (split, label) in pairs}
        for split in SPLITS
        if any(key[0] == split for key in pairs)
    }


def seal(directory: Path, manifest_fields: Mapping[str, Any]) -> Manifest:
    """Turn the parts under `directory` into a dataset: count, fingerprint and write the manifest, which is returned.

    `manifest_fields` holds at least "image_size"; its other keys are kept as they are. One part is in memory at
    a time.
    """
    image_size = manifest_fields["image_size"]
    paths = sorted((directory / "faces").glob("part-*.parquet"))
    tally = Tally()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": directory.resolve().name,
        "fingerprint": fingerprint(tally.through(paths, image_size), image_size),
        **tally.counted(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **manifest_fields,
        "image_size": None if image_size is None else list(image_size),
        "parts": [
            {"file": f"faces/{path.name}", "num_rows": num, "num_bytes": path.stat().st_size, "sha256": sha256(path)}
            for path, num in zip(paths, tally.num_rows, strict=True)
        ],
    }
    write_manifest(directory, manifest)
    remember(directory, cast(Manifest, manifest))  # their checksums were made just now
    return cast(Manifest, manifest)


class Counted(TypedDict):
    """What the manifest counts: see `Manifest`."""

    classes: list[str]
    num_faces: int
    counts: Counts
    undetected: Counts
    twins: Counts
    near_twins: Counts
    augmented: dict[str, int]
    blendshapes: list[str]


class Tally:
    """Counts of the parts that were added."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []
        self.faces, self.undetected, self.twins, self.near_twins = Counter(), Counter(), Counter(), Counter()
        self.augmented: Counter[str] = Counter()
        self.present: set[str] = set()

    def through(self, paths: Iterable[Path], image_size: Sequence[int] | None) -> Iterator[pa.Table]:
        columns = [name for name in arrow_schema(image_size).names if name != "pixels"]
        for path in paths:
            table = read_part(path, columns)
            self.add(table)
            yield table

    def add(self, table: pa.Table) -> None:
        self.num_rows.append(table.num_rows)
        originals = table.filter(pc.field("augmentation").is_null())
        self.augmented.update(table.filter(pc.field("augmentation").is_valid())["label"].to_pylist())
        self.faces += _pairs(originals)
        self.undetected += _pairs(originals.filter(~pc.field("detected")))
        self.twins += _pairs(originals.filter(pc.field("duplicate_of").is_valid()))
        if "near_duplicate_of" in table.column_names:
            self.near_twins += _pairs(originals.filter(pc.field("near_duplicate_of").is_valid()))
        self.present |= {name for name in table.column_names if table[name].null_count < table.num_rows}

    def counted(self) -> Counted:
        labels = {label for _, label in self.faces}
        return {
            "classes": [label for label in LABELS if label in labels],
            "num_faces": self.faces.total(),
            "counts": _nested(self.faces),
            "undetected": _nested(self.undetected),
            "twins": _nested(self.twins),
            "near_twins": _nested(self.near_twins),
            "augmented": {label: self.augmented[label] for label in LABELS if label in self.augmented},
            "blendshapes": [name for name in BLENDSHAPES if name in self.present],
        }


def write_dataset(directory: Path, rows: pa.Table | Sequence[pa.Table], manifest_fields: Mapping[str, Any]) -> Manifest:
    """Write a whole dataset, a part a table. Returns the manifest. `manifest_fields`: see `seal`."""
    for number, table in enumerate([rows] if isinstance(rows, pa.Table) else rows):
        write_part(Path(directory), number, table)
    return seal(Path(directory), manifest_fields)
