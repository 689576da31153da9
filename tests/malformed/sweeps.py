"""Malformed sweep files and `--set` overrides: sound ones with a few mutations, drawn by hypothesis."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date
from typing import Any

import yaml
from hypothesis import strategies as st

from fersweep import search_spaces
from tests.malformed.garbled import garbled

WHOLE = {  # every key of the schema
    "name": "whole",
    "task": {
        "features": "blendshapes",
        "classes": {"happy": ["happy"], "unknown": ["sad", "neutral"]},
        "balance": {"happy": 40, "sad": 30},
        "fraction": 0.5,
        "keep_twins": False,
        "blendshapes": ["jawOpen", "mouthSmileLeft", "mouthSmileRight"],
        "varying_min": 0.05,
        "seed": 3,
    },
    "trainable": "curve",
    "space": {"fix": {"noise": 0.02}, "range": {"rate": [0.02, 0.4]}},
    "search": {"sampler": "random", "num_trials": 4, "seed": 7, "start_from": []},
    "stop": {
        "metric": "val_loss",
        "mode": "min",
        "scheduler": "hyperband",
        "scheduler_options": {"brackets": 2},
        "unit": "epochs",
        "grace_s": None,
        "max_s": None,
        "grace_epochs": 2,
        "max_epochs": 20,
        "reduction": 2,
        "report_s": 0.5,
        "timeout_s": 600.0,
    },
    "then": {"best": 2, "fraction": 0.75, "max_epochs": 30},
    "resources": {"cpus": 1, "gpus": 0.5},
    "tracking": {"uri": None, "experiment": "faces"},
    "failures": {"max_retries": 1, "max_failed_share": 0.25},
    "keep_checkpoints": 3,
    "storage": "s3://bucket/sweeps",
    "notify": {"url": "${HOOK}", "on": ["start", "end"]},
}
POINT = {"trainable": "curve", "task": {"balance": "smallest"}, "search": {"start_from": ["easy"], "num_trials": 2}}
RECIPES = [yaml.safe_load(path.read_text()) for path in sorted(search_spaces.RECIPES.glob("*.yaml"))]
CURVES = [WHOLE, POINT]  # their space is small, and so quickly checked
KEYS = sorted({key for part in (WHOLE, *WHOLE.values()) if isinstance(part, dict) for key in part})
LEVELS = range(1, 12)  # of aliases, each standing for nine of the level below: 31 thousand million values


def aliases(level: int) -> str:
    return ",".join([f"*a{level}"] * 9)


LAUGHS = f"[&a0 [x,x,x],{','.join(f'&a{i} [{aliases(i - 1)}]' for i in LEVELS)}]"
MERGES = f"{{k0: &a0 {{x: 1}},{','.join(f'k{i}: &a{i} {{<<: [{aliases(i - 1)}]}}' for i in LEVELS)}}}"
FRAGMENTS = [  # YAML that stands for a value, as no Python value would be written
    "!!python/object/apply:os.mkdir [pwned]", "!!python/name:os.system", "!!python/object:fersweep.search_spaces.sweep_file.schema.Sweep {}",
    "!unknown {}", "!!int x", "!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!binary gIGC", "!!binary '*'",
    "!!null x", "!!set {a, b}", "!!omap [{a: 1}]", "!!pairs [[1]]", "!!str [a]", "!!seq {}", "!!map []", "=",
    "2001-99-99", "2001-01-01 99:99:99", "2001-01-01", "._", "0b_", "0x_", "1:99:99", "0xffffffffffffffffffff", "1e999",
    "-.inf", ".nan", "1e-400", "1__0", "0o17", "~", "yes", "12" * 3000, "0x" + "f" * 5000, "9" * 400, "-" + "9" * 25,
    '"\\ud800"', '"\\U00110000"', '"\\x00"', '"\\L\\P\\N\\n\\e[2J"', "x" * 50_000, "'" + "ü " * 9_000 + "'",
    "*nowhere", "&a [*a]", "&a {b: *a}", "&a {<<: *a}", "{<<: 3}", "{<<: [{sampler: tpe}, 3]}", "{? [a] : b}",
    "{? {a: b} : c}", "{[]: 1}", "{1: 2, 1.0: 3, true: 4}", "{null: 1}", "{2001-01-01: 1}", "{.nan: 1, .nan: 2}",
    LAUGHS, MERGES, "[" * 30, "[" * 30 + "]" * 30, "[" * 20_000, "[" * 5_000 + "]" * 5_000, "{a: " * 3_000, "- a", "{",
    "]", "'", '"', "|", ">", "%", "@", "`", "!", "&", "*", "? ", ": :", ",", "#", "\t", "---", "...", "\x85", "\u2028",
]  # fmt: skip
ODD = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**64), 10**30, 1e308, 5e-324, "", " ", "~", "0"]),
    st.sampled_from([[], {}, [[]], [None], [{}], {"a": {}}, [1, 2, 3], ["low", 1], [True, False], [2, 1], {1: 2}]),
    st.sampled_from(
        [date(2024, 2, 30 - 1), b"\x80\x81", b"", {"a"}, "a\nb", "ß\u200b\u202e", "strange", "int", "../x"]
    ),
    st.floats(),
    st.integers(-(10**20), 10**20),
    st.text(max_size=12),
    st.sampled_from(KEYS),
).map(copy.deepcopy)  # a change must not change what is drawn next


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a document, but for the document itself."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def documents(draw: st.DrawFn) -> str:
    """The text of a sweep file with one to three places of its structure changed."""
    content = copy.deepcopy(draw(st.sampled_from([*CURVES * 4, *RECIPES])))
    fragments: dict[str, str] = {}
    for _ in range(draw(st.integers(1, 3))):
        if found := list(places(content)):
            change(draw, content, draw(st.sampled_from(found)), fragments)
    style = draw(st.sampled_from([None, True, False]))
    text = yaml.safe_dump(content, default_flow_style=style, sort_keys=False, allow_unicode=True, width=10**6)
    for name, fragment in fragments.items():
        text = text.replace(name, fragment)
    return text


def change(draw: st.DrawFn, content: Any, path: tuple[Any, ...], fragments: dict[str, str]) -> None:
    *above, key = path
    for step in above:
        content = content[step]
    name = f"FRAGMENT{len(fragments)}_"
    how = draw(st.sampled_from(["odd", "odd", "odd", "raw", "raw", "drop", "wrap", "rename", "twice"]))
    if how == "odd":
        content[key] = draw(ODD)
    elif how == "raw":
        content[key], fragments[name] = name, draw(st.sampled_from(FRAGMENTS))
    elif how == "drop":
        del content[key]
    elif how == "wrap":
        content[key] = draw(st.sampled_from([lambda x: [x], lambda x: {"x": x}, lambda x: [x, x], str]))(content[key])
    elif isinstance(content, list):
        content.insert(key, draw(ODD))
    elif how == "twice":
        content[name], fragments[f"{name}: null"] = None, f"{key}: {draw(st.integers(0, 9))}"
    else:
        odd = draw(st.one_of(ODD, st.sampled_from([str(key)[:-1], f"{key}s", f"str_{key}", name])))
        content[odd if not isinstance(odd, (list, dict, set)) else "x"] = content.pop(key)
        fragments[name] = draw(st.sampled_from(FRAGMENTS))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()) or draw(st.booleans()):
        return draw(documents()).encode("utf-8", "surrogatepass")
    texts = [yaml.safe_dump(CURVES[0]), yaml.safe_dump(CURVES[1], default_flow_style=True)]
    texts += [path.read_text() for path in sorted(search_spaces.RECIPES.glob("[bq]*.yaml"))]
    text = draw(st.sampled_from(texts))
    if draw(st.integers(0, 9)) == 0:
        return text.encode(draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "cp037", "utf-8-sig"])))
    return draw(garbled(text.encode()))


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    known = [".".join(map(str, path)) for path in places(WHOLE)]
    key = st.one_of(
        st.sampled_from(known),
        st.sampled_from(known),
        st.sampled_from(known),
        st.sampled_from(
            ["", ".", "a..b", "stop.", ".stop", "stop max", "Stop", "name.x.y", "strange", "task.classes.int"]
        ),
        st.sampled_from(known).flatmap(lambda name: st.sampled_from([name[1:], name[:-1], name + ".x", name + " "])),
        st.text(max_size=9),
    )
    value = st.one_of(st.sampled_from(FRAGMENTS), ODD.map(lambda odd: yaml.safe_dump(odd)[:-1]), st.text(max_size=9))
    return draw(st.lists(st.builds(lambda k, e, v: k + e + v, key, st.sampled_from(["=", "=", "=", ""]), value), min_size=1, max_size=2))  # fmt: skip
