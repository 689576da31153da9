"""A Ray of ours: it has no agents until they are wanted, and its workers can be told what to import."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fersweep.common.local_ray import late_agent, new_worker, start, warm_up, worker_source
from fersweep.common.processes import environment
from tests.processes import wait_until


def commands() -> list[str]:
    processes = psutil.Process().children(recursive=True)
    return [" ".join(one.cmdline()) for one in processes if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.usefixtures("ray_session")
def test_an_agent_is_there_when_it_is_wanted() -> None:
    import ray

    assert not [command for command in commands() if "dashboard.py" in command or "DashboardAgent" in command]
    asked: Any = ray.remote(runtime_env={"env_vars": {"OF_A_RUNTIME_ENVIRONMENT": "1"}})(os.getenv)
    assert ray.get(asked.remote("OF_A_RUNTIME_ENVIRONMENT")) == "1"
    assert [command for command in commands() if "RuntimeEnvAgent" in command]


def test_what_stands_for_an_agent_ends_with_who_started_it() -> None:
    start_it = f"subprocess.Popen([sys.executable, '-I', '-S', {late_agent.__file__!r}]).pid"
    script = f"import subprocess, sys, time; print({start_it}, flush=True); time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=30)


@pytest.mark.parametrize("own", [None, "3"])
def test_a_worker_imports_what_it_is_told(tmp_path: Path, own: str | None) -> None:
    """With the trial's number of threads, unless the user has said one; a module that is not there harms nothing."""
    (tmp_path / "first.py").write_text("import os\nthreads = os.environ['OMP_NUM_THREADS']\n")
    file = start.tell(tmp_path, start.Warm(lambda _: 1, ("first", "nowhere"), 2))
    assert json.loads(file.read_text()) == [2, "first", "nowhere"]
    more = {warm_up.FILE: str(file), "PYTHONPATH": f"{environment()['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    variables = {**environment(), **more}
    variables.pop("OMP_NUM_THREADS", None)
    if own:
        variables["OMP_NUM_THREADS"] = own
    script = f"import {warm_up.__name__}, first, os; print(first.threads, os.environ.get('OMP_NUM_THREADS'))"
    told = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, check=True, text=True)
    assert told.stdout.split() == ([own, own] if own else ["2", "None"])


def test_workers_are_waited_for_until_somebody_stops(tmp_path: Path) -> None:
    start.await_warm(tmp_path, lambda: False)  # none was started
    file = start.tell(tmp_path, None)
    Path(f"{file}.number").write_text("1")
    asked = iter([False, True])
    start.await_warm(tmp_path, lambda: next(asked))
    Path(f"{file}{warm_up.READY}7").touch()
    start.await_warm(tmp_path, lambda: pytest.fail("it is ready"))


@pytest.fixture
def no_source(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The workers of the session's Ray may have one."""
    with monkeypatch.context() as patch:
        patch.setattr(start, "_source", None)
        yield
        start.end_imports()


WORKER = """
import json, os, sys
said = {"arguments": sys.argv[1:], "own": os.environ.get("OWN"), "here": os.getcwd(), "parent": os.getppid()}
said |= {"group": os.getpgid(0) == os.getpid()}
said |= {"imported": "fractions" in sys.modules, "main": __name__, "path": "/of/the/worker" in sys.path}
print(json.dumps(said), flush=True)
"""


def ask(place: Path, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Ask for a worker as raylet does → what it says; its end is waited for by the end of its output."""
    worker, setup = tmp_path / "worker.py", tmp_path / "setup.py"
    worker.write_text(WORKER)
    setup.write_text("print('{\"setup\": true}')")
    command = [sys.executable, "-I", "-S", new_worker.__file__, str(place), str(setup), str(worker), *arguments]
    variables = {**os.environ, "OWN": "variable", "PYTHONPATH": "/of/the/worker"}
    said = subprocess.run(command, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(said.stdout)


@pytest.mark.usefixtures("no_source")
def test_a_worker_is_forked_from_what_has_imported(tmp_path: Path) -> None:
    """It is as if it had been started: its arguments, environment, directory and output. Its source ends with the driver."""
    killed, young = (Path(tempfile.mkdtemp(prefix=worker_source.PREFIX)) for _ in range(2))
    os.utime(killed, (0, 0))
    start.begin_imports(start.Warm(lambda _: 1, (), 1, ("fractions", "nowhere")))
    source = start._source
    assert source is not None
    wait_until(source.place.exists)
    said = ask(source.place, tmp_path, "--one", "--language=PYTHON", "--serialized-runtime-env-context={}", "a b")
    assert said == {
        "arguments": ["--one", "a b"],
        "own": "variable",
        "here": str(tmp_path),
        "parent": source.process.pid,
        "group": True,
        "imported": True,
        "main": "__main__",
        "path": True,
    }
    assert ask(source.place, tmp_path, '--serialized-runtime-env-context={"env_vars": {}}') == {"setup": True}
    with socket.socket(socket.AF_UNIX) as stranger:  # who asks for nothing, or for nonsense
        stranger.connect(str(source.place))
        stranger.send(b"nonsense\n")
    assert ask(source.place, tmp_path)["parent"] == source.process.pid
    assert (killed.exists(), young.exists()) == (False, True), "what killed sources have left goes"
    young.rmdir()
    start.end_imports()
    assert not source.place.parent.exists()
    assert ask(source.place, tmp_path)["parent"] != source.process.pid, "without it, it is started"


@pytest.mark.usefixtures("no_source")
def test_a_source_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And forks nobody who has given up, when it goes on."""
    monkeypatch.setattr(new_worker, "LONGEST_S", 0.5)
    start.begin_imports(start.Warm(lambda _: 1, (), 1))
    source = start._source
    assert source is not None
    wait_until(source.place.exists)
    source.process.send_signal(signal.SIGSTOP)
    assert not new_worker.is_forked(str(source.place), ["worker.py"])
    source.process.send_signal(signal.SIGCONT)
    assert ask(source.place, tmp_path)["parent"] == source.process.pid
    wait_until(lambda: not psutil.Process(source.process.pid).children())


@pytest.mark.usefixtures("no_source")
def test_a_source_with_threads_forks_nobody(tmp_path: Path) -> None:
    module = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    (tmp_path / "with_a_thread.py").write_text(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        start.begin_imports(start.Warm(lambda _: 1, (), 1, ("with_a_thread",)))
    source = start._source
    assert source is not None
    assert source.process.wait(timeout=60) == 0
    assert not source.place.parent.exists()
    start.end_imports()


DRIVER = """
import os, signal, sys
from fersweep.common import ray_connection
from fersweep.common.local_ray import start
ray_connection.connect("local", num_cpus=2, warm=start.Warm(lambda _: 2, (), 1, ("fractions",)))
import ray
assert start._source is not None
source = start._source.process.pid

class Worker:
    def parent(self):
        return os.getppid(), "fractions" in sys.modules

def parents():
    workers = [ray.remote(num_cpus=1)(Worker).remote() for _ in range(2)]
    return [ray.get(worker.parent.remote()) for worker in workers]

ray_connection.await_workers(lambda: False)
assert parents() == [(source, True)] * 2, "forked"
os.kill(source, signal.SIGKILL)
others = parents()
assert all(parent != source for parent, _ in others), others
ray.shutdown()
start.end_imports()
"""


@pytest.mark.usefixtures("no_source")
def test_without_a_source_workers_start_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    start.begin_imports(start.Warm(lambda _: 1, (), 1))
    assert start._source is None
    command = subprocess.list2cmdline([sys.executable, "setup_worker.py", "default_worker.py"])
    assert start._forking(command) == command


def test_a_source_ends_with_its_driver() -> None:
    begin = "start.begin_imports(start.Warm(lambda _: 1, (), 1)); print(start._source.place, flush=True); os._exit(1)"
    script = f"import os; from fersweep.common.local_ray import start; {begin}"
    said = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    wait_until(lambda: not Path(said.stdout.strip()).parent.exists())


@pytest.mark.processes
def test_workers_of_ray_are_forked(tmp_path: Path) -> None:
    """And started as ever where what they are forked from has died."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    subprocess.run([sys.executable, str(script)], env=environment(), check=True, timeout=120)
