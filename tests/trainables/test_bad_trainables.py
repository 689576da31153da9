"""Trainables of people's own that are none: each is refused in one line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fersweep import trainables
from fersweep.cluster import launch
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.trainables import model_trial

SPACE = 'def space(trial):\n    return {"rate": trial.suggest_float("rate", 0.1, 1.0)}\n'
FULL = f"""{SPACE}
from fersweep.trainables.protocol import HparamsModel
class Hparams(HparamsModel):
    rate: float = 0.5
def build(hparams, arrays, seed): ...
def restore(directory): ...
"""

# what the file holds → what the line says
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "has no function space"),
    "no_python": ("def space(trial:\n", "line 1 is no Python"),
    "binary": (b"\x00\xff\x00", "is no Python"),
    "other_coding": ('# -*- coding: nonsense -*-\nX = "ä"\n', "is no Python"),
    "raises": ("raise RuntimeError('first\\nsecond')", r"RuntimeError: first.*\(bad.py, line 1\)"),
    "exits": ("import sys\nsys.exit(0)", "SystemExit"),
    "ends_the_process": ("import os\nos._exit(0)", r"cannot be imported: SystemExit: os._exit\(0\) \(bad.py, line 2\)"),
    "missing_package": ("import no_such_package_at_all", "No module named 'no_such_package_at_all'"),
    "missing_sibling_name": ("from helper import nothing_there", "cannot import name 'nothing_there'"),
    "bad_sibling": ("import broken_helper", "broken_helper.py, line 1 is no Python"),
    "space_is_no_function": ("space = 3\ndef net(hparams, num_features, num_classes): ...", "has no function space"),
    "neither_form": (SPACE, "has neither net"),
    "no_framework": (f"{SPACE}def net(hparams, num_features, num_classes): ...", "imports neither torch nor keras"),
    "two_frameworks": (
        f"{SPACE}def f():\n    import torch, keras\ndef net(hparams, num_features, num_classes): ...",
        "imports both torch and keras",
    ),
    "unknown_framework": (f'FRAMEWORK = "jax"\n{FULL}', "FRAMEWORK is 'jax'"),
    "half_of_the_full_form": (FULL.replace("restore", "other"), "lacks restore"),
    "space_raises": (FULL.replace('return {"rate"', 'raise KeyError("x")\n    return {"rate"'), "no point can be drawn: KeyError"),
    "space_gives_a_list": (FULL.replace('return {"rate": trial', 'return [trial').replace("0)}", "0)]"), "want a dict"),
    "space_gives_none": (FULL.replace("return", "_ ="), "want a dict"),
    "async_space": (f"async {FULL[FULL.index('def space'):]}", "bad.py: space is an `async def`"),
    "build_yields": (FULL.replace("seed): ...", "seed): yield"), "bad.py: build has a `yield`"),
    "unknown_hparam": (FULL.replace('{"rate":', '{"rtae":'), "rtae"),
    "impossible_hparam": (FULL.replace("rate: float", "rate: str"), "rate"),
    "low_above_high": (FULL.replace("0.1, 1.0", "2.0, 1.0"), "low"),
    "features_that_are_none": (f'FEATURES = ("sounds",)\n{FULL}', "sounds"),
    "large": (b"#" * (5 * 2**20), "larger than 4 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_each_is_refused_in_one_line(
    kind: str, tmp_path: Path, tiny_dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, says = BAD[kind]
    (tmp_path / "helper.py").write_text("X = 1")
    (tmp_path / "broken_helper.py").write_text("def f(:")
    (tmp_path / "bad.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "sweep.yaml").write_text("name: bad\ntrainable: bad.py\n")
    home = tmp_path / "home"
    with pytest.raises(InputError, match=says) as refused:
        launch.dry(read_sweep(str(tmp_path / "sweep.yaml"), []), tiny_dataset, home)
    assert "\n" not in str(refused.value)
    assert not home.exists()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("nowhere.py", "nowhere.py cannot be read: No such file"),
        ("folder.py", "cannot be read"),
        ("blendshape_lstn", "did you mean 'blendshape_lstm'"),
        ("no.such.module", "no module no is found"),
        ("fersweep.nothing", "fersweep has no module fersweep.nothing"),
        ("bad;name.py", "the name of a file of code may hold"),
        ("../", "unknown trainable|want a file"),
        ("my model@123", "unknown trainable|want a file"),
        ("cnn@0123456789ab", "unknown trainable|no module cnn is found"),
    ],
)
def test_a_name_that_is_none(asked: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "bad;name.py").write_text(FULL)
    (tmp_path / "sweep.yaml").write_text(f"name: bad\ntrainable: {asked!r}\n")
    with pytest.raises(InputError, match=says):
        read_sweep(str(tmp_path / "sweep.yaml"), [])


NET = "import torch\n{space}def net(hparams, num_features, num_classes):\n    {body}\n    return torch.nn.Linear(num_features, num_classes)\n"
BAD_MODELS: dict[str, tuple[str, str]] = {
    "net_raises": (NET.format(space=SPACE, body='raise RuntimeError("boom")'), r"^trainable: bad.py:5: net: RuntimeError: boom \(at each of 10 sampled points no model is built\)$"),
    "build_raises": (FULL.replace("seed): ...", "seed): raise KeyError('x')"), r"bad.py: build: KeyError: 'x' \(bad.py, line 7\)"),
    "build_gives_none": (FULL, "bad.py: build gives a NoneType without fit, predict, save, load"),
}  # fmt: skip


@pytest.fixture
def tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has torch already."""
    monkeypatch.setattr(model_trial, "ask", lambda _module, request, *_: model_trial.answer(request))


@pytest.mark.usefixtures("tried_here")
@pytest.mark.parametrize("kind", BAD_MODELS)
def test_one_that_builds_no_model_is_refused_before_anything_is_written(
    kind: str, tmp_path: Path, tiny_dataset: Path
) -> None:
    content, says = BAD_MODELS[kind]
    (tmp_path / "bad.py").write_text(content)
    (tmp_path / "sweep.yaml").write_text("name: bad\ntrainable: bad.py\n")
    with pytest.raises(InputError, match=says):
        launch.launch(read_sweep(str(tmp_path / "sweep.yaml"), []), tiny_dataset, tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.usefixtures("tried_here")
def test_one_that_hangs_is_refused(tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_trial, "LIMIT_S", 0.3)
    content = FULL.replace("seed): ...", "seed):\n    import time; time.sleep(60)")
    (tmp_path / "bad.py").write_text(content)
    (tmp_path / "sweep.yaml").write_text("name: bad\ntrainable: bad.py\n")
    with pytest.raises(InputError, match=r"^trainable: bad.py: build: it takes longer than 0.3 s \(bad.py, line 8\)$"):
        launch.dry(read_sweep(str(tmp_path / "sweep.yaml"), []), tiny_dataset, tmp_path / "home")


@pytest.mark.processes
def test_one_that_ends_its_process_is_refused(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "bad.py").write_text(FULL.replace("seed): ...", "seed):\n    import os; os._exit(0)"))
    (tmp_path / "sweep.yaml").write_text("name: bad\ntrainable: bad.py\n")
    with pytest.raises(
        InputError,
        match=r"^trainable: bad.py: it ended the process that tried it \(exit code 0\): os._exit\(0\) was called \(bad.py, line 8\)$",
    ):
        launch.dry(read_sweep(str(tmp_path / "sweep.yaml"), []), tiny_dataset, tmp_path / "home")


@pytest.mark.usefixtures("tried_here")
def test_one_that_builds_a_model_at_some_points_is_remarked(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        NET.format(space=SPACE.replace('"rate"', '"width"', 1), body='assert hparams["width"] > 0.5\n    assert True')
    )
    place = trainables.resolve(str(file))
    arrays = Task(tiny_dataset, TaskSpec(features="blendshapes")).arrays()
    small, large = {"width": 0.2}, {"width": 0.8}
    assert model_trial.tried(place, [large, small], arrays, {}) == []
    (said,) = model_trial.tried(place, [small, large], arrays, {})
    assert said.startswith("of 2 sampled points 1 cannot be built: some.py:5: net: AssertionError")
