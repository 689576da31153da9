"""What is said of a sweep whose trainable is of somebody's own: its versions, and how it goes on."""

import json
from pathlib import Path

import pytest

from fersweep.api.running import SweepFailed
from fersweep.common.errors import InputError
from fersweep.results.compare.trials import compare
from fersweep.results.dashboards.status import status
from fersweep.results.record import journal
from fersweep.results.record.recorded_sweep import load_sweep
from tests.results.dashboards.test_status import shown
from tests.sweeps import METRIC, write_sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    return write_sweep(tmp_path_factory.mktemp("home"), tiny_dataset)


def test_of_code_that_changed_each_trial_says_with_which_it_was_trained(finished: Path, tmp_path: Path) -> None:
    before, now = "my_model.py@000000000000", "my_model.py@111111111111"
    directory = of_trainable(finished, tmp_path / "sweeps" / "own", now)
    ours = journal.Journal(directory / "journal.jsonl")

    def train(number: int, epoch: int, end: str | None = None) -> None:
        if epoch == 1:
            ours.append("sampled", trial=number, hparams={"rate": 0.5})
        ours.append("report", trial=number, epochs=[{"epoch": epoch, METRIC: 0.5}])
        if end:
            ours.append("ended", trial=number, state=end)

    ours.session("started", code=before)
    train(0, 1, "stopped")
    train(1, 1, "stopped")
    train(2, 1)
    assert ours.record.of_code(before) is None
    assert ours.record.of_code(now) == f"the code changed while the sweep ran: {before}: 3 trials (0000 to 0002)"
    ours.session("interrupted")
    ours.session("started", code=now)
    train(2, 2, "stopped")
    train(3, 1, "stopped")
    ours.close()
    (said,) = status(tmp_path)
    assert said.code == (
        f"the code changed while the sweep ran: {before}: 2 trials (0000 to 0001); {before} and then {now}: 1 trial (0002); "
        f"{now}: 1 trial (0003)"
    )
    assert "and then" in shown([said], tmp_path)
    assert said.code in compare(directory).notes


@pytest.mark.parametrize(
    ("trainable", "options"), [("curve", "--retry-failed"), ("m.py@000000000000", "--retry-failed --accept-code")]
)
def test_trials_that_failed_in_own_code_are_run_again_with_the_mended_one(
    finished: Path, tmp_path: Path, trainable: str, options: str
) -> None:
    directory = of_trainable(finished, tmp_path / "sweeps" / "own", trainable)
    ours = journal.Journal(directory / "journal.jsonl")
    for number in range(4):
        ours.append("sampled", trial=number, hparams={})
        ours.append("ended", trial=number, state="failed", reason="no")
    ours.close()
    (said,) = status(tmp_path, "own")
    assert f"fersweep resume own --home {tmp_path} {options}" == said.resume
    early = SweepFailed(directory, "failed", "no", all_failed=True)
    assert ("accept_code=True" in early.resume) == ("--accept-code" in options)
    with pytest.raises(InputError, match=f"`resume {options}` runs it once more"):
        load_sweep(directory).choose_trial(0)


def of_trainable(finished: Path, directory: Path, trainable: str) -> Path:
    """A sweep of this trainable that has not begun."""
    directory.mkdir(parents=True)
    content = json.loads((finished / "sweep.json").read_text())
    content["sweep"] |= {"name": directory.name, "trainable": trainable}
    (directory / "sweep.json").write_text(json.dumps(content))
    return directory
