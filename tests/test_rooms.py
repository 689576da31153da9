"""Who may import whom: one table, no circles, and where each heavy package may be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOMS, ROOT, circles, file_graph, files, folders, grouped, imports

# A package, or a file beside packages → what of its own room it may import. Other rooms: those before its own in ROOMS.
# `room/*`: the entries of a registry, which a new one joins without a word here. What is not named imports nothing of
# its room. HEAVY and ONLY say more.
TABLE: dict[str, str] = {
    "common/errors": "text",
    "common/display": "text",
    "common/files": "errors processes untrusted",
    "common/own_code": "errors files processes text untrusted",
    "common/ray_address": "errors",
    "common/local_ray": "files processes",
    "common/ray_connection": "errors processes ray_address shipped_code display local_ray",
    "common/shipped_code": "errors",
    "common/stores": "errors files processes text untrusted",
    "common/versions": "processes text",
    "common/video_file": "processes",
    "data_pipeline/sources": "vocabulary faces",
    "data_pipeline/faces": "vocabulary",
    "data_pipeline/splits": "vocabulary",
    "data_pipeline/dataset": "vocabulary splits",
    "data_pipeline/tasks": "vocabulary faces splits dataset",
    "data_pipeline/prepare": "vocabulary sources faces splits dataset",
    "data_pipeline/describe": "vocabulary faces dataset tasks",
    **dict.fromkeys(
        (
            "trainables/metrics",
            "trainables/batches",
            "trainables/gpu_share",
            "trainables/saved_model",
            "trainables/vectors",
        ),
        "",
    ),
    "trainables/protocol": "metrics batches gpu_share saved_model",
    "trainables/population": "metrics protocol",
    "trainables/ensemble": "metrics batches gpu_share saved_model",
    "trainables/keras_training": "metrics batches gpu_share saved_model vectors protocol",
    "trainables/torch_training": "metrics batches gpu_share saved_model vectors protocol",
    "trainables/fused_training": "metrics batches gpu_share saved_model vectors protocol population torch_training",
    "trainables/*": "metrics batches gpu_share saved_model protocol population fused_training keras_training torch_training",
    "trainables/own": "keras_training short_form",
    "trainables/metric_trial": "metrics protocol own_metrics",
    "trainables/model_trial": "protocol short_form",
    "trainables/exports": "saved_model vectors ensemble keras_training torch_training",
    "search_spaces/*": "keras_training torch_training",
    "search_spaces/keras_training": "",
    "search_spaces/torch_training": "",
    "search_spaces/sweep_file": "",
    "results/scores": "record",
    "results/compare": "record scores",
    "results/report": "record scores compare",
    "results/mlflow_store": "record scores",
    "results/callbacks": "record mlflow_store",
    "results/tracking": "record scores mlflow_store report",
    "results/models": "record mlflow_store",
    "results/evaluate": "record scores mlflow_store models",
    "results/champion": "record mlflow_store models",
    "results/ensembles": "record scores models",
    "results/distil": "record scores models",
    "results/promote": "record scores mlflow_store models ensembles evaluate tracking champion distil",
    "results/predict": "record scores mlflow_store models",
    "results/dashboards": "record scores mlflow_store tracking callbacks",
    "results/housekeeping": "record mlflow_store tracking models evaluate champion promote dashboards",
    "cluster/search": "samplers schedulers",
    "cluster/driver": "capacity search worker",
    "cluster/launchers": "",
    "cluster/jobs": "launch",
    "cluster/planning": "capacity search samplers schedulers worker launch launchers plans",
    "cluster/doctor": "capacity driver",
    "cluster/cluster_nodes": "capacity",
    "cluster/launch": "capacity cluster_nodes plans samplers schedulers search worker driver new_sweep",
    "cluster/resume": "capacity changed_code cluster_nodes search samplers worker driver launch",
    "cluster/new_sweep": "samplers",
    "cluster/launch_or_resume": "driver launch resume",
    "cluster/stop": "driver",
    "cluster/follow_up": "driver launch resume",
    "fersweep/__main__": "cli",
    "fersweep/cli": "api checks",
}
# What only these of a room may import, of what the rooms before theirs have.
ONLY: dict[str, tuple[str, ...]] = {
    "search_spaces": ("results/record", "results/callbacks", "cluster", "fersweep"),
    "data_pipeline/prepare": ("fersweep",),
    "data_pipeline/describe": ("fersweep",),
    "trainables/exports": ("results/models",),
}
HEAVY: dict[str, tuple[str, ...]] = {
    "mediapipe": ("data_pipeline/faces/landmarker.py",),
    "mlflow": (
        "results/mlflow_store/",
        "results/tracking/",
        "results/champion/",
        "results/evaluate/",
        "results/housekeeping/",
        "results/models/open_model.py",
        "results/promote/",
    ),
    "ray": (
        "cluster/",
        "common/ray_address.py",
        "common/ray_connection.py",
        "common/local_ray/",
        "data_pipeline/prepare/ray_stream.py",
    ),
    "tensorflow": ("trainables/keras_training/runtime.py",),
    "keras": ("trainables/keras_training/runtime.py",),
    "torch": ("trainables/",),
    "timm": ("trainables/",),
    "torchvision": ("trainables/",),
}
# Imported only inside functions, so that a module that may not need them loads without them …
LAZY = ("tensorflow", "keras", "torch", "timm", "torchvision", "mediapipe")
# … but for torch in these, which are torch from top to bottom: who imports them does so inside a function.
TORCH = ("torch", "timm", "torchvision")
TORCH_FILES = (
    "trainables/torch_training/",
    "trainables/fused_training/",
    "trainables/cnn/net.py",
    "trainables/transfer/net.py",
    "trainables/transfer/backbones.py",
    "trainables/exports/torch_files.py",
    "trainables/short_form/torch_nets.py",
)
NOT_TORCH = "trainables/torch_training/hparams.py"
REGISTRIES = (
    "data_pipeline/sources/formats",
    "trainables",
    "search_spaces",
    "cluster/launchers",
    "cluster/samplers",
    "cluster/schedulers",
    "search_spaces/sweep_file/sections",
)  # a file an entry: these may grow
FILES, GRAPH = files(), file_graph()


def unit(name: str) -> str:
    """room/package, or room/file, of a file's name."""
    return "/".join(name.split("/")[:2])


def allowed_by_table(here: str) -> list[str]:
    return TABLE.get(here, TABLE.get(f"{here.split('/')[0]}/*", "")).split()


def test_a_package_imports_only_what_the_table_says() -> None:
    wrong = []
    for name, others in GRAPH.items():
        here, room = unit(name), name.split("/")[0]
        for other in others:
            there, their_room = unit(other), other.split("/")[0]
            if room != their_room:
                allowed = ROOMS.index(their_room) < ROOMS.index(room)
            else:
                allowed = here in (there, room) or room == other or there.split("/")[1] in allowed_by_table(here)
            only = ONLY.get(there, ONLY.get(their_room)) if room != their_room else None
            if not allowed or (only is not None and here not in only and room not in only):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_the_table_names_what_there_is() -> None:
    here = {unit(name) for name in GRAPH}
    assert {place for place in TABLE if not place.endswith("/*")} <= here
    assert {f"{place.split('/')[0]}/{name}" for place, names in TABLE.items() for name in names.split()} <= here


def test_there_are_no_circles() -> None:
    """Of all imports: those inside functions and under TYPE_CHECKING, too."""
    assert circles(GRAPH) == []
    for folder in ("", *ROOMS):
        assert circles(grouped(GRAPH, folder)) == [], folder


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_folders_and_files_stay_small() -> None:
    full = {folder: number for folder, number in folders(FILES).items() if number > 12 and folder not in REGISTRIES}
    assert full == {}
    assert [str(path) for path in FILES if len((ROOT / path).read_text().splitlines()) > 400] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_packages_are_imported_where_they_may_be(path: Path) -> None:
    place = str(path)
    for dotted, at_import in imports(path):
        package = dotted.split(".")[0]
        if package in HEAVY:
            assert place.startswith(HEAVY[package]), f"{place} imports {package}"
        is_torch_file = place.startswith(TORCH_FILES) and place != NOT_TORCH
        if package in LAZY and not (package in TORCH and is_torch_file):
            assert not at_import, f"{place} imports {package} when it is imported itself"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_our_modules_have_one_name(path: Path) -> None:
    """`results` alone would be whichever `results.py` lies in somebody's working directory."""
    assert [dotted for dotted, _ in imports(path) if dotted.split(".")[0] in ROOMS[:-1]] == []


@pytest.mark.processes
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fersweep.cli.main", "ray tensorflow torch mlflow mediapipe optuna pandas numpy sklearn matplotlib"),
        (
            "import fersweep; [getattr(fersweep, name) for name in fersweep.__all__ if name not in ('Task', 'TaskSpec')]",
            "ray tensorflow torch mlflow mediapipe optuna IPython",
        ),
        (
            "from fersweep.search_spaces.sweep_file.read_sweep import read_sweep; read_sweep('quick', [])",
            "ray tensorflow torch mlflow mediapipe",
        ),
        ("import fersweep.cluster.launch", "ray tensorflow torch mlflow mediapipe"),
        (
            "import fersweep.results.compare.trials, fersweep.results.evaluate.judgement, "
            "fersweep.results.promote.promotion",
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
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    modules = [name if name.startswith("fersweep") else f"fersweep.{name}" for name in names]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport " + ", ".join(
        name for name in modules if name not in ("fersweep.__main__", "fersweep.results.promote.pyfunc")
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
