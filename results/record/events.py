"""The events of a journal's lines: what each must hold, so that it can be replayed. A journal is input."""

from __future__ import annotations

import functools
import math
import re
from typing import Any, TypeVar, cast

from fersweep.common.untrusted import is_object, parse_json, parse_quickly
from fersweep.results.record.trial_record import STATES, Event, Hparams, WorkerUsage

T = TypeVar("T")
KINDS = ("sampled", "report", "fault", "ended", "reopened", "compared", "exploited")  # of events of a trial
NUMBERS = (int, float)
LARGEST = 2.0**63  # of what is counted or measured
LAST_TIME = 2.5e11  # seconds since 1970: the year 9892
MOST_TRIALS = 10**7
ATTRS = ("study", "trial", "trials", "told")  # parts of what a sampler keeps


def parse_event(line: bytes) -> Event:
    """The event of a journal's line. Raises ValueError in words where it is none that can be replayed; events of kinds that
    are not known here pass.
    """
    event = parse_quickly(line)
    if not is_object(event):
        raise ValueError("no object")
    kind, at = event.get("event"), event.get("time", -1)
    if not isinstance(kind, str):
        raise ValueError("`event` is missing, or no text")
    if type(at) not in NUMBERS or not 0 <= at <= LAST_TIME:
        raise ValueError("`time` is missing, or no time")
    if kind == "session":
        _check(event, "action", str)
        _check_each(event, str, "host", "reason", "code")
        _check_each(event, int, "pid", "fused")
        return event
    if kind in KINDS or "trial" in event:
        number = event.get("trial")
        if type(number) is not int or not 0 <= number < MOST_TRIALS:
            raise ValueError("`trial` is missing, or no trial's number")
    if kind == "report" or "epochs" in event:
        _check_report(event)
    if kind == "sampled":
        _check_sampled(event)
    elif kind == "fault":
        _check(event, "kind", str)
        _check_each(event, str, "reason")
        if not all(isinstance(text, str) for text in _check(event, "log", list, [])):
            raise ValueError("`log` is no list of lines")
    elif kind in ("compared", "exploited"):
        _check_compared(event, copied=kind == "exploited")
    elif kind == "ended":
        if event.get("state") not in STATES[1:]:
            raise ValueError("`state` is missing, or no state of a trial")
        _check_each(event, str, "reason")
    return event


def _check(event: Event, key: str, kind: type[T], default: T | None = None) -> T:
    value = event.get(key, default)
    if not isinstance(value, kind):
        raise ValueError(f"`{key}` is {'missing' if value is None else 'of another type'}")
    return value


def _check_each(values: dict[str, Any], kind: type, *keys: str) -> None:
    """Each of these, where there is one, is of this type or null."""
    for key in keys:
        value = values.get(key)
        if value is not None and (type(value) is not kind or (kind is int and abs(value) >= LARGEST)):
            raise ValueError(f"`{key}` is of another type")


def _check_sampled(event: Event) -> None:
    hparams = cast("Hparams", _check(event, "hparams", dict))
    params = cast("Hparams", _check(event, "params", dict, {}))
    for values in (hparams, params):
        for name, value in values.items():
            if type(value) is int and abs(value) >= LARGEST:
                raise ValueError(f"`{name}` is too large a number")
            if type(value) is float and not math.isfinite(value):
                raise ValueError(f"`{name}` is no finite number")
    for name, text in _check(event, "distributions", dict, {}).items():
        if not isinstance(text, str) or not is_distribution(text):
            raise ValueError(f"`distributions` has none of `{name}`")
    _check_each(event, str, "point", "refused")
    _check_attrs(event)
    repeat = event.get("repeat")
    if repeat is not None and not (
        is_object(repeat) and _is_count(repeat.get("of"), 0) and _is_count(repeat.get("seed"), 1)
    ):
        raise ValueError("`repeat` does not say of which trial, and with which seed")
    if "suggest_s" in event and not _is_measured(event["suggest_s"]):
        raise ValueError("`suggest_s` is no number")


def _check_attrs(event: Event) -> None:
    """What the sampler keeps: `study` and `trial` by name, `trials` by a trial's number and by name, `told` by number."""
    for part, values in _check(event, "attrs", dict, {}).items():
        if part not in ATTRS or not isinstance(values, dict):
            raise ValueError(f"`attrs` has no {part!r} of this kind")
        if part not in ("trials", "told"):
            continue
        for number, value in cast("dict[str, Any]", values).items():
            if not re.fullmatch(r"-?\d{1,8}", number) or not isinstance(value, dict if part == "trials" else int):
                raise ValueError(f"`attrs` has {part!r} of what is no trial")


def _check_compared(event: Event, copied: bool) -> None:
    for key in ("at_epoch", "donor_epoch") if copied else ("at_epoch",):
        if type(event.get(key)) is not int or not 0 < event[key] < LARGEST:
            raise ValueError(f"`{key}` is missing, or no epoch")
    if copied:
        donor = event.get("donor")
        if type(donor) is not int or not 0 <= donor < MOST_TRIALS or donor == event["trial"]:
            raise ValueError("`donor` is missing, or no other trial's number")
        _check_sampled(event)


@functools.lru_cache(1000)
def is_distribution(text: str) -> bool:
    """Whether a text can be a distribution as Optuna writes it."""
    try:
        content = parse_json(text.encode())
    except ValueError:
        return False
    return is_object(content) and isinstance(content.get("name"), str) and isinstance(content.get("attributes"), dict)


def _check_report(event: Event) -> None:
    rows = cast("list[Any]", _check(event, "epochs", list))
    for row in rows:
        if not is_epoch(row):
            raise ValueError("`epochs` has what is no epoch's metrics")
    worker = event.get("worker")
    if worker:
        if not is_object(worker) or not {"host", "pid"} <= worker.keys():
            raise ValueError("`worker` has no host and process")
        _check_each(worker, str, "host")
        for name in WorkerUsage._fields[1:]:
            if worker.get(name) is not None and not _is_measured(worker[name]):
                raise ValueError(f"`{name}` of the worker is no number")
    for name, value in _check(event, "costs", dict, {}).items():
        if not _is_measured(value):
            raise ValueError(f"`{name}` of the costs is no number")


def is_epoch(row: object) -> bool:
    """Whether it is the metrics of an epoch: numbers, or NaN and infinities, by name, and a whole number `epoch`."""
    if not is_object(row) or type(row.get("epoch")) is not int or not 0 < row["epoch"] < LARGEST:
        return False
    for value in row.values():
        if type(value) is not float and (type(value) is not int or abs(value) >= LARGEST):
            return False
    return "epoch_s" not in row or _is_measured(row["epoch_s"])


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and least <= value < MOST_TRIALS


def _is_measured(value: object) -> bool:
    return type(value) in NUMBERS and abs(cast("float", value)) < LARGEST  # which NaN is not
