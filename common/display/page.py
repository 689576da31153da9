"""One HTML page that holds all it needs: text, tables, pictures, plotly figures and the script that draws them.

    page("Sweep cnn", "What was searched.", [Section("Trials", html_table(["trial"], [["0007"]]), "The best ones.")])

It loads nothing, so it opens offline and as an e-mail's attachment; only `page(…, library=…)` leaves the script that
draws out, and looks for it beside the page. The templates, the style and the script are in page_files/. Text is escaped where it is put into a page; HTML
is a `Markup`, made by `plot`, `html_table` and the others here, or by `Markup("<p>{}</p>").format(text)`, which escapes too.
"""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import markupsafe
import numpy as np
from markupsafe import Markup

from fersweep.common.text import printable_lines

if TYPE_CHECKING:
    from jinja2 import Environment
    from plotly.graph_objects import Figure


HEIGHT = 420  # px of a figure that does not say
FILES = Path(__file__).with_name("page_files")


@dataclass(frozen=True)
class Section:
    """A part of a page. `heading` and `note`, what is to be seen there, are text."""

    heading: str
    html: Markup = field(default=Markup())
    note: str = ""


def page(title: str, lead: str, sections: Sequence[Section], library: Library | None = None) -> str:
    """The page: `title` and `lead` (text), links to the sections, the sections.

    library: where plotly.js is; None: it is in the page, once, if a figure is (4.8 MB).
    """
    has_plots = any('class="plot"' in section.html for section in sections)
    style, script = ((FILES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            title=title,
            lead=lead,
            sections=sections,
            style=style,
            library=library if has_plots else None,
            plotly=plotly_script() if has_plots and library is None else "",
            script=script if has_plots else "",
            look=_plotly_white() if has_plots else "",
        )
    )


@dataclass(frozen=True)
class Library:
    """plotly.js outside of a page. `address` is relative to the page; `otherwise` says what to do where it is missing."""

    address: str
    otherwise: str


def plotly_script() -> str:
    """plotly.js, of the installed version."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


@dataclass(frozen=True)
class Choices:
    """What a reader can choose of a figure, from lists above it.

    Choices({"score": ["jawOpen", "jawLeft"]}, {"data.0.y": "{score}", "layout.xaxis.title.text": "{score}"}, {"jawOpen": …})
    """

    lists: Mapping[str, Sequence[str]]
    """{name: options}; the first one is chosen at first."""
    bindings: Mapping[str, str]
    """{path in the figure: template}; {name} in it is the option chosen of that list."""
    values: Mapping[str, Any]
    """{filled template: number, text or array to put there}; any other template is put there itself."""


def plot(figure: Figure, min_width: int = 0, choices: Choices | None = None) -> Markup:
    """A plotly figure: as wide as the page, as high as its layout says (HEIGHT px if not).

    min_width: px below which it scrolls in its own box.
    """
    from plotly.io import json as plotly_json

    if min_width:  # the shadow that says so lies below the figure
        figure.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    parts = cast(dict[str, Any], figure.to_plotly_json())
    parts["layout"].pop("template", None)  # 7 kB, the same for all figures: once in the page
    content = str(plotly_json.to_json_plotly(parts))
    if choices is not None:
        values = {key: _typed(value) for key, value in choices.values.items()}
        content = f'{content[:-1]},"choices":{json.dumps({"bindings": choices.bindings, "values": values})}}}'
    return _part(
        "plot",
        figure=content.replace("<", "\\u003c"),  # no tag can end the script; in JSON, < is in strings alone
        lists=choices.lists if choices else {},
        height=parts["layout"].get("height") or HEIGHT,
        min_width=min_width,
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    """A table that scrolls in its own box where it is wider than the page, with a shadow that says so.

    Cells are text or numbers: numbers, also those that are text already (1,234, 5.6%), are at the right, floats with
    four digits; None is a dash.
    """
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    heads = [(name, "num" if is_num else None) for name, is_num in zip(columns, numeric, strict=True)]
    cells = [[_cell(cell, is_num) for cell, is_num in zip(row, numeric, strict=True)] for row in rows]
    label = f"Table: {', '.join(name for name in columns if name) or 'facts'}"
    return _part("table", heads=heads, rows=cells, label=label)


def tiles(facts: Sequence[tuple[str, str]]) -> Markup:
    """Facts to see at a glance: (what is written large, what it is)."""
    return _part("tiles", facts=facts)


def subheading(text: str, small: str = "") -> Markup:
    """A heading within a section; `small`, in small letters, follows it."""
    return _part("subheading", text=text, small=small)


def bullets(texts: Sequence[str]) -> Markup:
    """A list of texts."""
    return _part("bullets", texts=texts)


def folded(summary: str, text: str) -> Markup:
    """Text as it is (code, YAML), shown when its summary is clicked."""
    return _part("folded", summary=summary, text=text)


def image(array: np.ndarray, title: str) -> Markup:
    """A picture (H, W) or (H, W, 3) uint8 as an inline PNG; `title` is what is read out and shown on hovering."""
    return _part("image", address=_png(array), title=title)


def sheet(
    pictures: np.ndarray, cards: Sequence[tuple[Sequence[int], str]], captioned: bool = False, width: int = 64
) -> Markup:
    """Many small pictures (n, h, w) uint8 as one PNG, cut up by the browser.

    cards: (numbers of the pictures that are together, their text). captioned: the text is below; else it is shown on
    hovering. width: px of a picture.
    """
    if not len(pictures):
        return Markup()
    num, high, wide = pictures.shape
    address = _png(pictures.transpose(1, 0, 2).reshape(high, num * wide))
    return _part(
        "sheet", address=address, num=num, width=width, ratio=f"{high / wide:.4g}", cards=cards, captioned=captioned
    )


def columns(cells: Sequence[Markup], width: int) -> Markup:
    """HTML in as many columns of at least `width` px as the page has room for."""
    return _part("columns", cells=cells, width=width)


def beside(wide: Markup, narrow: Markup) -> Markup:
    """HTML side by side, or one below the other on a narrow screen."""
    return _part("beside", wide=wide, narrow=narrow)


def escape(text: Any) -> str:
    """Text for a plotly figure, which takes it for HTML of a kind. What goes into a page is escaped by its template."""
    return str(markupsafe.escape(text))


@cache
def _plotly_white() -> str:
    """Plotly's template of that name, as JSON."""
    from plotly.io import templates

    white = cast(Any, templates["plotly_white"])
    return json.dumps(white.to_plotly_json()).replace("<", "\\u003c")


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(FILES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: Any) -> Any:
    """Text without what does not print; HTML as it is."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _part(name: str, **values: Any) -> Markup:
    """The macro of that name in parts.html.jinja, called with `values`."""
    return getattr(_templates().get_template("parts.html.jinja").module, name)(**values)


def _png(array: np.ndarray) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _typed(value: Any) -> Any:
    """An array as plotly.js reads it: its bytes, their type and its shape."""
    if not isinstance(value, np.ndarray):
        return value
    array = cast(np.ndarray, value)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    bytes_ = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.str[1:], "bdata": bytes_, "shape": ", ".join(map(str, array.shape))}


def _is_number(cell: Any) -> bool:
    try:
        return cell is None or float(str(cell).replace(",", "").removesuffix("%")) is not None
    except ValueError:
        return False


def _cell(cell: Any, is_number: bool) -> tuple[str, str | None]:
    """The text of a cell of a table, and its class in page.css."""
    if cell is None:
        text = "–"
    elif isinstance(cell, float):
        text = f"{cell:.4g}" if abs(cell) < 1e4 else f"{cell:,.0f}"
    else:
        text = str(cell)
    return text, "num" if is_number else "long" if len(text) > 60 else None
