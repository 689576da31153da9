"""One HTML page that holds all it needs: text, tables, pictures, plotly figures and the script that draws them.

    page("Sweep cnn", "What was searched.", [Section("Trials", html_table(["trial"], [["0007"]]), "The best ones.")])

It loads nothing, so it opens offline, as an e-mail's attachment, and in the sandboxed frame in which MLflow shows
artifacts. What is given as text is escaped; `Section.html` is HTML already, made by `plot`, `html_table` and `image`.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 420  # px of a figure that does not say
BUTTONS = ["toImage", "resetScale2d"]
_PLOT = 'class="plot"'
# Figures are drawn once the page is laid out, since only then their places have a width, and one by one, so that the
# page can be read and scrolled meanwhile; and again when a place gets another width.
DRAW = """
const config = {displaylogo: false, modeBarButtons: [BUTTONS]};
const widths = new ResizeObserver((entries) => entries.forEach(({target, contentRect}) => {
  if (contentRect.width && Math.abs(contentRect.width - target.layout.width) > 1)
    Plotly.relayout(target, {width: contentRect.width});
}));
const places = [...document.querySelectorAll(".plot")];
const drawNext = () => {
  const place = places.shift();
  if (!place) return;
  const {data, layout} = JSON.parse(place.nextElementSibling.textContent);
  Plotly.newPlot(place, data, {...layout, width: place.clientWidth}, config).then(() => widths.observe(place));
  setTimeout(drawNext);
};
drawNext();
"""
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 0 20px 60px; background: #fff; color: #1c2430;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 26px; line-height: 1.25; margin: 28px 0 4px; }
h2 { font-size: 19px; margin: 44px 0 4px; padding-top: 14px; border-top: 1px solid #d8dee6; }
h3 { font-size: 15px; margin: 20px 0 4px; }
p { margin: 4px 0 12px; max-width: 900px; }
p.note, p.lead { color: #55606e; }
nav { font-size: 13.5px; margin: 12px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; }
a { color: #1f5fa8; text-decoration: none; } a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; margin: 8px 0 16px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e6eaef;
  white-space: nowrap; }
td.long { white-space: normal; min-width: 260px; }
th { color: #55606e; font-weight: 600; } .num { text-align: right; padding-left: 12px; }
.figure { overflow-x: auto; overflow-y: hidden; margin: 8px 0; }
figure { margin: 0; } figcaption { font-size: 12px; line-height: 1.3; color: #37424f; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(125px, 1fr)); gap: 14px 10px; }
.pictures img { width: 100%; image-rendering: pixelated; display: block; }
img { max-width: 100%; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 12px 0; }
.tiles div { background: #f5f7f9; padding: 10px 12px; border-radius: 4px; }
.tiles b { display: block; font-size: 20px; line-height: 1.25; } .tiles span { color: #55606e; font-size: 12.5px; }
pre { overflow-x: auto; background: #f5f7f9; padding: 10px 12px; font-size: 12.5px; line-height: 1.4; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
details { margin: 8px 0; } summary { cursor: pointer; color: #1f5fa8; }
@media (max-width: 600px) { body { padding: 0 12px 40px; font-size: 14px; } h1 { font-size: 21px; }
  .pictures { grid-template-columns: repeat(3, 1fr); } }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page. `heading` and `note`, what is to be seen there, are text; `html` is HTML."""

    heading: str
    html: str
    note: str = ""


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page: `title` and `lead` (text), links to the sections, the sections. plotly.js is in it, once, if a figure is."""
    body = "\n".join(_section(index, section) for index, section in enumerate(sections))
    links = "".join(f'<a href="#s{index}">{escape(one.heading)}</a>' for index, one in enumerate(sections))
    library = drawing = ""
    if _PLOT in body:
        from plotly.offline import get_plotlyjs

        library = f"<script>{get_plotlyjs()}</script>\n"
        drawing = f"<script>{DRAW.replace('BUTTONS', json.dumps(BUTTONS))}</script>\n"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{library}</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n<nav>{links}</nav>\n{body}\n{drawing}</body>\n</html>\n'
    )


def plot(figure: Figure, min_width: int = 0) -> str:
    """A plotly figure as HTML for a `Section`: as wide as the page, as high as its layout says (HEIGHT px if not).

    min_width: px below which it scrolls in its own box.
    """
    height = figure.layout["height"] or HEIGHT
    content = str(figure.to_json()).replace(
        "<", "\\u003c"
    )  # no tag can end the script; in JSON, < stands in strings alone
    return (
        f'<div class="figure"><div {_PLOT} style="height:{height}px; min-width:{min_width}px"></div>'
        f'<script type="application/json">{content}</script></div>'
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table that scrolls in its own box where it is wider than the page.

    Cells are text or numbers: numbers, also those that are text already, stand to the right, floats with four digits; None
    is a dash.
    """
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    head = "".join(f"<th{_kind(is_num)}>{escape(name)}</th>" for name, is_num in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell(cell, is_num) for cell, is_num in zip(row, numeric, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Facts to see at a glance: (what is written large, what it is)."""
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in facts)
    return f'<div class="tiles">{cells}</div>'


def folded(summary: str, text: str) -> str:
    """Text as it stands (code, YAML), shown when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def image(array: np.ndarray, title: str) -> str:
    """A picture (H, W) or (H, W, 3) uint8 as an inline PNG; `title` is what is read out and shown on hovering."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(content, "PNG", optimize=True)
    encoded = base64.b64encode(content.getvalue()).decode()
    text = escape(title)
    return f'<img src="data:image/png;base64,{encoded}" alt="{text}" title="{text}">'


def escape(text: Any) -> str:
    """Text as HTML; also for names in plotly figures, which take them for HTML of a kind."""
    return html.escape(str(text))


def _section(index: int, section: Section) -> str:
    note = f'<p class="note">{escape(section.note)}</p>\n' if section.note else ""
    return f'<section id="s{index}">\n<h2>{escape(section.heading)}</h2>\n{note}{section.html}\n</section>'


def _kind(is_number: bool) -> str:
    return ' class="num"' if is_number else ""


def _is_number(cell: Any) -> bool:
    try:
        return cell is None or float(cell) is not None
    except ValueError:
        return False


def _cell(cell: Any, is_number: bool) -> str:
    if cell is None:
        text = "–"
    elif isinstance(cell, float):
        text = f"{cell:.4g}" if abs(cell) < 1e4 else f"{cell:,.0f}"
    else:
        text = str(cell)
    kind = ' class="long"' if len(text) > 60 and not is_number else _kind(is_number)
    return f"<td{kind}>{escape(text)}</td>"
