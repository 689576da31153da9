"""A sweep in a process of its own, which outlives a notebook's kernel: `fersweep.launch(…, wait=False)`, `fersweep.attach`.

The process is `python -m fersweep launch …`. What it prints, and the sweep file that it was given where there was none, are
in `sweeps/.NAME.launch/`, with a lock that it holds: two of one name would share them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.api.options import checked
from fersweep.api.running import EndedEarly, SweepFailed, ended_by
from fersweep.api.settings import Place, as_options, asked_sweep, home_of, quiet_process, say, wanted_data
from fersweep.api.sweep import Sweep, open_sweep
from fersweep.common.display import notebook
from fersweep.common.errors import InputError
from fersweep.common.files import is_held
from fersweep.common.processes import environment, module_command
from fersweep.results.record.drivers import DRIVEN, LOCK
from fersweep.results.record.home import LAUNCHED_AT, LAUNCHING, background_place, begun

if TYPE_CHECKING:
    from fersweep.cluster.stop import Stopped
    from fersweep.search_spaces.sweep_file.schema import Sweep as SweepFile

POLL_S, SHOW_S = 0.2, 2.0
SIGNALLED = {128 + number: number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
_processes: list[subprocess.Popen[bytes]] = []  # of which this process is the parent, however long it keeps a `Running`


@checked
class Running:
    """A sweep that runs in another process.

    Attributes:
        name: of the sweep.
        directory: where it is, or will be.
        pid: of its driver, where this process started it; else None.
    """

    def __init__(
        self,
        directory: Path,
        process: subprocess.Popen[bytes] | None = None,
        sessions: int = 0,
        following: str | None = None,
        address: str | None = None,
    ):
        self.name, self.directory = directory.name, directory
        self.pid = None if process is None else process.pid
        self._process, self._sessions, self._following, self._address = process, sessions, following, address

    @property
    def state(self) -> str:
        """starting (it is no sweep yet), running, finished, interrupted or failed."""
        alive = self._process is not None and self._process.poll() is None
        sweep = self._newest()
        if sweep is None or (alive and not self._begun(sweep)):
            return "starting" if alive else "failed"
        return "running" if alive else sweep.status.state

    @property
    def sweep(self) -> Sweep:
        """What there is of it so far; of two (`then:`) the second one, as soon as it is there. InputError while it starts."""
        sweep = self._newest()
        if sweep is None:
            raise InputError(f"{self.name} is {self.state}: there is no sweep yet; {self.log} says how far it is")
        return sweep

    @property
    def log(self) -> Path:
        """The file of what its process prints."""
        return background_place(self.directory) / "log"

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait for its end, and for that of the one that follows it. A notebook's cell shows the trials meanwhile.

        An interrupt ends the waiting, not the sweep: `stop()` does that.

        Args:
            timeout: seconds; None: as long as it takes.

        Returns:
            The sweep, of two (`then:`) the second one.

        Raises:
            TimeoutError: it runs still.
            InputError, SweepFailed, SweepStopped, SweepInterrupted: as `fersweep.launch` does.
            RuntimeError: its process was ended before there was a sweep.
        """
        began, shown, show = time.monotonic(), 0.0, notebook.cell()
        while (state := self.state) in ("starting", "running"):
            seconds = time.monotonic() - began
            if timeout is not None and seconds > timeout:
                raise TimeoutError(f"{self.name} is {state} still, after {timeout:g} s")
            if show is not None and seconds - shown > SHOW_S and (sweep := self._newest()) is not None:
                show(sweep.live_view())
                shown = seconds
            time.sleep(POLL_S)
        code = None if self._process is None else self._process.wait()
        if code == 2:
            raise InputError(self._last_words())
        if code is None and state in ("failed", "interrupted"):
            reason = self.sweep.status.reason
            raise self._early(state, None if state == reason else reason, None)
        if code and self._newest() is None:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise RuntimeError(
                f"{self.name}: its process ended before it was a sweep ({how}): {self._last_words()}; launch it again"
            )
        if code:
            number = SIGNALLED.get(code, -code if code < 0 else None)
            raise self._early(state, None if number else self._last_words(), number)
        return self.sweep

    def stop(self, timeout: float = 60.0) -> Stopped | None:
        """Stop it: its trials are saved, and `fersweep.resume` goes on with it. Waits up to `timeout` seconds.

        Returns what became of it; None where it had not begun: then there is no sweep.
        """
        from fersweep.cluster.stop import stop

        while self.state == "starting" and self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                break
        sweep = self._newest()
        stopped = None if sweep is None else stop(sweep.directory, say, timeout)
        if stopped is not None and stopped.state != "running" and self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                say(f"{self.name}: its process, {self.pid}, has not ended yet: it brings MLflow level")
        return stopped

    def _begun(self, sweep: Sweep) -> bool:
        """Whether the process has taken the sweep over, where it was there before."""
        return sweep.name != self.name or sweep.num_sessions > self._sessions

    def _newest(self) -> Sweep | None:
        names = [name for name in (self._following, self.name) if name is not None]
        directories = [self.directory.with_name(name) for name in names]
        return next((Sweep(one) for one in directories if (one / "sweep.json").is_file()), None)

    def _early(self, state: str, error: str | None, number: int | None) -> EndedEarly:
        newest = self._newest()
        directory = self.directory if newest is None else newest.directory
        kind = ended_by(number) if error is None else SweepFailed
        return kind(directory, state, error, number, address=self._address)

    def _last_words(self) -> str:
        """The line with which its process ended."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError as error:
            return f"{self.log}: {error.strerror}"
        own = [line.removeprefix("fersweep: ") for line in lines if line.startswith("fersweep: ")]
        return (own or lines or ["it said nothing"])[-1]

    def __repr__(self) -> str:
        pid = "" if self.pid is None else f", process {self.pid}"
        return f"<sweep {self.name}: {self.state}{pid}; .wait(), .state, .stop(), .sweep>"


def attach(name: str, *, home: Place | None = None) -> Running:
    """The handle of a sweep that another process runs, such as one that a kernel before this one launched.

    Raises InputError where there is no sweep `name`.
    """
    return Running(open_sweep(name, home=home).directory)


def start(
    recipe: Place | Mapping[str, Any] | SweepFile,
    data: Any,
    *,
    home: Place | None,
    address: str | None,
    resume: bool,
    **options: Any,
) -> Running:
    """Launch a sweep in a process of its own. Raises InputError for what can be checked at once."""
    from fersweep.cluster.launch import check_quickly

    quiet_process()
    sweep, place, where = asked_sweep(recipe, **options), wanted_data(data, home), home_of(home)
    directory = where / "sweeps" / sweep.name
    sessions = Sweep(directory).num_sessions if resume and (directory / "sweep.json").is_file() else 0
    if not (resume and directory.exists()):
        check_quickly(sweep, place, where)
    elif is_held(directory / LOCK):
        raise InputError(f"{directory}: {DRIVEN}")
    own = background_place(directory)
    own.mkdir(parents=True, exist_ok=True)
    with _alone(own, directory) as held:
        command = ["launch", *_arguments(recipe, sweep, own, options), "--data", place, "--home", str(where)]
        command += [*(["--address", address] if address else []), *(["--resume"] if resume else [])]
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                module_command("fersweep", *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment(), LAUNCHED_AT: str(own.absolute())},
                start_new_session=True,  # neither the kernel's end nor its interrupts reach it
                pass_fds=[held],
            )
        os.write(held, str(process.pid).encode())
    _processes[:] = [one for one in _processes if one.poll() is None]
    _processes.append(process)
    following = sweep.following.name if sweep.following else None
    return Running(directory, process, sessions, following, address)


@contextmanager
def _alone(own: Path, directory: Path) -> Iterator[int]:
    """A file whose lock is that of the process that gets it, until that ends. InputError where another one has it."""
    with (own / LAUNCHING).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            about = begun(directory.parents[1], directory.name) or [DRIVEN]
            raise InputError(f"{directory}: {about[0]}") from None
        file.truncate(0)
        yield file.fileno()


def _arguments(recipe: Any, sweep: SweepFile, own: Path, options: Mapping[str, Any]) -> list[str]:
    """The sweep, as the command line takes it: as it was named, or, of a mapping, the resolved file."""
    from fersweep.cluster.jobs.submission import write_sweep

    if isinstance(recipe, Mapping) or recipe is sweep or not isinstance(recipe, str | Path):
        write_sweep(sweep, own / "sweep.yaml")
        return [str(own / "sweep.yaml")]
    flags = {"name": "--name", "trials": "--trials", "max_epochs": "--max-epochs"}
    given = [[flag, str(options[key])] for key, flag in flags.items() if options.get(key) is not None]
    sets = [["--set", override] for override in as_options(options.get("overrides"))]
    return [str(recipe), *(part for pair in (*given, *sets) for part in pair)]
