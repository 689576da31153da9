"""The Ray actor that runs trials."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray import tune

from fersweep.cluster.worker.population_session import PopulationSession
from fersweep.cluster.worker.trial_report import TrialReport
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.common.errors import InputError
from fersweep.common.own_code.importing import say_who_exits
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.node_arrays import NodeArrays
from fersweep.results.record.journal import trial_name
from fersweep.trainables import gpu_share

TRIAL_MARK = ":fersweep_trial:"
"""What a line of this process's log begins with where trials begin and none has been training; those that join others later get no
line, as what the process writes is of all of them. Ray's own marks look the same.
"""
HANG, HANG_OF_SEVERAL = "hang.txt", "hang-of-several.txt"


class TrialActor(tune.Trainable):
    """The Ray side of a PopulationSession: an actor that trains some trials, and then others, so that it loads its
    framework once. config: {"members": assignments, as dicts}.
    """

    def setup(
        self,
        config: dict[str, Any],
        arrays: TaskArrays | NodeArrays | None = None,
        settings: TrialSettings | None = None,
    ) -> None:
        assert arrays is not None
        assert settings is not None
        gpu_share.take(settings.gpus)
        say_who_exits()
        self._told, self._arrays, self._settings = arrays, None, settings
        self._session = PopulationSession(settings)
        self._session.exchange((), config["members"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._session.exchange(self._session.numbers, new_config["members"])
        return True

    def exchange(self, drop: Sequence[int], add: Sequence[dict[str, Any]], report_now: bool = False) -> None:
        """Between two steps: other members, as PopulationSession.exchange."""
        self._session.exchange(drop, add, report_now)

    def step(self) -> dict[str, Any]:
        reports = self._reports()
        return {"reports": [report.as_json() for report in reports], "room": self._session.size.now}

    def _reports(self) -> list[TrialReport]:
        session = self._session
        try:  # once a process; large ones are read by the first process of a machine, while the others wait
            self._arrays = self._arrays or node_arrays.opened(self._told)
        except InputError as error:
            return [TrialReport(number, [], "storage", str(error)) for number in session.numbers]
        if not session.trials:
            for stream in (sys.stdout, sys.stderr):
                print(f"{TRIAL_MARK}{','.join(map(str, session.numbers))}", file=stream, flush=True)
        with _watched(self._settings, session.numbers):
            return session.run(self._arrays)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a trial writes its own checkpoints, which outlive Tune's records."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: a trial finds its own last checkpoint."""


@contextmanager
def _watched(settings: TrialSettings, numbers: Sequence[int]) -> Iterator[None]:
    """End this process if the block takes longer than stop.timeout_s, for each of several, even if Python itself hangs.

    The stack is written to `hang_file` of the trials that train, if this machine sees the sweep's directory.
    """
    if settings.timeout_s is None:
        yield
        return
    limit_s = settings.timeout_s * max(len(numbers), 1)
    if settings.storage.path is None:  # a bucket: the stack is in the worker's log
        with _timer(limit_s, sys.__stderr__):
            yield
        return
    path = settings.directory / hang_file(numbers)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file, _timer(limit_s, file):
        yield
    path.unlink()


def hang_file(numbers: Sequence[int]) -> str:
    """Where it is written, in a sweep's directory, at which line trials hung: with the first of those that trained at once."""
    return f"trials/{trial_name(numbers[0])}/{HANG if len(numbers) == 1 else HANG_OF_SEVERAL}"


@contextmanager
def _timer(timeout_s: float, file: Any) -> Iterator[None]:
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
