"""Target `ssh`: hosts that ssh reaches, e.g. machines on premises. cluster.sh starts Ray on them; ray.yaml is for `ray up`."""

from __future__ import annotations

import hashlib
import shlex

from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.cluster.launchers.templates import fill
from fersweep.common.errors import InputError

SUMMARY = "hosts that ssh reaches: a script that starts Ray on them, and YAML for `ray up`"
NEXT = "{{ (out ~ '/cluster.sh') | shell }} up"
LONGEST = 14  # characters of its name: 34 with /tmp, a user's id and /ray, and Ray adds up to 73 for its sockets


def render(cluster: ClusterFile) -> dict[str, str]:
    if cluster.ssh is None:
        raise InputError("the target ssh wants hosts, e.g. ssh: {hosts: [user@10.0.0.1], path: /shared/fersweep}")
    hosts = cluster.ssh.hosts
    cpus = [cluster.cpus if host.cpus is None else host.cpus for host in hosts]
    gpus = [cluster.gpus if host.gpus is None else host.gpus for host in hosts]
    temp = temporary_directory(cluster.name)
    python = shlex.quote(cluster.ssh.python)
    of_jobs = f'PATH="$(dirname -- "$(command -v {python})"):$PATH"'  # a job's driver is started as `python3`
    start = f"ulimit -n $(ulimit -Hn); {of_jobs} RAY_AUTH_MODE=token {python} -m ray.scripts.scripts start"
    # Ray's YAML knows one kind of host.
    options = f"--disable-usage-stats --temp-dir={temp}-$(id -u) --num-cpus={min(cpus)} --num-gpus={min(gpus)}"
    of_head = "--dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml"
    return {
        "cluster.sh": fill(
            "ssh/cluster.sh.jinja",
            cluster=cluster,
            hosts=[host.host for host in hosts],
            addresses=[host.address or "" for host in hosts],
            cpus=cpus,
            gpus=gpus,
            temp=temp,
        ),
        "ray.yaml": fill(
            "ssh/ray.yaml.jinja",
            cluster=cluster,
            ips=[host.address or host.host.rpartition("@")[2] for host in hosts],
            user=hosts[0].host.rpartition("@")[0],
            min_workers=min(cluster.min_nodes, len(hosts) - 1),
            head_command=f"{start} --head --port={cluster.port} {of_head} {options}",
            worker_command=f"{start} --address=$RAY_HEAD_IP:{cluster.port} {options}",
        ),
    }


def temporary_directory(name: str) -> str:
    """/tmp/NAME, where a long name is cut and told apart by its checksum."""
    if len(name) <= LONGEST:
        return f"/tmp/{name}"
    return f"/tmp/{name[: LONGEST - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
