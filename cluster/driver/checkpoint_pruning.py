"""Which checkpoints are kept: those of the best few trials of the whole sweep and of the repeats of its finalists; the others
are deleted as it runs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fersweep.cluster.search.decisions import Search
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.ranking import budget
from fersweep.results.record.ranking.derived import Ends
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.storage import Storage


class Pruner:
    """Deletes in a thread of its own, since a bucket is slow. A running trial prunes its own checkpoints. Use as a
    context manager: it prunes when it is entered and left, and then waits until everything is deleted.
    """

    def __init__(self, search: Search, storage: Storage):
        self._search, self._storage = search, storage
        self._kept: dict[int, frozenset[int]] = {}  # trial → epochs whose checkpoints it has
        self._best: set[int] = set()
        self._rungs = frozenset[int]()  # whose checkpoints were needed
        self._num_ends = 0  # of the record's, so many were looked at
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pruner")

    def prune(self) -> None:
        """Delete what the trials that have ended since the last call no longer need, and rungs that no trial copies any more."""
        sweep, stop, record = self._search.sweep, self._search.sweep.stop, self._search.record
        ends = record.derived(Ends).numbers
        best = {trial.number for trial in record.kept(order_of(sweep), sweep.keep_checkpoints)}
        best |= {trial.number for trial in record.ended_repeats()}
        changed = {*ends[self._num_ends :], *(best ^ self._best)}
        if (rungs := frozenset(self._search.needed_rungs())) != self._rungs:
            changed |= record.trials.keys()
            self._rungs = rungs
        self._num_ends, self._best = len(ends), best
        for trial in (record.trials[number] for number in sorted(changed)):
            if trial.state == "running":
                self._kept.pop(trial.number, None)
                if stop.scheduler == "pbt":
                    row = trial.best(stop.metric, stop.mode) or {"epoch": 0}
                    past = frozenset(map(int, stop.rungs())) - rungs - {int(row["epoch"])}
                    self._thread.submit(self._delete_rungs, trial.number, past)
            elif self._kept.get(trial.number) != (wanted := self._wanted(trial, trial.number in best) | rungs):
                self._kept[trial.number] = wanted
                self._thread.submit(checkpoints.prune, self._storage, trial.number, wanted)

    def _delete_rungs(self, trial: int, past: frozenset[int]) -> None:
        """Of a running trial, which saves and deletes the others itself while this runs, and needs the newest two."""
        for epoch in checkpoints.saved(self._storage, trial)[:-2]:
            if epoch in past:
                self._storage.remove(checkpoints.place(trial, epoch))

    def _wanted(self, trial: TrialRecord, is_best: bool) -> frozenset[int]:
        stop = self._search.sweep.stop
        if trial.state == "failed":  # it may be tried again (resume --retry-failed)
            return frozenset([trial.num_epochs] if trial.retries or trial.lost else [])
        row = trial.best(stop.metric, stop.mode)
        cut = budget.was_cut(trial)  # resume --hours starts from its last one
        if not is_best or row is None:
            return frozenset([trial.num_epochs] if cut else [])
        last = [trial.num_epochs] if cut or trial.state == "finished" else []  # so does resume --max-epochs
        return frozenset([int(row["epoch"]), *last])

    def __enter__(self) -> Pruner:
        self.prune()
        return self

    def __exit__(self, *exception: object) -> None:
        self.prune()
        self._thread.shutdown(wait=True)
