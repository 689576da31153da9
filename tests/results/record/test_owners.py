"""What lies in a trial's directory and is another trial's: refused by name where a model is chosen, not used where trials are compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.results.compare.trials import compare
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.promotion import promote
from fersweep.results.record import checkpoints
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from tests.sweeps import write_sweep


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two trials. Trial 0, the best one, has the hparams of another one in its journal."""
    directory = write_sweep(tmp_path_factory.mktemp("home"), num_trials=2)
    path = directory / "journal.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    sampled = next(event for event in events if event["event"] == "sampled" and event["trial"] == 0)
    sampled["hparams"]["rate"] = sampled["params"]["rate"] = 0.4
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return directory


def test_no_model_is_chosen_by_scores_that_are_not_its_own(sweep_dir: Path) -> None:
    home = sweep_dir.parents[1]
    message = (
        r"checkpoint trials/0000/epoch-0009 in .*tiny is not of trial 0000, but of other hparams \(rate 0\.1, not 0\.4\): "
        "put back the trial's own, or move that one away"
    )
    for choose in (
        lambda: load_sweep(sweep_dir).choose_trial(None),
        lambda: load_sweep(sweep_dir).choose_trial(0),
        lambda: open_model("tiny", home),
        lambda: promote(sweep_dir, gates={}),
    ):
        with pytest.raises(InputError, match=message):
            choose()
    assert not (home / "mlflow.db").exists(), "refused before anything is written"
    assert open_model("tiny:1", home).origin is not None


def test_answers_of_another_trial_are_not_compared(sweep_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = load_sweep(sweep_dir)
    trial = recorded.record.trials[0]
    answers = recorded.val_predictions(trial)
    assert answers is not None, "an older version's, which do not say whose they are"
    owner = recorded.owner(trial)
    checkpoints.save_predictions(Storage(sweep_dir), 0, 9, *answers, owner)
    assert recorded.val_predictions(trial) is not None
    checkpoints.save_predictions(Storage(sweep_dir), 0, 9, *answers, replace(owner, trial=5))
    assert compare(sweep_dir).trials[0].recall is None
    assert "trials/0000/predictions.npz in" in (err := capsys.readouterr().err)
    assert "is not of trial 0000, but of trial 5: it is not used" in err
