"""A table that loses nothing where the terminal is too narrow for it; `tables.table` makes one.

Rich's own table cuts what has no room, numbers too. Here a number is whole, always. Text folds into several lines, between
words and, where a name is long, between its parts. Columns that still have no room follow in a table below, beside the
first column again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

MIN_TEXT, MIN_NAME = 10, 16  # characters to which a column of words, of long names is narrowed
PIECE = re.compile(r"\s+|[-+−]?\d[\d,.]*(?:[eE][-+]?\d+)?%?|[^\W\d_]+[-_/=:,.]?|.", re.DOTALL)
"""Blanks, a number, a word with the sign that ends it, or another sign."""


@dataclass(frozen=True)
class _Row:
    cells: Sequence[str]
    style: str
    ends_section: bool = False


class FittingTable:
    """The first `num_text` columns are text, and so are those of `wraps`; the others are numbers, at the right."""

    def __init__(self, columns: Sequence[str], num_text: int, title: str = "", wraps: Collection[str] = ()):
        self.columns, self.title, self.caption = list(columns), title, ""
        self._at_left = [index < num_text for index in range(len(columns))]
        self._is_text = [index < num_text or name in wraps for index, name in enumerate(columns)]
        self._rows: list[_Row] = []

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """A row; cells that are left out are empty. What looks like Rich's markup is text."""
        plain = [cell.plain if isinstance(cell, Text) else cell for cell in cells]
        self._rows.append(_Row([*plain, *[""] * (len(self.columns) - len(plain))], style))

    def add_section(self) -> None:
        """A line below the last row, if there is one."""
        if self._rows:
            self._rows[-1] = _Row(self._rows[-1].cells, self._rows[-1].style, ends_section=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, "italic")
        needed = [self._needed(index) for index in range(len(self.columns))]
        for block in _blocks([least for least, _ in needed], options.max_width):
            yield self._part(block, _widths([needed[index] for index in block], options.max_width))
        if self.caption:
            yield Text(self.caption, "italic dim")

    def _needed(self, index: int) -> tuple[int, int]:
        """The least and the best width of a column."""
        texts = [row.cells[index] for row in self._rows]
        best = max(map(cell_len, [self.columns[index], *texts]))
        numbers = [piece for text in texts for piece in PIECE.findall(text) if piece[-1].isdigit()]
        least = max(map(cell_len, numbers if self._is_text[index] else texts), default=0)
        heading = max(map(cell_len, PIECE.findall(self.columns[index])), default=0)
        if self._is_text[index]:
            word = max((cell_len(word) for text in texts for word in text.split()), default=0)
            least = max(least, min(best, MIN_NAME, max(word, MIN_TEXT)))
        return max(least, heading), best

    def _part(self, block: Sequence[int], widths: Sequence[int]) -> Table:
        """A table of these columns, `widths` wide."""
        part = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(self.columns))
        for index, width in zip(block, widths, strict=True):
            justify = "left" if self._at_left[index] else "right"
            part.add_column(Text(_folded(self.columns[index], width)), justify=justify, width=width)
        for row in self._rows:
            cells = [Text(_folded(row.cells[index], width)) for index, width in zip(block, widths, strict=True)]
            part.add_row(*cells, style=row.style, end_section=row.ends_section)
        return part


def _width(widths: Sequence[int]) -> int:
    """Of a whole table: a blank at each edge, and three characters between columns."""
    return sum(widths) + 3 * len(widths) - 1


def _blocks(least: Sequence[int], room: int) -> Iterator[list[int]]:
    """Numbers of the columns of each table: the first column, and as many others as fit, but one at least."""
    block = [0]
    for index in range(1, len(least)):
        if len(block) > 1 and _width([least[i] for i in [*block, index]]) > room:
            yield block
            block = [0]
        block.append(index)
    yield block


def _widths(needed: Sequence[tuple[int, int]], room: int) -> list[int]:
    """The room shared out: each column has its least, and what is left goes evenly to those that want more."""
    widths = [least for least, _ in needed]
    left = room - _width(widths)
    while wanting := [i for i, (_, best) in enumerate(needed) if widths[i] < best][: max(left, 0)]:
        for index in wanting:
            widths[index] += 1
        left -= len(wanting)
    while left < 0 and max(widths) > 1:  # even two columns are wider than the terminal: the wider one folds
        widths[widths.index(max(widths))] -= 1
        left += 1
    return widths


def _folded(text: str, width: int) -> str:
    """Text in lines of at most `width`: words whole if they fit into a line, then their pieces, then characters."""
    if cell_len(text) <= width:
        return text
    lines = [""]
    for word in re.findall(r"\s+|\S+", text):
        for piece in [word] if cell_len(word) <= width else PIECE.findall(word):
            for part in chop_cells(piece, width):
                if cell_len(lines[-1]) + cell_len(part) > width:
                    lines.append("")
                lines[-1] += part if lines[-1] else part.lstrip()
    return "\n".join(line.rstrip() for line in lines)
