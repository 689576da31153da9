"""Every fault that a sweep promises to survive, made to happen for real. docs/explanation/reliability.md has the table."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
from ray import cloudpickle
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError

from fersweep.api.running import outcomes
from fersweep.cli.sweeps import report
from fersweep.cluster.driver.tune_adapters import fault
from fersweep.cluster.driver.worker_log import NUM_LINES, read_words
from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.cluster.search.decisions import TooManyFailures
from fersweep.common.errors import InputError
from fersweep.results.compare.trials import compare
from fersweep.results.dashboards.status import status
from fersweep.results.mlflow_store.connection import open_home
from fersweep.results.record import checkpoints, journal
from fersweep.results.record.home import resume_command
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.optuna_study import study_of
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.processes import UNRECORDED, below, in_a_small_disk, kill, num_lines, run, start, wait_until, write_curve
from tests.recorded import check_all_recorded

FAULTY = "noise: 0.0, rate: 0.3, fault_at: 3, epoch_s: 0.0"


def faulty(tmp_path: Path, dataset: Path, faults: str, trials: int, **changes: Any) -> tuple[Path, SweepRecord]:
    """A sweep over `faults`, run to its end → its directory and record."""
    asked = {"trainable": "faulty_curve", "fix": FAULTY, "range": f"fault: [{faults}]", "sampler": "random"}
    path = write_curve(tmp_path / "f.yaml", **{**asked, "trials": trials, "epochs": 6, **changes})
    outcome = launch(read_sweep(str(path), ["stop.scheduler=none"]), dataset, tmp_path / "runs")
    assert outcome.state == "finished", outcome.error
    return outcome.directory, journal.read(outcome.directory / "journal.jsonl")


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_trial_that_breaks_fails_alone(tmp_path: Path, tiny_dataset: Path) -> None:
    """NaN, no memory, an unforeseen error, a killed process: each in its own words, after as many tries as it deserves."""
    directory, record = faulty(tmp_path, tiny_dataset, "none, nan, memory, error, kill", trials=7, seed=27)
    reasons = {
        "nan": "train_loss is nan at epoch 3",
        "memory": "out of memory: Unable to allocate",
        "error": "LookupError: something that nobody foresaw at epoch 3 (3 attempts)",
        "kill": r"its process died; its last line: last words\x07 (3 attempts)",
    }
    seen = set()
    for trial in record.trials.values():
        fault = trial.hparams["fault"]
        seen.add(fault)
        if fault == "none":
            assert (trial.state, trial.num_epochs, trial.retries) == ("finished", 6, 0)
        else:
            assert trial.state == "failed"
            assert str(trial.reason).startswith(reasons[fault])
            assert trial.num_epochs == 2, "what was trained before is recorded"
            assert trial.retries == (3 if fault in ("error", "kill") else 0)
    assert seen == {"none", *reasons}
    study = study_of(record, "val_macro_f1", "max")
    states = {trial.params["fault"]: trial.state.name for trial in study.trials}
    assert states == {"none": "COMPLETE", **dict.fromkeys(reasons, "FAIL")}, "the sampler learns what fails"

    failed = record.count()["failed"]
    outcome = resume(directory, overrides=["failures.max_retries=0"], retry_failed=True)
    events = list(journal.read_events(directory / "journal.jsonl"))
    assert outcome.state == "finished"
    assert sum(event["event"] == "reopened" for event in events) == failed
    assert journal.read(directory / "journal.jsonl").count() == record.count()


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_trial_that_hangs_is_ended_and_says_where(tmp_path: Path, tiny_dataset: Path) -> None:
    """It hangs in C with Python's global lock held; its neighbours go on."""
    directory, record = faulty(tmp_path, tiny_dataset, "none, hang", trials=6, timeout_s=4, seed=1)
    hung = [trial for trial in record.trials.values() if trial.hparams["fault"] == "hang"]
    assert hung
    for trial in hung:
        assert trial.state == "failed"
        assert str(trial.reason).startswith("hung: no report in 4 s")
        assert "faulty_curve.py" in (directory / "trials" / trial.name / "hang.txt").read_text()
    assert record.count()["finished"] == 6 - len(hung)
    assert len(list(directory.glob("trials/*/hang.txt"))) == len(hung)


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_more_failures_than_allowed_end_the_sweep_with_the_commonest_reason(tmp_path: Path, tiny_dataset: Path) -> None:
    path = write_curve(tmp_path / "f.yaml", trainable="faulty_curve", fix=FAULTY, range="fault: [nan]", trials=30)
    outcome = launch(read_sweep(str(path), ["failures.max_failed_share=0.3"]), tiny_dataset, tmp_path / "runs")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, TooManyFailures)
    assert "commonest reason (4×): train_loss is nan at epoch 3" in str(outcome.error)
    record = journal.read(outcome.directory / "journal.jsonl")
    assert record.action == "failed"
    assert record.count()["failed"] == 4


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_sweep_of_which_every_trial_failed_says_why(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_curve(tmp_path / "f.yaml", trainable="faulty_curve", fix=FAULTY, range="fault: [nan]", trials=3)
    outcome, why = (
        launch(read_sweep(str(path), []), tiny_dataset, tmp_path / "runs"),
        "all 3 trials failed; the commonest ",
    )
    why += "reason (3×): train_loss is nan at epoch 3"
    retry = f"{resume_command(outcome.directory)} --retry-failed"
    for ended in (outcome, resume(outcome.directory)):
        assert (ended.state, str(ended.error)) == ("failed", why)
        with pytest.raises(typer.Exit) as code:
            report(outcomes(lambda ended=ended: ended, lambda first, _: first, None), False, tmp_path / "runs", None)
        assert code.value.exit_code == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith(f"fersweep: {why}\nfailed; nothing is lost; go on with: {retry}\n")
    (found,) = status(tmp_path / "runs")
    assert (found.state, found.reason, found.resume) == ("failed", why, retry)
    assert why in compare(outcome.directory).notes
    for number, message in ((None, why), (1, r"trial 1 .* failed: train_loss is nan at epoch 3")):
        with pytest.raises(InputError, match=message if number else re.escape(message)):
            load_sweep(outcome.directory).choose_trial(number)


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_ray_that_dies_is_no_trials_fault(tmp_path: Path, tiny_dataset: Path, home: Path) -> None:
    """One of its agents (common/local_ray) is killed, with which its raylet ends itself, and each trial's process; `resume` goes on."""
    path = home / "sweeps" / "c" / "journal.jsonl"
    sweep = one_at_a_time(tmp_path, trials=3, epochs=12)
    process = start("launch", sweep, "--data", tiny_dataset, home=home, env=UNRECORDED)
    wait_until(lambda: num_lines(path) > 6, process)
    (raylet,) = below(process.pid, "raylet/raylet ")
    agent = below(raylet, "late_agent.py")[0]
    os.kill(agent, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    said, how = err.splitlines()[-2:]
    assert said.startswith("fersweep: ")  # by the driver, or, where Ray was faster, beside it
    assert "was killed, e.g. for want of memory" in said
    assert how.endswith(f"; nothing is lost; go on with: fersweep resume c --home {home}")
    events = list(journal.read_events(path))
    assert [event for event in events if event["event"] == "fault"] == []
    assert resume(path.parent).state == "finished"


def test_ctrl_c_while_ray_starts(tmp_path: Path, tiny_dataset: Path, home: Path) -> None:
    """Ray ends its start first: an exception in the middle ended in a segmentation fault, or in nothing at all."""
    process = start("launch", one_at_a_time(tmp_path), "--data", tiny_dataset, home=home, env=UNRECORDED)
    wait_until(lambda: below(process.pid, "gcs/gcs_server"), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "fersweep: interrupted\n")


def one_at_a_time(tmp_path: Path, trials: int = 6, **changes: Any) -> Path:
    """A sweep whose epochs take a while, so that something can happen to it."""
    fix = "noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.15"
    return write_curve(tmp_path / "c.yaml", **{"trainable": "faulty_curve", "fix": fix, "trials": trials, **changes})


def test_a_killed_trial_process_goes_on_from_its_checkpoint(
    tmp_path: Path, tiny_dataset: Path, home: Path, ray_address: str
) -> None:
    path = home / "sweeps" / "c" / "journal.jsonl"
    options = ("--data", tiny_dataset, "--address", ray_address)
    process = start("launch", one_at_a_time(tmp_path, trials=3), *options, home=home, env=UNRECORDED)
    wait_until(lambda: num_lines(path) > 8 and below(os.getpid(), "ray::_Inner"), process)
    for pid in below(os.getpid(), "ray::_Inner"):  # the shared Ray is this process's
        os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "its process died" in err
    assert "; goes on after epoch" in err
    record = journal.read(path)
    assert record.count()["failed"] == 0
    assert 1 <= sum(trial.retries for trial in record.trials.values()) <= 2


DRAINED = NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
ENDED = "ray::_Inner.train() raised:\n{}: {}"
ACTOR = bytes.fromhex("0a" * 16)
KILLED = (
    "2 worker(s) were killed due to the node running low on memory.\n"
    "Selected to kill: (Actor(aa), pid=1, actual memory used=1.50GB, worker ID=1)\n"
    "Selected to kill: (Actor(bb), pid=2, actual memory used=3.25GB, worker ID=2)"
)


RAYS_CRASH = "*** SIGABRT received at time=1 on cpu 0 ***", "PC: @     0x7fcc  (unknown)"
PYTHONS_CRASH = "Fatal Python error: Aborted", "", "Stack (most recent call first):", '  File "x.py", line 3 in build'


@pytest.mark.parametrize(
    ("log", "exit_code", "cause", "last"),
    [
        ([":job_id:01", "one", "  what():  no driver", *RAYS_CRASH, *PYTHONS_CRASH], "", " (Aborted); its last line: what():  no driver", '  File "x.py", line 3 in build'),
        ([":actor_name:A", *PYTHONS_CRASH], "", " (Aborted)", '  File "x.py", line 3 in build'),
        (["\x1b[31mno\x1b[0m\u202elicence"], "exit code 3", r" (exit code 3); its last line: no\u202elicence", r"no\u202elicence"),
        ([*map(str, range(99)), "x" * 999], "", f"; its last line: {'x' * 299}…", f"{'x' * 299}…"),
        ([":job_id:01", "m: runs the code of m.py (sha256 00)"], "", " without a word: killed from outside, e.g. for want of memory, or ended by native code", None),
    ],
)  # fmt: skip
def test_the_last_words_of_a_process(log: list[str], exit_code: str, cause: str, last: str | None) -> None:
    words = read_words(log, exit_code)
    assert words.cause == cause
    assert words.lines[-1:] == ([last] if last else [])
    assert len(words.lines) <= 2 * NUM_LINES


def died(message: str, **more: Any) -> ActorDiedError:
    context = ActorDiedErrorContext(actor_id=ACTOR, class_name="_Inner", error_message=message, **more)
    return ActorDiedError(cause=context)  # by keyword, as Ray does: by position it could not be pickled


def ended(cause: Exception) -> RayTaskError:
    return RayTaskError("train", ENDED.format(type(cause).__name__, cause), cause)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (OutOfMemoryError(KILLED), "memory", "out of memory: Ray ended its process to save the machine, at 3.25 GB"),
        (
            OutOfMemoryError(KILLED.replace("bb", "cc")),
            "infrastructure",
            "its machine ran out of memory, which another",
        ),
        (died("Worker unexpectedly exits with a connection error code 2."), "trial", "its process died"),
        (died("The actor died because its node has died. Node Id: 0a"), "infrastructure", "its machine is lost"),
        (died("\tthe actor's node was terminated unexpectedly: x"), "infrastructure", "its machine is lost"),
        (died("drained", node_death_info=NodeDeathInfo(reason=DRAINED)), "infrastructure", "its machine is lost"),
        (ActorUnavailableError("no answer", ACTOR), "infrastructure", "its machine is lost"),
        (died("The actor is dead because its owner has died."), "infrastructure", "Ray on the driver's machine died"),
        (ended(LookupError("gone")), "trial", "LookupError: gone"),
        (ended(ValueError("its node has died, it is unavailable")), "trial", "ValueError: its node has died, it is un"),
        (ended(RuntimeError("CUDA: running low on memory")), "trial", "RuntimeError: CUDA: running low on memory"),
        (ActorDiedError(ended(KeyError("x"))), "trial", "KeyError: 'x'"),
        (ended(died("The actor died because its node has died.")), "infrastructure", "its machine is lost"),
    ],
)
def test_what_ray_raises_is_somebodys_fault(error: Exception, kind: str, reason: str) -> None:
    found = fault(cloudpickle.loads(cloudpickle.dumps(error)), actor="bb")
    assert found[0] == kind
    assert found[1].startswith(reason)


def memory_share_used() -> float:
    known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(known[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    return 1 - available / total


@pytest.mark.processes
def test_a_trial_that_takes_a_machines_memory(tmp_path: Path, tiny_dataset: Path, home: Path) -> None:
    """Ray ends its process before the machine runs out; it is not tried again, and its neighbours go on."""
    if memory_share_used() > 0.5:
        pytest.skip("this machine's memory is in use")
    options = {"trainable": "faulty_curve", "fix": FAULTY, "sampler": "random", "seed": 1, "epochs": 6}
    sweep = write_curve(tmp_path / "c.yaml", **options, range="fault: [none, hog]", trials=4)
    threshold = {
        "RAY_memory_usage_threshold": f"{memory_share_used() + 0.2:.2f}",  # other tests take some, too
        "RAY_memory_monitor_refresh_ms": "50",
    }
    err = run("launch", sweep, "--data", tiny_dataset, home=home, env=threshold | UNRECORDED)
    record = journal.read(home / "sweeps" / "c" / "journal.jsonl")
    hogs = [trial for trial in record.trials.values() if trial.hparams["fault"] == "hog"]
    assert hogs
    for trial in hogs:
        assert str(trial.reason).startswith("out of memory: Ray ended its process to save the machine, at ")
    assert len(record.trials) == 4
    assert record.count()["running"] == 0
    assert record.count()["failed"] == len(hogs), err


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_orderly_stop_loses_no_epoch(
    tmp_path: Path, tiny_dataset: Path, home: Path, ray_address: str, how: signal.Signals, code: int
) -> None:
    """Every epoch that was trained is in the journal and has its checkpoint; the last line says how to go on. With a Ray
    of its own, as on a machine that is taken away, and on a cluster.
    """
    where, env = ((), None) if how == signal.SIGTERM else (("--address", ray_address), UNRECORDED)
    directory = home / "sweeps" / "c"
    process = start("launch", one_at_a_time(tmp_path), "--data", tiny_dataset, *where, home=home, env=env)
    wait_until(lambda: num_lines(directory / "journal.jsonl") > 8, process)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert (
        err.splitlines()[-1]
        == f"interrupted; nothing is lost; go on with: {' '.join(('fersweep resume c', '--home', str(home), *where))}"
    )
    record = journal.read(directory / "journal.jsonl")
    assert record.action == "interrupted"
    running = [trial for trial in record.trials.values() if trial.state == "running"]
    assert running
    for trial in running:
        assert max(checkpoints.saved(Storage(directory), trial.number), default=0) == trial.num_epochs


def test_a_second_interrupt_ends_it_at_once(tmp_path: Path, tiny_dataset: Path, home: Path, ray_address: str) -> None:
    sweep = one_at_a_time(tmp_path, fix="noise: 0.02, fault: none, fault_at: 1, epoch_s: 9.0")
    process = start("launch", sweep, "--data", tiny_dataset, "--address", ray_address, home=home, env=UNRECORDED)
    wait_until(lambda: num_lines(home / "sweeps" / "c" / "journal.jsonl") >= 3, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "again: at once" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_damaged_checkpoint_is_passed_over_and_said(
    tmp_path: Path, tiny_dataset: Path, home: Path, ray_address: str
) -> None:
    directory, where = home / "sweeps" / "c", ("--address", ray_address)
    options = (one_at_a_time(tmp_path, trials=1), "--data", tiny_dataset, *where)
    process = start("launch", *options, home=home, env=UNRECORDED)
    wait_until(lambda: num_lines(directory / "journal.jsonl") > 7, process)
    kill(process)
    wait_until(lambda: not below(os.getpid(), "ray::_Inner"))  # its worker has noticed
    newest = checkpoints.saved(Storage(directory), 0)[-1]
    damaged = directory / checkpoints.place(0, newest) / "state.npz"
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    err = run("resume", "c", *where, home=home, env=UNRECORDED)
    assert f"checkpoint trials/0000/epoch-{newest:04d} is damaged: state.npz" in err
    assert f"trial 0000 goes on from epoch {newest - 1}" in err
    record = journal.read(directory / "journal.jsonl")
    assert [row["epoch"] for row in record.trials[0].epochs] == list(range(1, 28))


NUM_IN_A_SMALL_DISK = 16


@pytest.mark.processes
def test_a_storage_that_takes_no_more_ends_the_sweep_in_a_line(tmp_path: Path, tiny_dataset: Path) -> None:
    """Read-only, then full: nobody's trial fails for it, and with room again the sweep goes on to its end."""
    sweep = write_curve(tmp_path / "c.yaml", trials=NUM_IN_A_SMALL_DISK, epochs=9)
    done = in_a_small_disk(
        tmp_path,
        f"""await() {{ until [ "$(cat $DISK/runs/sweeps/c/journal.jsonl 2>/dev/null | wc -l)" -gt $1 ]; do sleep .05; done; }}
        UNRECORDED=1 $PYTHON -m tests.doubles.changed_driver launch {sweep} --data {tiny_dataset} --home $DISK/runs &
        await 40; kill -9 $!; wait; until mount -o remount,ro $DISK 2>/dev/null; do sleep .2; done
        $PYTHON -m fersweep resume c --home $DISK/runs 2>$DISK.read-only; echo read-only $?
        mount -o remount,rw $DISK
        $PYTHON -m fersweep resume c --home $DISK/runs 2>$DISK.full & DRIVER=$!
        await 70; while kill -0 $DRIVER 2>/dev/null; do cat /dev/zero >>$DISK/ballast 2>/dev/null; sleep .05; done
        wait $DRIVER; echo full $?
        mount -o remount,size=100m $DISK
        $PYTHON -m fersweep resume c --home $DISK/runs --json >$DISK/out; echo resumed $?
        $PYTHON -c "import fcntl; fcntl.flock(open('$DISK/runs/sweeps/c/recorder.lock', 'a'), fcntl.LOCK_EX)"  # pictures
        cp -r $DISK/runs {tmp_path}/kept""",
    )
    lines = {name: (tmp_path / f"disk.{name}").read_text() for name in ("read-only", "full")}
    for line in ("read-only 2", "full 1", "resumed 0"):
        assert line in done.stdout, (done.stdout, done.stderr, lines)
    assert "Traceback" not in done.stderr + "".join(lines.values())
    assert "Read-only file system" in lines["read-only"]
    assert "No space left on device" in lines["full"]
    assert "nothing is lost; go on with: fersweep resume c" in lines["full"]
    record = journal.read(tmp_path / "kept" / "sweeps" / "c" / "journal.jsonl")
    assert len(record.trials) == NUM_IN_A_SMALL_DISK
    assert record.count()["failed"] == record.count()["running"] == 0
    open_home(tmp_path / "kept")  # which follows the move
    check_all_recorded(tmp_path / "kept" / "sweeps" / "c")
