"""A terminal may be narrow: a table folds, or goes on below, and loses nothing."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from fersweep.common.display.tables import table

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["fer-sota-residual-net-of-forty-eight-pixels-2026-11-28-seed-1", "quick", "表情認識-" * 9, "[red]"]
NUMBERS = ["12,345.678901", "1e-05", "0.7312 [0.6970, 0.7630]", "-0.0312", "–", "7/200", "97.3%"]
WORDS = ["finished", "stopped (paper)", "worse than the others at epoch 27: 0.123456789 < 0.23"]
WIDTHS = [40, 60, 80, 120, 200]


def rendered(what: object, width: int) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("num_columns", [1, 3, 8, 20])
def test_nothing_is_cut(width: int, num_columns: int) -> None:
    heads = [f"score_of_class_{index}" for index in range(num_columns)]
    shown = table(["name", "state", *heads], 2, title="by class, of all faces of val", wraps=heads[2:3])
    for index, name in enumerate(NAMES):
        numbers = [NUMBERS[(index + place) % len(NUMBERS)] for place in range(num_columns)]
        shown.add_row(name, WORDS[index % len(WORDS)], *numbers, style="dim" if index else "")
    text = rendered(shown, width)
    assert all(Console().render_str(line).cell_len <= width for line in text.splitlines())
    assert "…" not in text
    for number in {piece for cell in NUMBERS[:num_columns] for piece in cell.split()}:
        assert re.search(rf"(?<![\d.]){re.escape(number.strip('[],'))}(?![\d.])", text), f"{number} is not whole"
    for name in NAMES:
        first = "".join(re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if line.strip())
        assert name in first, f"{name} is not there"
    for head in heads:
        assert all(part in text for part in head.split("_"))


def test_a_table_with_room_is_one_table() -> None:
    shown = table(["name", "value"], 1)
    shown.add_row("a", "0.5")
    shown.add_section()
    shown.add_row("all", "0.25")
    assert [line.rstrip() for line in rendered(shown, 80).splitlines()] == [
        "",
        " name   value",
        " ────────────",
        " a        0.5",
        "",
        " all     0.25",
        "",
    ]


def test_columns_without_room_go_on_below() -> None:
    shown = table(["sweep", *(f"class {index}" for index in range(6))], 1)
    shown.add_row("tiny", *["12,345.678901"] * 6)
    lines = [line.split() for line in rendered(shown, 40).splitlines() if line.strip()]
    assert [line for line in lines if line[0] == "tiny"] == [["tiny", "12,345.678901", "12,345.678901"]] * 3


def test_all_tables_are_of_that_kind() -> None:
    """Rich's own would cut what has no room. The live view of a search fits itself into the terminal, and the doctor's text wraps."""
    rooms = ("common", "data_pipeline", "results", "cluster")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    users = {path.relative_to(ROOT).as_posix() for path in files if "rich.table import Table" in path.read_text()}
    assert users <= {"common/display/fitting_table.py", "cluster/driver/progress.py", "cluster/doctor/tables.py"}
