"""Own code: what is collected, copied and run."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest

from fersweep.cluster.changed_code import difference
from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code
from fersweep.common.own_code.collect import collect
from fersweep.common.own_code.importing import imported, name_of, where


def write(directory: Path, **files: str) -> Path:
    """Files by name, `pack__sub` for pack/sub.py → the directory."""
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


MAIN = """
import blocks, pack.deep
from pack import other
from . import late as late_one

def total():
    import blocks as inside
    return blocks.X + inside.X + pack.deep.X + other.X + late_one.X

def fails():
    raise KeyError("no such face")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = write(
        tmp_path / "project",
        my_model=MAIN,
        blocks="X = 1",
        late="X = 1000",
        pack__deep="from . import other\nfrom pack.other import X as Y\nX = 10",
        pack__other="X = 100",
        unused="raise RuntimeError",
    )
    (directory / "pack" / "__init__.py").write_text("")
    (directory / "data.csv").write_text("1,2")
    return directory


def test_what_a_file_imports_from_beside_it_is_collected(project: Path) -> None:
    code = collect(str(project / "my_model.py"), "trainable")
    assert sorted(code.files) == [
        "blocks.py",
        "late.py",
        "my_model.py",
        "pack/__init__.py",
        "pack/deep.py",
        "pack/other.py",
    ]
    assert code.name == f"my_model.py@{code.sha256[:12]}"


def test_a_copy_runs_without_the_original(project: Path, tmp_path: Path) -> None:
    code = collect("my_model.py", "trainable", beside=project)
    copies.write(code, tmp_path)
    for path in project.rglob("*.py"):
        path.write_text("raise RuntimeError")
    copy = copies.read(tmp_path / copies.DIRECTORY / code.name, "trainable")
    module = imported(copy, "trainable")
    assert module.total() == 1112
    assert name_of(module.__name__) == code.name
    assert "no such face" in inspect.getsource(module.fails)
    with pytest.raises(KeyError) as failure:
        module.fails()
    assert where(failure.value) == " (my_model.py, line 11)"


def test_two_versions_run_side_by_side(tmp_path: Path) -> None:
    results: list[int] = []
    for number in (1, 2):
        write(tmp_path, two_versions="import part\ndef number(): return part.NUMBER", part=f"NUMBER = {number}")
        results.append(imported(collect(str(tmp_path / "two_versions.py"), "trainable"), "trainable").number)
    assert [number() for number in results] == [1, 2]
    assert "part" not in sys.modules


def test_a_module_of_a_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    code = collect("pack.deep", "trainable")
    assert sorted(code.files) == ["pack/__init__.py", "pack/deep.py", "pack/other.py"]
    assert imported(code, "trainable").X == 10
    with pytest.raises(InputError, match=r"pack has no module pack\.none"):
        collect("pack.none", "trainable")
    with pytest.raises(InputError, match="no module nowhere is found"):
        collect("nowhere.at_all", "trainable")


def test_a_name_with_digits_wants_that_content(project: Path) -> None:
    code = collect(str(project / "blocks.py"), "trainable")
    assert collect(code.name, "trainable", beside=project).sha256 == code.sha256
    write(project, blocks="X = 2")
    with pytest.raises(InputError, match=r"is not the code that blocks\.py@"):
        collect(code.name, "trainable", beside=project)


@pytest.mark.parametrize("damage", ["changed", "more", "none", "outside", "no_json", "renamed"])
def test_a_damaged_copy_is_refused(tmp_path: Path, damage: str) -> None:
    code = Code("m.py", "m", {"m.py": b"X = 1"})
    copies.write(code, tmp_path)
    copy = tmp_path / copies.DIRECTORY / code.name
    sums = json.loads((copy / copies.SUMS).read_text())
    if damage == "changed":
        (copy / "m.py").write_text("X = 2")
    elif damage == "more":
        sums["files"]["n.py"] = "0" * 64
    elif damage == "none":
        (copy / "m.py").unlink()
    elif damage == "outside":
        sums["files"]["../../n.py"] = "0" * 64
    elif damage == "renamed":
        copy = copy.rename(copy.with_name(f"m.py@{'0' * 12}"))
    if damage in ("more", "outside"):
        (copy / copies.SUMS).write_text(json.dumps(sums))
    if damage == "no_json":
        (copy / copies.SUMS).write_text("{")
    with pytest.raises(InputError, match="put a copy of it back"):
        copies.read(copy, "trainable")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"def f(:", "line 1 is no Python"),
        (b"\x00\x01", "is no Python"),
        (b"raise ValueError('not today')", r"cannot be imported: ValueError: not today \(m.py, line 1\)"),
        (b"raise MemoryError", r"cannot be imported: MemoryError \(m.py, line 1\)$"),
        (
            b"from pathlib import Path\nopen(Path(__file__).parent / 'x.csv')",
            r"x.csv' \(of own code .py files alone are copied: .* \(m.py, line 2\)",
        ),
        (b"import os; os._exit(0)", r"cannot be imported: SystemExit: os._exit\(0\) \(m.py, line 1\)"),
        (b"import torch.nn", r"torch.py hides the package torch, which m.py imports: give it another name"),
        (b"import sys; sys.exit(3)", "cannot be imported: SystemExit"),
        (b"import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError"),
        pytest.param(b"x" * (5 * 2**20), "larger than 4 MiB", id="large"),
    ],
)
def test_bad_code_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.py").write_bytes(content)
    (tmp_path / "torch.py").touch()
    with pytest.raises(InputError, match=message) as refused:
        imported(collect(str(tmp_path / "m.py"), "trainable"), "trainable")
    assert "\n" not in str(refused.value)


def test_what_it_prints_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.py").write_text("print('hello')")
    imported(collect(str(tmp_path / "m.py"), "trainable"), "trainable")
    said = capsys.readouterr()
    assert said.out == ""
    assert "trainable: runs the code of m.py (sha256 " in said.err
    assert "hello" in said.err


def test_what_has_changed_is_named() -> None:
    before = Code("m.py", "m", {"m.py": b"import n\n", "n.py": b"X = 1\n"})
    assert (
        difference(before, Code("m.py", "m", {"m.py": b"import n\n\n", "n.py": b"X = 1\n"}))
        == "1 line added, 0 removed"
    )
    assert (
        difference(before, Code("m.py", "m", {"m.py": b"import n\n", "n.py": b"X = 2\n"}))
        == "n.py: 1 line added, 1 removed"
    )
