"""A short calibration: some of the sweep's own trials, trained for a few epochs in processes like its workers.

Here as many child processes run at once as this machine holds trials, since they share its cores and its memory's bandwidth; on
a cluster, tasks with the resources of a trial. Nothing of it stays: a child removes what it wrote when its parent closes its
stdin, or dies.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import IO, Any

from fersweep.cluster.planning.costs import Costs, TrialCost
from fersweep.cluster.planning.measure import Trials, Tried
from fersweep.cluster.planning.suggestions import begin
from fersweep.cluster.samplers.sampler import Sampler, Suggestion
from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.processes import environment, module_command
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.sweep_json import SweepJson
from fersweep.search_spaces.sweep_file.own_code import code_of
from fersweep.search_spaces.sweep_file.sections.suitability import options_of
from fersweep.trainables import gpu_share

MOST_AT_ONCE = 16  # processes of a calibration
MOST_TRIALS = 48  # that are tried
BUDGET_S = 15.0  # for the trials of a process, beside its start
CLUSTER_PATIENCE_S = 900.0  # for tasks to find places on a cluster, and to end
PATIENCE_S = 10.0  # for a child to clean up


def own_trials(sweep: SweepJson) -> tuple[Trials, int]:
    """The sweep's first trials as its sampler draws them, and how many of them are sure.

    Those of the start points, and the first that a sampler draws (TPE's first ten), do not depend on what others gave; later
    ones are only like them. No trial is known to have ended.
    """
    sampler = Sampler(sweep.asked, sweep.history, sweep.older_points)
    record, drawn = SweepRecord(), list[Suggestion]()
    search, points = sweep.asked.search, len(sweep.points) + len(sweep.asked.search.points)
    while len(drawn) < min(search.num_trials, MOST_TRIALS) and not sampler.exhausted(record):
        suggestion = sampler.suggest(record, len(drawn))
        begin(record, len(drawn), suggestion)
        drawn.append(suggestion)
    trials = [(number, each.hparams) for number, each in enumerate(drawn) if each.refused is None]
    if not trials:
        raise InputError(f"none of the first {len(drawn)} trials can be built: {drawn[0].refused}")
    options = options_of(sweep.asked)
    first = len(drawn) if not options.LEARNS else 0 if sweep.history else options.num_first
    return trials, min(max(points, first), len(drawn))


def calibrate(
    sweep: SweepJson,
    home: Path,
    at_once: int,
    gpus: int,
    *,
    budget_s: float = BUDGET_S,
    say: Callable[[str], None] = lambda line: None,
) -> Costs:
    """Try trials on this machine, in `at_once` processes. `gpus`: of this machine, among which they are spread.

    Raises InputError where every trial fails, RuntimeError where a process does.
    """
    trials, sure = own_trials(sweep)
    at_once = max(min(at_once, MOST_AT_ONCE, len(trials)), 1)
    lines: list[dict[str, Any]] = []
    with _children(sweep, home, at_once, gpus, trials, budget_s) as children:
        say(f"calibration: {at_once} process{'' if at_once == 1 else 'es'} at once, about {budget_s + 10:.0f} s")
        for child in children:
            lines += child.answers()
    return as_costs(lines, trials, sure, at_once, gpus)


class _Child:
    """A process of measure.py."""

    def __init__(self, variables: dict[str, str], errors: IO[str], scratch: Path):
        self._errors, self._scratch = errors, scratch
        self._process = subprocess.Popen(
            module_command("fersweep.cluster.planning.measure"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=variables,
            process_group=0,  # a Ctrl-C is ours: the child ends with its stdin
        )

    def ask(self, content: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        content = {**content, "scratch": str(self._scratch)}
        with contextlib.suppress(BrokenPipeError):  # `answers` says why it ended
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()

    def answers(self) -> Iterator[dict[str, Any]]:
        """Its lines up to `done`. Raises RuntimeError if it ends before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer.get("done"):
                return
            yield answer
        code = self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or [f"exit code {code}"])[-1]
        raise RuntimeError(f"the calibration broke off: {last}")

    def end(self) -> None:
        """Close its stdin, which ends it, and wait."""
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def _children(
    sweep: SweepJson, home: Path, at_once: int, gpus: int, trials: Trials, budget_s: float
) -> Iterator[list[_Child]]:
    asked = sweep.asked
    visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))).split(",")
    place = (
        home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())
    )  # where a sweep's checkpoints go, if that is there
    children: list[_Child] = []
    with contextlib.ExitStack() as files:
        code = files.enter_context(tempfile.TemporaryDirectory(prefix="fersweep-code-"))
        for each in code_of(asked):
            copies.write(each, Path(code))
        try:
            for index in range(at_once):
                variables = {"TF_CPP_MIN_LOG_LEVEL": "3", **environment()}
                variables.setdefault("OMP_NUM_THREADS", str(max(int(asked.resources.cpus), 1)))  # as Ray does
                variables["CUDA_VISIBLE_DEVICES"] = visible[index % gpus] if gpus and asked.resources.gpus else ""
                if 0 < asked.resources.gpus < 1 and gpus:
                    variables[gpu_share.SHARE] = str(asked.resources.gpus)
                errors = files.enter_context(tempfile.TemporaryFile("w+"))
                children.append(_Child(variables, errors, (place / f".plan-{uuid.uuid4().hex[:8]}").resolve()))
                content = {
                    "sweep": asked.model_dump(mode="json"),
                    "data": str(sweep.dataset.path),
                    "trials": trials[index::at_once],
                    "budget_s": budget_s,
                    "code": code,
                }
                children[-1].ask(content)
            yield children
        finally:
            for child in children:
                child.end()


def calibrate_on_cluster(
    sweep: SweepJson, arrays: TaskArrays, at_once: int, *, budget_s: float = BUDGET_S, say: Callable[[str], None]
) -> Costs:
    """Try trials in tasks of the cluster that this process is connected to, each with a trial's resources."""
    import ray
    from ray.exceptions import GetTimeoutError

    from fersweep.cluster.capacity import bundle
    from fersweep.cluster.planning.measure import measure

    trials, sure = own_trials(sweep)
    at_once = max(min(at_once, MOST_AT_ONCE, len(trials)), 1)
    wanted = bundle(sweep.asked.resources)
    options: dict[str, Any] = {"num_cpus": wanted.pop("CPU", 1), "num_gpus": wanted.pop("GPU", 0), "resources": wanted}
    say(f"calibration: {at_once} tasks at once on the cluster, about {budget_s + 20:.0f} s")
    task = ray.remote(max_calls=1, max_retries=1, **options)(measure)
    shared = ray.put(node_arrays.told(arrays))
    parts = [
        task.remote(sweep.asked, shared, trials[index::at_once], budget_s, code_of(sweep.asked))
        for index in range(at_once)
    ]
    try:
        answers = ray.get(parts, timeout=CLUSTER_PATIENCE_S)
    except BaseException as error:  # not when all have ended: a task that is just ending must not be cancelled
        for part in parts:
            ray.cancel(part)  # with an interrupt: it cleans up
        if isinstance(error, GetTimeoutError):
            waited = f"{CLUSTER_PATIENCE_S:.0f} s"
            raise RuntimeError(f"the calibration had no place on the cluster within {waited}") from None
        raise
    return as_costs(
        [line for lines in answers for line in lines], trials, sure, at_once, int(sweep.asked.resources.gpus > 0)
    )


def as_costs(lines: Sequence[dict[str, Any]], trials: Trials, sure: int, at_once: int, gpus: int) -> Costs:
    """What processes answered, as Costs. `sure`: trials of a lower number are the sweep's own. InputError if all failed."""
    starts, hparams = [line for line in lines if "start_s" in line], dict(trials)
    tried = [Tried(**line) for line in lines if "start_s" not in line]
    failed = Counter(one.failed for one in tried if one.failed is not None)
    good = [one for one in tried if one.failed is None]
    if not good:
        reason, number = failed.most_common(1)[0]
        raise InputError(f"all {len(tried)} trials that were tried failed; {number} with: {reason}")
    costs = [
        TrialCost(
            trial=one.trial if one.trial < sure else None,
            hparams=hparams.get(one.trial, {}),
            build_s=one.build_s,
            first_s=one.first_s,
            epoch_s=one.epoch_s,
            report_s=one.report_s,
            checkpoint_bytes=one.checkpoint_bytes,
            rss_bytes=one.rss_bytes,
            gpu_bytes=one.gpu_bytes,
        )
        for one in good
    ]
    total = None
    if any(cost.gpu_bytes is not None for cost in costs) and gpus:
        total = next((line["gpu_total_bytes"] for line in starts if line.get("gpu_total_bytes")), None)
    return Costs(
        source="calibration",
        trials=costs,
        start_s=median(line["start_s"] for line in starts),
        read_s=median(line.get("read_s", 0.0) for line in starts),
        at_once=at_once,
        failed=dict(failed),
        spread=median(one.spread for one in good),
        gpu_total_bytes=total,
        epochs_tried=sum(one.epochs for one in good),
        faces_share=min(mean(one.faces_share for one in good), 1.0),
    )
