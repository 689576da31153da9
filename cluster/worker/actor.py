"""The Ray actor that runs trials."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune

from fersweep.cluster.worker.trial_session import TrialReport, TrialSession, verdict
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.common.errors import InputError
from fersweep.common.own_code.importing import say_who_exits
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.node_arrays import NodeArrays
from fersweep.results.record.journal import trial_name
from fersweep.trainables import gpu_share

TRIAL_MARK = ":fersweep_trial:"
"""What a line of this process's log begins with where a trial begins; Ray's own marks look the same."""


class TrialActor(tune.Trainable):
    """The Ray side of a TrialSession: an actor that runs one trial after another, so that it loads its framework once."""

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
        self._config, self._session = config, None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config, self._session = new_config, None
        return True

    def step(self) -> dict[str, Any]:
        return self._report().as_json()

    def _report(self) -> TrialReport:
        config = self._config
        try:  # once a process; large ones are read by the first process of a machine, while the others wait
            self._arrays = self._arrays or node_arrays.opened(self._told)
        except InputError as error:
            return TrialReport([], "storage", str(error))
        try:  # building a model may fail for the trial's own reasons: that is a result, not a broken worker
            with _watched(self._settings, config["trial"]):
                if self._session is None:
                    for stream in (sys.stdout, sys.stderr):
                        print(f"{TRIAL_MARK}{config['trial']}", file=stream, flush=True)
                    self._session = TrialSession(
                        self._settings,
                        self._arrays,
                        config["trial"],
                        config["hparams"],
                        config["known_epochs"],
                        config.get("earlier", ()),
                        config.get("adopts"),
                    )
                return self._session.run()
        except Exception as error:
            status, reason = verdict(error)
            return TrialReport([], status, reason)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a trial writes its own checkpoints, which outlive Tune's records."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: a trial finds its own last checkpoint."""


@contextmanager
def _watched(settings: TrialSettings, number: int) -> Iterator[None]:
    """End this process if the block takes longer than stop.timeout_s, even if Python itself hangs.

    The stack is written to `hang.txt` in the trial's directory, if this machine sees that directory.
    """
    if settings.timeout_s is None:
        yield
        return
    directory = settings.directory / "trials" / trial_name(number)
    if settings.storage.path is None:  # a bucket: the stack is in the worker's log
        with _timer(settings.timeout_s, sys.__stderr__):
            yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "hang.txt"
    with path.open("w") as file, _timer(settings.timeout_s, file):
        yield
    path.unlink()


@contextmanager
def _timer(timeout_s: float, file: Any) -> Iterator[None]:
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
