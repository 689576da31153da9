"""What a new sweep file says twice, or in vain: refused, or remarked. Not checked where a recorded sweep is read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast
from unicodedata import category

from fersweep import search_spaces, trainables
from fersweep.common.text import masked, one_line
from fersweep.search_spaces.sweep_file.fusing import remark_on_fusing
from fersweep.search_spaces.sweep_file.schema import Older, Resources, Stop, Sweep
from fersweep.search_spaces.sweep_file.searched_space import cannot_be_built, drawn, drawn_from, wider_values
from fersweep.search_spaces.sweep_file.sections import suitability
from fersweep.search_spaces.sweep_file.sections.objectives import refuse_what_none_keeps
from fersweep.search_spaces.sweep_file.sections.schedulers import SCHEDULERS, most_brackets
from fersweep.search_spaces.sweep_file.space.choices import same

LONGEST_CLASS = 200  # characters of a class's name
LEAST = 0.01  # of a CPU or a GPU
TRACKING_SECRETS = (
    "Write it without one: MLflow reads MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN, from the environment, and PostgreSQL PGPASSWORD or ~/.pgpass"
)
STORAGE_SECRETS = (
    "Write it without one: keys are read from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS), or from the machine's own role"
)


def refuse_contradictions(sweep: Sweep) -> None:
    """Raises ValueError where two keys contradict each other, or one says something twice."""
    for name in sorted(sweep.space.fix.keys() & sweep.space.range.keys()):
        raise ValueError(f"space.fix.{name}: {name} is in space.range, too: want it fixed or searched, not both")
    for name, choices in sweep.space.range.items():
        for choice in _repeated(choices):
            raise ValueError(f"space.range.{name}: {json.dumps(choice)} is there twice")
    refuse_what_none_keeps(sweep.search.parsed_constraints)
    starts = [
        f"{{sweep: {start.sweep}}}" if isinstance(start, Older) and start.is_learned else str(start)
        for start in sweep.search.start_from
    ]
    for start in starts:
        if starts.count(start) > 1:
            raise ValueError(f"search.start_from: {start} stands there twice")
    for name in sweep.task.classes or {}:
        if not name.strip() or len(name) > LONGEST_CLASS or any(category(char) in ("Cc", "Cs") for char in name):
            raise ValueError(
                f"task.classes: the name {one_line(name, 40)!r} cannot be shown: want 1 to {LONGEST_CLASS} characters, without "
                "line breaks and control characters"
            )
    stop = sweep.stop
    if stop.timeout_s is not None and stop.report_s >= stop.timeout_s:
        raise ValueError(
            f"stop.report_s: {stop.report_s:g} must be below stop.timeout_s, {stop.timeout_s:g}, or every trial counts as hanging"
        )
    brackets, most = stop.scheduler_options.get("brackets", 1), most_brackets(stop.grace or 1, stop.reduction, stop.end)
    if brackets > most:
        raise ValueError(
            f"stop.scheduler_options.brackets: {brackets}, but only {most} can begin within {stop.at(stop.end)}, the first at "
            f"{stop.at(stop.grace)} and each {stop.reduction} times later than the one before"
        )
    folds = [sweep.task.fold, *([sweep.following.task.fold] if sweep.following else [])]
    if "wilcoxon" in (stop.scheduler, stop.scheduler_options.get("inner")) and set(folds) != {"all"}:
        raise ValueError(
            "stop.scheduler: wilcoxon compares the folds of trials: want task.fold: all, or another scheduler"
        )
    if sweep.distil is not None:
        _refuse_unteachable(sweep)
    refuse_amounts(sweep.resources)


def _refuse_unteachable(sweep: Sweep) -> None:
    """Raises ValueError where some of the sweep's trials cannot learn probabilities."""
    wanted = getattr(trainables.load(sweep.trainable), "LEARNS_PROBABILITIES", None)
    if wanted is None:
        able = [name for name in trainables.NAMES if hasattr(trainables.load(name), "LEARNS_PROBABILITIES")]
        raise ValueError(f"distil: {sweep.trainable} learns labels alone, no probabilities: want {' or '.join(able)}")
    searched = drawn_from(sweep)
    for name, value in cast("Mapping[str, Any]", wanted).items():
        values = list(getattr(searched[name], "choices", ())) if name in searched else [sweep.space.fix.get(name)]
        if values != [value]:
            raise ValueError(
                f"distil: {sweep.trainable} learns probabilities with {name}: {value} alone: want space.fix.{name}: {value}"
            )


def refuse_amounts(resources: Resources) -> None:
    """Raises ValueError for amounts that no trial can use or that Ray cannot reserve."""
    for key, amount in (("cpus", resources.cpus), ("gpus", resources.gpus)):
        if 0 < amount < LEAST:
            raise ValueError(f"resources.{key}: {amount:g} is less than {LEAST:g}, the least that a trial can get")
    if resources.gpus > 1:
        raise ValueError(
            f"resources.gpus: {resources.gpus:g}, but a trial trains on one GPU, and a sweep uses many by running trials side "
            f"by side: want 1, or a share such as 0.5"
        )
    if resources.cpus > 1 and resources.cpus != int(resources.cpus):
        raise ValueError(f"resources.cpus: {resources.cpus:g} must be whole, as it is more than one")
    if resources.accelerator is not None and not resources.gpus:
        raise ValueError(f"resources.accelerator: {resources.accelerator}, but resources.gpus is 0: want 1, or a share")


def refuse_secrets(sweep: Sweep) -> None:
    """Raises ValueError where a value holds a password or a token: a sweep file is copied, shown and recorded."""
    uri, storage = sweep.tracking.uri, sweep.storage
    if uri is not None and "${" in uri:
        raise ValueError(f"tracking.uri: {uri} is no address: variables are not read here. {TRACKING_SECRETS}")
    if uri is not None and (masked(uri) != uri or ("@" in uri and "://" not in uri)):
        shown = masked(uri) if "://" in uri else "the address"
        raise ValueError(f"tracking.uri: {shown} holds a password or a token. {TRACKING_SECRETS}")
    if storage is not None and masked(storage) != storage:
        raise ValueError(f"storage: {masked(storage)} holds a key. {STORAGE_SECRETS}")
    for key, value in _texts(sweep.model_dump(mode="json"), ""):
        if masked(value) != value:
            raise ValueError(f"{key}: {masked(value)} holds a password, a key or a token, which would be recorded")


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in nested values, keys of mappings too, with the path that leads to it."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in cast(Mapping[str, Any], value).items():
            yield key or "a key", name
            yield from _texts(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _texts(inner, key)


def _remarks_on_stop(stop: Stop, num_trials: int) -> list[str]:
    scheduler, lines = SCHEDULERS[stop.scheduler], list[str]()
    inner: str | None = stop.scheduler_options.get("inner")
    last, title = {"epochs": "epochs", "seconds": "s"}[stop.unit], scheduler.TITLE
    if "grace" in scheduler.USES and stop.grace >= stop.end:
        what = f"{title} stops" if title else f"stop.scheduler {stop.scheduler} stops"
        lines.append(
            f"{what} no trial: stop.grace_{last}, {stop.grace:.10g}, is not below stop.max_{last}, {stop.end:.10g}"
        )
    patience: int | None = stop.scheduler_options.get("patience")
    if patience is not None and patience >= stop.max_epochs:
        lines.append(
            f"patient stops no trial: its patience, {patience}, is not below stop.max_epochs, {stop.max_epochs}"
        )
    if title and num_trials == 1:
        lines.append(f"{title} stops no trial: search.num_trials is 1, and it compares trials")
    used = {*scheduler.USES, *(SCHEDULERS[inner].USES if inner else ())}
    asked = {"grace": f"grace_{last}", "reduction": "reduction"}
    idle = sorted({asked[key] for key in asked.keys() - used} & stop.model_fields_set)
    if idle:
        lines.append(
            f"without effect: {' and '.join(f'stop.{key}' for key in idle)}, as stop.scheduler is {stop.scheduler}"
        )
    return lines


def remarks(sweep: Sweep) -> list[str]:
    """What has no effect, one line each."""
    stop, search, lines = sweep.stop, sweep.search, list[str]()
    lines += _remarks_on_stop(stop, search.num_trials)
    lines += suitability.remarks(sweep)
    lines += remark_on_fusing(sweep)
    if sweep.distil is not None and "soft_labels" in {*sweep.space.fix, *drawn(sweep)}:
        lines.append("without effect: soft_labels, as distil gives each face of train its target")
    never = sorted(sweep.space.range.keys() - drawn(sweep))
    if never:
        lines.append(f"without effect: space.range of {', '.join(never)}, which no trial of this space draws")
    return [*lines, *_of_space(sweep)]


def _of_space(sweep: Sweep) -> list[str]:
    """What is allowed, but may be a slip: values beyond the space file's bounds, points that no trial can train."""
    lines: list[str] = []
    beyond = dict.fromkeys(f"{each.name} {each.value!r} (there {each.there})" for each in wider_values(sweep))
    if beyond:
        lines.append(f"wider than {search_spaces.file_of(sweep.trainable)}: {', '.join(beyond)}")
    if (unbuilt := cannot_be_built(sweep)) is not None:
        share, reason = unbuilt
        lines.append(f"{100 * share:.3g} % of sampled points cannot be built, and their trials fail: {reason}")
    return lines


def _repeated(choices: list[Any]) -> list[Any]:
    """Choices that are there before; none of [3, 3], which is an interval."""
    if len(choices) == 2 and all(isinstance(choice, int | float) for choice in choices):
        return []
    return [choice for index, choice in enumerate(choices) if any(same(choice, other) for other in choices[:index])]


def replaced(content: dict[str, Any], keys: list[str]) -> None:
    """Take out of a sweep file's content what `--set space.fix.NAME` or `space.range.NAME` (among `keys`) replaces."""
    space: Any = content.get("space")
    for key in keys:
        section, part, name = [*key.split(".", 2), "", ""][:3]
        other: Any = {"fix": "range", "range": "fix"}.get(part)
        others = cast(dict[str, Any], space).get(other) if isinstance(space, dict) else None
        if section == "space" and name and isinstance(others, dict):
            cast(dict[str, Any], others).pop(name, None)
