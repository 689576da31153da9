"""What a trial's process wrote before it died: the end of its log, which Ray keeps on the machine that it ran on.

    wrote = last_words("bd76a139c618…")      # the actor's id in hex
    wrote.cause, wrote.lines                 # " (Aborted); its last line: CUDA driver too old", all of its last lines

The log of another machine of a cluster is read by a task there. A worker runs one trial after another, and marks where
each begins (cluster/worker/actor.py).
"""

# Parts of Ray have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fersweep.cluster.worker.actor import TRIAL_MARK
from fersweep.common.text import masked, one_line

TAIL_BYTES = 16 * 1024
NUM_LINES, LINE_LENGTH = 10, 300  # of what a process said, and again of a crash's stack
WAIT_S = 30.0  # for a task on another machine, whose process has to start first
FATAL = "Fatal Python error: "
CRASH = re.compile(rf"\*\*\* SIG\w+ received|{FATAL}")  # where the crash handlers of Ray and Python begin
NOISE = re.compile(r":(job_id|actor_name|task_name):|PC: @|    @ |Extension modules: |.*: runs the code of ")


class LastWords(NamedTuple):
    """What a process wrote at its end. how: a crash's name or an exit code, "" where neither is known."""

    lines: list[str]
    how: str
    line: str

    @property
    def cause(self) -> str:
        """For the reason of a trial's end."""
        how, said = f" ({self.how})" if self.how else "", f"; its last line: {self.line}" if self.line else ""
        return (
            f"{how}{said}" or " without a word: killed from outside, e.g. for want of memory, or ended by native code"
        )


def last_words(actor: str, error: str = "") -> LastWords:
    """The end of the log of the worker that ran an actor; `error`: what Ray says of its death. Never raises."""
    try:
        lines = _log_of(actor)
    except Exception:  # a machine that is gone, or a Ray that keeps its logs otherwise: the log is a help, no more
        lines = []
    if not lines and "never ran" in error:  # its process could not be started
        return LastWords([], one_line(masked(error.strip().splitlines()[-1]), LINE_LENGTH), "")
    code = re.search(r"Worker exits with an exit code (.+)", error)
    return read_words(lines, one_line(f"exit code {code[1].rstrip('.')}", LINE_LENGTH) if code else "")


def read_words(log: Sequence[str], exit_code: str = "") -> LastWords:
    """The last words in a worker's log since its last trial began."""
    lines = [one_line(masked(line), LINE_LENGTH) for line in log if line.strip() and not NOISE.match(line)]
    crash = next((index for index, line in enumerate(lines) if CRASH.match(line)), len(lines))
    name = next((line.removeprefix(FATAL) for line in lines[crash:] if line.startswith(FATAL)), exit_code)
    said, stack = lines[:crash], lines[crash:]
    return LastWords([*said[-NUM_LINES:], *stack[:NUM_LINES]], name, said[-1].strip() if said else "")


def _log_of(actor: str) -> list[str]:
    import ray
    from ray._private import state
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    known: dict[str, Any] = state.actors(actor)
    node, pid = known["Address"]["NodeID"], known["Pid"]
    if node == ray.get_runtime_context().get_node_id():
        return _read(pid)
    there: Any = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_read)
    return ray.get(task.remote(pid), timeout=WAIT_S)


def _read(pid: int) -> list[str]:
    """Lines that the worker `pid` of this machine wrote since its last trial began: on stderr, else on stdout."""
    from ray._private import worker

    node: Any = worker._global_node
    for suffix in ("err", "out"):
        for path in Path(node.get_logs_dir_path()).glob(f"worker-*-{pid}.{suffix}"):
            _, mark, rest = _tail(path).rpartition(TRIAL_MARK)
            lines = rest.splitlines()[1 if mark else 0 :]
            if read_words(lines).lines:
                return lines
    return []


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        return file.read().decode(errors="replace")
