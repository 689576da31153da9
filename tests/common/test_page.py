"""A page is HTML around text: whatever the text is, wherever it is put."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import Markup
from plotly.graph_objects import Bar, Figure

from fersweep.common.display import page as pages
from fersweep.common.display.page import Choices, Section, page, plot

HOSTILE = "<b onload='x'>\"&amp;</script></style></title>{{ 7 * 7 }}"
PICTURE = np.zeros((2, 2), np.uint8)


class Read(HTMLParser):
    """The tags of a page, and its texts, among them the values of attributes."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.texts += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


@pytest.mark.parametrize(
    ("make", "times"),
    [
        (lambda text: pages.html_table([text], [[text], [None]]), 2),
        (lambda text: pages.subheading(text, text), 2),
        (lambda text: pages.bullets([text]), 1),
        (lambda text: pages.folded(text, text), 2),
        (lambda text: pages.image(PICTURE, text), 2),
        (lambda text: pages.sheet(PICTURE[None], [([0], text)], captioned=True), 3),
        (lambda text: pages.tiles([(text, text)]), 2),
        (lambda text: plot(Figure(), choices=Choices({text: [text, "b"], "c": [text]}, {}, {})), 4),
        (lambda text: page(text, text, [Section(text, note=text)]), 6),
        (lambda text: page("", "", [Section("", text)]), 1),  # text where HTML is expected
    ],
    ids=["table", "subheading", "bullets", "folded", "image", "sheet", "tiles", "choices", "page", "no_markup"],
)
def test_text_stays_text(make, times: int) -> None:
    hostile, plain = Read(make(HOSTILE)), Read(make("plain"))
    assert hostile.tags == plain.tags
    assert hostile.texts.count(HOSTILE) == plain.texts.count("plain") == times
    assert isinstance(make("plain"), Markup) or "<!doctype html>" in make("plain")


def test_nothing_in_a_figure_ends_its_script() -> None:
    figure = Figure(Bar(x=[HOSTILE], y=[1]))
    content = plot(figure, choices=Choices({"a": [HOSTILE]}, {"data.0.name": "{a}"}, {HOSTILE: HOSTILE}))
    (inside,) = re.findall(r'<script type="application/json">(.*)</script></div>$', content, re.DOTALL)
    assert "<" not in inside
    assert json.loads(inside)["data"][0]["x"] == [HOSTILE]
    assert json.loads(inside)["choices"]["values"] == {HOSTILE: HOSTILE}


def test_plotly_is_in_a_page_with_a_figure_alone() -> None:
    figure = Section("A figure", plot(Figure()))
    assert page("", "", [figure, figure]).count("* plotly.js v") == 1
    assert "<script" not in page("", "", [Section('class="plot"', note='class="plot"')])
