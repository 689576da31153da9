"""What Ray Tune asks: which trial is next (a Searcher), and does this one go on (a scheduler).

Both only pass the question on to cluster/search/decisions.py. A Tune trial is one attempt at a trial of the sweep: what broke off
is handed out again as a new one.
"""

# Parts of Ray have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.air._internal import usage
from ray.air.execution._internal import actor_manager
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune import Callback, TuneError
from ray.tune.execution import class_cache, tune_controller
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fersweep.cluster.driver.places import Places
from fersweep.cluster.driver.stopping import Stopping
from fersweep.cluster.driver.worker_log import last_words
from fersweep.cluster.search.assignment import Assignment
from fersweep.cluster.search.decisions import Search
from fersweep.common import ray_connection

DIED = "its process died"
RAY_DIED = "Ray on the driver's machine died"
SOON_S = 1.0  # in which Ray grants a place where there is one


@contextmanager
def memory_is_a_trials_fault() -> Iterator[None]:
    """Where Ray ends a worker because its machine runs out of memory, Tune 2.60 ends the whole run: it takes only
    RayActorError for the death of an actor (ray/air/execution/_internal/actor_manager.py, _actor_task_failed), and that
    is an OutOfMemoryError. While the block runs, it takes both. Raises RuntimeError where Ray has no such names.
    """
    modules: tuple[Any, ...] = (actor_manager, tune_controller)
    for module in modules:
        if getattr(module, "RayActorError", None) is not RayActorError:
            raise RuntimeError(
                f"Ray {ray.__version__}: {module.__name__} has no RayActorError, which {__name__} patches"
            )
        module.RayActorError = (RayActorError, OutOfMemoryError)
    try:
        yield
    finally:
        for module in modules:
            module.RayActorError = RayActorError


@contextmanager
def callbacks_are_not_counted() -> Iterator[None]:
    """Tune counts the kinds of callbacks for Ray's usage statistics, which are off, and imports MLflow to do so: 1.4 s of
    CPU time in every driver. While the block runs, it does not.
    """
    counting = usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = counting


@contextmanager
def keys_stay_here() -> Iterator[None]:
    """Tune gives the driver's AWS keys to trials in their runtime environment, which every node of Ray writes into its log
    (ray/tune/execution/class_cache.py). While the block runs, it does not: a node has keys of its own. Raises RuntimeError
    where Ray has no such names.
    """
    given = getattr(class_cache, "ENV_VARS_TO_PROPAGATE", None)
    if not isinstance(given, set):
        raise RuntimeError(f"Ray {ray.__version__}: {class_cache.__name__} has no set that {__name__} patches")
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in given if not name.startswith("AWS_")}
    always: dict[str, str] = class_cache.DEFAULT_ENV_VARS
    if ray_connection.is_own():  # its workers have them already, and none needs a runtime environment
        class_cache.ENV_VARS_TO_PROPAGATE = set()
        class_cache.DEFAULT_ENV_VARS = {}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS = given, always


class SearchAdapter(Searcher):
    """Hands out the assignments of a Search as Tune configs."""

    def __init__(self, search: Search, stopping: Stopping, places: Places, idle: Callable[[], None]):
        super().__init__()  # the metric stays in the search: Tune would want it flat in every result
        self._search, self._stopping, self._places, self._idle = search, stopping, places, idle

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        assignment, waits = None, False
        with self._stopping.on_error():
            if not self._stopping.asked:
                waits = bool(self._search.active)  # one of them may break off and come back
                if remaining := self._search.remaining:
                    waits = True
                    if self._has_place(remaining):
                        assignment = self._next()
                else:
                    self._places.want(0, len(self._search.active))
        if assignment is not None:
            return vars(assignment).copy()
        return None if waits else Searcher.FINISHED  # type: ignore[return-value]

    def _next(self) -> Assignment | None:
        """The next assignment. A slow sampler is waited for while no trial runs, whose reports must not wait, and no stop is
        asked for: a thread that hangs would not hear of it.
        """
        while True:
            assignment = self._search.next(wait=False)
            if assignment is not None or self._search.active or self._stopping.asked or not self._search.remaining:
                return assignment
            time.sleep(0.01)

    def _has_place(self, remaining: int) -> bool:
        """Whether there is a place for one of the `remaining` trials. While none runs, Tune asks here alone, once a second."""
        num_active = len(self._search.active)
        self._places.want(remaining, num_active)
        deadline = time.monotonic() + (0 if num_active else SOON_S)
        while self._places.free(num_active) <= 0:
            if time.monotonic() >= deadline:
                if not num_active:
                    self._idle()
                return False
            time.sleep(0.02)
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the journal has it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class Actors(Callback):
    """Which actor runs a trial (its id in hex): Tune has forgotten it when it reports the actor's death."""

    def __init__(self) -> None:
        self.of: dict[int, str] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        actor: Any = trial.temporary_state.ray_actor
        self.of[trial.config["trial"]] = actor._actor_id.hex()


class SchedulerAdapter(FIFOScheduler):
    """Records every report and ends a trial where the Search says so. `tell`: gets what a person should hear of;
    `await_end`: waits for the end of this process, whose Ray is dead.
    """

    def __init__(
        self,
        search: Search,
        stopping: Stopping,
        actors: Actors,
        tell: Callable[[str], None],
        await_end: Callable[[], None],
    ):
        super().__init__()
        self._search, self._stopping, self._actors, self._tell = search, stopping, actors, tell
        self._await_end = await_end

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The newest trial that has no worker: it gets the one that has just come free. The oldest, which Tune would choose,
        waits for a worker that is starting; to give it another one would end that start, again and again where trials are
        shorter than a start.
        """
        trials: list[Trial] = tune_controller.get_trials()
        return next((trial for trial in reversed(trials) if trial.status == Trial.PENDING), None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        number, status, ended = trial.config["trial"], result["status"], True
        worker, costs = _nested(result, "worker/"), _nested(result, "costs/")
        with self._stopping.on_error():
            for note in result["notes"]:
                self._search.journal.append("fault", trial=number, kind="checkpoint", reason=note)
                self._tell(note)
            if status == "storage":
                raise StorageError(
                    f"trial {number:04d} could not read its data or save its checkpoint: {result['reason']}"
                )
            if status == "fault":
                self._broke_off(number, "trial", result["reason"], result["epochs"], worker, costs=costs)
            else:
                ended = self._search.report(number, result["epochs"], status, result["reason"], worker, costs)
        if self._stopping.asked and not ended:
            self._search.active.pop(number, None)  # it goes on from here when the sweep is resumed
            ended = True
        return TrialScheduler.STOP if ended else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        number, timeout_s = trial.config["trial"], self._search.sweep.stop.timeout_s
        if self._stopping.asked:  # SIGTERM may have reached its process, too: it is resumed from its last checkpoint
            self._search.active.pop(number, None)
            return
        with self._stopping.on_error():
            silent_s = time.monotonic() - self._search.active.get(number, time.monotonic())
            if timeout_s is not None and silent_s >= timeout_s:
                where = f"trials/{number:04d}/hang.txt says where"
                self._search.report(number, [], "failed", f"hung: no report in {timeout_s:g} s ({where})")
                return
            error, actor = raised(trial), self._actors.of.get(number, "")
            kind, reason = fault(error, actor)
            if reason == RAY_DIED:
                self._await_end()
            if kind == "memory":
                self._search.report(number, [], "failed", reason)
            elif reason == DIED:
                wrote = last_words(actor, str(error))
                self._broke_off(number, kind, f"{DIED}{wrote.cause}", [], log=wrote.lines)
            else:
                self._broke_off(number, kind, reason, [])

    def _broke_off(
        self,
        number: int,
        kind: str,
        reason: str,
        epochs: list[dict[str, float]],
        worker: dict[str, Any] | None = None,
        log: Sequence[str] = (),
        costs: dict[str, float] | None = None,
    ) -> None:
        self._search.fault(number, kind, reason, epochs, worker, log, costs)
        record = self._search.record.trials[number]
        then = "failed" if record.state == "failed" else f"goes on after epoch {record.num_epochs}"
        self._tell(f"trial {number:04d}: {reason}; {then}")


def _nested(result: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A dictionary within a result, which Tune flattens."""
    return {key.removeprefix(prefix): value for key, value in result.items() if key.startswith(prefix)}


class StorageError(RuntimeError):
    """What was trained could not be saved: no trial's fault, and no trial can go on."""


def raised(trial: Trial) -> Exception:
    """What ended an attempt, from the file that Tune has just written beside its driver.

    `Trial.get_pickled_error` reads a copy of it that is made later. Tune pickles a RayTaskError and a RayActorError; of
    anything else, an OutOfMemoryError (see `memory_is_a_trials_fault`) among it, it writes the text alone.
    """
    if trial.pickled_error_file is not None:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    text = Path(str(trial.error_file)).read_text()
    return OutOfMemoryError(text) if "running low on memory" in text else TuneError(text)


def fault(error: Exception, actor: str = "") -> tuple[str, str]:
    """What broke an attempt, of which Ray raised `error`, and one line of ours.

    "memory": its machine ran out of memory, and Ray ended the process that had taken most. "infrastructure": its machine
    or Ray on the driver's is gone, or Ray ended it (its id in hex is `actor`) beside another that had taken more. "trial": its process died
    while its machine lives on, or something was raised that nobody foresaw.
    """
    cause = error.cause if isinstance(error, RayTaskError) else error  # a task's: what was raised in the actor
    if isinstance(cause, OutOfMemoryError):
        # Which actors Ray ended, and what they had taken, is in its text alone.
        ended = re.findall(r"Selected to kill: \(Actor\((\w+)\).*?actual memory used=([\d.]+)GB", str(cause))
        most = max(ended, key=lambda process: float(process[1]), default=(actor, ""))
        if most[0] == actor:
            return "memory", f"out of memory: Ray ended its process to save the machine, at {most[1]} GB"
        return "infrastructure", "its machine ran out of memory, which another process had taken"
    if isinstance(cause, RayActorError) and not cause.actor_init_failed:
        # Whether an actor died alone or with its node is in its text alone.
        if "owner has died" in str(cause):  # which is this process, as Ray's other processes see it
            return "infrastructure", RAY_DIED
        with_node = "node has died" in str(cause) or "node was terminated" in str(cause)
        if with_node or cause.preempted or isinstance(cause, ActorUnavailableError):
            return "infrastructure", "its machine is lost"
        return "trial", DIED
    return "trial", str(error).strip().splitlines()[-1].strip()
