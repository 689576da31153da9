"""What `fersweep doctor` shows on a terminal: problems, then warnings, each with its remedy; what is well, a line a topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fersweep.cluster.doctor.diagnosis import Diagnosis
from fersweep.cluster.doctor.findings import Finding

if TYPE_CHECKING:
    from rich.console import RenderableType

MARKS = {"problem": ("✗", "bold red"), "warning": ("!", "yellow"), "ok": ("✓", "green")}
NUM_NAMES = 3


def render(diagnosis: Diagnosis) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, min_width=max(len(finding.topic) for finding in diagnosis.findings))
    grid.add_column(ratio=1)
    for level in ("problem", "warning"):
        for topic, text, remedy, nodes in _alike(diagnosis, level):
            grid.add_row(_mark(level), topic, Text(f"{_names(nodes, len(diagnosis.nodes))}{text}"))
            grid.add_row("", "", Text(f"→ {remedy}", style="dim"))
    for topic, text in _sound(diagnosis):
        grid.add_row(_mark("ok"), topic, Text(text))
    return Group(grid, Text(_verdict(diagnosis)))


def _mark(level: str) -> RenderableType:
    from rich.text import Text

    mark, style = MARKS[level]
    return Text(mark, style=style)


def _alike(diagnosis: Diagnosis, level: str) -> list[tuple[str, str, str, list[str]]]:
    """(topic, text, remedy, nodes) of what several nodes have in common."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for finding in diagnosis.findings:
        if finding.level == level:
            key = finding.topic, finding.text, finding.remedy
            nodes.setdefault(key, []).append(finding.node)
    return [(*key, names) for key, names in nodes.items()]


def _names(nodes: Sequence[str], num_nodes: int) -> str:
    """Which nodes, as a sentence begins; nothing where there is one node alone, or none is meant."""
    if num_nodes == 1 or nodes == [""]:
        return ""
    if len(nodes) == num_nodes:
        return "all nodes: "
    more = len(nodes) - NUM_NAMES
    return f"{', '.join(nodes[:NUM_NAMES])}{f' and {more} more' if more > 0 else ''}: "


def _sound(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """(topic, text) of topics in which nothing is wrong anywhere; of several nodes that differ, the first one's text."""
    by_topic: dict[str, list[Finding]] = {}
    for finding in diagnosis.findings:
        by_topic.setdefault(finding.topic, []).append(finding)
    lines: list[tuple[str, str]] = []
    for topic, findings in by_topic.items():
        if any(finding.level != "ok" for finding in findings):
            continue
        texts = list(dict.fromkeys(finding.text for finding in findings))
        on = f" ({len(findings)} nodes)" if len(findings) > 1 else ""
        lines.append(
            (topic, texts[0] + (on if len(texts) == 1 else f" ({findings[0].node}; {len(findings)} nodes are well)"))
        )
    return lines


def _verdict(diagnosis: Diagnosis) -> str:
    problems = sum(finding.level == "problem" for finding in diagnosis.findings)
    warnings = sum(finding.level == "warning" for finding in diagnosis.findings)
    where = f"the cluster at {diagnosis.address}" if diagnosis.address else "this machine"
    nodes = f", {len(diagnosis.nodes)} nodes" if len(diagnosis.nodes) > 1 else ""
    found = f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    return f"A sweep {'could run' if diagnosis.could_run else 'could not run'} on {where}{nodes}: {found}"
