"""What `rm`, `mv` and `gc` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.filesize import decimal

from fersweep.common.display.tables import table
from fersweep.common.text import printable
from fersweep.results.housekeeping.collection import KINDS, Collected, Item
from fersweep.results.housekeeping.removal import Removal
from fersweep.results.housekeeping.renaming import Renaming
from fersweep.results.record.home import is_hidden

if TYPE_CHECKING:
    from rich.console import Group

    from fersweep.common.display.fitting_table import FittingTable

FEW = 3  # examples of a kind


def render_removals(removals: Sequence[Removal]) -> Group:
    """A table of sweeps, and below it what stays."""
    from rich.console import Group
    from rich.text import Text

    shown = table(
        ["sweep", "trials", "directory", "of it checkpoints", "MLflow runs", "artifacts", "bucket objects", "size"], 1
    )
    for removal in removals:
        in_bucket = [f"{removal.bucket_objects:,}", decimal(removal.bucket_bytes)] if removal.storage else ["", ""]
        sizes = [decimal(removal.disk_bytes), decimal(removal.checkpoint_bytes)]
        recorded = [f"{removal.runs:,}", decimal(removal.artifact_bytes)]
        rest = " (what is left of one)" if is_hidden(removal.directory) else ""
        shown.add_row(f"{removal.sweep}{rest}", f"{removal.trials:,}", *sizes, *recorded, *in_bucket)
    lines = [f"{removal.sweep}: {line}" for removal in removals for line in [*removal.stays, *removal.notes]]
    total = sum(removal.num_bytes for removal in removals)
    gone = "removed" if all(removal.removed for removal in removals) else "to remove"
    lines.append(f"{gone}: {decimal(total)}")
    return Group(shown, *(Text(printable(line)) for line in lines))


def render_renaming(renaming: Renaming) -> Group:
    """A line on what is renamed, and those on what is not."""
    from rich.console import Group
    from rich.text import Text

    parts = [f"{renaming.runs:,} runs in MLflow"]
    if renaming.versions:
        parts.append(f"versions {', '.join(map(str, renaming.versions))}")
    if renaming.storage is not None:
        parts.append(f"{renaming.bucket_objects:,} objects in its bucket ({decimal(renaming.bucket_bytes)})")
    how = "is" if renaming.renamed else "would be"
    lines = [f"{renaming.sweep} {how} renamed to {renaming.name}, with {', '.join(parts)}", *renaming.notes]
    return Group(*(Text(printable(line)) for line in lines))


def render_collected(collected: Collected) -> Group:
    """A row for each kind and for each reason, with a few examples, and the sum."""
    from rich.console import Group
    from rich.text import Text

    kinds: dict[tuple[str, str], list[Item]] = {}
    for name in KINDS:
        for item in collected.leftovers:
            if item.kind == name:
                kinds.setdefault((name, item.why), []).append(item)
    if not kinds:
        return Group(Text("nothing is left over"))
    shown: FittingTable = table(["what", "becomes", "for example", "number", "size"], 3)
    for (name, why), items in kinds.items():
        examples = ", ".join(item.what for item in items[:FEW]) + (" …" if len(items) > FEW else "")
        becomes = f"stays: {why}" if why else KINDS[name].verb
        size = decimal(sum(item.num_bytes for item in items))
        shown.add_row(KINDS[name].what, becomes, examples, f"{len(items):,}", size)
    freed = "would be freed" if collected.dry_run else "freed"
    return Group(shown, Text(f"{decimal(collected.num_bytes)} {freed}"))
