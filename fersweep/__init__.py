"""Hyperparameter search for facial expression recognition, on Ray, with MLflow records: what the command line does, from Python.

    home, data = Path("runs"), Path("runs/data/fer2013")
    fersweep.prepare([Path("fer2013.csv")], data)
    outcome = fersweep.launch(fersweep.read_sweep("quick", []), data, home)
    fersweep.promote(outcome.directory, gates={})
    model = fersweep.open_model("champion", home)
    (result,) = fersweep.predict([Path("photo.jpg")], [model])
    result.faces[0].box, result.faces[0].label

Each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersweep.cluster.launch import launch
    from fersweep.cluster.resume import resume
    from fersweep.common.errors import InputError
    from fersweep.data_pipeline.describe.summary import describe
    from fersweep.data_pipeline.prepare.options import Options as PrepareOptions
    from fersweep.data_pipeline.prepare.preparation import prepare
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task
    from fersweep.results.champion.champion import champion
    from fersweep.results.compare.trials import compare
    from fersweep.results.dashboards.status import status
    from fersweep.results.evaluate.model_judgement import judge_model as evaluate
    from fersweep.results.models.export import export
    from fersweep.results.models.open_model import open_model
    from fersweep.results.predict.prediction import predict
    from fersweep.results.promote.promotion import promote
    from fersweep.results.record.home import find_sweep
    from fersweep.results.report.page import write_report as report
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    __version__: str

__all__ = [
    "InputError",
    "PrepareOptions",
    "Task",
    "TaskSpec",
    "champion",
    "compare",
    "describe",
    "evaluate",
    "export",
    "find_sweep",
    "launch",
    "open_model",
    "predict",
    "prepare",
    "promote",
    "read_sweep",
    "report",
    "resume",
    "status",
]

_PLACES = {
    "InputError": "common.errors:InputError",
    "PrepareOptions": "data_pipeline.prepare.options:Options",
    "Task": "data_pipeline.tasks.task:Task",
    "TaskSpec": "data_pipeline.tasks.spec:TaskSpec",
    "champion": "results.champion.champion:champion",
    "compare": "results.compare.trials:compare",
    "describe": "data_pipeline.describe.summary:describe",
    "evaluate": "results.evaluate.model_judgement:judge_model",
    "export": "results.models.export:export",
    "find_sweep": "results.record.home:find_sweep",
    "launch": "cluster.launch:launch",
    "open_model": "results.models.open_model:open_model",
    "predict": "results.predict.prediction:predict",
    "prepare": "data_pipeline.prepare.preparation:prepare",
    "promote": "results.promote.promotion:promote",
    "read_sweep": "search_spaces.sweep_file.read_sweep:read_sweep",
    "report": "results.report.page:write_report",
    "resume": "cluster.resume:resume",
    "status": "results.dashboards.status:status",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module(f"{__name__}.common.versions").own_version()
    elif name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        value = getattr(import_module(f"{__name__}.{module}"), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
