"""A line of pyproject.toml's extras each: where what an extra brings is missing, one line names the extra. And where
something else is missing, one line says what.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fersweep.cli.main import main
from fersweep.cluster.doctor import software_checks
from fersweep.cluster.samplers import custom
from fersweep.common.errors import EXTRAS, LIBRARIES, not_installed
from fersweep.data_pipeline.faces import landmarker_bundle
from fersweep.results.mlflow_store import connection
from fersweep.results.tracking import address
from fersweep.trainables.transfer import weights
from tests.imports import ROOT


def without_hub() -> None:
    custom.load("optunahub:samplers/other")


def without_postgres() -> None:
    for uri in ("postgresql+psycopg2://localhost/mlflow", "postgresql://localhost/mlflow"):
        answer = address.asked(uri)
        assert (answer.kind, "fersweep[postgres]" in answer.why) == ("wrong", True), answer
    connection.connect(uri)


def without_pretrained() -> None:
    weights.resolve(weights.CARRIED, "imagenet")


def without_landmarker() -> None:
    landmarker_bundle.find_bundle(url="file:///nowhere")


def without_cuda() -> None:
    raise RuntimeError(software_checks.REMEDY["tensorflow"])


CASES: dict[str, Callable[[], None]] = {
    "hub": without_hub,
    "postgres": without_postgres,
    "pretrained": without_pretrained,
    "landmarker": without_landmarker,
    "cuda": without_cuda,
}


@pytest.fixture
def nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of an extra, nothing in a cache, and nobody answers."""
    for module in EXTRAS:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(landmarker_bundle, "CARRIERS", ())
    monkeypatch.setattr(landmarker_bundle, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    nowhere = "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_more")
@pytest.mark.parametrize(
    "extra", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
def test_one_line_names_the_extra(extra: str) -> None:
    with pytest.raises(Exception, match=rf"fersweep\[{extra}\]") as caught:
        CASES[extra]()
    assert isinstance(caught.value, RuntimeError | ValueError), "what the command line makes a line of"
    assert "\n" not in str(caught.value)


def test_a_module_of_an_extra_has_an_extra() -> None:
    assert set(EXTRAS.values()) | {"cuda"} == CASES.keys()


def test_an_incomplete_environment_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr(sys, "argv", ["fersweep", "demo"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (1, "")
    assert told.err.startswith("fersweep: skimage cannot be imported (")
    assert told.err.endswith("): this environment is incomplete; pip install fersweep brings what is missing\n")


def test_a_missing_system_library_is_named_with_its_package() -> None:
    for library, package in LIBRARIES.items():
        reason = f"{library}: cannot open shared object file: No such file or directory"
        for error in (OSError(reason), ImportError(reason, name="cv2")):
            line = not_installed(error)
            assert line is not None
            assert f"a system library is missing ({reason}): apt-get install" in line
            assert package in line


def test_our_own_mistakes_stay_tracebacks() -> None:
    assert not_installed(ModuleNotFoundError("No module named 'fersweep.reslts'", name="fersweep.reslts")) is None
    assert not_installed(OSError(2, "No such file or directory")) is None
