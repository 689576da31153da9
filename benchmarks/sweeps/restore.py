"""The cost of a crash for a search: its driver is killed when half the trials have ended, then restored. Ours and Ray Tune's.

Both search the same space of the closed-form `curve` (trainables/curve.py) with TPE and ASHA, an epoch a report, and
record in MLflow on SQLite. Theirs is written as Ray's documentation shows (OptunaSearch, ASHAScheduler,
MLflowLoggerCallback, `Tuner.restore`), with a checkpoint an epoch; ours is `launch` and `resume` on the command line.
The driver and every process that it started get SIGKILL, as if the machine were lost. The same searches without a crash are
beside: there, later trials are those that began after half had ended.

Tune's scheduler is restored empty. A trial that was in training when the driver died then counts with its late values
at every rung below, and new trials are compared with them until enough have been stopped: the more trials at a time, the
more are lost (`--workers 8 --epoch-s 0.2`).

What ASHA should have done is the replay of each side's own rule (asha_rule.py). Without a crash the replay must agree with
every decision, and the command fails if it does not.

Tune saves its state every ten seconds: of real trials, which take longer, it loses fewer than here.

    .venv/bin/python benchmarks/sweeps/restore.py --rounds 3      # about six minutes a round
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.sweeps.asha_rule import GRACE, MAX_EPOCHS, REDUCTION, Step, Story, count, in_order  # noqa: E402
from tests.processes import kill_all  # noqa: E402

METRIC = "val_macro_f1"
TIMEOUT_S = 600
SWEEP = """
trainable: curve
search: {sampler: tpe, num_trials: %d, seed: %d}
stop: {metric: val_macro_f1, scheduler: asha, grace_epochs: 3, max_epochs: 27, reduction: 3, report_s: 0}
resources: {cpus: %g}
"""


# The two drivers, each in a process of its own


def drive_ours(epoch_s: float, arguments: list[str]) -> None:
    """`fersweep ARGUMENTS`, with epochs that take `epoch_s` seconds."""
    from fersweep.search_spaces import curve

    space = curve.space
    curve.space = lambda trial: {**space(trial), "epoch_s": epoch_s}
    sys.argv = ["fersweep", *arguments]
    main()


def train(config: dict[str, Any]) -> None:
    """The curve as a function for Tune, with a checkpoint an epoch."""
    from ray import tune

    from fersweep.trainables.curve import Curve, Hparams

    seed = zlib.crc32(str(tune.get_context().get_trial_id()).encode())
    model = Curve(Hparams(**config), np.zeros((1, 1), np.float32), {"seed": seed})
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as directory:
            model.epoch = int((Path(directory) / "epoch").read_text())
    while model.epoch < MAX_EPOCHS:
        (row,) = model.fit(1)
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "epoch").write_text(str(model.epoch))
            tune.report(row, checkpoint=tune.Checkpoint.from_directory(directory))


def drive_stock(options: argparse.Namespace, restore: bool) -> None:
    """Ray Tune as documented; writes its events to `log.jsonl`, and the end to `end.json`."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    scratch = options.scratch

    class Log(tune.Callback):
        """Writes the events of our journal from Tune's callbacks."""

        def _write(self, event: str, trial: Any, **fields: Any) -> None:
            with (scratch / "log.jsonl").open("a") as file:
                file.write(json.dumps({"event": event, "trial": trial and trial.trial_id, **fields}) + "\n")

        def setup(self, *args: Any, **info: Any) -> None:
            self._write("session", None)

        def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self._write("sampled", trial)

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            self._write("report", trial, epoch=result["epoch"], value=result[METRIC])

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self._write("ended", trial)

    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_resources(train, {"cpu": 1})
    if restore:
        tuner = tune.Tuner.restore(
            str(scratch / "stock"), trainable=trainable, resume_unfinished=True, restart_errored=True
        )
    else:
        mlflow = MLflowLoggerCallback(tracking_uri=f"sqlite:///{scratch}/mlflow.db", experiment_name="stock")
        tuner = tune.Tuner(
            trainable,
            param_space={**tune_space(), "epoch_s": options.epoch_s},
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                num_samples=options.trials,
                max_concurrent_trials=options.workers,
                search_alg=OptunaSearch(seed=options.seed),
                scheduler=ASHAScheduler(max_t=MAX_EPOCHS, grace_period=GRACE, reduction_factor=REDUCTION),
            ),
            run_config=tune.RunConfig(name="stock", storage_path=str(scratch), callbacks=[Log(), mlflow], verbose=0),
        )
    results = tuner.fit()
    searcher = OptunaSearch()
    searcher.restore_from_dir(str(scratch / "stock"))  # what Tune saved at its end
    states = Counter(trial.state.name for trial in searcher._ot_study.trials)  # type: ignore[union-attr]
    ids = [result.metrics["trial_id"] for result in results if result.metrics]
    (scratch / "end.json").write_text(json.dumps({"trials": ids, "study": states}))


def tune_space() -> dict[str, Any]:
    """The space of search_spaces/curve.py in Tune's terms."""
    import optuna
    from ray import tune

    from fersweep.search_spaces import curve

    trial = optuna.create_study().ask()
    curve.space(trial)
    distributions = trial.distributions.items()
    return {name: (tune.loguniform if d.log else tune.uniform)(d.low, d.high) for name, d in distributions}  # type: ignore[attr-defined]


# Running and killing them


def start(scratch: Path, *arguments: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    environment |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (scratch / "output.txt").open("ab") as output:
        command = [sys.executable, __file__, *map(str, arguments)]
        return subprocess.Popen(command, cwd=scratch, env=environment, stdout=output, stderr=output)


def finish(scratch: Path, process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        kill_all(process)
        code = f"none within {TIMEOUT_S} s"
    if code:
        raise failure(scratch, process, f"exit code {code}")


def kill_when(scratch: Path, process: subprocess.Popen[bytes], log: Path, ended: int) -> None:
    """Kill the driver, and all that it started, when its log has `ended` trials that have ended."""
    while count_ended(log) < ended:
        if process.poll() is not None:
            raise failure(scratch, process, f"exit code {process.returncode} before it was killed")
        time.sleep(0.02)
    kill_all(process)


def failure(scratch: Path, process: subprocess.Popen[bytes], problem: str) -> RuntimeError:
    tail = (scratch / "output.txt").read_text(errors="replace")[-3000:]
    return RuntimeError(f"{process.args}: {problem}\n{tail}")


def count_ended(log: Path) -> int:
    return log.read_bytes().count(b'"event": "ended"') if log.exists() else 0


# What happened: both sides' logs as the same steps


def run_ours(scratch: Path, options: argparse.Namespace, seed: int, crash: bool) -> Story:
    from tests.datasets import write_tiny_dataset

    (scratch / "curve.yaml").write_text(SWEEP % (options.trials, seed, (os.cpu_count() or 1) / options.workers))
    data = write_tiny_dataset(scratch / "tiny")
    drive = ["--drive", "ours", "--epoch-s", options.epoch_s, "--"]
    log = scratch / "sweeps" / "curve" / "journal.jsonl"
    process = start(scratch, *drive, "launch", "curve.yaml", "--data", data, "--home", scratch)
    if crash:
        kill_when(scratch, process, log, options.trials // 2)
        process = start(scratch, *drive, "resume", "curve", "--home", scratch)
    finish(scratch, process)
    from fersweep.results.record.journal import read

    trials = read(log).trials.values()
    running = sum(trial.state == "running" for trial in trials)
    steps = list(steps_of(our_events(log), crash, options.trials // 2))
    return Story(steps, {str(trial.number) for trial in trials}, running, recorded(scratch, "fersweep", our_trial))


def run_stock(scratch: Path, options: argparse.Namespace, seed: int, crash: bool) -> Story:
    settings = ["--epoch-s", options.epoch_s, "--trials", options.trials, "--workers", options.workers]
    drive = [*settings, "--seed", seed, "--scratch", scratch, "--drive"]
    log = scratch / "log.jsonl"
    process = start(scratch, *drive, "stock")
    if crash:
        kill_when(scratch, process, log, options.trials // 2)
        process = start(scratch, *drive, "stock-restore")
    finish(scratch, process)
    end = json.loads((scratch / "end.json").read_text())
    steps = list(steps_of(map(json.loads, log.read_text().splitlines()), crash, options.trials // 2))
    runs = recorded(scratch, "stock", lambda run: run.data.tags["trial_name"].removeprefix("train_"))
    return Story(steps, set(end["trials"]), end["study"].get("RUNNING", 0), runs)


def our_events(journal: Path) -> Iterator[dict[str, Any]]:
    """The journal's events, an epoch a report."""
    from fersweep.results.record.journal import read_events

    for event in read_events(journal):
        if event["event"] == "session":
            if event["action"] == "started":
                yield {"event": "session"}
            continue
        for row in event.get("epochs", [{}]):
            yield {**event, "epoch": row.get("epoch", 0), "value": row.get(METRIC, 0.0)}


def our_trial(run: Any) -> str | None:
    return run.data.tags["fersweep.trial"] if run.data.tags["fersweep.kind"] == "trial" else None


def steps_of(events: Iterator[dict[str, Any]], crash: bool, half: int) -> Iterator[Step]:
    sessions, ended = 0, 0
    for event in events:
        if event["event"] == "session":
            sessions += 1
            continue
        ended += event["event"] == "ended"
        later = sessions > 1 if crash else ended >= half
        if event["event"] in ("sampled", "report", "ended"):
            trial = str(event["trial"])
            yield Step(later, event["event"], trial, int(event.get("epoch", 0)), event.get("value", 0.0))


def recorded(home: Path, experiment: str, trial_of: Callable[[Any], str | None]) -> list[tuple[str, str, list[int]]]:
    from fersweep.results.mlflow_store import connection

    client = connection.connect(f"sqlite:///{home}/mlflow.db")
    in_mlflow = client.get_experiment_by_name(experiment)
    assert in_mlflow is not None
    runs = client.search_runs([in_mlflow.experiment_id], max_results=10_000)
    return [
        (trial, run.info.status, [point.step for point in client.get_metric_history(run.info.run_id, METRIC)])
        for run in runs
        if (trial := trial_of(run)) is not None
    ]


# The table

ROWS: list[tuple[str, str]] = [
    ("trials begun", "{trials}"),
    ("earlier trials stopped at rung 1", "{earlier stopped} of {earlier}: {earlier stopped/earlier}"),
    ("**later trials stopped at rung 1**", "**{later stopped} of {later}: {later stopped/later}**"),
    ("the rule, given all results, stops of these", "{later rule} of {later}: {later rule/later}"),
    ("later decisions, all rungs", "{decisions}"),
    ("… stopped against the rule", "{stopped wrongly}"),
    ("… kept against the rule", "{kept wrongly}"),
    ("trials that the search lost", "{lost}"),
    ("ended trials trained again", "{ended trained again}"),
    ("epochs reported twice", "{epochs reported twice} of {epochs}"),
    ("MLflow runs of trials", "{runs}"),
    ("**… duplicates**", "**{duplicates}**"),
    ("… still RUNNING at the end", "{left running}"),
    ("epochs recorded twice", "{epochs twice}"),
    ("epochs missing", "{epochs missing}"),
    ("trials RUNNING in Optuna's study at the end", "{open in study}"),
]


def cell(pattern: str, counted: Counter[str]) -> str:
    """Fill a row's pattern; `{a/b}` is a share in per cent."""

    def fill(slot: re.Match[str]) -> str:
        over, _, under = slot[1].partition("/")
        if not under:
            return str(counted[over])
        return f"{counted[over] / counted[under]:.0%}" if counted[under] else "–"

    return re.sub(r"{([^}]+)}", fill, pattern)


def print_table(columns: dict[str, list[Counter[str]]]) -> None:
    """Sums over the rounds; shares are of the sums."""
    sums = {name: sum(rounds, Counter()) for name, rounds in columns.items()}
    print("|".join(["", " ", *(f" {name} " for name in sums), ""]))
    print("|" + "---|" * (len(sums) + 1))
    for title, pattern in ROWS:
        print("|".join(["", f" {title} ", *(f" {cell(pattern, counted)} " for counted in sums.values()), ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--epoch-s", type=float, default=0.05, help="seconds that an epoch takes")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each has the next")
    parser.add_argument("--only", choices=["fersweep", "Ray Tune"], help="one side alone")
    parser.add_argument("--drive", choices=["ours", "stock", "stock-restore"], help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive == "ours":
        drive_ours(options.epoch_s, options.arguments)
    elif options.drive:
        drive_stock(options, restore=options.drive == "stock-restore")
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    sides = {"fersweep": run_ours, "Ray Tune": run_stock}
    names = [name for name in sides if options.only in (None, name)]
    columns: dict[str, list[Counter[str]]] = {f"{n}, {how}": [] for how in ("crash", "no crash") for n in names}
    for seed in range(options.seed, options.seed + options.rounds):
        for column, rounds in columns.items():
            name, how = column.split(", ")
            rounds.append(play(sides[name], options, seed, how == "crash", column))
    print_table(columns)


def play(run: Callable[..., Story], options: argparse.Namespace, seed: int, crash: bool, title: str) -> Counter[str]:
    """One search in a directory of its own, counted."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="restore-") as scratch:
        story = run(Path(scratch), options, seed, crash)
    counted, order = count(story, run is run_ours), in_order(story, run is run_ours)
    print(f"{title}, seed {seed}: {time.perf_counter() - began:.0f} s; later at rung 1: {order}", file=sys.stderr)
    if not crash and counted["differing"]:
        raise RuntimeError(
            f"{title}: the replay differs from the decisions of a search without a crash: {dict(counted)}"
        )
    return counted


if __name__ == "__main__":
    main()
