"""Where each trial of a sweep is among all, as tags of its run in MLflow: known for good when the sweep has ended."""

from __future__ import annotations

from collections.abc import Callable

from fersweep.results.mlflow_store import run_fields
from fersweep.results.mlflow_store.runs import Runs
from fersweep.results.record.recorded_sweep import RecordedSweep


def write_places(runs: Runs, sweep: RecordedSweep, beat: Callable[[], None]) -> None:
    """Set and delete what has changed; nothing where there is one objective and no constraint. `beat`: after each trial."""
    for number, recorded in runs.trials.items():
        trial = sweep.record.trials.get(number)
        wanted = run_fields.place_tags(sweep.sweep, sweep.record, trial) if trial else {}
        for name, value in wanted.items():
            if value == recorded.places.get(name):
                continue
            if value is None:
                runs.client.delete_tag(recorded.run_id, name)
                del recorded.places[name]
            else:
                runs.client.set_tag(recorded.run_id, name, value)  # pyright: ignore[reportUnknownMemberType]
                recorded.places[name] = value
        if wanted:
            beat()
