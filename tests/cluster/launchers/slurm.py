"""A Slurm of its own on this machine, as processes of the test: munged, slurmctld and two slurmd, all below one directory.
Needs root, and Debian's slurm-wlm and munge. No cgroups, no accounting.

cred_expire: how long a requeued job waits; two minutes by default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.processes import wait_until
from tests.servers import free_port

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch")
PATHS = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CONFIG = """
ClusterName=test
FirstJobId={first_job}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
KillWait=5
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs={cpus} RealMemory=8000 Gres=gpu:1 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs={cpus} RealMemory=8000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why Slurm cannot be started here; None where it can."""
    if os.geteuid() != 0:
        return "slurmd wants root"
    lacking = [tool for tool in TOOLS if shutil.which(tool, path=PATHS) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


class Slurm:
    """Two nodes of one logical GPU each. `run` calls its commands. Use as a context manager.

    Jobs run below `directory`/jobs, which is their home, too.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self.jobs = directory / "jobs"
        self.environment = {**os.environ, "PATH": PATHS, "SLURM_CONF": str(directory / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._submitted: list[str] = []

    def __enter__(self) -> Slurm:
        directory = self._directory
        for name in ("state", "spool-node1", "spool-node2", "jobs"):
            (directory / name).mkdir(parents=True)
        config = CONFIG.format(
            directory=directory,
            host=os.uname().nodename,
            cpus=os.cpu_count(),
            first_job=1000 + os.getpid() % 60000,  # another test's jobs have other ports, and other places in /tmp
            controller_port=free_port(),
            port_1=free_port(),
            port_2=free_port(),
        )
        (directory / "slurm.conf").write_text(config)
        (directory / "gres.conf").write_text("NodeName=node[1-2] Name=gpu File=/dev/null\n")
        (directory / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={directory}/cgroup\n")
        key = directory / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        files = {name: directory / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        options = [f"--{name}={path}" if name == "socket" else f"--{name}-file={path}" for name, path in files.items()]
        self._start("munged", "--foreground", "--force", f"--key-file={key}", *options)
        wait_until(files["socket"].exists, self._daemons[-1], timeout_s=20)
        self._start("slurmctld", "-D", "-f", directory / "slurm.conf")
        for name in ("node1", "node2"):
            self._start("slurmd", "-D", "-N", name, "-f", directory / "slurm.conf")
        try:
            wait_until(lambda: self.run("sinfo", "-h", "-o", "%t %D") == "idle 2", self._daemons[-1], timeout_s=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, *command: object) -> None:
        log = (self._directory / "daemons.log").open("ab")
        with log:
            self._daemons.append(
                subprocess.Popen(
                    [str(word) for word in command],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    env=self.environment,
                    start_new_session=True,
                )
            )

    def run(self, *command: object) -> str:
        """Call one of Slurm's commands → its output."""
        call = [str(word) for word in command]
        done = subprocess.run(call, env=self.environment, cwd=self.jobs, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()

    def submit(self, script: Path) -> str:
        """→ the job's number."""
        said = self.run("sbatch", script)
        assert said.startswith("Submitted batch job"), said
        self._submitted.append(said.split()[-1])
        return self._submitted[-1]

    def state(self, job: str) -> str:
        """E.g. PENDING, RUNNING, COMPLETED."""
        fields = dict(word.partition("=")[::2] for word in self.run("scontrol", "show", "job", job).split())
        return fields.get("JobState", "")

    def __exit__(self, *exception: object) -> None:
        self.run("scancel", "--user=root")
        wait_until(lambda: not self.run("squeue", "-h"), timeout_s=60)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait()
        for left in (path for job in self._submitted for path in Path("/tmp").glob(f"ray-{job}-*")):
            shutil.rmtree(left)
