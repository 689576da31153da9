"""Resume a sweep: ended trials stay as they are, the others are resumed from their last checkpoint.

A sweep may grow (more trials, more epochs) and may be run in another way (resources, retries); what its trials so far
were drawn from and judged by may not change.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from fersweep import search_spaces
from fersweep.cluster import capacity
from fersweep.cluster.changed_code import settled, write_missing
from fersweep.cluster.cluster_nodes import check_nodes
from fersweep.cluster.driver.notifications import webhook
from fersweep.cluster.driver.run_sweep import Outcome, run_sweep
from fersweep.cluster.launch import try_model, versions
from fersweep.cluster.samplers import custom
from fersweep.common import ray_connection
from fersweep.common.errors import InputError
from fersweep.common.files import check_writable, write_whole
from fersweep.common.stores.buckets import resolved
from fersweep.common.versions import own_commit
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.callbacks.classes import check_callbacks
from fersweep.results.distil.answers import taught
from fersweep.results.record import checkpoints
from fersweep.results.record.drivers import alone
from fersweep.results.record.home import check_own, pull, resume_command
from fersweep.results.record.journal import SweepRecord, trial_name
from fersweep.results.record.ranking.budget import spending
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.tracking import address as address_of_mlflow
from fersweep.search_spaces.sweep_file.overrides import change, put
from fersweep.search_spaces.sweep_file.own_code import code_of
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import distributions, fetch
from fersweep.search_spaces.sweep_file.sections.callbacks import resolve_callbacks

MAY_CHANGE = (
    "search.num_trials",
    "stop.max_epochs",
    "stop.max_s",
    "stop.report_s",
    "stop.timeout_s",
    "keep_checkpoints",
)
MAY_CHANGE_BELOW = ("resources.", "failures.", "notify", "callbacks", "tracking.", "stop.sweep", "finalists")


class Difference(NamedTuple):
    """key: the path of a value in a sweep file, e.g. `stop.metric`."""

    key: str
    before: Any
    now: Any


def resume(
    directory: Path,
    address: str | None = None,
    *,
    trials: str | None = None,
    max_epochs: int | None = None,
    hours: str | None = None,
    overrides: list[str] | None = None,
    data: str | Path | None = None,
    retry_failed: bool = False,
    asked: Sweep | None = None,
    wait_s: float = 0.0,
    accept_code: bool | None = None,
) -> Outcome:
    """Resume the sweep in `directory`, on the Ray cluster at `address`.

    Args:
        asked: the whole sweep file as it is now, instead of `trials`, `max_epochs`, `hours` and `overrides`.
        wait_s: for another driver of the sweep to end.
        trials: how many in all, or `+N` more.
        max_epochs: of each trial from now on; those that had all of theirs go on if their checkpoint was kept.
        hours: of the sweep's budget (`stop.sweep.hours`), in all, or `+N` more.
        overrides: `key.path=value` of what may change.
        data: where the dataset is now, if it was moved.
        retry_failed: run failed trials once more.
        accept_code: where own code has changed since (changed_code.py): True: go on with the changed code, False: with the
            copy that the sweep has, None: InputError.
    """
    check_writable(directory, str(directory))
    storage = load_sweep(directory).storage
    with alone(directory, storage, wait_s):  # checked and written under one lock: what is refused has changed nothing
        if storage.path is None:
            pull(storage, directory)  # another machine may have gone on with it
            custom.pull(storage, directory)
        recorded = load_sweep(directory)
        sweep = recorded.sweep
        check_own(directory, sweep.name)
        if data is not None:
            dataset = sweep.dataset.model_copy(update={"path": resolved(data)})
            sweep = sweep.model_copy(update={"dataset": dataset})
        again = asked is not None
        sweep, asked = settled(sweep, directory, asked, accept_code)
        asked = (
            _no_smaller(asked, sweep.asked)
            if asked
            else _changed(sweep.asked, trials, max_epochs, hours, overrides or [])
        )
        _refuse_differences(sweep.asked, asked, recorded.record)
        if again and asked == sweep.asked and recorded.record.action == "finished":
            print(f"{sweep.name} has finished already", file=sys.stderr)
            return Outcome("finished", directory, following=asked.following)
        _refuse_changed_space(asked, sweep.space)
        webhook(asked)
        if asked.callbacks != sweep.asked.callbacks or asked.callbacks != recorded.sweep.asked.callbacks:
            check_callbacks(asked)
        if asked.tracking != sweep.asked.tracking:  # it is recorded anew there
            address_of_mlflow.check(
                asked.tracking.uri, asked.tracking.experiment, lambda line: print(line, file=sys.stderr)
            )
        places = {code.name: code.place for code in code_of(asked)}
        sweep = sweep.model_copy(update={"asked": asked, "code_places": {**places, **sweep.code_places}})
        arrays = node_arrays.load(sweep.task())
        _refuse_older_scores(sweep, arrays, recorded.record)
        arrays = taught(arrays, sweep, directory)
        sweep = sweep.model_copy(update={"fetched": fetch(asked, sweep.older_points, sweep.fetched)})
        if asked.trainable != recorded.sweep.asked.trainable:  # its code has changed
            try_model(sweep, arrays)
        ray_connection.connect(address, warm=capacity.warm(asked))
        capacity.check(asked.resources)
        check_nodes(asked.resources, arrays, None if storage.path is None else directory.parent.parent)
        for line in filter(None, (*_remarks(recorded), _still_spent(recorded, asked))):
            print(f"note: {line}", file=sys.stderr)
        write_missing(asked, directory, storage)
        content = sweep.as_bytes()
        if content != (directory / "sweep.json").read_bytes():
            if storage.path is None:
                storage.write("sweep.json", content)
            write_whole(directory / "sweep.json", content)
        if number := checkpoints.remove_unfinished(directory):
            print(f"removed {number} unfinished checkpoints of processes that were killed", file=sys.stderr)
        return run_sweep(sweep, arrays, directory, retry_failed=retry_failed)


def _remarks(recorded: RecordedSweep) -> list[str]:
    """What is no reason to refuse, but may surprise: other versions than those that it was launched with, trials that the
    journal does not know.
    """
    sweep, now, remarks = recorded.sweep, versions(), list[str]()
    others = [
        f"{name} {before}, now {now.get(name, 'none')}"
        for name, before in sweep.versions.items()
        if now.get(name) != before
    ]
    commit = own_commit()
    if sweep.git_commit and commit and sweep.git_commit != commit:
        others.append(f"commit {sweep.git_commit[:12]}, now {commit[:12]}")
    if others:
        remarks.append(f"{sweep.name} was launched with {'; '.join(others)}: its trials so far are of that code")
    unknown = [number for number in checkpoints.trials(recorded.storage) if number not in recorded.record.trials]
    if unknown:
        remarks.append(
            f"{len(unknown)} trials have files, and the journal does not know them ({trial_name(unknown[0])} to "
            f"{trial_name(unknown[-1])}): it is older than they are; what is not a new trial's own is set aside"
        )
    return remarks


def _changed(
    asked: Sweep, trials: str | None, max_epochs: int | None, hours: str | None, overrides: list[str]
) -> Sweep:
    """The sweep with what is asked for now."""
    content = asked.model_dump(mode="json")
    if hours is not None:
        put(content, ["stop", "sweep", "hours"], _hours(hours, asked))
    for override in overrides:
        change(content, override)
    resolve_callbacks(content, None)
    if trials is not None:
        content["search"]["num_trials"] = _number(trials, asked.search.num_trials)
    if max_epochs is not None:
        content["stop"]["max_epochs"] = max_epochs
    return parse_sweep(content, asked.name)


def _no_smaller(asked: Sweep, before: Sweep) -> Sweep:
    """The sweep file with no fewer trials, epochs and seconds than the sweep was extended to since (`resume --trials +16`)."""
    num_trials = max(asked.search.num_trials, before.search.num_trials)
    max_epochs = max(asked.stop.max_epochs, before.stop.max_epochs)
    max_s = None if asked.stop.max_s is None else max(asked.stop.max_s, before.stop.max_s or 0)
    for key, now, kept in (
        ("search.num_trials", asked.search.num_trials, num_trials),
        ("stop.max_epochs", asked.stop.max_epochs, max_epochs),
        ("stop.max_s", asked.stop.max_s or 0, max_s or 0),
    ):
        if now < kept:
            print(f"note: {key}: the sweep has {kept:.10g} already, {now:.10g} is ignored", file=sys.stderr)
    search = asked.search.model_copy(update={"num_trials": num_trials})
    resources = asked.resources
    if "fuse" not in resources.model_fields_set:  # an older sweep goes on with one trial a worker
        resources = resources.model_copy(update={"fuse": before.resources.fuse})
    budget = asked.stop.sweep
    if budget is not None and before.stop.sweep is not None:
        budget = budget.no_smaller_than(before.stop.sweep)
        if budget != asked.stop.sweep:
            print("note: stop.sweep: the sweep has a larger budget already, which is kept", file=sys.stderr)
    stop = asked.stop.model_copy(update={"max_epochs": max_epochs, "max_s": max_s, "sweep": budget})
    return asked.model_copy(update={"search": search, "stop": stop, "resources": resources})


def _refuse_differences(before: Sweep, sweep: Sweep, record: SweepRecord) -> None:
    """InputError if what is asked for now changes what the trials so far depend on."""
    for difference in differences(before.model_dump(mode="json"), sweep.model_dump(mode="json")):
        if difference.key not in MAY_CHANGE and not difference.key.startswith(MAY_CHANGE_BELOW):
            raise InputError(
                f"{difference.key} is {_yaml(difference.before)} in sweep {before.name!r}, not {_yaml(difference.now)}: its trials so far rest on that; launch a "
                f"new sweep, which can learn from this one (search.start_from: {{sweep: {before.name}}})"
            )
    sampled = record.derived(SearchTotals).num_trials
    if sweep.search.num_trials < sampled:
        raise InputError(f"--trials {sweep.search.num_trials}: the sweep has {sampled} trials already")
    if sweep.stop.scheduler == "pbt" and sweep.search.num_trials != before.search.num_trials:
        raise InputError(
            f"search.num_trials: the population of a pbt sweep stays as it began, {before.search.num_trials}: later trials would "
            f"find no checkpoints of early epochs to copy; launch a new sweep"
        )
    longest = max((trial.num_epochs for trial in record.trials.values()), default=0)
    if sweep.stop.max_epochs < longest:
        raise InputError(f"--max-epochs {sweep.stop.max_epochs}: a trial has trained {longest} epochs already")
    if sweep.stop.max_s is not None and sweep.stop.max_s < (before.stop.max_s or 0):
        raise InputError(f"stop.max_s {sweep.stop.max_s:.10g}: its trials had {before.stop.max_s:.10g} s already")


def _number(text: str, before: int) -> int:
    if not text.removeprefix("+").isdecimal() or int(text) == 0:
        raise InputError(f"--trials {text}: want how many in all (e.g. 64), or how many more (e.g. +16)")
    return before + int(text) if text.startswith("+") else int(text)


def _hours(text: str, asked: Sweep) -> float:
    """What `--hours` asks for: in all, or `+N` more than the sweep's budget has."""
    number, before = text.removeprefix("+"), asked.stop.sweep.hours if asked.stop.sweep else None
    if not re.fullmatch(r"\d+(\.\d+)?", number) or float(number) == 0:
        raise InputError(f"--hours {text}: want how many in all (e.g. 3), or how many more (e.g. +1)")
    if not text.startswith("+"):
        return float(number)
    if before is None:
        raise InputError(
            f"--hours {text}: sweep {asked.name!r} has no stop.sweep.hours to add to: want how many in all, e.g. --hours 3"
        )
    return before + float(number)


def _still_spent(recorded: RecordedSweep, asked: Sweep) -> str | None:
    """A line on a budget that lets no further trial begin, and how it is raised; None where there is no such."""
    spent = [part for part in spending(recorded.record, asked) if part.reached]
    if not spent or recorded.record.derived(SearchTotals).num_trials >= asked.search.num_trials:
        return None
    reasons = "; ".join(part.reason for part in spent)
    more = " ".join(dict.fromkeys(_more(part.name, asked) for part in spent))
    return f"the budget is spent ({reasons}): no further trial begins; `{resume_command(recorded.directory)} {more}` raises it"


def _more(name: str, asked: Sweep) -> str:
    """Options of `resume` that ask for a larger budget."""
    budget = asked.stop.sweep
    assert budget is not None
    if name == "hours":
        return "--hours +1"
    if name == "target":
        ((metric, target),) = (budget.target or {}).items()
        if asked.stop.own_metric is not None:
            return f"--set stop.sweep.target.{metric}=VALUE"
        return f"--set stop.sweep.target.{metric}={(target + (asked.stop.mode == 'max')) / 2:g}"
    return f"--set stop.sweep.{name}={2 * int(getattr(budget, name))}"


def _refuse_changed_space(sweep: Sweep, before: dict[str, str]) -> None:
    """InputError if the space's code has other distributions than when the sweep was launched."""
    now = distributions(sweep)
    for name in sorted({*now, *before}) if before else ():
        if now.get(name) != before.get(name):
            raise InputError(
                f"{search_spaces.file_of(sweep.trainable)} has changed since sweep {sweep.name!r} was launched: {name} was "
                f"{_drawn(before.get(name))}, is {_drawn(now.get(name))}; launch a new sweep, which can learn from this one "
                f"(search.start_from: {{sweep: {sweep.name}}})"
            )


def _refuse_older_scores(sweep: SweepJson, arrays: TaskArrays, record: SweepRecord) -> None:
    """InputError if the sweep's macro-F1 so far is of an older definition, and another number than today's."""
    absent = [name for index, name in enumerate(arrays.classes) if index not in arrays.val.y]
    if absent and not sweep.num_by_class and record.num_epochs:
        raise InputError(
            f"sweep {sweep.name!r}: val has no faces of {', '.join(absent)}, and an older version of fersweep counted that in "
            f"macro-F1, which is now of the classes with faces alone; the two must not stand in one sweep: launch a new "
            f"one, which can begin with this one's best points (search.start_from: {{sweep: {sweep.name}, best: 3}})"
        )


def _drawn(distribution: str | None) -> str:
    if distribution is None:
        return "not there"
    content = json.loads(distribution)
    attributes = content["attributes"].items()
    arguments = ", ".join(f"{name}={value}" for name, value in attributes if value not in (None, False))
    return f"{content['name'].removesuffix('Distribution')}({arguments})"


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """Everything that is not the same in two nested mappings."""
    differing: list[Difference] = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            differing += differences(cast(dict[str, Any], old), cast(dict[str, Any], new), f"{prefix}{key}.")
        elif old != new:
            differing.append(Difference(f"{prefix}{key}", old, new))
    return differing


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
