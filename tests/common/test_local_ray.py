"""A Ray of ours: it has no agents until they are wanted, and its workers can be told what to import."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from fersweep.common.local_ray import late_agent, start, warm_up
from fersweep.common.processes import environment


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
