"""What trials cost in sweeps that have run under the same home: of the same trainable and features, on about as many faces, with
a trial's resources the same, on this machine; only their trials that lie in the new sweep's space count.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from fersweep.cluster.capacity import bundle
from fersweep.cluster.planning.costs import Costs, TrialCost, faces_ratio
from fersweep.cluster.planning.estimate import REPORT_S
from fersweep.common.errors import InputError
from fersweep.results.record.home import sweep_directories
from fersweep.results.record.journal import TrialRecord, read_events
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import Attempt, Timeline
from fersweep.search_spaces.sweep_file.searched_space import fitted

SIMILAR = 1.5  # times more faces, or fewer, that are scaled to the new task's
MIN_TRIALS = 4
MOST_SWEEPS = 5  # the newest


def past_costs(sweep: SweepJson, home: Path, at_once: int, hosts: Collection[str]) -> Costs | None:
    """None where there are fewer than MIN_TRIALS trials to go by. `at_once`: trials at once on each machine; `hosts`: names
    of the machines that the new sweep will run on.
    """
    trials: list[TrialCost] = []
    starts: list[float] = []
    names: list[str] = []
    for recorded in _similar(sweep, home):
        timeline = Timeline(read_events(recorded.directory / "journal.jsonl"))
        if timeline.num_at_once != min(at_once, len(recorded.record.trials)):
            continue
        costs, start_s = _costs(sweep, recorded, timeline, hosts)
        if costs:
            trials, starts, names = [*trials, *costs], [*starts, *start_s], [*names, recorded.sweep.name]
        if len(names) == MOST_SWEEPS:
            break
    if len(trials) < MIN_TRIALS or not starts:
        return None
    return Costs("past sweeps", trials, start_s=median(starts), read_s=0.0, at_once=at_once, sweeps=names)


def _similar(sweep: SweepJson, home: Path) -> Iterator[RecordedSweep]:
    """The newest first."""
    for directory in sorted(sweep_directories(home), key=_written_at, reverse=True):
        with contextlib.suppress(InputError, OSError):  # what cannot be read is `status`' subject
            recorded = load_sweep(directory)
            theirs, asked, ours = recorded.sweep, recorded.sweep.asked, sweep.asked
            alike = (asked.trainable, asked.task.features) == (ours.trainable, ours.task.features)
            alike = alike and sweep.num_folds == theirs.num_folds
            alike = alike and bundle(asked.resources) == bundle(ours.resources)
            if alike and recorded.record.fused == 1 and 1 / SIMILAR <= _ratio(sweep, theirs) <= SIMILAR:
                yield recorded


def _written_at(directory: Path) -> float:
    try:
        return (directory / "sweep.json").stat().st_mtime
    except OSError:
        return 0.0


def _ratio(sweep: SweepJson, theirs: SweepJson) -> float:
    return faces_ratio(sweep.num_train or 0, sweep.num_val or 0, theirs.num_train or 0, theirs.num_val or 0)


def _costs(
    sweep: SweepJson, recorded: RecordedSweep, timeline: Timeline, hosts: Collection[str]
) -> tuple[list[TrialCost], list[float]]:
    """The trials' costs, and the starts of the workers."""
    costs: list[TrialCost] = []
    firsts: list[TrialCost] = []
    seen: set[str | None] = set()
    checkpoint_bytes = _checkpoint_bytes(recorded)
    for attempt in timeline.attempts:
        trial, first = recorded.record.trials[attempt.trial], attempt.worker not in seen
        seen.add(attempt.worker)
        used = [report.worker for report in trial.reports if report.worker is not None]
        on_a_host = bool(used) and used[0].host in hosts
        if attempt.how not in ("finished", "stopped") or trial.num_epochs < 2 or not on_a_host:
            continue
        if trial.num_epochs != attempt.epochs or not _in_space(sweep, recorded, trial):
            continue
        cost = _cost(trial, attempt, checkpoint_bytes).scaled(_ratio(sweep, recorded.sweep))
        (firsts if first else costs).append(cost)
    build_s = median(cost.build_s for cost in costs) if costs else 0.0
    first_s = median(cost.first_s for cost in costs) if costs else 0.0
    # A worker's first trial has its start in it, too, of which a part is in its first epoch.
    starts = [max(cost.build_s - build_s, 0.0) + max(cost.first_s - first_s, 0.0) for cost in firsts]
    return [*costs, *(replace(cost, build_s=build_s, first_s=first_s) for cost in firsts)], starts


def _cost(trial: TrialRecord, attempt: Attempt, checkpoint_bytes: int) -> TrialCost:
    """`build_s` is all before its first report that was no training: for a worker's first trial its start is in it."""
    epochs = [row.get("epoch_s", 0.0) for row in trial.epochs]
    later = mean(epochs[1:])
    before_s = trial.reports[0].time - trial.sampled_at - sum(epochs[: trial.reports[0].epoch])
    rest_s = attempt.end - attempt.start - attempt.train_s - max(before_s, 0.0)
    used = [report.worker for report in trial.reports if report.worker is not None]
    gpu = [usage.gpu_memory_bytes for usage in used if usage.gpu_memory_bytes]
    return TrialCost(
        trial=None,
        hparams=trial.hparams,
        build_s=max(before_s, 0.0),
        first_s=max(epochs[0] - later, 0.0),
        epoch_s=later,
        report_s=max(rest_s / max(len(trial.reports) - 1, 1) - REPORT_S, 0.0),
        checkpoint_bytes=checkpoint_bytes,
        rss_bytes=max((usage.rss_bytes or 0 for usage in used), default=0),
        gpu_bytes=max(gpu, default=None),
    )


def _in_space(sweep: SweepJson, recorded: RecordedSweep, trial: TrialRecord) -> bool:
    try:
        fitted(sweep.asked, trial.name, {**recorded.sweep.asked.space.fix, **trial.params})
    except ValueError:
        return False
    return True


def _checkpoint_bytes(recorded: RecordedSweep) -> int:
    """The largest of those that are kept on this machine."""
    kept = (recorded.directory / "trials").glob("*/epoch-*")
    return max((sum(file.stat().st_size for file in path.rglob("*")) for path in kept), default=0)
