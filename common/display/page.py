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
from collections.abc import Mapping, Sequence
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
DRAW = r"""
const config = {displaylogo: false, modeBarButtons: [BUTTONS]};
const widths = new ResizeObserver((entries) => entries.forEach(({target, contentRect}) => {
  if (contentRect.width && Math.abs(contentRect.width - target.layout.width) > 1)
    Plotly.relayout(target, {width: contentRect.width});
}));
const choose = (place, figure, lists) => {
  const chosen = Object.fromEntries(lists.map((list) => [list.name, list.value]));
  for (const [path, template] of Object.entries(figure.choices.bindings)) {
    const key = template.replace(/\{(.+?)\}/g, (_, name) => chosen[name]), steps = path.split("."), last = steps.pop();
    steps.reduce((part, step) => part[step] ??= {}, figure)[last] = figure.choices.values[key] ?? key;
  }
};
const places = [...document.querySelectorAll(".plot")];
const drawNext = () => {
  const place = places.shift();
  if (!place) return;
  const figure = JSON.parse(place.nextElementSibling.textContent);
  const lists = [...place.parentElement.querySelectorAll("select")];
  const draw = () => {
    if (figure.choices) choose(place, figure, lists);
    return Plotly.react(place, figure.data, {...figure.layout, width: place.clientWidth}, config);
  };
  lists.forEach((list) => { list.onchange = draw; });
  draw().then(() => widths.observe(place));
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
.figure { padding-top: 26px; } .figure:has(.choices) { padding-top: 0; }
.plot .modebar-container { top: -26px !important; }
.choices { display: flex; flex-wrap: wrap; gap: 4px 16px; min-height: 26px; padding-right: 60px; font-size: 13.5px; color: #55606e; }
.choices select { font: inherit; color: #1c2430; padding: 2px 4px; border: 1px solid #b8c1cc; border-radius: 4px;
  background: #fff; max-width: 60vw; }
figure { margin: 0; } figcaption { font-size: 12px; line-height: 1.3; color: #37424f; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(125px, 1fr)); gap: 14px 10px; }
.pictures img { width: 100%; image-rendering: pixelated; display: block; }
.beside { display: grid; gap: 8px 24px; grid-template-columns: minmax(0, 1fr) fit-content(44%); }
.faces { display: flex; flex-wrap: wrap; gap: 4px; margin: 4px 0 12px; }
.faces.told { gap: 10px 14px; } .faces.told figure { max-width: 150px; } .faces.told figcaption { margin-top: 3px; }
.faces div { display: flex; gap: 2px; }
.faces i { display: block; width: var(--w); height: calc(var(--w) * var(--ratio)); background-image: var(--sheet);
  background-size: calc(var(--w) * var(--n)) 100%; background-position-x: calc(var(--w) * -1 * var(--i)); }
img { max-width: 100%; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 12px 0; }
.tiles div { background: #f5f7f9; padding: 10px 12px; border-radius: 4px; }
.tiles b { display: block; font-size: 20px; line-height: 1.25; } .tiles span { color: #55606e; font-size: 12.5px; }
pre { overflow-x: auto; background: #f5f7f9; padding: 10px 12px; font-size: 12.5px; line-height: 1.4; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
details { margin: 8px 0; } summary { cursor: pointer; color: #1f5fa8; }
@media (max-width: 800px) { .beside { grid-template-columns: minmax(0, 1fr); } }
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


@dataclass(frozen=True)
class Choices:
    """What a reader can choose of a figure, from lists above it.

    Choices({"score": ["jawOpen", "jawLeft"]}, {"data.0.y": "{score}", "layout.xaxis.title.text": "{score}"}, {"jawOpen": …})
    """

    lists: Mapping[str, Sequence[str]]
    """{name: options}; the first one is chosen at first."""
    bindings: Mapping[str, str]
    """{path in the figure: template}; a template's {name} stands for the option chosen of that list."""
    values: Mapping[str, Any]
    """{filled template: number, text or array to put there}; a template that is none of them is put there itself."""


def plot(figure: Figure, min_width: int = 0, choices: Choices | None = None) -> str:
    """A plotly figure as HTML for a `Section`: as wide as the page, as high as its layout says (HEIGHT px if not).

    min_width: px below which it scrolls in its own box.
    """
    height = figure.layout["height"] or HEIGHT
    content, lists = str(figure.to_json()), ""
    if choices is not None:
        values = {key: _typed(value) for key, value in choices.values.items()}
        content = f'{content[:-1]},"choices":{json.dumps({"bindings": choices.bindings, "values": values})}}}'
        lists = "".join(_list(name, options) for name, options in choices.lists.items() if len(options) > 1)
        hidden = "".join(_list(name, options, "hidden") for name, options in choices.lists.items() if len(options) == 1)
        lists = f'<div class="choices">{lists}{hidden}</div>'
    content = content.replace("<", "\\u003c")  # no tag can end the script; in JSON, < stands in strings alone
    return (
        f'<div class="figure">{lists}<div {_PLOT} style="height:{height}px; min-width:{min_width}px"></div>'
        f'<script type="application/json">{content}</script></div>'
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table that scrolls in its own box where it is wider than the page.

    Cells are text or numbers: numbers, also those that are text already (1,234, 5.6%), stand to the right, floats with four digits; None
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
    text = escape(title)
    return f'<img src="{_png(array)}" alt="{text}" title="{text}">'


def sheet(pictures: np.ndarray, cards: Sequence[tuple[Sequence[int], str]], told: bool = False, width: int = 64) -> str:
    """Many small pictures (n, h, w) uint8 as one PNG, cut up by the browser.

    cards: (numbers of the pictures that stand together, their text). `told`: the text stands below; else it is shown on
    hovering. width: px of a picture.
    """
    if not len(pictures):
        return ""
    num, high, wide = pictures.shape
    address = _png(pictures.transpose(1, 0, 2).reshape(high, num * wide))
    style = f"--sheet: url({address}); --n: {num}; --w: {width}px; --ratio: {high / wide:.4g}"
    body = ""
    for numbers, text in cards:
        cut = "".join(f'<i style="--i: {number}"></i>' for number in numbers)
        name = f' role="img" aria-label="{escape(text)}" title="{escape(text)}"'
        caption = "<br>".join(escape(line) for line in text.splitlines())
        body += f"<figure><div{name}>{cut}</div>{f'<figcaption>{caption}</figcaption>' if told else ''}</figure>"
    return f'<div class="faces{" told" if told else ""}" style="{style}">{body}</div>'


def _png(array: np.ndarray) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _list(name: str, options: Sequence[str], hidden: str = "") -> str:
    items = "".join(f"<option>{escape(option)}</option>" for option in options)
    return f'<label {hidden}>{escape(name)} <select name="{escape(name)}">{items}</select></label>'


def _typed(value: Any) -> Any:
    """An array as plotly.js reads it: its bytes, their type and its shape."""
    if not isinstance(value, np.ndarray):
        return value
    value = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    bytes_ = base64.b64encode(value.tobytes()).decode()
    return {"dtype": value.dtype.str[1:], "bdata": bytes_, "shape": ", ".join(map(str, value.shape))}


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
        return cell is None or float(str(cell).replace(",", "").removesuffix("%")) is not None
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
