"""The shipped recipes at a glance: what each learns, what it needs, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fersweep import search_spaces
from fersweep.common.display.as_json import AsJson
from fersweep.search_spaces.sweep_file import yaml_file

if TYPE_CHECKING:
    from rich.console import RenderableType

HARDWARE = "2 CPU cores, FER2013"
TIMES = {  # docs/how-to/run-a-sweep.md
    "blendshape_dense": "22 s",
    "blendshape_lstm": "48 s",
    "cnn": "23 min",
    "dense_landmarks": "2 min",
    "happy_sad_unknown": "42 s",
    "quick": "10 s",
    "seed_lstm": "9 s",
    "seven_classes": "57 s",
    "seven_landmarks": "5 min",
    "transfer": "33 min",
}


@dataclass(frozen=True)
class Recipe(AsJson):
    """about: the first line of its comment. time, hardware: None where it was not measured."""

    name: str
    about: str
    task: str
    trainable: str
    needs: list[str]
    time: str | None
    hardware: str | None


def recipes() -> list[Recipe]:
    """All of them, by name."""
    return [_recipe(path.stem) for path in sorted(search_spaces.RECIPES.glob("*.yaml"))]


def _recipe(name: str) -> Recipe:
    path = search_spaces.recipe(name)
    content = cast(dict[str, Any], yaml_file.read(path))
    features, classes = content["task"]["features"], content["task"].get("classes")
    number = f"{len(classes)} classes" if classes else "all classes"
    needs = ["--landmarks"] if "landmarks" in features else []
    needs += ["GPU"] if content.get("resources", {}).get("gpus") else []
    needs += ["weights"] if content.get("space", {}).get("fix", {}).get("weights") == "imagenet" else []
    return Recipe(
        name,
        path.read_text().splitlines()[0].removeprefix("# "),
        f"{number}, {features}",
        content["trainable"],
        needs,
        TIMES.get(name),
        HARDWARE if name in TIMES else None,
    )


def render(found: list[Recipe]) -> RenderableType:
    """A table for the terminal, and what its columns mean."""
    from rich.console import Group
    from rich.text import Text

    from fersweep.common.display.tables import table

    rows = table(["recipe", "task", "needs", "time"], 4, wraps=["task"])
    for one in found:
        rows.add_row(one.name, one.task, ", ".join(one.needs) or "–", one.time or "not measured")
    return Group(
        rows,
        Text(f"time: on {HARDWARE}, start to end"),
        Text("--landmarks: a dataset that was prepared with it. weights: ImageNet's, downloaded once"),
        Text("fersweep recipes NAME          its sweep file (YAML)"),
        Text("fersweep launch NAME --data DATASET"),
    )
