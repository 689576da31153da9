"""A model whose own code comes from elsewhere: it is run with consent, or where it is of this home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code
from fersweep.results.models.open_model import open_model
from fersweep.results.models.own_code import ACCEPT
from tests.sweeps import write_sweep


def foreign(directory: Path, number: int) -> tuple[Path, Path, Code]:
    """A checkpoint with code that makes a file when it is run → the checkpoint, that file, the code."""
    ran = directory / "it was run"
    code = Code(
        "evil.py",
        "evil",
        {"evil.py": f"NUMBER = {number}\nimport pathlib; pathlib.Path({str(ran)!r}).touch()\n".encode()},
    )
    checkpoint = directory / "epoch-0003"
    checkpoint.mkdir()
    described = {"trainable": code.name, "hparams": {}, "classes": ["happy", "sad"], "feature_names": ["jawOpen"]}
    (checkpoint / "model.json").write_text(json.dumps({**described, "groups": {}, "learned": []}))
    copies.write(code, checkpoint)
    return checkpoint, ran, code


def test_code_from_elsewhere_wants_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, ran, code = foreign(tmp_path, 1)
    with pytest.raises(InputError, match=rf"made by code of its own.*{ACCEPT}={code.name[-12:]}"):
        open_model(str(checkpoint), tmp_path / "home")
    monkeypatch.setenv(ACCEPT, "0123456789ab")
    with pytest.raises(InputError, match="made by code of its own"):
        open_model(str(checkpoint), tmp_path / "home")
    assert not ran.exists()
    monkeypatch.setenv(ACCEPT, f"0123456789ab {code.name[-12:]}")
    with pytest.raises(InputError, match=r"evil\.py has no function space"):  # it is run
        _ = open_model(str(checkpoint), tmp_path / "home").loaded
    assert ran.exists()


def test_forged_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consent is for a content: another one under its digits is refused."""
    checkpoint, ran, code = foreign(tmp_path, 2)
    monkeypatch.setenv(ACCEPT, code.name[-12:])
    file = checkpoint / copies.DIRECTORY / code.name / "evil.py"
    file.write_text(file.read_text() + "# more\n")
    with pytest.raises(InputError, match="is not what was copied there"):
        _ = open_model(str(checkpoint), tmp_path / "home").loaded
    assert not ran.exists()


def test_code_of_a_sweep_of_this_home(tmp_path: Path, tiny_dataset: Path) -> None:
    checkpoint, ran, code = foreign(tmp_path, 3)
    home = tmp_path / "home"
    sweep = write_sweep(home, tiny_dataset, 1)
    copies.write(code, sweep)
    with pytest.raises(InputError, match="has no function space"):
        _ = open_model(str(checkpoint), home).loaded
    assert ran.exists()
