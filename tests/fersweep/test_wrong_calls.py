"""What a call of the API is given wrong: a second one beside the first, other types."""

from __future__ import annotations

import fcntl
import inspect
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import fersweep
from fersweep.api import background
from fersweep.api.options import CLASSES
from fersweep.common import ray_connection
from fersweep.results.record.drivers import LOCK
from tests.sweeps import write_sweep

CURVE = {"trainable": "curve", "search": {"num_trials": 2, "sampler": "random"}, "resources": {"cpus": 1}}
ON_RAY: dict[str, Callable[[Path, Path], Any]] = {
    "launch": lambda home, data: fersweep.launch(CURVE, data, name="new", home=home),
    "resume": lambda home, data: fersweep.resume("tiny", home=home),
    "prepare": lambda home, data: fersweep.prepare(home, home / "out", pixels_only=True),
    "dry_run": lambda home, data: fersweep.dry_run(CURVE, data, name="new", home=home),
    "plan": lambda home, data: fersweep.plan(CURVE, data, name="new", home=home),
    "doctor": lambda home, data: fersweep.doctor(home=home),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one sweep, `tiny`, that nothing changes."""
    home = tmp_path_factory.mktemp("runs")
    write_sweep(home, num_trials=1)
    return home


@pytest.fixture
def busy() -> Iterator[None]:
    """Another thread of this process runs a sweep."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ray_connection.left_as_found():
            begun.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("call", ON_RAY)
def test_a_process_runs_one_sweep_at_a_time(call: str, home: Path, tiny_dataset: Path) -> None:
    before = sorted(home.rglob("*"))
    with pytest.raises(fersweep.InputError, match=r"one at a time in a process; .* wait=False"):
        ON_RAY[call](home, tiny_dataset)
    assert sorted(home.rglob("*")) == before


def test_what_works_with_ray_may_call_what_does() -> None:
    with ray_connection.left_as_found(), ray_connection.left_as_found():
        pass


def test_one_sweep_of_a_name_in_the_background(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their processes wait, as those do that load their libraries."""
    waits = [sys.executable, "-Sc", "import signal; signal.pause()"]
    monkeypatch.setattr(background, "module_command", lambda *_: waits)

    def launch(**more: Any) -> fersweep.Running:
        return fersweep.launch(CURVE, tiny_dataset, name="new", home=tmp_path, wait=False, **more)

    first = launch()
    beginning = rf"process {first.pid} is about to begin it: .*/\.new\.launch/log says how far it is"
    for resume in (False, True):
        with pytest.raises(fersweep.InputError, match=beginning):
            launch(resume=resume)
    with pytest.raises(fersweep.InputError, match=beginning):
        fersweep.launch(CURVE, tiny_dataset, name="new", home=tmp_path)
    with pytest.raises(fersweep.InputError, match=f"no sweep 'new'.*{beginning}"):
        fersweep.attach("new", home=tmp_path)
    assert first.state == "starting"
    assert first.stop() is None
    again = launch()
    assert again.pid != first.pid, "its name is free"
    os.kill(again.pid or 0, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"its process ended before it was a sweep \(SIGKILL\): it said nothing"):
        again.wait()


@pytest.mark.parametrize(
    ("name", "place", "refusal"),
    [("new", ".new.new", "launching a sweep of this name"), ("tiny", "tiny", "running this")],
)
def test_beside_a_process_of_the_command_line(
    name: str, place: str, refusal: str, home: Path, tiny_dataset: Path
) -> None:
    path = home / "sweeps" / place / LOCK
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(fersweep.InputError, match=f"another process is {refusal}"):
            fersweep.launch(CURVE, tiny_dataset, name=name, home=home, resume=True, wait=False)


def calls() -> Iterator[tuple[str, Callable[..., Any], inspect.Parameter]]:
    """(what it is called, a function of the API or a method of its objects, one of its parameters)."""
    for name in fersweep.__all__:
        found = getattr(fersweep, name)
        own = inspect.isclass(found) and found.__module__.startswith("fersweep.api.")
        methods = {key: value for key, value in vars(found).items() if inspect.isfunction(value) and key[0] != "_"}
        for title, function in methods.items() if own else [(name, found)] * inspect.isfunction(found):
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name != "self":
                    yield f"{title}: {parameter.name}", function, parameter


CALLS = {place: (function, parameter) for place, function, parameter in calls()}
ANYTHING = {"as_json: result", "read_sweep: replaced"}


@pytest.mark.parametrize("place", sorted(CALLS.keys() - ANYTHING))
def test_a_wrong_type_is_one_line(place: str) -> None:
    """It is refused before what else is missing."""
    function, parameter = CALLS[place]
    method = [None] if "self" in inspect.signature(function).parameters else []
    several = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    for value in (object(), b"bytes", {1, 2}, [object()], 1j):
        with pytest.raises(fersweep.InputError, match=rf"{place}: want .*, but got .*{type(value).__name__}\)"):
            function(*method, *[value] * several, **({} if several else {parameter.name: value}))


def test_what_is_wrong_is_said_in_words() -> None:
    loop: dict[str, Any] = {**CURVE, "name": "loop"}
    loop["space"] = loop
    for call, line in [
        (lambda: fersweep.launch(3, "d"), "launch: recipe: want a path or a mapping or what fersweep.read_sweep returned, but got 3 (int)"),
        (lambda: fersweep.status(home=5), "status: home: want a path or None, but got 5 (int)"),
        (lambda: fersweep.open_sweep(3), "open_sweep: name: want text, but got 3 (int)"),
        (lambda: fersweep.Model.predict(None, None), "Model.predict: images: want a path or an array or a list (a path or an array), but got None (NoneType)"),
        (lambda: fersweep.launch("cnn", "d", wait="no"), "launch: wait: want True or False, but got 'no' (str)"),
        (lambda: fersweep.launch("cnn", "d", trials=True), "launch: trials: want a whole number or None, but got True (bool)"),
        (lambda: fersweep.prepare("a", "b", views="two"), "prepare: views: want a whole number, but got 'two' (str)"),
        (lambda: fersweep.compare("a", 7), "compare: names: want text, but got 7 (int)"),
        (lambda: fersweep.prepare("a", "b", view=2), "prepare has no option 'view'; did you mean 'views'?"),
        (lambda: fersweep.launch(loop, "d"), "sweep: nested too deep, or a part contains itself"),
    ]:  # fmt: skip
        with pytest.raises(fersweep.InputError) as caught:
            call()
        assert str(caught.value) == line


def test_every_class_that_is_named_is_there() -> None:
    for place, _ in CLASSES.values():
        module, _, name = place.rpartition(".")
        assert getattr(import_module(module), name).__qualname__ == name


def test_a_function_goes_into_a_process_of_its_own() -> None:
    assert pickle.loads(pickle.dumps(fersweep.launch)) is fersweep.launch
