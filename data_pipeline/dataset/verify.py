"""Is a dataset what its manifest says? `fersweep data verify runs/data/fer2013`.

Every part is read once, one at a time; beside it some 60 bytes a face are kept.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Group
from rich.text import Text

from fersweep.common.errors import InputError
from fersweep.common.files import sha256
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import is_own
from fersweep.data_pipeline.dataset.columns import codes, floats
from fersweep.data_pipeline.dataset.integrity import fingerprint, forget, remember, wrong_ids
from fersweep.data_pipeline.dataset.manifest import Manifest, read_manifest
from fersweep.data_pipeline.dataset.parts import part_file, read_part
from fersweep.data_pipeline.dataset.schema import ADDED_FIELDS, arrow_schema
from fersweep.data_pipeline.dataset.seal import Tally
from fersweep.data_pipeline.splits.twins import find_twins
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, SPLITS

NEEDED = ("parts", "num_faces", "counts", "fingerprint", "image_size")


@dataclass(frozen=True)
class Verification:
    """What `verify` found."""

    directory: str
    sound: bool
    findings: list[str]
    """A line for each thing that is wrong."""
    num_parts: int
    num_faces: int
    fingerprint: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(directory: Path) -> Verification:
    """Check a dataset.

    Copies of own readers, and each part: size, checksum, columns, nulls, names of splits and labels, face ids (sha256 of the pixels), scores,
    landmarks, folds. All together: what the manifest counts, its fingerprint, and that twins are marked and in one
    fold. InputError where there is no manifest that can be read.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if lacking := [key for key in NEEDED if key not in manifest]:
        raise InputError(f"{directory / 'manifest.json'} lacks {', '.join(lacking)}: prepare the dataset anew")
    dataset = _Dataset(directory, manifest)
    digest = fingerprint(dataset.parts(), manifest["image_size"])
    if not dataset.is_torn:  # else every sum would be off by what is missing
        dataset.check_totals(digest)
        dataset.check_twins()
    listed = {part["file"] for part in manifest["parts"]}
    strays = sorted({str(path.relative_to(directory)) for path in (directory / "faces").glob("*")} - listed)
    dataset.findings += [f"{name}: no part that the manifest names" for name in strays]
    dataset.findings += _code_findings(directory, manifest)
    if dataset.findings:
        forget(directory)
    else:
        remember(directory, manifest)
    return Verification(
        directory=str(directory),
        sound=not dataset.findings,
        findings=dataset.findings,
        num_parts=len(manifest["parts"]),
        num_faces=manifest["num_faces"],
        fingerprint=manifest["fingerprint"],
    )


def render(result: Verification) -> Group:
    """`verify`'s result for a terminal."""
    if result.sound:
        line = f"{result.directory} is sound: {result.num_faces:,} faces in {result.num_parts} parts, fingerprint "
        return Group(Text(line + result.fingerprint))
    number = len(result.findings)
    summary = f"{result.directory} is damaged, {number} finding{'s' * (number > 1)}; prepare it anew"
    return Group(*map(Text, result.findings), Text(summary, style="bold"))


def _code_findings(directory: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with the copies of own readers; none need be there, as nothing runs them any more."""
    for name in manifest.get("code", {}):
        copy = directory / copies.DIRECTORY / name
        if is_own(name) and copy.exists():
            try:
                copies.read(copy, "reader")
            except InputError as error:
                yield str(error)


class _Dataset:
    """The dataset under inspection: findings, and what is gathered of its parts one after the other."""

    def __init__(self, directory: Path, manifest: Manifest):
        self.directory, self.manifest = directory, manifest
        self.findings: list[str] = []
        self.is_torn = False  # a part could not be read
        self.tally = Tally()
        self._ids: list[np.ndarray] = [np.empty(0, "S32")]
        self._splits: list[np.ndarray] = [np.empty(0, np.int32)]
        self._folds: list[np.ndarray] = [np.empty(0, np.int8)]
        self._marked: list[np.ndarray] = [np.empty(0, bool)]

    def parts(self) -> Iterator[pa.Table]:
        """Parts that can be read, as `fingerprint` takes them; each is checked."""
        for part in self.manifest["parts"]:
            name = part["file"]
            try:
                path = part_file(self.directory, part)
                table = read_part(path)
                missing = self._missing(pq.read_schema(path))
            except InputError as error:
                self._torn(
                    str(error)
                    .removeprefix(f"{self.directory}/")
                    .removesuffix(": the dataset is damaged, prepare it anew")
                )
                continue
            except (pa.ArrowInvalid, OSError) as error:
                self._torn(f"{name} cannot be read: {str(error).splitlines()[0]}")
                continue
            if "sha256" in part and sha256(path) != part["sha256"]:
                self.findings.append(f"{name}: its sha256 is not the manifest's: the content was changed")
            if missing:
                self._torn(f"{name}: {missing}")
                continue
            if table.num_rows != part["num_rows"]:
                self.findings.append(f"{name} has {table.num_rows} rows, the manifest says {part['num_rows']}")
            self.findings += [f"{name}: {what}" for what in _rows_findings(table, self.manifest)]
            self._keep(table)
            self.tally.add(table)
            yield table

    def check_totals(self, digest: str) -> None:
        """Are the manifest's counts and its fingerprint those of the parts?"""
        for key, value in self.tally.counted().items():
            if key in self.manifest and self.manifest[key] != value:
                self.findings.append(f"manifest.json: {key} is {self.manifest[key]}, counted were {value}")
        if digest != self.manifest["fingerprint"]:
            self.findings.append(
                f"manifest.json: fingerprint is {self.manifest['fingerprint']}, that of the parts {digest}"
            )

    def check_twins(self) -> None:
        """Is every face with a twin in a split above marked, and do twins share a fold?"""
        ids, splits, folds = map(np.concatenate, (self._ids, self._splits, self._folds))
        wrong = np.flatnonzero((find_twins(ids, splits) >= 0) != np.concatenate(self._marked))
        if len(wrong):
            self.findings.append(
                f"duplicate_of is wrong in {len(wrong)} rows, first of face {ids[wrong[:1]].tobytes().hex()}"
            )
        dealt = folds >= 0
        pairs = np.unique(np.column_stack([np.unique(ids[dealt], return_inverse=True)[1], folds[dealt]]), axis=0)
        if torn := len(pairs) - len(np.unique(pairs[:, 0])):
            self.findings.append(f"{torn} faces have a twin in another fold")

    def _torn(self, finding: str) -> None:
        self.findings.append(finding)
        self.is_torn = True

    def _missing(self, schema: pa.Schema) -> str:
        """The first column that a part lacks or has of another type. Columns that were added later may be absent."""
        optional = {field.name for field in ADDED_FIELDS}
        for field in arrow_schema(self.manifest["image_size"]):
            if field.name not in schema.names:
                if field.name not in optional:
                    return f"column {field.name} is missing"
            elif schema.field(field.name).type != field.type:
                return f"column {field.name} is {schema.field(field.name).type}, expected {field.type}"
        return ""

    def _keep(self, table: pa.Table) -> None:
        originals = table.filter(pc.field("augmentation").is_null())
        digests = [bytes.fromhex(name) for name in originals["face_id"].to_pylist() if _is_digest(name)]
        if len(digests) == originals.num_rows:  # else it is a finding already
            self._ids.append(np.frombuffer(b"".join(digests), "S32"))
            self._splits.append(codes(originals["split"], SPLITS))
            self._folds.append(pc.fill_null(originals["fold"], -1).to_numpy())
            self._marked.append(originals["duplicate_of"].is_valid().to_numpy())


def _rows_findings(table: pa.Table, manifest: Manifest) -> Iterator[str]:
    for field in arrow_schema(manifest["image_size"]):
        if not field.nullable and table[field.name].null_count:
            yield f"{table[field.name].null_count} nulls in column {field.name}"
    for name, known in (("split", SPLITS), ("label", LABELS)):
        if unknown := set(table[name].unique().to_pylist()) - {*known, None}:
            yield f"{name} has the unknown {', '.join(sorted(unknown))}"
    if wrong := wrong_ids(table):
        what = "pixels" if manifest["image_size"] is not None else "scores"
        yield f"face_id is not the sha256 of the {what} in {len(wrong)} rows, first in row {wrong[0]}"
    detected = table["detected"].fill_null(False).to_numpy()
    scores = floats(table, BLENDSHAPES)
    with np.errstate(invalid="ignore"):
        outside = ((scores < 0) | (scores > 1)).any(axis=1)
    if outside.any():
        yield f"{outside.sum()} rows have scores outside of 0–1, first row {outside.argmax()}"
    if (odd := np.isnan(scores).all(axis=1) == detected).any():
        yield f"{odd.sum()} rows have scores though not detected, or none though detected, first row {odd.argmax()}"
    if (manifest.get("has") or {}).get("landmarks"):
        odd = table["landmarks"].is_valid().to_numpy() != detected
        if odd.any():
            yield f"{odd.sum()} rows have landmarks though not detected, or none though detected, first row {odd.argmax()}"
    yield from _folds_findings(table, manifest.get("folds"))


def _folds_findings(table: pa.Table, num_folds: int | None) -> Iterator[str]:
    folds = pc.fill_null(table["fold"], -1).to_numpy()
    split = codes(table["split"], SPLITS)
    wanted = (split != SPLITS.index("test")) & (num_folds is not None)
    if (odd := ((folds >= 0) != wanted) | (folds >= (num_folds or 1))).any():
        yield f"fold is wrong in {odd.sum()} rows, first in row {odd.argmax()}"
    copies = table["augmentation"].is_valid().to_numpy() & (split != SPLITS.index("train"))
    if copies.any():
        yield f"{copies.sum()} augmented copies are outside of train, first row {copies.argmax()}"


def _is_digest(name: str | None) -> bool:
    return name is not None and len(name) == 64 and set(name) <= set("0123456789abcdef")
