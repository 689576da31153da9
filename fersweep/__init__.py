"""Hyperparameter search for facial expression recognition, on Ray, with MLflow records: what the command line does, from Python.

    import fersweep

    fersweep.prepare("fer2013.csv", out="runs/data/fer2013")
    sweep = fersweep.launch("quick", data="runs/data/fer2013")       # or wait=False: in a process of its own
    sweep.trials()                                                   # a pandas DataFrame, a row a trial
    sweep.best.model().predict("photo.jpg")[0].faces[0].label
    fersweep.resume("quick", trials="+16")
    fersweep.promote("quick", gate="none")
    fersweep.open_model("champion").predict(faces)                   # an array (N, H, W) uint8

A verb of the command line is a function of the same name; of two words, such as `fersweep data verify`, they are joined by
`_`: `fersweep.data_verify`. What `--json` prints of a result is `fersweep.as_json(result)`. What is wrong with what was given
raises `fersweep.InputError`, with the line that the command line prints. See docs/how-to/python.md.

Each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersweep.api.background import Running, attach
    from fersweep.api.datasets import check_reader, data_diff, data_export, data_verify, describe, prepare
    from fersweep.api.launching import dry_run, launch, resume
    from fersweep.api.machines import (
        cluster_down,
        cluster_logs,
        cluster_render,
        cluster_status,
        cluster_stop,
        cluster_submit,
        cluster_up,
        doctor,
        plan,
    )
    from fersweep.api.models import (
        Model,
        champion,
        champion_history,
        champion_rollback,
        evaluate,
        export,
        open_model,
        predict,
        promote,
    )
    from fersweep.api.running import SweepFailed, SweepInterrupted, SweepStopped
    from fersweep.api.sweep import Sweep, Trial, open_sweep
    from fersweep.api.sweeps import compare, gc, mv, recipe, recipes, report, rm, status, stop
    from fersweep.checks.trainable import check_trainable
    from fersweep.common.display.as_json import as_json
    from fersweep.common.errors import InputError
    from fersweep.data_pipeline.prepare.options import Options as PrepareOptions
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task
    from fersweep.results.promote.promotion import Refused
    from fersweep.results.record.home import find_sweep
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    __version__: str

__all__ = [
    "InputError",
    "Model",
    "PrepareOptions",
    "Refused",
    "Running",
    "Sweep",
    "SweepFailed",
    "SweepInterrupted",
    "SweepStopped",
    "Task",
    "TaskSpec",
    "Trial",
    "as_json",
    "attach",
    "champion",
    "champion_history",
    "champion_rollback",
    "check_reader",
    "check_trainable",
    "cluster_down",
    "cluster_logs",
    "cluster_render",
    "cluster_status",
    "cluster_stop",
    "cluster_submit",
    "cluster_up",
    "compare",
    "data_diff",
    "data_export",
    "data_verify",
    "describe",
    "doctor",
    "dry_run",
    "evaluate",
    "export",
    "find_sweep",
    "gc",
    "launch",
    "mv",
    "open_model",
    "open_sweep",
    "plan",
    "predict",
    "prepare",
    "promote",
    "read_sweep",
    "recipe",
    "recipes",
    "report",
    "resume",
    "rm",
    "status",
    "stop",
]

_PLACES = {
    "InputError": "common.errors:InputError",
    "Model": "api.models:Model",
    "PrepareOptions": "data_pipeline.prepare.options:Options",
    "Refused": "results.promote.promotion:Refused",
    "Running": "api.background:Running",
    "Sweep": "api.sweep:Sweep",
    "SweepFailed": "api.running:SweepFailed",
    "SweepInterrupted": "api.running:SweepInterrupted",
    "SweepStopped": "api.running:SweepStopped",
    "Task": "data_pipeline.tasks.task:Task",
    "TaskSpec": "data_pipeline.tasks.spec:TaskSpec",
    "Trial": "api.sweep:Trial",
    "as_json": "common.display.as_json:as_json",
    "attach": "api.background:attach",
    "champion": "api.models:champion",
    "champion_history": "api.models:champion_history",
    "champion_rollback": "api.models:champion_rollback",
    "check_reader": "api.datasets:check_reader",
    "check_trainable": "checks.trainable:check_trainable",
    "cluster_down": "api.machines:cluster_down",
    "cluster_logs": "api.machines:cluster_logs",
    "cluster_render": "api.machines:cluster_render",
    "cluster_status": "api.machines:cluster_status",
    "cluster_stop": "api.machines:cluster_stop",
    "cluster_submit": "api.machines:cluster_submit",
    "cluster_up": "api.machines:cluster_up",
    "compare": "api.sweeps:compare",
    "data_diff": "api.datasets:data_diff",
    "data_export": "api.datasets:data_export",
    "data_verify": "api.datasets:data_verify",
    "describe": "api.datasets:describe",
    "doctor": "api.machines:doctor",
    "dry_run": "api.launching:dry_run",
    "evaluate": "api.models:evaluate",
    "export": "api.models:export",
    "gc": "api.sweeps:gc",
    "mv": "api.sweeps:mv",
    "rm": "api.sweeps:rm",
    "find_sweep": "results.record.home:find_sweep",
    "launch": "api.launching:launch",
    "open_model": "api.models:open_model",
    "open_sweep": "api.sweep:open_sweep",
    "plan": "api.machines:plan",
    "predict": "api.models:predict",
    "prepare": "api.datasets:prepare",
    "promote": "api.models:promote",
    "read_sweep": "search_spaces.sweep_file.read_sweep:read_sweep",
    "recipe": "api.sweeps:recipe",
    "recipes": "api.sweeps:recipes",
    "report": "api.sweeps:report",
    "resume": "api.launching:resume",
    "status": "api.sweeps:status",
    "stop": "api.sweeps:stop",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module(f"{__name__}.common.versions").own_version()
    elif name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        value = getattr(import_module(f"{__name__}.{module}"), attribute)
        if isinstance(value, FunctionType):
            value = import_module(f"{__name__}.api.options").checked(value)
            value.__module__ = __name__  # where pickle finds it
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
