"""A trial as the journal has it. Epochs and reports are kept as numbers, 8 bytes each: as dictionaries and tuples those of
5,000 trials of 100 epochs take 0.7 GB, so 0.07.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast, overload

Event = dict[str, Any]  # a line of the journal
Row = dict[str, float]  # metrics of an epoch, `epoch` among them
Hparams = dict[str, Any]  # what a trial trains with
T = TypeVar("T")
STATES = ("running", "finished", "stopped", "failed")
INFEASIBLE = "infeasible: "  # the reason of a trial that was stopped for a constraint begins so


def trial_name(number: int) -> str:
    """Directory and MLflow run name of a trial, e.g. `0007`."""
    return f"{number:04d}"


class WorkerUsage(NamedTuple):
    """What a trial's process used when it reported; None: not measured."""

    host: str | None = None
    pid: int | None = None
    cpu_percent: float | None = None  # 100 for each core that was busy all the time since the last report
    rss_bytes: int | None = None
    gpu_memory_bytes: int | None = None  # held by the framework of this process
    gpu_percent: float | None = None  # how busy the whole GPU was

    @classmethod
    def of(cls, event: Event) -> WorkerUsage | None:
        """What a `report` says of its worker; None in journals of earlier versions."""
        worker = event.get("worker")
        return cls(*map(worker.get, cls._fields)) if worker else None


class Report(NamedTuple):
    """A report of a trial: seconds since 1970 (UTC), the last epoch that it had trained, and what its process used."""

    time: float
    epoch: int
    worker: WorkerUsage | None = None


class Listed(Sequence[T]):
    """Equal to the list of what it holds."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(cast("Listed[Any]", other)) if isinstance(other, Listed) else other)

    def __repr__(self) -> str:
        return repr(list(self))


class Epochs(Listed[Row]):
    """The epochs of a trial as a list of rows, which are made when they are asked for: to change one changes nothing here.

    Rows that all have the same names and no value but floats, as those of a trainable have, are kept as numbers; others
    as they are.
    """

    __slots__ = ("_names", "_numbers", "_rows")

    def __init__(self, rows: Iterable[Row] = ()):
        self._names: tuple[str, ...] = ()
        self._numbers = array("d")  # row by row
        self._rows: list[Row] | None = None  # in place of the numbers
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        if self._rows is None and not self._names:
            self._names = _shared(tuple(row))
        if self._rows is None and (tuple(row) != self._names or not _plain(row)):
            self._rows = list(self)
        if self._rows is None:
            self._numbers.extend(row.values())
        else:
            self._rows.append(row)

    @property
    def names(self) -> list[str]:
        """What the rows have, `epoch` among it."""
        return list(self._names if self._rows is None else dict.fromkeys(name for row in self._rows for name in row))

    def column(self, name: str) -> Sequence[float]:
        """One metric at each epoch; NaN where it has none."""
        if self._rows is not None:
            return [row.get(name, math.nan) for row in self._rows]
        if name not in self._names:
            return [math.nan] * len(self)
        return self._numbers[self._names.index(name) :: len(self._names)]

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return len(self._numbers) // len(self._names) if self._names else 0

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if self._rows is not None:
            return self._rows[index]
        found = range(len(self))[index]
        return self._row(found) if isinstance(found, int) else [self._row(number) for number in found]

    def _row(self, number: int) -> Row:
        width = len(self._names)
        row = dict(zip(self._names, self._numbers[number * width : (number + 1) * width], strict=True))
        row["epoch"] = int(row["epoch"])
        return row


_names: dict[tuple[str, ...], tuple[str, ...]] = {}


def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all trials whose rows have these names."""
    return _names.setdefault(names, names)


def _plain(row: Row) -> bool:
    """Whether a row is an epoch's number and floats."""
    return all(isinstance(value, int if name == "epoch" else float) for name, value in row.items())


class Reports(Listed[Report]):
    """The reports of a trial as a list, each made when it is asked for."""

    __slots__ = ("_hosts", "_numbers")
    WIDTH = 2 + len(WorkerUsage._fields[1:])  # NaN stands for None

    def __init__(self) -> None:
        self._numbers = array("d")
        self._hosts: list[str | None] = []  # "": of its worker nothing was measured

    def append(self, report: Report) -> None:
        worker = report.worker or WorkerUsage("")
        self._hosts.append(worker.host and sys.intern(worker.host))
        numbers = (math.nan if value is None else value for value in worker[1:])
        self._numbers.extend((report.time, report.epoch, *numbers))

    def __len__(self) -> int:
        return len(self._hosts)

    @overload
    def __getitem__(self, index: int) -> Report: ...
    @overload
    def __getitem__(self, index: slice) -> list[Report]: ...
    def __getitem__(self, index: int | slice) -> Report | list[Report]:
        found = range(len(self))[index]
        return self._report(found) if isinstance(found, int) else [self._report(number) for number in found]

    def _report(self, number: int) -> Report:
        numbers = self._numbers[number * self.WIDTH : (number + 1) * self.WIDTH]
        time, epoch, pid, cpu_percent, rss_bytes, gpu_memory_bytes, gpu_percent = numbers
        if self._hosts[number] == "":
            return Report(time, int(epoch))
        floats = _known(cpu_percent), _known(gpu_percent)
        whole = [None if math.isnan(value) else int(value) for value in (pid, rss_bytes, gpu_memory_bytes)]
        worker = WorkerUsage(self._hosts[number], whole[0], floats[0], whole[1], whole[2], floats[1])
        return Report(time, int(epoch), worker)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


class Stretch(NamedTuple):
    """The epochs of a trial from `first` on, under one set of hparams. `donor`: the trial whose checkpoint of the epoch before
    it went on from; None: the trial's own, or none.
    """

    first: int
    hparams: Hparams
    params: dict[str, Any]
    distributions: dict[str, str]
    donor: int | None = None


@dataclass
class TrialRecord:
    """A trial as the journal has it. Times are seconds since 1970 (UTC); `reported_at` has one for each epoch.

    `hparams`, `params` and `distributions` are those that it began with. Under PBT it may have changed them since, each time
    with another trial's checkpoint (`exploits`): `at` and `now` say what holds at an epoch.
    """

    number: int
    hparams: Hparams
    params: dict[str, Any] = field(default_factory=dict)  # as the sampler drew them
    distributions: dict[str, str] = field(default_factory=dict)
    point: str | None = None
    attrs: dict[str, Any] = field(
        default_factory=dict
    )  # what the sampler wrote when it drew the trial (cluster/samplers)
    refused: str | None = None  # why hparams of its params cannot be built; `hparams` is empty then
    state: str = "running"
    reason: str | None = None
    epochs: Epochs = field(default_factory=Epochs)
    reported_at: array[float] = field(default_factory=lambda: array("d"))
    reports: Reports = field(default_factory=Reports)  # those with a new epoch
    sampled_at: float = 0.0
    ended_at: float | None = None
    retries: int = 0  # attempts that broke off through the trial's own fault
    reopened: bool = False  # it had ended once before
    ends: int = 0  # how often it has ended
    lost: int = 0  # attempts in a row that broke off through no fault of its own, without a new epoch
    costs: dict[str, float] = field(default_factory=dict)  # of its model, as the first report that had them says
    log: list[str] = field(default_factory=list)  # the last lines of a process that died, of the last attempt that did
    repeat_of: int | None = None  # the trial whose point it runs again, as a finalist,
    seed_index: int | None = None  # and as which of its seeds, from 1 on; that trial's own is 0

    codes: tuple[str, ...] = ()  # of somebody's own trainable: with which versions it was trained, the first first
    exploits: list[Stretch] = field(default_factory=list[Stretch])  # ascending
    compared_at: int = 0  # the last epoch at which PBT has compared it with others

    @property
    def name(self) -> str:
        return trial_name(self.number)

    @property
    def stretches(self) -> list[Stretch]:
        """All of them, the one that it began with first."""
        return [Stretch(1, self.hparams, self.params, self.distributions), *self.exploits]

    def at(self, epoch: int) -> Stretch:
        """What an epoch was trained with; the first of all for epoch 0."""
        return next((stretch for stretch in reversed(self.exploits) if stretch.first <= epoch), self.stretches[0])

    @property
    def now(self) -> Stretch:
        """What its next epoch is trained with."""
        return self.at(self.num_epochs + 1)

    def at_best(self, metric: str, mode: str) -> Stretch:
        """What the epoch that gives the trial its value was trained with; before there is one, the newest."""
        best = self.best(metric, mode) if self.exploits else None
        return self.at(int(best["epoch"])) if best else self.stretches[-1]

    def earlier(self) -> tuple[tuple[int, Hparams], ...]:
        """(last epoch, hparams) of the stretches before the present one."""
        pairs = zip(self.stretches, self.exploits, strict=False)
        return tuple((after.first - 1, before.hparams) for before, after in pairs)

    @property
    def num_epochs(self) -> int:
        return len(self.epochs)

    @property
    def is_infeasible(self) -> bool:
        """Whether it was stopped because it never will keep to a constraint: it is compared with no other."""
        return self.state == "stopped" and str(self.reason).startswith(INFEASIBLE)

    @property
    def ended(self) -> str:
        """How the trial ended, and after how many epochs: `stopped at epoch 5`; `running` before that."""
        return self.state if self.state == "running" else f"{self.state} at epoch {self.num_epochs}"

    def best(self, metric: str, mode: str, num_epochs: int | None = None) -> Row | None:
        """The metrics of the trial's best epoch (the earliest of equals), of the first `num_epochs` (None: of all), or None if
        none of them is finite.
        """
        values = self.epochs.column(metric)[:num_epochs]
        scored = [index for index, value in enumerate(values) if math.isfinite(value)]
        if not scored:
            return None
        choose = max if mode == "max" else min
        return self.epochs[choose(scored, key=values.__getitem__)]

    def value(self, metric: str, mode: str, num_epochs: int | None = None) -> float | None:
        """The metric at the best epoch, of the first `num_epochs` (None: of all): what the trial is ranked by."""
        finite = list(filter(math.isfinite, self.epochs.column(metric)[:num_epochs]))
        return (max if mode == "max" else min)(finite, default=None)
