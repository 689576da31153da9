"""What Ray Tune asks: which trial is next (a Searcher), and does this one go on (a scheduler).

Both only pass the question on to cluster/search/decisions.py. A Tune trial is one population: trials of the sweep that train at
once, often just one. Those that leave it give their places to others, and what broke off is handed out again.
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

from fersweep.cluster.driver.places import SOON_S, Places
from fersweep.cluster.driver.stopping import Stopping
from fersweep.cluster.driver.worker_log import last_words
from fersweep.cluster.search.assignment import Assignment
from fersweep.cluster.search.populations import Populations
from fersweep.cluster.worker.actor import hang_file
from fersweep.common import ray_connection
from fersweep.results.record.journal import trial_name

DIED = "its process died"
RAY_DIED = "Ray on the driver's machine died"
OF_ONE = ("memory", "hang")  # what a trial fails for that was alone


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
    """Hands out the assignments of a Search as Tune configs, a population at a time."""

    def __init__(self, populations: Populations, stopping: Stopping, places: Places, idle: Callable[[], None]):
        super().__init__()  # the metric stays in the search: Tune would want it flat in every result
        self._populations, self._stopping, self._places, self._idle = populations, stopping, places, idle
        self._search = populations.search

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        members, waits = list[Assignment](), False
        with self._stopping.on_error():
            if not self._stopping.asked:
                waits = bool(self._search.active)  # one of them may break off and come back
                if self._search.remaining:
                    waits = True
                    if self._has_place():
                        members = self._next(trial_id)
                else:
                    self._places.want(0, len(self._populations.members))
        if members:
            return {"members": list(map(as_config, members))}
        return None if waits else Searcher.FINISHED  # type: ignore[return-value]

    def _next(self, trial_id: str) -> list[Assignment]:
        """The next population. A slow sampler is waited for while no trial runs, whose reports must not wait, and no stop is
        asked for: a thread that hangs would not hear of it.
        """
        while True:
            with self._search.journal.together():
                members = self._populations.begin(trial_id)
            if members or self._search.active or self._stopping.asked or not self._search.remaining:
                return members
            time.sleep(0.01)

    def _has_place(self) -> bool:
        """Whether there is a place for a further population. While none trains, Tune asks here alone, once a second."""
        num_active = len(self._populations.members)
        self._places.want(self._populations.wanted(), num_active)
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


def as_config(assignment: Assignment) -> dict[str, Any]:
    """What a worker gets."""
    return vars(assignment).copy()


class Actors(Callback):
    """Which actor runs a Tune trial (its id in hex): Tune has forgotten it when it reports the actor's death."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        actor: Any = trial.temporary_state.ray_actor
        self.of[trial.trial_id] = actor._actor_id.hex()


class SchedulerAdapter(FIFOScheduler):
    """Records every report, has trials leave their population where the Search says so, and others take their places. `tell`:
    gets what a person should hear of; `await_end`: waits for the end of this process, whose Ray is dead.
    """

    def __init__(
        self,
        populations: Populations,
        stopping: Stopping,
        actors: Actors,
        tell: Callable[[str], None],
        await_end: Callable[[], None],
    ):
        super().__init__()
        self._populations, self._stopping, self._actors, self._tell = populations, stopping, actors, tell
        self._search, self._await_end = populations.search, await_end

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The newest trial that has no worker: it gets the one that has just come free. The oldest, which Tune would choose,
        waits for a worker that is starting; to give it another one would end that start, again and again where trials are
        shorter than a start.
        """
        trials: list[Trial] = tune_controller.get_trials()
        return next((trial for trial in reversed(trials) if trial.status == Trial.PENDING), None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Every report, then who takes the places of those that leave: the worker hears of it before it trains on."""
        population, reports = trial.trial_id, result["reports"]
        left, add = list[int](), list[Assignment]()
        together = self._search.journal.together
        with self._stopping.on_error(), together():
            left = [report["trial"] for report in reports if self._leaves(report)]
        if not self._stopping.asked:
            with self._stopping.on_error(), together():
                at_rung = [each["trial"] for each in reports if each["status"] == "running" and each["trial"] in left]
                left, add = self._populations.exchange(population, left, at_rung, result["room"])
        if self._stopping.asked:  # those that have reported go on from here when the sweep is resumed
            left = [report["trial"] for report in reports]
            for number in left:
                self._search.active.pop(number, None)
            self._populations.leave(population, left)
        if not self._populations.members[population] or self._stopping.error is not None:
            self._populations.end(population)
            return TrialScheduler.STOP
        if left or add or self._stopping.asked:
            actor: Any = trial.temporary_state.ray_actor
            actor.exchange.remote(left, list(map(as_config, add)), self._stopping.asked)
        return TrialScheduler.CONTINUE

    def _leaves(self, report: dict[str, Any]) -> bool:
        """Record a report; whether its trial leaves its population."""
        number, status, reason = report["trial"], report["status"], report["reason"]
        for note in report["notes"]:
            self._search.journal.append("fault", trial=number, kind="checkpoint", reason=note)
            self._tell(note)
        if status == "storage":
            raise StorageError(f"trial {number:04d} could not read its data or save its checkpoint: {reason}")
        if status == "fault":
            self._search.fault(number, "trial", reason, report["epochs"], report["worker"], costs=report["costs"])
            self._tell_of([number], reason)
            return True
        return self._search.report(number, report["epochs"], status, reason, report["worker"], report["costs"])

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        members, timeout_s = self._populations.end(trial.trial_id), self._search.sweep.stop.timeout_s
        if self._stopping.asked:  # SIGTERM may have reached its process, too: it is resumed from its last checkpoint
            for number in members:
                self._search.active.pop(number, None)
            return
        if not members:
            return
        with self._stopping.on_error():
            log, now = list[str](), time.monotonic()
            silent_s = now - max(self._search.active.get(number, now) for number in members)
            if timeout_s is not None and silent_s >= timeout_s * len(members):
                limit = f"{timeout_s * len(members):g} s"
                kind, reason = "hang", f"hung: no report in {limit} ({hang_file(members)} says where)"
            else:
                error, actor = raised(trial), self._actors.of.get(trial.trial_id, "")
                kind, reason = fault(error, actor)
                if reason == RAY_DIED:
                    self._await_end()
                if reason == DIED:
                    wrote = last_words(actor, str(error))
                    reason, log = f"{DIED}{wrote.cause}", wrote.lines
            if kind in OF_ONE and len(members) == 1:
                self._search.report(members[0], [], "failed", reason)
                return
            if kind == "memory":
                self._populations.took_too_much(len(members))
            for number in members:  # of several, nobody knows whose fault it is
                self._search.fault(number, "trial" if kind in OF_ONE else kind, reason, [], log=log)
            self._tell_of(members, reason)

    def _tell_of(self, numbers: Sequence[int], reason: str) -> None:
        """Say which trials broke off, and how each goes on."""
        if len(numbers) == 1:
            trial = self._search.record.trials[numbers[0]]
            then = "failed" if trial.state == "failed" else f"goes on after epoch {trial.num_epochs}"
            self._tell(f"trial {trial.name}: {reason}; {then}")
            return
        alone = sum(map(self._search.must_be_alone, numbers))
        then = f"; {alone} of them alone, as it is their last attempt" if alone else ""
        names = ", ".join(map(trial_name, numbers))
        self._tell(f"trials {names}, which trained at once: {reason}; they go on from their checkpoints{then}")


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
