"""Hosts on this machine: each a network, process, mount and host name of its own, with sshd. Needs root, and iproute2.

They share one directory, have a /tmp and a /root/.ray of their own, and are ended, or cut off, like machines.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.processes import ROOT, wait_until

TOOLS = ("ip", "unshare", "sshd", "ssh", "ssh-keygen")
PATHS = f"{os.environ['PATH']}:/usr/sbin:/sbin"
SSHD = """
HostKey {directory}/key
AuthorizedKeysFile {directory}/key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
SetEnv {environment}
"""
QUICK = {  # a host that is cut off is lost within two seconds
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}
BOOT = """
hostname {name}
mount --bind {shared} /mnt
mount -t tmpfs tmpfs /tmp
mkdir -p {shared} /run/sshd
mount --move /mnt {shared}
mount --bind {shared}/{name} /root/.ray
exec {sshd} -D -E {shared}/{name}/sshd.log -f {shared}/sshd_config
"""


def missing() -> str | None:
    """Why hosts cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces want root"
    lacking = [tool for tool in TOOLS if shutil.which(tool, path=PATHS) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


class Network:
    """A bridge with hosts h1, h2, … at 10.X.Y.1, .2, …; this machine is at .254. Use as a context manager.

    shared: a directory below /tmp that all hosts see at its own path. environment: of each login.
    """

    def __init__(self, shared: Path, environment: dict[str, str]):
        tag = os.getpid() % 65536
        self.shared, self._tag = shared, f"{tag:x}"
        self._prefix = f"10.{tag >> 8 or 255}.{tag & 255}"
        self._hosts: dict[int, subprocess.Popen[bytes]] = {}
        ours = {
            "PYTHONPATH": str(ROOT),
            "FERSWEEP_TRAINABLES": os.environ["FERSWEEP_TRAINABLES"],
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",
            **QUICK,
            **environment,
        }
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", shared / "key"], check=True)
        pairs = " ".join(f'{name}="{value}"' for name, value in ours.items())
        (shared / "sshd_config").write_text(SSHD.format(directory=shared, environment=pairs))
        (shared / "ssh_config").write_text("StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n")
        self.bin = shared / "bin"  # first in PATH: ssh with the test's key
        self.bin.mkdir()
        wrapper = self.bin / "ssh"
        real = shutil.which("ssh")
        wrapper.write_text(f'#!/bin/sh\nexec {real} -F {shared}/ssh_config -i {shared}/key -l root "$@"\n')
        wrapper.chmod(0o755)

    def __enter__(self) -> Network:
        _ip(f"link add fsb{self._tag} type bridge")
        _ip(f"addr add {self._prefix}.254/24 dev fsb{self._tag}")
        _ip(f"link set fsb{self._tag} up")
        return self

    def address(self, number: int) -> str:
        return f"{self._prefix}.{number}"

    def boot(self, number: int) -> None:
        name, space = f"h{number}", f"fs{self._tag}-{number}"
        _ip(f"netns add {space}")
        _ip(f"link add {self._cable(number)} type veth peer name eth0 netns {space}")
        _ip(f"link set {self._cable(number)} master fsb{self._tag} up")
        _ip(f"-n {space} addr add {self.address(number)}/24 dev eth0")
        _ip(f"-n {space} link set eth0 up")
        _ip(f"-n {space} link set lo up")
        (self.shared / name).mkdir(exist_ok=True)
        Path("/root/.ray").mkdir(exist_ok=True)
        script = BOOT.format(name=name, shared=self.shared, sshd=shutil.which("sshd", path=PATHS))
        new = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        self._hosts[number] = subprocess.Popen(["ip", "netns", "exec", space, *new, "bash", "-euc", script])
        wait_until(lambda: self.answers(number), self._hosts[number], timeout_s=30)

    def answers(self, number: int) -> bool:
        call = [self.bin / "ssh", "-o", "ConnectTimeout=2", self.address(number), "true"]
        return subprocess.run(call, capture_output=True, check=False).returncode == 0

    def ssh(self, number: int, command: str) -> subprocess.Popen[str]:
        """A shell's command on a host, its output piped."""
        call = [self.bin / "ssh", self.address(number), command]
        return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def cut_off(self, number: int) -> None:
        _ip(f"link set {self._cable(number)} down")

    def bring_back(self, number: int) -> None:
        _ip(f"link set {self._cable(number)} up")

    def _cable(self, number: int) -> str:
        return f"fsv{self._tag}-{number}"

    def __exit__(self, *exception: object) -> None:
        for number, host in self._hosts.items():
            host.kill()  # unshare, with which all processes of the host end
            host.wait()
            _ip(f"netns del fs{self._tag}-{number}")
        _ip(f"link del fsb{self._tag}")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, env={**os.environ, "PATH": PATHS})
