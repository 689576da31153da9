"""Trainables of people's own that are none: each is refused in one line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fersweep.cluster import launch
from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

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
