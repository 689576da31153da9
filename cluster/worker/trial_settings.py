"""What a worker needs to know of its sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fersweep.cluster.worker import costs
from fersweep.common.own_code.code import Code
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.fusing import in_populations
from fersweep.search_spaces.sweep_file.own_code import OF_TRIALS, code_of
from fersweep.search_spaces.sweep_file.schema import Sweep


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a sweep have in common. `rungs`: epochs at which a report must end, or seconds of
    training, where `unit` is seconds; `max_s`: how many of those a trial gets at most; `keep_rungs`: the checkpoints of
    rungs are kept, for other trials; `gpus`: share of a GPU;
    `code`: own code that a trial needs; `own_metrics`: names of people's own metrics; `fetched`: what the trainable takes from outside, by sha256 (trainables/protocol.py).
    `fused`: trials train in populations of the trainable; `most_fused`: up to how many at once in a worker; `grows`: a measurement
    says how many of these pay (population_size.py); `cpus`: of a worker.
    `sweep_id`: "" where trials are measured alone; `latency_s`: for how long a model's latency is measured.
    """

    trainable: str
    directory: Path
    storage: Storage
    seed: int
    metric: str
    mode: str
    max_epochs: int
    rungs: tuple[float, ...]
    report_s: float
    timeout_s: float | None
    gpus: float
    unit: str = "epochs"
    max_s: float | None = None
    sweep_id: str = ""
    latency_s: float = costs.SHORT_S
    fetched: dict[str, str] = field(default_factory=dict[str, str])
    keep_rungs: bool = False
    code: tuple[Code, ...] = ()
    own_metrics: tuple[str, ...] = ()
    fused: bool = False
    most_fused: int = 1
    grows: bool = False
    cpus: float = 1.0


def trial_settings(
    sweep: Sweep,
    directory: Path,
    storage: Storage,
    sweep_id: str = "",
    fetched: dict[str, str] | None = None,
    most_fused: int = 1,
) -> TrialSettings:
    """The settings of a sweep whose record is in `directory` and whose checkpoints are in `storage`. Raises InputError where
    a copy of own code is missing, or damaged.
    """
    stop = sweep.stop
    return TrialSettings(
        trainable=sweep.trainable,
        directory=directory.resolve(),
        storage=storage if storage.path is None else Storage(directory.resolve()),
        seed=sweep.search.seed,
        metric=stop.metric,
        mode=stop.mode,
        max_epochs=stop.max_epochs,
        rungs=tuple(stop.rungs()),
        report_s=stop.report_s,
        timeout_s=stop.timeout_s,
        gpus=sweep.resources.gpus,
        unit=stop.unit,
        max_s=stop.max_s,
        sweep_id=sweep_id,
        latency_s=costs.LONG_S if "latency_ms" in order_of(sweep).asked else costs.SHORT_S,
        fetched=fetched or {},
        keep_rungs=stop.scheduler == "pbt",
        code=tuple(code_of(sweep, OF_TRIALS)),
        own_metrics=tuple(stop.metrics),
        fused=in_populations(sweep),
        most_fused=most_fused,
        grows=sweep.resources.fuse == "auto",
        cpus=sweep.resources.cpus,
    )
