"""Run the trials that a sweep still lacks, on Ray Tune: one driver, its journal, its recorder, and an orderly end."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersweep.cluster import capacity
from fersweep.cluster.driver.checkpoint_pruning import Pruner
from fersweep.cluster.driver.notifications import Notifier
from fersweep.cluster.driver.stopping import Stopping
from fersweep.cluster.driver.watchdog import Watchdog
from fersweep.cluster.search import fusing
from fersweep.cluster.search.decisions import Search
from fersweep.cluster.search.populations import Populations
from fersweep.cluster.worker.population_size import START
from fersweep.cluster.worker.trial_settings import trial_settings
from fersweep.common import ray_connection
from fersweep.common.own_code.code import is_own
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.callbacks.processes import FINISH_S as CALLBACKS_S
from fersweep.results.callbacks.processes import Callbacks
from fersweep.results.record.drivers import withdraw_stop
from fersweep.results.record.home import resume_command, status_command
from fersweep.results.record.journal import Journal
from fersweep.results.record.ranking import budget, finalists
from fersweep.results.record.ranking.progress import OUT_OF_TIME, progress
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import Baseline, SweepJson, read_sweep_json
from fersweep.results.record.trial_record import TrialRecord
from fersweep.results.tracking.recorder import FINISH_S, Recorder
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep

HURRY_S = 10.0  # for MLflow to catch up when the driver has to go; its recorder goes on by itself
MAX_BREAKS = 3  # times that Ray Tune itself may fail without an epoch gained in between


@dataclass(frozen=True)
class Outcome:
    """How a run ended. state: "finished", "interrupted" or "failed"; `signal` or `error` says what ended it early;
    `all_failed`: every trial failed, and none is left; `missing`: what MLflow lacks, one line; `following`: the sweep that
    a finished one asks for (`then:`).
    """

    state: str
    directory: Path
    signal: int | None = None
    error: Exception | None = None
    all_failed: bool = False
    missing: str | None = None
    following: Sweep | None = None


def run_sweep(
    sweep: SweepJson,
    arrays: TaskArrays,
    directory: Path,
    *,
    retry_failed: bool = False,
) -> Outcome:
    """Run the trials that have not ended. Ray is connected already, and the sweep's lock is the caller's.

    `retry_failed`: run failed trials once more.
    """
    storage, stopping = sweep.storage(directory), Stopping()
    with stopping.signals():
        withdraw_stop(storage)  # of an earlier driver
        journal = Journal(directory / "journal.jsonl", storage)
        search, recorder = Search(sweep.asked, journal, sweep.history, sweep.older_points), Recorder(directory)
        notifier = Notifier(sweep.asked, journal, status_command(directory))
        callbacks = Callbacks(directory, sweep.asked, storage)
        most = fusing.most_fused(sweep.asked, lambda: capacity.places(sweep.asked.resources))
        search.fused = most > 1
        journal.session(
            "started",
            **({"fused": most} if search.fused else {}),
            **({"code": sweep.asked.trainable} if is_own(sweep.asked.trainable) else {}),
        )
        recorder.start()
        callbacks.start()
        watchdog = Watchdog(
            directory, storage, recorder, stopping, journal.session, resume_command(directory), callbacks.check
        )
        with watchdog, stopping.on_error():
            search.settle()
            reopen(search, storage, retry_failed)
            with Pruner(search, storage) as pruner:
                if not search.done():
                    watchdog.watch_ray(ray_connection.head_address(), ray_connection.raylet_connection())
                    _tune(search, arrays, directory, storage, pruner, sweep.baseline, stopping, watchdog, most)
        all_failed = search.record.all_failed() if search.done() else None
        if search.done() and sweep.asked.finalists is not None and not finalists.points(search.record, sweep.asked):
            print("note: there are no finalists: no trial has a value and keeps to search.constraints", file=sys.stderr)
        if all_failed and stopping.error is None:
            stopping.error = RuntimeError(all_failed)
        state = "failed" if stopping.error else "finished" if search.done() else "interrupted"
        with contextlib.suppress(OSError):  # a full disk: then the journal ends without it, as after a kill
            why = str(stopping.error) if stopping.error else search.spent if state == "finished" else None
            journal.session(state, **({"reason": why} if why else {}))
        journal.close()
        with contextlib.suppress(OSError):
            withdraw_stop(storage)
        stopping.ending = True
        timeout_s = FINISH_S if state == "finished" else HURRY_S
        missing = recorder.finish(
            timeout_s, lambda line: print(line, file=sys.stderr, flush=True), lambda: stopping.left
        )
        notifier.finish()
        for line in callbacks.finish(0.0 if stopping.left else CALLBACKS_S):
            print(line, file=sys.stderr, flush=True)
    following = sweep.asked.following if state == "finished" else None
    return Outcome(state, directory, stopping.signal, stopping.error, bool(all_failed), missing, following)


def reopen(search: Search, storage: Storage, retry_failed: bool) -> None:
    """Let ended trials run again: failed ones with `retry_failed`, those that had all their epochs or seconds if there are more now,
    and those that the sweep's budget ended if it is larger now.

    Of the latter two only those whose last checkpoint was kept; the others stay ended.
    """
    from fersweep.results.record import checkpoints

    cuts = budget.cuts(search.record, search.sweep)
    for trial in list(search.record.trials.values()):
        grown = trial.state == "finished" and _may_train_more(trial, search.sweep.stop)
        freed = cuts is None and budget.was_cut(trial)
        if (trial.state == "failed" and trial.refused is None and retry_failed) or (
            (grown or freed) and trial.num_epochs in checkpoints.saved(storage, trial.number)
        ):
            search.journal.append("reopened", trial=trial.number)


def _may_train_more(trial: TrialRecord, stop: Stop) -> bool:
    """Whether a trial that finished would not have, had it been given as much as a trial gets now."""
    if trial.reason and trial.reason.startswith(OUT_OF_TIME) and stop.max_s is not None:
        within = progress(trial, "seconds")[-1] < stop.max_s
    else:
        within = not trial.reason
    return within and trial.num_epochs < stop.max_epochs


def _tune(
    search: Search,
    arrays: TaskArrays,
    directory: Path,
    storage: Storage,
    pruner: Pruner,
    baseline: Baseline,
    stopping: Stopping,
    watchdog: Watchdog,
    most: int,
) -> None:
    """Run the remaining trials on Ray Tune, up to `most` of them at once in a worker. If Tune itself fails, it is started again: the journal has the state."""
    from fersweep.cluster.driver.progress import Progress

    breaks, epochs = 0, -1
    try:
        with Progress(search, stopping, pruner, baseline.score(search.sweep.stop.metric)) as progress:
            while not search.done() and not stopping.asked:
                try:
                    _run_tune(search, arrays, directory, storage, stopping, progress, watchdog, most)
                except Exception as error:
                    if stopping.asked:
                        break
                    now = search.record.num_epochs
                    breaks, epochs = (breaks + 1 if now == epochs else 1), now
                    if breaks >= MAX_BREAKS:
                        raise RuntimeError(f"Ray Tune broke off {breaks} times: {_last_line(error)}") from error
                    progress.say(f"Ray Tune broke off ({_last_line(error)}); starting it again")
                search.active.clear()
    except KeyboardInterrupt:  # the second one: now
        pass
    finally:
        search.making.drop()


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _run_tune(
    search: Search,
    arrays: TaskArrays,
    directory: Path,
    storage: Storage,
    stopping: Stopping,
    progress: Any,
    watchdog: Watchdog,
    most: int,
) -> None:
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the journal is the log
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # stopping.py
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(24 * 3600)  # and the state
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune prints nothing: progress.py does
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "100000"  # places.py says how many
    from ray import tune
    from ray.tune import PlacementGroupFactory

    from fersweep.cluster.driver.lean_trials import lean_trials
    from fersweep.cluster.driver.places import Places, given_to_tune
    from fersweep.cluster.driver.tune_adapters import (
        Actors,
        SchedulerAdapter,
        SearchAdapter,
        callbacks_are_not_counted,
        keys_stay_here,
        memory_is_a_trials_fault,
    )
    from fersweep.cluster.worker.actor import TrialActor

    ray_connection.await_workers(lambda: stopping.asked)
    sweep = search.sweep
    recorded = read_sweep_json(directory)
    settings = trial_settings(sweep, directory, storage, recorded.sweep_id, recorded.fetched, most)
    actors, request = Actors(), PlacementGroupFactory([capacity.bundle(sweep.resources)])
    places = Places(request)
    populations = Populations(search, most, lambda: places.expected(sweep.resources), START if settings.grows else None)
    scratch = directory.resolve() / ".tune"  # nobody needs it, not even after a kill
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with (
            warnings.catch_warnings(),
            memory_is_a_trials_fault(),
            callbacks_are_not_counted(),
            keys_stay_here(),
            given_to_tune(places),
            lean_trials(),
        ):
            warnings.simplefilter("ignore")
            tune.run(
                tune.with_parameters(TrialActor, arrays=node_arrays.told(arrays), settings=settings),
                name=sweep.name,
                search_alg=SearchAdapter(populations, stopping, places, progress.waits_for_a_place),
                scheduler=SchedulerAdapter(populations, stopping, actors, progress.say, watchdog.await_end),
                num_samples=-1,  # the search says when it is over
                resources_per_trial=request,
                reuse_actors=True,
                max_failures=0,  # the search hands out a broken attempt again
                raise_on_failed_trial=False,
                callbacks=[progress, actors],
                storage_path=str(scratch),
                verbose=0,
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
