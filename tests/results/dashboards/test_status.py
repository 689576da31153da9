"""Where each sweep stands, read off its directory, whatever state that is in."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fersweep.common.errors import InputError
from fersweep.common.files import is_held
from fersweep.results.dashboards.status import SweepStatus, status
from fersweep.results.dashboards.sync import sync
from fersweep.results.dashboards.tables import render
from fersweep.results.mlflow_store import addresses, connection
from fersweep.results.record import journal
from fersweep.results.report.page import render as render_report
from tests.sweeps import METRIC, FakeDriver, write_sweep

ROOT = Path(__file__).resolve().parents[2]
FIFO = b"a FIFO in its place"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    return write_sweep(tmp_path_factory.mktemp("home"), tiny_dataset)


@pytest.fixture
def sweep_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished sweep, in a home of its own, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "sweeps" / "tiny"))


def end_with(sweep_dir: Path, action: str | None, **fields: Any) -> None:
    """Replace the journal's last word, "finished", by `action`; None: by nothing, as a killed driver leaves it."""
    path = sweep_dir / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    if action:
        ours = journal.Journal(path)
        ours.append("session", action=action, pid=4711, host="node-3", **fields)
        ours.close()


def only(home: Path) -> dict[str, Any]:
    """What `--json` has of the home's only sweep."""
    (sweep,) = status(home)
    return sweep.as_json()


def shown(sweeps: list[SweepStatus], home: Path) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(render(sweeps, home))
    return capture.get()


def test_a_finished_sweep(sweep_dir: Path) -> None:
    home = sweep_dir.parents[1]
    content = only(home)
    json.dumps(content, allow_nan=False)
    record = journal.read(sweep_dir / "journal.jsonl")
    best = record.ranked(METRIC, "max")[0]
    assert list(content) == [
        "sweep", "directory", "disk_bytes", "state", "reason", "trials", "failures", "num_trials", "budget", "spent",
            "finalists", "metric", "mode", "best", "fused", "front", "epochs",
        "seen_at", "age_s", "driver", "resume", "fersweep", "planned", "storage", "mlflow", "callbacks", "code", "sync",
    ]  # fmt: skip
    assert (content["sweep"], content["state"], content["reason"], content["resume"]) == (
        "tiny",
        "finished",
        None,
        None,
    )
    assert content["trials"] == {"running": 0, "finished": 2, "stopped": 1, "failed": 1}
    assert content["num_trials"] == 4
    assert content["best"] == {"value": best.value(METRIC, "max"), "trial": best.number, "epoch": 9}
    assert content["epochs"] == 2 * 9 + 2 + 2
    assert content["driver"]["pid"] == os.getpid()
    assert content["disk_bytes"] == sum(path.stat().st_size for path in sweep_dir.rglob("*") if path.is_file())
    assert 0 <= content["age_s"] < 3600
    text = shown(status(home), home)
    assert "4/4" in text
    assert best.name in text
    assert "go on" not in text


@pytest.mark.parametrize(
    ("action", "state", "reason"),
    [
        (None, "interrupted", "killed"),
        ("interrupted", "interrupted", "interrupted"),
        ("failed", "failed", None),
    ],
)
def test_a_sweep_that_stopped_short_says_how_to_go_on(
    sweep_dir: Path, action: str | None, state: str, reason: str | None
) -> None:
    end_with(sweep_dir, action)
    home = sweep_dir.parents[1]
    content = only(home)
    assert (content["state"], content["reason"]) == (state, reason)
    assert content["resume"] == f"fersweep resume tiny --home {home}"
    assert "\n  fersweep resume tiny --home" in shown(status(home), home)


def test_the_last_words_of_a_trials_process_are_shown(sweep_dir: Path) -> None:
    ours = journal.Journal(sweep_dir / "journal.jsonl")
    for trial in (0, 1):
        ours.append("fault", trial=trial, kind="trial", reason="its process died", log=["one", "libx.so: \x1b[31mno"])
        ours.append("ended", trial=trial, state="failed", reason="its process died; its last line: libx.so: no")
    ours.close()
    home = sweep_dir.parents[1]
    failure = next(failure for failure in only(home)["failures"] if failure["trial"] == 1)
    assert failure["log"] == ["one", "libx.so: \x1b[31mno"]
    text = shown(status(home), home)
    assert "tiny, 2 failed (0000, 0001): its process died; its last line: libx.so: no" in " ".join(text.split())
    assert r"libx.so: \x1b[31mno" in text
    page = render_report(sweep_dir)
    assert "Trial 0001: the last lines of its process" in page
    assert r"libx.so: \x1b[31mno" in page


def test_what_a_driver_said_of_its_failure_is_shown(sweep_dir: Path) -> None:
    end_with(sweep_dir, "failed", reason="the disk is full")
    content = only(sweep_dir.parents[1])
    assert (content["reason"], content["driver"]) == ("the disk is full", {"pid": 4711, "host": "node-3"})
    assert "the disk is full (process 4711 on node-3)" in shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])


def test_a_finished_sweep_that_is_asked_for_more_trials_goes_on(sweep_dir: Path) -> None:
    path = sweep_dir / "sweep.json"
    path.write_text(path.read_text().replace('"num_trials": 4', '"num_trials": 6'))
    content = only(sweep_dir.parents[1])
    assert (content["state"], content["resume"]) == ("finished", f"fersweep resume tiny --home {sweep_dir.parents[1]}")
    assert "has 2 trials left" in shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])


def test_a_sweep_is_running_while_its_driver_holds_the_lock(sweep_dir: Path) -> None:
    end_with(sweep_dir, None)
    lock = sweep_dir / "driver.lock"
    with lock.open("w") as file:
        file.write("kept")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        content = only(sweep_dir.parents[1])
        assert (content["state"], content["resume"]) == ("running", None)
        assert f"is running (process {os.getpid()}" in shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])
    assert only(sweep_dir.parents[1])["state"] == "interrupted"
    assert lock.read_text() == "kept"
    with lock.open("r+") as file:  # looking has not kept it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not is_held(sweep_dir / "no.lock")
    assert not (sweep_dir / "no.lock").exists()


def test_a_driver_killed_with_a_trial_in_training(sweep_dir: Path) -> None:
    path = sweep_dir / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    ended = max(number for number, line in enumerate(lines) if b'"ended"' in line)
    path.write_bytes(b"".join(lines[:ended]) + b'{"event": "rep')  # the last line is torn
    content = only(sweep_dir.parents[1])
    assert content["trials"]["running"] == 1
    assert content["state"] == "interrupted"
    assert "3/4" in shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])


def test_a_sweep_that_never_began(sweep_dir: Path) -> None:
    (sweep_dir / "journal.jsonl").unlink()
    shutil.rmtree(sweep_dir / "trials")
    content = only(sweep_dir.parents[1])
    assert (content["state"], content["reason"]) == ("interrupted", "killed")
    assert (content["best"], content["driver"], content["age_s"], content["epochs"]) == (None, None, None, 0)
    assert "0/4" in shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_journal_that_is_gone_is_no_killed_driver(sweep_dir: Path, is_empty: bool) -> None:
    (sweep_dir / "journal.jsonl").unlink()
    if is_empty:
        (sweep_dir / "journal.jsonl").touch()
    content = only(sweep_dir.parents[1])
    assert (content["state"], content["resume"]) == ("unreadable", None)
    assert "its journal is missing, but the sweep has run: there are files of 3 trials; put a copy" in content["reason"]
    shutil.rmtree(sweep_dir / "trials")
    (sweep_dir / "heartbeat").touch()
    assert "there are files of 0 trials" in only(sweep_dir.parents[1])["reason"]


def test_the_heartbeat_counts_where_it_is_newer(sweep_dir: Path) -> None:
    beat = sweep_dir / "heartbeat"
    beat.touch()
    os.utime(beat, (1.0, 1.0))
    assert only(sweep_dir.parents[1])["seen_at"] > time.time() - 3600
    later = time.time() + 60
    os.utime(beat, (later, later))
    content = only(sweep_dir.parents[1])
    assert content["seen_at"] == pytest.approx(later)
    assert content["age_s"] == 0


def test_a_driver_on_another_machine_that_shares_the_home(sweep_dir: Path) -> None:
    """Its lock is not seen here, its heartbeat is."""
    path = sweep_dir / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if '"session"' in line)
    started = {"event": "session", "time": time.time(), "action": "started", "pid": 7, "host": "elsewhere"}
    path.write_text("".join(lines[:last]) + json.dumps(started) + "\n")
    (sweep_dir / "heartbeat").touch()
    content = only(sweep_dir.parents[1])
    assert (content["state"], content["reason"], content["resume"]) == ("running", None, None)
    assert "tiny is running (process 7 on elsewhere)" in shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])
    os.utime(sweep_dir / "heartbeat", (time.time() - 60,) * 2)
    assert (only(sweep_dir.parents[1])["state"], only(sweep_dir.parents[1])["reason"]) == ("interrupted", "killed")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("sweep.json", b"{", "sweep.json is not a sweep's record: not JSON"),
        ("sweep.json", b"[]", "sweep.json is not a sweep's record: its parts are of another type"),
        ("sweep.json", b"\xff", "sweep.json is not a sweep's record: not JSON (no text)"),
        ("sweep.json", None, "sweep.json is not a sweep's record: No such file"),
        (
            "journal.jsonl",
            b'{"event": "session"\n',
            "journal.jsonl: line 1 is damaged, and is no event of a sweep (not JSON",
        ),
        ("journal.jsonl", b'{"event": "reopened", "time": 1, "trial": 9}\n', "journal.jsonl: line 1 is damaged"),
        ("journal.jsonl", b"[]\n", "journal.jsonl: line 1 is damaged, and is no event of a sweep (no object)"),
        ("journal.jsonl", FIFO, "journal.jsonl cannot be read: it is a FIFO, not a file"),
        ("sweep.json", FIFO, "sweep.json is not a sweep's record: it is a FIFO, not a file"),
        ("driver.lock", FIFO, "it is a FIFO, not a file"),
    ],
)
def test_damage_in_one_sweep_hides_no_other(sweep_dir: Path, file: str, content: bytes | None, reason: str) -> None:
    broken = sweep_dir.parent / "broken"
    shutil.copytree(sweep_dir, broken)
    (broken / file).unlink(missing_ok=True)
    if content == FIFO:
        os.mkfifo(broken / file)
    elif content is not None:
        (broken / file).write_bytes(content)
    (sweep_dir.parent / ".tiny-x1y2").mkdir()
    (sweep_dir.parent / ".tiny-x1y2" / "sweep.json").write_text("")  # of a launch under way
    first, second = status(sweep_dir.parents[1])
    assert (first.sweep, first.state) == ("broken", "unreadable")
    assert str(first.reason).startswith(reason)
    assert second.state == "finished"
    assert "broken is unreadable" in shown([first, second], sweep_dir.parents[1])


def test_tables_fit_a_terminal(sweep_dir: Path) -> None:
    name = "a-name-as-long-as-" + "names-may-be-" * 4 + "eighty..."
    shutil.copytree(sweep_dir, sweep_dir.parent / name)
    text = shown(status(sweep_dir.parents[1]), sweep_dir.parents[1])
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_sweeps_and_no_such_sweep(sweep_dir: Path, tmp_path: Path) -> None:
    assert status(tmp_path / "nowhere") == []
    assert "fersweep launch" in " ".join(shown([], tmp_path / "nowhere").split())
    with pytest.raises(InputError, match=r"no sweep 'tony'.*known: tiny"):
        status(sweep_dir.parents[1], "tony")


@pytest.mark.processes
def test_many_sweeps_are_read_without_a_framework(sweep_dir: Path) -> None:
    for number in range(49):
        shutil.copytree(sweep_dir, sweep_dir.parent / f"s{number}")
    heavy = ("mlflow", "tensorflow", "torch", "ray", "optuna", "sklearn", "pandas", "matplotlib")
    code = (
        "import sys, time; from pathlib import Path; from fersweep.results.dashboards.status import status; start = time.process_time()\n"
        f"print(len(status(Path({str(sweep_dir.parents[1])!r}))), time.process_time() - start)\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert int(first.split()[0]) == 50
    assert float(first.split()[1]) < 5  # seconds of CPU, so that other processes do not count; 0.2
    assert second == "[]"


@pytest.mark.slow
def test_sync_closes_what_a_dead_driver_left_open(sweep_dir: Path) -> None:
    end_with(sweep_dir, None)
    driver = FakeDriver(sweep_dir, None)  # type: ignore[arg-type] - it trains nothing
    driver.sample(4, {"rate": 0.2})
    driver.report(4, [{"epoch": 1, METRIC: 0.4}])
    driver.journal.close()
    running = shutil.copytree(sweep_dir, sweep_dir.parent / "under-way")
    broken = sweep_dir.parent / "broken"
    broken.mkdir()
    (broken / "sweep.json").write_text("{")
    home = sweep_dir.parents[1]
    with (running / "driver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        synced = list(sync(status(home)))
    assert [part.failed for part in synced] == [True, False, False]
    assert [part.sweep.sync for part in synced][1:] == ["level", "left to the recorder that is at work"]
    assert synced[1].line == "tiny: MLflow is level with the journal"
    assert "unreadable" in synced[0].line
    client = connection.connect(addresses.tracking_uri(home))
    experiment = client.get_experiment_by_name("fersweep")
    assert experiment is not None
    statuses = {run.info.run_name[:4]: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert statuses == {
        "tiny": "KILLED", "0000": "FINISHED", "0001": "FINISHED", "0002": "FAILED", "0003": "FINISHED", "0004": "KILLED",
    }  # fmt: skip


def test_sync_with_a_server_that_is_away(
    sweep_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_dir / "sweep.json"
    sweep = json.loads(path.read_text())
    sweep["sweep"]["tracking"]["uri"] = "http://127.0.0.1:9"  # discard: nobody listens
    path.write_text(json.dumps(sweep))
    shutil.copytree(sweep_dir, sweep_dir.parent / "second")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    synced = list(sync(status(sweep_dir.parents[1])))
    assert [part.failed for part in synced] == [True, True]
    for part in synced:
        assert "MLflow cannot be reached: http://127.0.0.1:9 does not answer (" in part.line
        assert "\n" not in part.line
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.processes
def test_the_command_line(sweep_dir: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fersweep", "status", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    home = sweep_dir.parents[1]
    end_with(sweep_dir, None)
    (content,) = json.loads(run("tiny", "--home", home, "--json").stdout)
    assert content["resume"] == f"fersweep resume tiny --home {home}"
    assert "interrupted" in run("--home", home).stdout
    none = run("--home", home / "none")
    assert (none.returncode, none.stderr) == (0, "")
    assert "fersweep launch" in none.stdout
    assert json.loads(run("--home", home / "none", "--json").stdout) == []
    sweep = json.loads((sweep_dir / "sweep.json").read_text())
    sweep["sweep"]["tracking"]["uri"] = "http://127.0.0.1:9"
    (sweep_dir / "sweep.json").write_text(json.dumps(sweep))
    away = run("--home", home, "--sync", "--json")
    assert away.returncode == 1
    assert away.stderr.count("\n") == 1
    assert json.loads(away.stdout)[0]["sync"].startswith(
        "MLflow cannot be reached: http://127.0.0.1:9 does not answer ("
    )
