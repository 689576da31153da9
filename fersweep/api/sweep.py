"""A sweep that was launched, and its trials: `fersweep.open_sweep("mine")`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.api.models import Model, open_model
from fersweep.api.options import checked
from fersweep.api.settings import Place, home_of, quiet_process
from fersweep.common.errors import InputError

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from fersweep.results.compare.data import ComparedTrials, SweepTrials
    from fersweep.results.dashboards.status import SweepStatus
    from fersweep.results.record.recorded_sweep import RecordedSweep


@checked
@dataclass(frozen=True)
class Trial:
    """A trial, as it was when it was asked for.

    Attributes:
        number: in its sweep, from 0 on.
        state: running, finished, stopped (by the scheduler) or failed.
        hparams: those of the best epoch, under the names that a sweep file takes.
        value: the sweep's metric at the best epoch; None: it has none yet, or none that is finite.
        best_epoch: from 1 on.
        num_epochs: how many it has trained.
        metrics: all of the best epoch.
        started, ended: UTC; `ended` is None while it runs.
        seconds: for which it was with a worker.
        reason: why it was stopped, or failed.
    """

    sweep: Sweep = field(repr=False)
    number: int
    state: str
    hparams: dict[str, Any]
    value: float | None
    best_epoch: int | None
    num_epochs: int
    metrics: dict[str, float] = field(repr=False)
    started: datetime = field(repr=False)
    ended: datetime | None = field(repr=False)
    seconds: float
    reason: str | None

    def epochs(self, hparams: bool = False) -> pd.DataFrame:
        """Its rows of `Sweep.epochs`."""
        table = self.sweep.epochs(hparams, repeats=True)
        return table[table["trial"] == self.number].reset_index(drop=True)

    def model(self) -> Model:
        """The model of its best epoch. InputError where its checkpoint was not kept (`keep_checkpoints`), or not yet made."""
        return open_model(f"{self.sweep.name}:{self.number}", home=self.sweep.home)


@checked
class Sweep:
    """A sweep, as its directory holds it. Each look reads anew what has changed: it may be running, here or elsewhere.

    Attributes:
        name: of the sweep.
        directory: of the sweep, `HOME/sweeps/NAME`.
        home: the directory that holds it.
    """

    def __init__(self, directory: Place):
        self.directory = Path(directory)
        self.name, self.home = self.directory.name, self.directory.parent.parent
        self._read: tuple[tuple[int, ...], RecordedSweep] | None = None

    @property
    def status(self) -> SweepStatus:
        """Where it stands: `state`, `reason`, `trials` (by state), `best`, `budget`, `resume`, …: `fersweep status NAME`."""
        from fersweep.results.dashboards.status import status

        return status(self.home, self.name)[0]

    @property
    def metric(self) -> str:
        """What its trials are ranked by; of several objectives the first."""
        return self.recorded().sweep.metric

    @property
    def file(self) -> dict[str, Any]:
        """The resolved sweep file."""
        return self.recorded().sweep.asked.model_dump(mode="json")

    def trials(self, repeats: bool = False) -> pd.DataFrame:
        """A row for each trial, by number.

        Columns, with their dtypes:

            trial          int64     its number
            state          str       running, finished, stopped or failed
            value          float64   the sweep's metric at the best epoch; NaN: it has none that is finite
            best_epoch     Int64
            epochs         int64     how many it has trained
            …              a column for each hparam, named as in a sweep file: bool, int64, float64 or str; boolean or Int64
                           where a trial lacks it; object for lists. One called like another column is `hparams.NAME`
            val_…          float64   the scores at the best epoch, and the other objectives
            latency_ms …   float64   what the model costs: latency_ms, weights, checkpoint_bytes, train_s, as far as known
            started, ended datetime64[us, UTC]; `ended` is NaT while it runs
            seconds        float64   for which it was with a worker
            retries        int64     attempts that broke off through its own fault
            reason         str       why it was stopped, or failed
            point          str       the named point that it tried
            front          Int64     of several objectives: 0 on the front, 1 behind it, …
            infeasible     str       the constraints that it does not keep to

        Values and hparams are those of `fersweep compare --json`. Of a trial whose hparams changed (PBT) they are those of
        the best epoch; `epochs(hparams=True)` has them all.

        Args:
            repeats: also the repeats of finalists, with `repeat_of` and `seed_index` (Int64).
        """
        from fersweep.api import frames

        return frames.trials(self.recorded(), repeats)

    def epochs(self, hparams: bool = False, repeats: bool = False) -> pd.DataFrame:
        """A row for each epoch of each trial: `trial` and `epoch` (int64, from 1 on), each metric (float64; with folds
        those of each fold, too), and `reported` (datetime64[us, UTC]).

        Args:
            hparams: also a column for each hparam that the epoch was trained with.
            repeats: also the repeats of finalists.
        """
        from fersweep.api import frames

        return frames.epochs(self.recorded(), hparams, repeats)

    def study(self) -> optuna.Study:
        """Its trials as an Optuna study, in memory: for `optuna.visualization`, `optuna.importance`.

        Finished trials are COMPLETE with the value of their best epoch, stopped ones PRUNED with intermediate values, failed
        ones FAIL, running ones RUNNING. Parameters have Optuna's names. Of several objectives it has a direction for each.
        """
        from fersweep.results.record.optuna_study import study_for

        recorded = self.recorded()
        return study_for(recorded.record, recorded.sweep.order, name=self.name)

    @property
    def best(self) -> Trial | None:
        """The best trial of the search; None: no trial has a value and keeps to the constraints."""
        recorded = self.recorded()
        best = recorded.record.ranking(recorded.sweep.order).best()
        return None if best is None else self.trial(best.number)

    def trial(self, number: int) -> Trial:
        """The trial of that number. Raises InputError where there is none."""
        from fersweep.api import frames

        recorded = self.recorded()
        if number not in recorded.record.trials:
            known = f"trials: 0 to {len(recorded.record.trials) - 1}" if recorded.record.trials else "it has none yet"
            raise InputError(f"sweep {self.name!r} has no trial {number}; {known}")
        found = recorded.record.trials[number]
        best = recorded.best(found)
        return Trial(
            sweep=self,
            number=number,
            state=found.state,
            hparams=frames.hparams_of(recorded, found),
            value=None if best is None else best[recorded.sweep.metric],
            best_epoch=None if best is None else int(best["epoch"]),
            num_epochs=found.num_epochs,
            metrics={} if best is None else {name: value for name, value in best.items() if name != "epoch"},
            started=datetime.fromtimestamp(found.sampled_at, UTC),
            ended=None if found.ended_at is None else datetime.fromtimestamp(found.ended_at, UTC),
            seconds=frames.seconds_by_trial(recorded).get(number, 0.0),
            reason=found.reason,
        )

    def model(self) -> Model:
        """What `fersweep predict --model NAME` takes: the best trial's, or that of the finalist that won."""
        return open_model(self.name, home=self.home)

    def compare(self, top: int = 10, trees: bool = False) -> SweepTrials:
        """Its `top` best trials and its baselines: `fersweep compare NAME`. `trees`: also train boosted trees."""
        from fersweep.results.compare.trials import compare_recorded
        from fersweep.results.evaluate.tree_baseline import tree_baseline_of

        if trees:
            quiet_process()
        return compare_recorded(self.recorded(), top, tree_baseline_of(self.directory) if trees else None)

    def compare_trials(self, a: int, b: int) -> ComparedTrials:
        """Two of its trials: hparams that differ, and whether their scores differ by more than chance."""
        from fersweep.results.compare.sweeps import choose, compare_trials

        return compare_trials(*(choose(self.home, f"{self.name}:{number}") for number in (a, b)))

    def report(self, out: Place | None = None, *, trees: bool = False, faces: bool = True) -> Path:
        """Write its story as a page that opens offline → the page's path. As `fersweep.report`."""
        from fersweep.api.sweeps import report_of

        return Path(report_of(self.directory, out, trees, faces).report)

    def as_json(self) -> dict[str, Any]:
        """What `fersweep launch --json` prints of it: its five best trials."""
        return self.compare(top=5).as_json()

    @property
    def num_sessions(self) -> int:
        """How often a driver has begun."""
        return self.recorded().record.sessions

    def recorded(self) -> RecordedSweep:
        """Its `sweep.json` and its replayed journal, as they are now. InputError where they cannot be read."""
        from fersweep.results.dashboards.status import from_bucket
        from fersweep.results.record.recorded_sweep import load_sweep

        if self._read is not None and self._read[1].storage.path is None:
            from_bucket(self.directory)
        files = [self.directory / name for name in ("sweep.json", "journal.jsonl")]
        stats = [path.stat() for path in files if path.exists()]
        state = tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))
        if self._read is None or self._read[0] != state:
            self._read = state, load_sweep(self.directory)
        return self._read[1]

    def live_view(self, width: int = 120, height: int = 24) -> str:
        """What a terminal shows while it runs, as text."""
        from fersweep.cluster.driver import live_view

        recorded = self.recorded()
        sweep, record, now = recorded.sweep, recorded.record, datetime.now(UTC).timestamp()
        began = min((trial.sampled_at for trial in record.trials.values()), default=now)
        ended, epochs, baseline = record.num_ended, record.num_epochs, sweep.baseline.score(sweep.metric)
        parts = live_view.summary(sweep.asked, record, now - began, ended, epochs, baseline)
        return "\n".join(live_view.frame(self.name, parts, sweep.asked, record, width, height))

    def __repr__(self) -> str:
        try:
            found = self.status
        except InputError as error:
            return f"<sweep {self.name}: {error}>"
        best = "" if found.best is None else f", best {found.metric} {found.best.value:.4f} (trial {found.best.trial})"
        return f"<sweep {self.name}: {found.state}, {found.num_ended} of {found.num_trials} trials{best}>"


def open_sweep(name: str, *, home: Place | None = None) -> Sweep:
    """A sweep that was launched, running or not.

        sweep = fersweep.open_sweep("mine")
        sweep.trials().sort_values("value").tail(3)

    Args:
        name: of the sweep, or its address in a bucket (s3://…), whose record is copied to the home.
        home: where sweeps lie; default: FERSWEEP_HOME, else `runs`.

    Raises InputError where there is no such sweep, naming those that are there, or its record cannot be read.
    """
    from fersweep.results.record.home import find_sweep

    sweep = Sweep(find_sweep(home_of(home), name))
    sweep.recorded()
    return sweep
