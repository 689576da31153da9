"""Where the seconds of a short sweep go: its phases from the command to its first trained epoch, and from its last one until the
command returns and its report is written, each with the CPU time of every kind of process.

    .venv/bin/python benchmarks/sweeps/start_up.py --data runs/data/fer2013 --rounds 5
    .venv/bin/python benchmarks/sweeps/start_up.py --data runs/data/fer2013 --rounds 5 --against ../before

The command is watched from outside, by its journal and by /proc (Linux), twenty times a second. `--against` runs another checkout in
turns with this one, which goes first in every second round. Medians; of CPU time, what ended between two looks is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOOK_S = 0.05
REPORT_S = 60.0  # for which the report is waited for after the command
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = {  # what a command line holds → what is said of its process; the first that fits
    "recorder_process": "recorder",
    "report_upload": "report",
    "fersweep.results.": "other of ours",
    "fersweep.cluster.": "other of ours",
    "fersweep launch": "driver",
    "ray::": "workers",
    "default_worker.py": "workers",
    "gcs_server": "Ray",
    "raylet/raylet": "Ray",
    "agent": "Ray",
}
FRAMEWORKS = ("libtensorflow_cc", "libtorch_cpu")
MARKS = {
    "Ray is started": "the driver imports, checks, reads the data",
    "the sweep has begun": "Ray starts",
    "a trial is sampled": "the driver samples its first trial",
    "a worker has its framework": "the first worker is started, loads its framework",
    "the first epoch begins": "the model is built",
    "the first epoch ends": "the first epoch, which includes tracing",
    "the last epoch ends": "the rest of the training",
    "the sweep has ended": "the last report",
    "the command returns": "MLflow catches up; Ray ends",
    "the report is there": "afterwards: the report",
}


@dataclass
class Watched:
    """marks: name → seconds since the command began; cpu: by the end of each look, kind of process → CPU seconds."""

    marks: dict[str, float] = field(default_factory=dict[str, float])
    looks: list[tuple[float, Counter[str]]] = field(default_factory=list[tuple[float, Counter[str]]])

    def mark(self, name: str, at: float) -> None:
        self.marks.setdefault(name, at)

    def used(self, start: float, end: float) -> Counter[str]:
        """CPU seconds of each kind of process between two times."""
        before, after = self._by(start), self._by(end)
        return Counter({kind: after[kind] - before[kind] for kind in after})

    def _by(self, at: float) -> Counter[str]:
        return next((used for time_s, used in reversed(self.looks) if time_s <= at), Counter[str]())


class Processes:
    """The processes that descend from one, and what they have used, those that have ended included."""

    def __init__(self, root: int):
        self.kinds: dict[int, str] = {root: "driver"}
        self.ticks: dict[int, int] = {}

    def look(self) -> None:
        parents: dict[int, int] = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry)] = int(fields[1])
            if int(entry) in self.kinds or int(fields[1]) in self.kinds:
                self.ticks[int(entry)] = int(fields[11]) + int(fields[12])
                self.kinds.setdefault(int(entry), "")
        for pid, parent in parents.items():
            if pid in self.kinds and self.kinds[pid] in ("", "others"):
                self.kinds[pid] = self._kind(pid) or ("others" if parent in self.kinds else "")

    @staticmethod
    def _kind(pid: int) -> str:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return "others"
        return next((kind for part, kind in KINDS.items() if part in command), "others")

    def used(self) -> Counter[str]:
        used: Counter[str] = Counter()
        for pid, ticks in self.ticks.items():
            used[self.kinds.get(pid) or "others"] += ticks / TICKS  # type: ignore[assignment]
        return used

    def has_framework(self) -> bool:
        for pid, kind in self.kinds.items():
            if kind == "workers":
                try:
                    maps = Path(f"/proc/{pid}/maps").read_text()
                except OSError:
                    continue
                if any(name in maps for name in FRAMEWORKS):
                    return True
        return False

    def any_of(self, kind: str) -> bool:
        return kind in self.kinds.values()


def run(tree: Path, arguments: list[str]) -> Watched:
    """Run `fersweep launch` of a checkout in a home of its own, and watch it."""
    with tempfile.TemporaryDirectory(prefix="start-up-") as home:
        command = [sys.executable, "-m", "fersweep", "launch", *arguments, "--home", home]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        begun, start = time.time(), time.perf_counter()
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        watched, processes = Watched(), Processes(process.pid)
        sweeps = Path(home, "sweeps")
        while True:
            now = time.perf_counter() - start
            processes.look()
            watched.looks.append((now, processes.used()))
            if "Ray is started" not in watched.marks and processes.any_of("Ray"):
                watched.mark("Ray is started", now)
            if "a worker has its framework" not in watched.marks and processes.has_framework():
                watched.mark("a worker has its framework", now)
            if process.poll() is not None:
                watched.mark("the command returns", now)
                if any(sweeps.glob("*/report.html")) or now > watched.marks["the command returns"] + REPORT_S:
                    watched.mark("the report is there", now)
                    break
            time.sleep(LOOK_S)
        if process.returncode:
            raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}")
        time.sleep(1.0)  # the report's upload
        for journal in sweeps.glob("*/journal.jsonl"):
            read_journal(journal, begun, watched)
        shutil.rmtree(home, ignore_errors=True)
        Path(home).mkdir(exist_ok=True)
    return watched


def read_journal(path: Path, begun: float, watched: Watched) -> None:
    first, last, start = [], [], None
    for line in path.read_text().splitlines():
        event = json.loads(line)
        at = event["time"] - begun
        if event["event"] == "session":
            watched.mark("the sweep has begun" if event["action"] == "started" else "the sweep has ended", at)
        elif event["event"] == "sampled":
            watched.mark("a trial is sampled", at)
        elif event["event"] == "report":
            spent = [row["epoch_s"] for row in event["epochs"]]
            first.append(at - sum(spent[1:]))
            last.append(at)
            start = min(start or at, at - sum(spent))
    watched.mark("the first epoch begins", start or 0.0)
    watched.mark("the first epoch ends", min(first))
    watched.mark("the last epoch ends", max(last))


def table(rounds: list[Watched]) -> list[str]:
    """A row a phase: median seconds, and median CPU seconds of each kind of process."""
    kinds = ["driver", "Ray", "workers", "recorder", "report", "other of ours", "others"]
    kinds = [kind for kind in kinds if any(watched.looks[-1][1][kind] >= 0.01 for watched in rounds)]
    lines = [f"| {' | '.join(['until', 'phase', 'seconds', *(f'CPU: {kind}' for kind in kinds)])} |"]
    lines.append("|---" * (len(kinds) + 3) + "|")
    seconds: dict[str, list[float]] = defaultdict(list)
    used: dict[str, list[Counter[str]]] = defaultdict(list)
    for watched in rounds:
        before = 0.0
        for name in MARKS:
            at = max(watched.marks.get(name, before), before)
            seconds[name].append(at - before)
            used[name].append(watched.used(before, at))
            before = at
        for name, (start, end) in SUMS.items():
            begin, finish = watched.marks.get(start, 0.0), watched.marks[end]
            seconds[name].append(finish - begin)
            used[name].append(watched.used(begin, finish))
    for name in (*MARKS, *SUMS):
        cpu = [f"{statistics.median(each[kind] for each in used[name]):.1f}" for kind in kinds]
        lines.append(f"| {' | '.join([name, MARKS.get(name, ''), f'{statistics.median(seconds[name]):.2f}', *cpu])} |")
    return lines


SUMS = {
    "before the first epoch ends": ("", "the first epoch ends"),
    "after the last epoch": ("the last epoch ends", "the command returns"),
    "the whole command": ("", "the command returns"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="blendshape_lstm")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--max-epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout, which is run in turns with this one")
    parser.add_argument("--set", action="append", default=[], help="as of launch")
    options = parser.parse_args()
    data = Path(options.data).resolve()
    arguments = [options.recipe, "--data", str(data), "--trials", str(options.trials)]
    arguments += ["--max-epochs", str(options.max_epochs), "--set", "stop.scheduler=none"]
    arguments += [part for each in options.set for part in ("--set", each)]
    trees = [ROOT, *([options.against.resolve()] if options.against else [])]
    rounds: dict[Path, list[Watched]] = {tree: [] for tree in trees}
    for number in range(options.rounds):
        for tree in trees if number % 2 == 0 else reversed(trees):
            watched = run(tree, arguments)
            rounds[tree].append(watched)
            print(
                f"round {number + 1}, {'this' if tree == ROOT else 'other'} checkout: {watched.marks['the command returns']:.1f} s",
                file=sys.stderr,
            )
    for tree in trees:
        print(f"\n{'This' if tree == ROOT else 'The other'} checkout, medians of {options.rounds}:\n")
        print("\n".join(table(rounds[tree])))


if __name__ == "__main__":
    main()
