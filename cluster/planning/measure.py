"""Try trials as a worker runs them, and say what they cost: `python -m fersweep.cluster.planning.measure`, or `Trying` in a
process that is a worker already.

The process reads one line of JSON from stdin (what calibration.py asks), writes a line of JSON for each trial, and then goes on training, so that
those beside it are measured with the machine as full as a sweep fills it. It ends, and removes what it wrote, when stdin is
closed, whether its parent closed it or died.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import psutil

from fersweep.cluster.worker.population_session import PopulationSession
from fersweep.cluster.worker.trial_report import TrialReport
from fersweep.cluster.worker.trial_settings import TrialSettings, trial_settings
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
from fersweep.data_pipeline.tasks.node_arrays import NodeArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables import gpu_share

FIRST_FACES, LEAST_FACES = 256, 256  # of train: with which a process warms up, and of a trial that is tried
EPOCH_S = 2.0  # the longest epoch that is tried: it takes fewer faces where all would take longer
MIN_STEPS = 4  # batches of an epoch that is tried, at least
LEAST_EPOCHS, MOST_EPOCHS, TRIAL_S = 1, 6, 1.5  # epochs of a trial after its first: at least, at most, and for how long
SPAWN_S = 2.0  # of Ray, from wanting a worker to its first line of Python

Trials = Sequence[tuple[int, dict[str, Any]]]  # number in its sweep, hparams


@dataclass(frozen=True)
class Tried:
    """A trial that was tried; its epochs are scaled to all faces. `failed`: why it has no figures."""

    trial: int
    build_s: float = 0.0
    first_s: float = 0.0
    epoch_s: float = 0.0
    report_s: float = 0.0
    spread: float = 0.0
    epochs: int = 0
    faces_share: float = 1.0
    checkpoint_bytes: int = 0
    rss_bytes: int = 0
    gpu_bytes: int | None = None
    failed: str | None = None


class _Alone:
    """A trial as the only one of a worker. Raises RuntimeError where it cannot begin."""

    def __init__(self, settings: TrialSettings, arrays: TaskArrays, number: int, hparams: dict[str, Any]):
        self.arrays, self.session = arrays, PopulationSession(settings)
        self.session.exchange((), [{"trial": number, "hparams": hparams, "known_epochs": 0}])
        if failed := self.session.join(arrays):
            raise RuntimeError(failed[0].reason)

    def run(self) -> TrialReport:
        """Train until its next report."""
        return self.session.run(self.arrays)[0]


class Trying:
    """Tries one trial after another. `arrays`: all of the task's."""

    def __init__(self, settings: TrialSettings, arrays: TaskArrays):
        self._settings, self._arrays = settings, arrays
        self._face_s: float | None = None  # seconds of an epoch for each face of train
        self._last: _Alone | None = None

    def warm_up(self, hparams: dict[str, Any]) -> float:
        """Load the framework and train two short epochs → the seconds that took, without the second one twice."""
        start, short_s = time.perf_counter(), 0.0
        with contextlib.suppress(Exception):  # a trial that fails says so when it is tried
            session = self._session(0, hparams, FIRST_FACES)
            session.run()
            short_s = session.run().epochs[0]["epoch_s"]
            self._face_s = short_s / len(session.arrays.train.y)
        return time.perf_counter() - start - 2 * short_s

    def tried(self, trials: Trials, budget_s: float) -> Iterator[Tried]:
        """Try trials (number, hparams) for about `budget_s`, at least one."""
        start = time.perf_counter()
        for number, hparams in trials:
            yield self._try(number, hparams)
            if time.perf_counter() - start >= budget_s:
                return

    def go_on(self) -> None:
        """Train the last trial further, until the process is ended."""
        while self._last is not None:
            if self._last.run().status != "running":
                return

    def _try(self, number: int, hparams: dict[str, Any]) -> Tried:
        try:
            return self._measured(number, hparams)
        except Exception as error:
            return Tried(number, failed=(str(error).strip().splitlines() or [type(error).__name__])[0])

    def _measured(self, number: int, hparams: dict[str, Any]) -> Tried:
        num_train = len(self._arrays.train.y)
        wanted = num_train if self._face_s is None else int(EPOCH_S / max(self._face_s, 1e-9))
        batch = hparams.get("batch_size")
        wanted = max(wanted, LEAST_FACES, MIN_STEPS * batch if isinstance(batch, int) else 0)
        start = time.perf_counter()
        session = self._session(number, hparams, wanted)
        build_s = time.perf_counter() - start
        self._last, epochs, saving = session, list[float](), list[float]()
        began = time.perf_counter()
        while len(epochs) <= MOST_EPOCHS:
            start = time.perf_counter()
            report = session.run()
            took_s = time.perf_counter() - start
            if report.status in ("failed", "fault", "storage"):
                return Tried(number, failed=report.reason)
            epochs.append(report.epochs[0]["epoch_s"])
            saving.append(max(took_s - epochs[-1], 0.0))
            if report.status == "finished" or (len(epochs) > LEAST_EPOCHS and time.perf_counter() - began > TRIAL_S):
                break
        later = epochs[1:] or epochs
        share = len(session.arrays.train.y) / num_train
        self._face_s = mean(later) / len(session.arrays.train.y)
        return Tried(
            trial=number,
            build_s=build_s,
            first_s=max(epochs[0] - mean(later), 0.0),
            epoch_s=mean(later) / share,
            report_s=median(saving),
            spread=max(abs(epoch - mean(later)) for epoch in later) / max(mean(later), 1e-9),
            epochs=len(epochs),
            faces_share=share,
            checkpoint_bytes=_checkpoint_bytes(self._settings, number),
            rss_bytes=session.session.meter.read().rss_bytes,
            gpu_bytes=_gpu_peak(),
        )

    def _session(self, number: int, hparams: dict[str, Any], num_train: int) -> _Alone:
        shutil.rmtree(self._settings.directory / "trials", ignore_errors=True)
        self._last = None
        return _Alone(self._settings, part_of(self._arrays, num_train), number, hparams)


def part_of(arrays: TaskArrays, num_train: int) -> TaskArrays:
    """The same share of train and of val, drawn with a fixed seed; everything where `num_train` is no less than there is."""
    share = num_train / len(arrays.train.y)
    if share >= 1:
        return arrays
    if arrays.folds:
        groups = [fold.val for fold in arrays.folds]
        copies = np.arange(len(arrays.val.y), len(arrays.train.y))
        return arrays.part(np.sort(np.concatenate([rows[_drawn(len(rows), share)] for rows in (*groups, copies)])))
    return replace(arrays, train=_share(arrays.train, share), val=_share(arrays.val, share))


def _share(faces: Arrays, share: float) -> Arrays:
    return faces.taken(_drawn(len(faces.y), share))


def _drawn(num: int, share: float) -> np.ndarray:
    """A share of `num` rows, rising; at least two, where there are as many."""
    number = max(round(num * share), min(num, 2))
    return np.sort(np.random.default_rng(0).choice(num, number, replace=False))


def _checkpoint_bytes(settings: TrialSettings, number: int) -> int:
    saved = checkpoints.saved(settings.storage, number)
    if not saved:
        return 0
    directory = settings.directory / checkpoints.place(number, saved[-1])
    return sum(path.stat().st_size for path in directory.rglob("*")) if directory.is_dir() else 0


def _gpu_peak() -> int | None:
    """The most that this process's framework has held of a GPU."""
    torch: Any = sys.modules.get("torch")
    tensorflow: Any = sys.modules.get("tensorflow")
    with contextlib.suppress(Exception):
        if torch is not None and torch.cuda.is_initialized():
            return torch.cuda.max_memory_reserved()
        if tensorflow is not None and tensorflow.config.list_physical_devices("GPU"):
            return tensorflow.config.experimental.get_memory_info("GPU:0")["peak"]
    return None


def _end_with_stdin(scratch: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(4096):
            pass
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)


def lines(
    sweep: Sweep, arrays: TaskArrays, trials: Trials, budget_s: float, scratch: Path, began: float
) -> Iterator[dict[str, Any]]:
    """Try trials, which write into `scratch`: {start_s, gpu_total_bytes} of this process, then a Tried for each.

    `began`: when its start began, seconds since 1970.
    """
    sweep = sweep.model_copy(update={"stop": sweep.stop.model_copy(update={"report_s": 0.0, "timeout_s": None})})
    trying = Trying(replace(trial_settings(sweep, scratch, Storage(scratch)), max_epochs=10**6, max_s=None), arrays)
    importlib.import_module("ray.tune")  # as a worker does

    start_s = time.time() - began + trying.warm_up(trials[0][1])
    for index, tried in enumerate(trying.tried(trials, budget_s)):
        if index == 0:  # what any trial takes is no part of its worker's start
            yield {
                "start_s": max(start_s - tried.build_s - tried.first_s, 0.0),
                "gpu_total_bytes": _gpu_total() if tried.gpu_bytes is not None else None,
            }
        yield vars(tried)
    yield {"done": True}
    trying.go_on()


def _gpu_total() -> int | None:
    with contextlib.suppress(RuntimeError):
        return gpu_share.total_bytes()
    return None


def measure(
    sweep: Sweep, told: TaskArrays | NodeArrays, trials: Trials, budget_s: float, code: Sequence[Code]
) -> list[dict[str, Any]]:
    """`lines` in a task of a cluster, without going on. `code`: own code that the sweep needs."""
    for each in code:
        copies.register(each)
    began = time.time() - SPAWN_S
    gpu_share.take(sweep.resources.gpus)
    arrays = node_arrays.opened(told)
    with tempfile.TemporaryDirectory(prefix="fersweep-plan-") as scratch:
        found: list[dict[str, Any]] = []
        for line in lines(sweep, arrays, trials, budget_s, Path(scratch), began):
            if "done" in line:
                break
            found.append(line)
        return found


def main() -> None:
    """See the top of this file."""
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    with contextlib.suppress(OSError):
        os.nice(15)  # as Ray's workers
    scratch = Path(asked["scratch"])
    scratch.mkdir()
    threading.Thread(target=_end_with_stdin, args=(scratch,), daemon=True).start()
    copies.note(Path(asked["code"]))
    sweep = Sweep.model_validate(asked["sweep"])
    start = time.perf_counter()
    arrays = node_arrays.load(Task(asked["data"], sweep.task))
    read_s = time.perf_counter() - start
    began = psutil.Process().create_time() + read_s  # a worker gets its arrays from Ray's object store
    for line in lines(sweep, arrays, asked["trials"], asked["budget_s"], scratch, began):
        line |= {"read_s": read_s} if "start_s" in line else {}
        out.write(json.dumps(line) + "\n")
        out.flush()
    while True:  # until stdin is closed
        time.sleep(60)


if __name__ == "__main__":
    main()
