"""Who may import whom, and where each heavy package may be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS: dict[str, set[str]] = {
    "data_pipeline": set(),
    "search_spaces": set(),
    "trainables": {"data_pipeline"},
    "results": {"trainables", "data_pipeline"},
    "cluster": {"data_pipeline", "search_spaces", "trainables", "results"},
}
HEAVY = {
    "mediapipe": ("data_pipeline/faces/landmarker.py",),
    "mlflow": ("results/",),
    "ray": ("cluster/", "data_pipeline/prepare/ray_stream.py"),
    "tensorflow": ("trainables/keras_training/classifier.py",),
    "keras": ("trainables/keras_training/classifier.py",),
    "torch": ("trainables/",),
    "timm": ("trainables/",),
    "torchvision": ("trainables/",),
}
# Imported only inside functions, so that a module that may not need them loads without them …
LAZY = ("tensorflow", "keras", "torch", "timm", "torchvision", "mediapipe")
# … but for torch in these, which are torch from top to bottom: who imports them does so inside a function.
TORCH = ("torch", "timm", "torchvision")
TORCH_FILES = (
    "trainables/torch_training/classifier.py",
    "trainables/torch_training/optimisation.py",
    "trainables/torch_training/augment.py",
    "trainables/torch_training/cpu_convolutions.py",
    "trainables/torch_training/device.py",
    "trainables/torch_training/layers.py",
    "trainables/cnn/net.py",
    "trainables/transfer/net.py",
    "trainables/transfer/backbones.py",
    "trainables/torch_training/explain.py",
    "trainables/exports/torch_files.py",
)
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(top-level package, is it imported when the module is) of each import in a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], node in tree.body
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0], node in tree.body


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    place = path.relative_to(ROOT)
    for package, at_import in imports(path):
        if package in ROOMS and package != place.parts[0]:
            assert package in ROOMS[place.parts[0]], f"{place} imports {package}"
        if package in HEAVY:
            assert str(place).startswith(HEAVY[package]), f"{place} imports {package}"
        if package in LAZY and not (package in TORCH and str(place) in TORCH_FILES):
            assert not at_import, f"{place} imports {package} when it is imported itself"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fersweep", "ray tensorflow torch mlflow mediapipe optuna pandas numpy sklearn matplotlib"),
        (
            "from fersweep.search_spaces.sweep_file.schema import read_sweep; read_sweep('quick', [])",
            "ray tensorflow torch mlflow mediapipe",
        ),
        ("import fersweep.cluster.launch", "ray tensorflow torch mlflow mediapipe"),
        (
            "import fersweep.results.compare.trials, fersweep.results.evaluate.judgement, fersweep.results.promote.promotion",
            "ray tensorflow torch mlflow mediapipe",
        ),
        (
            "import fersweep.data_pipeline.prepare.preparation, fersweep.data_pipeline.tasks.task",
            "ray tensorflow torch mlflow mediapipe",
        ),
        ("import fersweep.trainables.transfer.weights", "ray tensorflow torch timm torchvision mlflow mediapipe"),
        (
            "import fersweep.trainables.cnn, fersweep.trainables.transfer, fersweep.trainables.pixel_mlp",
            "ray tensorflow torch timm torchvision mlflow mediapipe",
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(code: str, absent: str) -> None:
    check = f"{code}\nimport sys\nprint(*[m for m in {absent.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.processes
def test_importing_writes_nothing(tmp_path: Path) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport fersweep, " + ", ".join(modules)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
