"""The Ray actor that runs trials."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune

from fersweep.cluster.worker.trial_session import TrialSession, verdict
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record.journal import trial_name
from fersweep.trainables import gpu_share


class TrialActor(tune.Trainable):
    """The Ray side of a TrialSession: an actor that is reused for trial after trial, so that it loads its framework once."""

    def setup(
        self, config: dict[str, Any], arrays: TaskArrays | None = None, plan: TrialSettings | None = None
    ) -> None:
        assert arrays is not None
        assert plan is not None
        if plan.gpus == 0:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray 2.60 hides no GPU from a trial that asks for none
        os.environ.pop(gpu_share.SHARE, None)  # no framework is loaded yet: each reads it when it is
        if 0 < plan.gpus < 1:
            os.environ[gpu_share.SHARE] = str(plan.gpus)
        self._arrays, self._plan = arrays, plan
        self._config, self._session = config, None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config, self._session = new_config, None
        return True

    def step(self) -> dict[str, Any]:
        config = self._config
        try:  # building a model may fail for the trial's own reasons: that is a result, not a broken worker
            with _watched(self._plan, config["trial"]):
                if self._session is None:
                    self._session = TrialSession(
                        self._plan, self._arrays, config["trial"], config["hparams"], config["known_epochs"]
                    )
                return self._session.run()
        except Exception as error:
            status, reason = verdict(error)
            return {"epochs": [], "status": status, "reason": reason, "notes": [], "worker": {}}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial writes its own checkpoints, where they outlive Tune's records."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial finds its own last checkpoint."""


@contextmanager
def _watched(plan: TrialSettings, number: int) -> Iterator[None]:
    """End this process if the block takes longer than stop.timeout_s, even if Python itself hangs.

    Where it hung is written to `hang.txt` in the trial's directory, if that is a directory that this machine sees.
    """
    if plan.timeout_s is None:
        yield
        return
    directory = plan.directory / "trials" / trial_name(number)
    if plan.storage.path is None:  # in a bucket: the worker's log has it
        with _timer(plan.timeout_s, sys.__stderr__):
            yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    told = directory / "hang.txt"
    with told.open("w") as file, _timer(plan.timeout_s, file):
        yield
    told.unlink()


@contextmanager
def _timer(timeout_s: float, file: Any) -> Iterator[None]:
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
