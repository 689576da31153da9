"""What imports what, read off the code: the files of the rooms, their imports of each other, packages, floors and circles.

    python -m tests.imports          # a line of figures for each room

Every import counts: those inside functions and under TYPE_CHECKING, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("common", "data_pipeline", "trainables", "search_spaces", "results", "cluster", "fersweep")

Graph = dict[str, set[str]]  # who → whom it imports


def files() -> list[Path]:
    """The Python files of all rooms, relative to the checkout; `fersweep/` holds links to the others: its own alone."""
    found = [path for room in ROOMS[:-1] for path in (ROOT / room).rglob("*.py")]
    found += [
        *(ROOT / "fersweep").glob("*.py"),
        *(path for place in (ROOT / "fersweep").iterdir() if not place.is_symlink() for path in place.rglob("*.py")),
    ]
    return sorted(path.relative_to(ROOT) for path in found)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name, is it imported when the module is) of each import in a file; `from a import b` gives a.b."""
    tree = ast.parse((ROOT / path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            yield from ((f"{node.module}.{alias.name}", node in tree.body) for alias in node.names)


def file_graph() -> Graph:
    """File → files that it imports, both as `room/package/file`; a package's `__init__.py` under the package's name."""
    names = {_name(path): path for path in files()}
    graph: Graph = {name: set() for name in names}
    for name, path in names.items():
        for dotted, _ in imports(path):
            if dotted.split(".")[0] == "fersweep" and (other := _named(dotted, names)) not in (None, name):
                graph[name].add(str(other))
    return graph


def _name(path: Path) -> str:
    return str(path.with_suffix("")).removesuffix("/__init__")


def _named(dotted: str, names: Mapping[str, Path]) -> str | None:
    """The file that an import of ours names: `fersweep.results.record.journal.Journal` → results/record/journal."""
    place = dotted.removeprefix("fersweep.").split(".")
    for parts in (place, ["fersweep", *place]):
        for length in (len(parts), len(parts) - 1):
            if "/".join(parts[:length]) in names:
                return "/".join(parts[:length])
    return None


def grouped(graph: Graph, folder: str) -> Graph:
    """The same between the children of a folder ("" is the checkout): packages, and files beside them."""

    def child(name: str) -> str | None:
        if folder and not name.startswith(f"{folder}/"):
            return None
        rest = name[len(folder) + 1 :] if folder else name
        return rest.split("/")[0]

    found: Graph = {}
    for name, others in graph.items():
        if (here := child(name)) is not None:
            found.setdefault(here, set()).update(
                there for other in others if (there := child(other)) not in (None, here)
            )
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Groups that import each other, directly or around corners (strongly connected components of two or more)."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {
        tuple(sorted(other for other in graph if other in reached[name] and name in reached[other])) for name in graph
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reachable(graph: Graph, start: str) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        for other in graph.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def floors(graph: Graph) -> int:
    """Length of the longest way from one that imports to one that imports nothing. The graph has no circles."""
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((of(other) for other in graph.get(name, ())), default=0)
        return height[name]

    return max(map(of, graph), default=0)


def folders(paths: Iterable[Path]) -> dict[str, int]:
    """Folder → number of Python files in it."""
    found: dict[str, int] = {}
    for path in paths:
        found[str(path.parent)] = found.get(str(path.parent), 0) + 1
    return found


def main() -> None:
    graph = file_graph()
    print(f"{'':<16}{'children':>9}{'floors':>8}{'arrows':>8}{'circles':>9}")
    for folder in ("", *ROOMS):
        part = grouped(graph, folder)
        circled = circles(part)
        tall = "-" if circled else str(floors(part))
        print(f"{folder or 'whole':<16}{len(part):>9}{tall:>8}{sum(map(len, part.values())):>8}{len(circled):>9}")
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in files()}
    longest, fullest = max(lines, key=lambda path: lines[path]), max(folders(lines).items(), key=lambda item: item[1])
    print(f"files {len(lines)}, imports between them {sum(map(len, graph.values()))}, circles {len(circles(graph))}")
    print(f"longest file {longest} ({lines[longest]} lines), fullest folder {fullest[0]} ({fullest[1]} files)")


if __name__ == "__main__":
    main()
