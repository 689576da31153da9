"""What a sweep will take: `plan` measures or looks up what its trials cost, and runs it in fast motion."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fersweep.cluster.capacity import refuse_accelerator
from fersweep.cluster.launch import describe
from fersweep.cluster.planning import estimate as estimates
from fersweep.cluster.planning import machine
from fersweep.cluster.planning.calibration import BUDGET_S, calibrate, calibrate_on_cluster
from fersweep.cluster.planning.costs import Costs, faces_ratio
from fersweep.cluster.planning.estimate import Estimate, Range, Stage
from fersweep.cluster.planning.machine import Machines
from fersweep.cluster.planning.needs import Memory, disk_bytes, memory_of
from fersweep.cluster.planning.past_sweeps import past_costs
from fersweep.cluster.planning.simulation import Rules, Run
from fersweep.cluster.planning.suggestions import Suggestions, time_suggestions
from fersweep.cluster.plans import save_plan
from fersweep.cluster.search.fusing import most_fused
from fersweep.common import ray_address
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.sweep_json import Planned, SweepJson
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import fetch
from fersweep.search_spaces.sweep_file.sections.suitability import expected_trials

BUSY = 0.5  # of a machine's CPUs in use before a calibration begins: it says so


@dataclass(frozen=True)
class Options:
    """`gpus`: also on so many; `price`: of a GPU for an hour; `anew`: calibrate even where there are past sweeps."""

    gpus: int | None = None
    price: float | None = None
    anew: bool = False
    budget_s: float = BUDGET_S


MOST_TRIALS = 20_000  # that the simulation runs in fast motion


@dataclass(frozen=True)
class Plan:
    """What `fersweep plan` says. `estimates`: this place first; `notes`: what a person should know beside."""

    sweep: str
    trainable: str
    dataset: str
    num_train: int
    num_val: int
    costs: Costs
    took_s: float
    stages: list[Stage]
    estimates: list[Estimate]
    memory: Memory
    disk_bytes: Range
    resources: dict[str, Any]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(
    asked: Sweep,
    data: str | Path,
    home: Path,
    address: str | None = None,
    options: Options | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """The plan of a sweep. Raises InputError where `launch` would, and where every trial that is tried fails."""
    options, began = options or Options(), time.perf_counter()
    if options.gpus is not None and not asked.resources.gpus:
        raise InputError(
            f"--gpus {options.gpus}: the sweep's trials ask for no GPU; give them a share, e.g. --set resources.gpus=0.25"
        )
    if asked.search.num_trials > MOST_TRIALS:
        raise InputError(
            f"search.num_trials: {asked.search.num_trials:,} are too many to plan: want {MOST_TRIALS:,} at most, and multiply"
        )
    refuse_accelerator(asked.resources.accelerator)
    start = time.perf_counter()
    sweep, arrays = describe(asked, data, home)
    read_s = time.perf_counter() - start
    fetch(asked, sweep.older_points)
    named = ray_address.resolve(address)
    machines = machine.this_machine(asked.resources.gpus > 0) if named is None else machine.cluster(named)
    places, load = machines.places(asked.resources), os.getloadavg()[0]
    costs = _costs(sweep, arrays, home, machines, places, options, say)
    costs = replace(costs, read_s=max(costs.read_s, read_s))
    search = asked.search.model_copy(update={"num_trials": expected_trials(asked)})
    sweeps = [(asked.model_copy(update={"search": search}), costs)]
    if asked.finalists is not None:
        again = [replace(cost, trial=None) for cost in costs.trials]
        sweeps.append((_repeats(asked), replace(costs, start_s=0.0, trials=again)))  # its workers are there already
    if asked.following is not None:
        sweeps.append((asked.following, _scaled(costs, sweep, data, asked.following)))
    suggestions = time_suggestions(sweep)
    found = [_in_place(sweeps, machines.where, sum(places), suggestions, machines, options)] if sum(places) else []
    if machines.grown(asked.resources) > sum(places):
        where = f"{machines.where}, grown to its limit"
        found.append(_in_place(sweeps, where, machines.grown(asked.resources), suggestions, machines, options))
    if options.gpus:
        at_once = machine.places_on_gpus(options.gpus, asked.resources)
        where = f"{options.gpus} GPU{'' if options.gpus == 1 else 's'}"
        found.append(_in_place(sweeps, where, at_once, suggestions, None, options, options.gpus, not costs.on_gpu))
    stages = found[0].stages if found else _in_place(sweeps, "", 1, suggestions, None, options).stages
    made = Plan(
        sweep=asked.name,
        trainable=asked.trainable,
        dataset=sweep.dataset.name,
        num_train=sweep.num_train or 0,
        num_val=sweep.num_val or 0,
        costs=costs,
        took_s=time.perf_counter() - began,
        stages=stages,
        estimates=found,
        memory=memory_of(costs, 1 if machines.connected else sum(places)),
        disk_bytes=disk_bytes(asked, costs.trials, max(sum(places), 1), sweep.num_val or 0, len(sweep.classes)),
        resources=asked.resources.model_dump(),
        notes=[*_notes(asked, costs, machines, sum(places), found), *_busy(costs, load)],
    )
    _keep(made, asked, sweep, home)
    return made


def _costs(
    sweep: SweepJson,
    arrays: TaskArrays,
    home: Path,
    machines: Machines,
    places: Sequence[int],
    options: Options,
    say: Callable[[str], None],
) -> Costs:
    if not options.anew and (past := past_costs(sweep, home, max(sum(places), 1), machines.hosts)) is not None:
        return past
    budget = options.budget_s
    if machines.connected and sum(places):
        return calibrate_on_cluster(sweep, arrays, sum(places), budget_s=budget, say=say)
    here = machine.this_machine(sweep.asked.resources.gpus > 0) if machines.connected else machines
    return calibrate(sweep, home, max(here.places(sweep.asked.resources)[0], 1), here.gpus, budget_s=budget, say=say)


def _scaled(costs: Costs, sweep: SweepJson, data: str | Path, following: Sweep) -> Costs:
    """What the trials of the sweep that follows cost: those of the first, on its own number of faces."""
    task = Task(data, following.task)
    num_train = task.num_faces("train")
    if following.task.fold == "all" and sweep.asked.task.fold != "all":
        num_train *= (task.num_folds or 2) - 1  # K models, each of which learns K - 1 of the K folds
    ratio = faces_ratio(num_train, task.num_faces("val"), sweep.num_train or 0, sweep.num_val or 0)
    return replace(costs, trials=[replace(cost.scaled(ratio), trial=None) for cost in costs.trials])


def _repeats(asked: Sweep) -> Sweep:
    """The repeats of finalists as a sweep of their own: all of them trained in full."""
    assert asked.finalists is not None
    changes: dict[str, Any] = {
        "name": f"{asked.name}: finalists",
        "search": asked.search.model_copy(
            update={"num_trials": asked.finalists.num_repeats, "sampler": "random", "sampler_options": {}}
        ),
        "stop": asked.stop.model_copy(update={"scheduler": "none", "scheduler_options": {}, "sweep": None}),
    }
    return asked.model_copy(update=changes)


def _in_place(
    sweeps: Sequence[tuple[Sweep, Costs]],
    where: str,
    at_once: int,
    suggestions: Suggestions,
    machines: Machines | None,
    options: Options,
    gpus: float = 0.0,
    is_a_limit: bool = False,
) -> Estimate:
    """The sweeps one after another, `at_once` trials at a time."""
    first, costs = sweeps[0]
    all_runs: list[list[Run]] = [estimates.runs(sweep, its, at_once, suggestions) for sweep, its in sweeps]
    ranges = [
        estimates.with_error([run.sweep_s for run in found], its.source, its.faces_share)
        for found, (_, its) in zip(all_runs, sweeps, strict=True)
    ]
    connected = machines is None or machines.connected
    before_s = (estimates.CONNECT_S if connected else estimates.START_S) + costs.read_s
    taken = at_once * first.resources.cpus
    spare = 1 - min(taken / machines.cpus, 1) if machines is not None and machines.cpus else 1.0
    after_s = sum(estimates.after_s(found, max(run.begun for run in found), spare) for found in all_runs)
    total_s = Range(*(sum(part) for part in zip(*((r.low, r.likely, r.high) for r in ranges), strict=True))).plus(
        before_s + after_s
    )
    parts = estimates.shares(all_runs[-1], at_once, costs.read_s)
    used = gpus or (machines.gpus if machines is not None and first.resources.gpus else 0.0)
    return Estimate(
        where=where,
        at_once=at_once,
        sweep_s=ranges,
        before_s=before_s,
        after_s=after_s,
        total_s=total_s,
        shares=parts,
        bottleneck=estimates.bottleneck(parts),
        gpus=used,
        cost=total_s.times(options.price * used / 3600) if options.price is not None and used else None,
        is_a_limit=is_a_limit,
        stages=[estimates.stage(sweep, found) for found, (sweep, _) in zip(all_runs, sweeps, strict=True)],
    )


def _notes(asked: Sweep, costs: Costs, machines: Machines, places: int, found: Sequence[Estimate]) -> list[str]:
    notes: list[str] = []
    if not places:
        notes.append(
            f"{machines.where} has no place for a trial, which wants {_wanted(asked)}: no time is given for it"
        )
    for reason, number in costs.failed.items():
        notes.append(f"{number} of {number + len(costs.trials)} trials that were tried failed: {reason}")
    if asked.resources.gpus and not costs.on_gpu:
        notes.append("tried on CPUs, for want of a GPU: times are upper limits, and GPU memory is not known")
    if any(place.at_once > asked.search.num_trials for place in found):
        notes.append(f"more than {asked.search.num_trials} trials at once gain nothing: there are no more trials")
    if asked.space.fix.get("use_early_stopping", asked.space.fix.get("early_stopping_patience")) not in (False, None):
        notes.append("trials that stop by themselves (early stopping) make it shorter")
    if asked.stop.scheduler not in Rules.PLANNED:
        notes.append(
            f"planned as if stop.scheduler {asked.stop.scheduler} ended no trial early: times are upper limits"
        )
    budget = asked.stop.sweep
    unforeseen = [key for key in ("no_better_in", "target") if budget is not None and getattr(budget, key) is not None]
    if unforeseen:
        keys = " and ".join(f"stop.sweep.{key}" for key in unforeseen)
        notes.append(f"{keys} cannot be foreseen: the search may end earlier")
    fused = most_fused(asked, lambda: places)
    if fused > 1:
        notes.append(
            f"planned as if a worker trained one trial at a time; it trains up to {fused} at once: times are upper limits, and "
            "memory is that of one trial"
        )
    if asked.storage:
        notes.append(f"saving was measured on this machine's disk, not in {asked.storage}")
    return notes


def _busy(costs: Costs, load: float) -> list[str]:
    """What else ran here while trials were tried makes them look slow. `load`: the system's, before they began."""
    cpus = os.cpu_count() or 1
    if costs.source != "calibration" or load < BUSY * cpus:
        return []
    return [f"this machine was busy (load {load:.0f} on {cpus} CPUs): on a quiet one the times are shorter"]


def _wanted(asked: Sweep) -> str:
    kind = f" ({asked.resources.accelerator})" if asked.resources.accelerator else ""
    gpus = f" and {asked.resources.gpus:g} GPUs{kind}" if asked.resources.gpus else ""
    return f"{asked.resources.cpus:g} CPUs{gpus}"


def _keep(made: Plan, asked: Sweep, sweep: SweepJson, home: Path) -> None:
    """For `launch` (cluster/plans.py): what the first place takes. A home that cannot be written is no fault here."""
    if not made.estimates:
        return
    place = made.estimates[0]
    first, *later = place.sweep_s
    if asked.finalists is not None:  # they are trials of the same sweep
        repeats = later.pop(0)
        first = Range(first.low + repeats.low, first.likely + repeats.likely, first.high + repeats.high)
    names = [asked, *([asked.following] if asked.following else [])]
    for each, taken in zip(names, [first, *later], strict=True):
        planned = Planned(
            sweep_s=taken.likely,
            low_s=taken.low,
            high_s=taken.high,
            source=made.costs.source,
            at_once=place.at_once,
            num_trials=each.search.num_trials,
            max_epochs=each.stop.max_epochs,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with contextlib.suppress(OSError):
            save_plan(home, each, sweep.dataset.fingerprint, planned)
