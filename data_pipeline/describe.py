"""What a dataset holds: `fersweep describe runs/data/fer2013`."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from data_pipeline.schema import open_table, read_manifest


def describe(directory: Path) -> dict[str, Any]:
    """Counts, losses, twins and identity of a dataset, ready for JSON. InputError where it is damaged.

    "counts" and "undetected": {split: {label: faces}}; "lost": {label: share of its faces without blendshapes};
    "twins": "groups" of faces with the same pixels, the "faces" in them, "across_splits" {split: faces that also stand
    in a split above}, and "conflicting": groups of twins whose labels differ.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    table = open_table(directory, ["face_id", "label"])
    labels_of = defaultdict(list)
    for name, label in zip(table["face_id"].to_pylist(), table["label"].to_pylist(), strict=True):
        labels_of[name].append(label)
    twins = [labels for labels in labels_of.values() if len(labels) > 1]
    lost = {}
    for label in manifest["classes"]:
        faces, undetected = (
            sum(labels.get(label, 0) for labels in manifest[key].values()) for key in ("counts", "undetected")
        )
        lost[label] = undetected / faces
    num_undetected = sum(sum(labels.values()) for labels in manifest["undetected"].values())
    return {
        "name": manifest["name"],
        "directory": str(directory),
        "fingerprint": manifest["fingerprint"],
        "num_faces": manifest["num_faces"],
        "image_size": manifest["image_size"],
        "num_bytes": sum(part["num_bytes"] for part in manifest["parts"]),
        "classes": manifest["classes"],
        "counts": manifest["counts"],
        "undetected": manifest["undetected"],
        "detected_share": 1.0 - num_undetected / manifest["num_faces"],
        "lost": lost,
        "twins": {
            "groups": len(twins),
            "faces": sum(map(len, twins)),
            "across_splits": {split: sum(labels.values()) for split, labels in manifest["twins"].items()},
            "conflicting": sum(len(set(labels)) > 1 for labels in twins),
        },
        "landmarks": manifest["landmarks"],
        "sources": manifest["sources"],
        "created": manifest["created"],
    }


def render(description: dict[str, Any]) -> Group:
    """`describe`'s answer for a terminal."""
    counts = description["counts"]
    table = Table("label", *counts, "no face found", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for label in description["classes"]:
        numbers = (f"{counts[split].get(label, 0):,}" for split in counts)
        table.add_row(label, *numbers, f"{description['lost'][label]:.1%}")
    totals = (f"{sum(counts[split].values()):,}" for split in counts)
    table.add_row("all", *totals, f"{1 - description['detected_share']:.1%}", style="bold")
    height, width = description["image_size"]
    twins = description["twins"]
    across = ", ".join(f"{number:,} of {split}" for split, number in twins["across_splits"].items() if number) or "none"
    return Group(
        Text(f"{description['name']}  {description['num_faces']:,} faces of {height}×{width} pixels", style="bold"),
        Text(f"{description['directory']}  {description['num_bytes'] / 1e6:.0f} MB  {description['created']}"),
        Text(f"fingerprint {description['fingerprint']}"),
        table,
        Text(
            f"twins: {twins['faces']:,} faces in {twins['groups']:,} groups, {twins['conflicting']:,} of them with "
            f"contradicting labels; train faces that stand in val or test, val faces in test: {across}"
        ),
    )
