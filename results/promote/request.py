"""What is asked of a promotion, and everything that can be refused before test is touched and anything is written.

request = open_request(sweep_dir, "champion", None, gates)
request = open_ensemble([sweep_dir, …], "greedy", "champion", gates)
request.known_verdicts(before, standing)       # of the gates that need no face of test
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.integrity import check_parts
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.ensembles.choice import HOW, choose
from fersweep.results.evaluate import ledger
from fersweep.results.mlflow_store import connection
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.learned import seen_by
from fersweep.results.models.names import check_alias
from fersweep.results.models.open_model import open_version
from fersweep.results.promote import gates as gating
from fersweep.results.promote.candidate import Candidate
from fersweep.results.promote.gates import SeenByBoth, Verdict
from fersweep.results.record.drivers import is_driven, last_session
from fersweep.results.record.home import check_home, check_own
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.tracking.lag import sync_command
from fersweep.results.tracking.recorder_process import record

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient


MAX_LICENCE = 200  # characters


@dataclass(frozen=True)
class Request:
    """A promotion that may be tried.

    Attributes:
        runs: the ids of the runs of the sweep, "sweep", and of the trial, "trial".
    """

    home: Path
    alias: str
    gates: dict[str, float]
    candidate: Candidate
    client: MlflowClient
    experiment: str
    runs: Mapping[str, str]

    @cached_property
    def faces(self) -> str:
        """What names the faces of test."""
        return ledger.faces_of(self.candidate.task)

    def champion(self, before: ModelVersion | None) -> FaceModel | None:
        """The registered version, as a model."""
        if before is None:
            return None
        return open_version(self.client, before, self.home, f"version {before.version}")

    def seen(self, champion: FaceModel | None) -> SeenByBoth:
        """Which faces of test the candidate and the champion learned."""
        model, data = self.candidate.model, self.candidate.task.dataset
        own = seen_by(model, self.home, model.task(data, model.groups), "test")
        other = None
        if champion is not None and champion.groups == model.groups:
            other = seen_by(champion, self.home, champion.task(data, champion.groups), "test")
        return SeenByBoth(own, other)

    def known_verdicts(self, champion: FaceModel | None, standing: bool) -> dict[str, Verdict]:
        """The verdicts of the gates that need no face of test: see gates.before_test."""
        asked = ledger.lines(self.client, self.faces) if "fresh_test" in self.gates else []
        return gating.before_test(self.gates, self.candidate.model, champion, standing, asked)


def open_request(
    sweep_dir: Path,
    alias: str,
    trial: int | None,
    gates: dict[str, float],
    licence: str | None,
    pick: str | None = None,
) -> Request:
    """Raises InputError for what is refused, RuntimeError where MLflow lacks the sweep or does not answer. `pick`: as of
    `promote`.
    """
    recorded = load_sweep(sweep_dir)
    _check(recorded, alias, licence)
    task = recorded.sweep.task()
    if trial is None and pick is not None:
        trial = recorded.pick(pick)
    if trial in recorded.record.trials:
        _check_feasible(recorded, recorded.record.trials[trial], True)
    chosen, checkpoint = recorded.choose_trial(trial)
    _check_feasible(recorded, chosen, False)
    _check_test(task)
    candidate = Candidate(recorded.sweep, recorded.record, chosen, task, checkpoint, licence=licence)
    return _request(recorded, candidate, alias, gates)


def open_ensemble(
    sweep_dirs: Sequence[Path], how: str, alias: str, gates: dict[str, float], licence: str | None
) -> Request:
    """The same for an ensemble of the trials of sweeps, whose checkpoint is not written yet; `how`: see choice.HOW."""
    several = [load_sweep(sweep_dir) for sweep_dir in sweep_dirs]
    for recorded in several:
        _check(recorded, alias, licence)
    chosen = choose(several, how)
    lead, task = chosen.lead, chosen.task()
    _check_test(task)
    candidate = Candidate(
        lead.recorded.sweep, lead.recorded.record, lead.trial, task, chosen.checkpoint, chosen=chosen, licence=licence
    )
    return _request(lead.recorded, candidate, alias, gates)


def check_asked(num_sweeps: int, trial: int | None, refit: int, ensemble: str | None, pick: str | None = None) -> None:
    """InputError for options that do not go together."""
    if ensemble not in (None, "mean", *HOW):
        raise InputError(f"--ensemble {ensemble}: want {', '.join(HOW)}, or mean beside --refit")
    if ensemble == "mean" and refit < 2:
        raise InputError("--ensemble mean: wants --refit 2 or more: it is the mean of that many seeds")
    if ensemble in HOW and (refit or trial is not None or pick is not None):
        raise InputError(
            f"--ensemble {ensemble}: goes with none of --refit, --trial and --pick: it chooses among all trials"
        )
    if num_sweeps != 1 and ensemble not in HOW:
        raise InputError(
            f"promote takes one sweep, or several with --ensemble {' or '.join(HOW)}, but got {num_sweeps}"
        )


def _check(recorded: RecordedSweep, alias: str, licence: str | None) -> None:
    """Raise InputError for what is refused whatever the trial."""
    sweep = recorded.sweep
    check_alias(alias, sweep.home)
    if licence is not None and len(licence) > MAX_LICENCE:
        raise InputError(
            f"--licence: want a name or a line of at most {MAX_LICENCE} characters, but got {len(licence)}"
        )
    check_home(sweep.home)
    check_own(recorded.directory, sweep.name)
    _check_ended(recorded)


def _request(recorded: RecordedSweep, candidate: Candidate, alias: str, gates: dict[str, float]) -> Request:
    sweep, sweep_dir, chosen = recorded.sweep, recorded.directory, candidate.trial
    record(sweep_dir)
    client, experiment = connection.open_store(sweep)
    if candidate.chosen is None:
        _ = candidate.model.loaded  # raises for a checkpoint that cannot be loaded
    runs = {
        "sweep": _run_id(client, experiment, sweep, sweep_dir, "the sweep", "sweep"),
        "trial": _run_id(client, experiment, sweep, sweep_dir, f"trial {chosen.name}", "trial", chosen.number),
    }
    return Request(sweep.home, alias, gates, candidate, client, experiment, runs)


def _check_ended(recorded: RecordedSweep) -> None:
    """InputError while a driver runs the sweep: its best trial is not known yet."""
    if is_driven(recorded.directory, recorded.storage, last_session(recorded.directory)):
        raise InputError(
            f"sweep {recorded.sweep.name!r} is running: promote it when it has ended (`fersweep stop` ends it early)"
        )


def _check_feasible(recorded: RecordedSweep, chosen: TrialRecord, is_asked_for: bool) -> None:
    """InputError for a trial that does not keep to the constraints; where none was asked for, none with a checkpoint does."""
    broken = recorded.sweep.order.infeasible(chosen)
    if broken and is_asked_for:
        raise InputError(
            f"trial {chosen.name} of sweep {recorded.sweep.name!r} is infeasible: {broken}; it is no champion"
        )
    if broken:
        raise InputError(
            f"sweep {recorded.sweep.name!r}: no trial with a checkpoint keeps to search.constraints; of the best, trial "
            f"{chosen.name}: {broken}"
        )


def _check_test(task: Task) -> None:
    """InputError where test cannot judge: it has no faces of the task, or the dataset is not what its manifest says."""
    check_parts(task.dataset, task.manifest, whole=True)
    if not task.num_faces("test"):
        raise InputError(f"{task.place}: test has no faces of {', '.join(task.classes)}: there is nothing to judge by")


def _run_id(
    client: MlflowClient,
    experiment: str,
    sweep: SweepJson,
    sweep_dir: Path,
    what: str,
    kind: str,
    trial: int | None = None,
) -> str:
    wanted = f"tags.`fersweep.sweep_id` = '{sweep.sweep_id}' and tags.`fersweep.kind` = '{kind}'"
    wanted += "" if trial is None else f" and tags.`fersweep.trial` = '{trial}'"
    runs = client.search_runs([experiment], wanted, max_results=1)
    if not runs:
        raise RuntimeError(
            f"MLflow has no run of {what} yet: `{sync_command(sweep_dir)}` writes it, then promote again"
        )
    return str(runs[0].info.run_id)
