"""Ray clusters of several nodes on this machine's loopback address, whose nodes can be lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ray.util import get_node_ip_address

from tests.processes import below, kill_all
from tests.servers import free_port

ENVIRONMENT = {  # for the driver too
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_AUTH_MODE": "disabled",
    "RAY_prestart_worker_first_driver": "0",
}
RAY = str(Path(sys.executable).with_name("ray"))


class Cluster:
    """A head; `add` brings further nodes. Each node has `num_cpus` CPUs, and logical GPUs. Use as a context manager."""

    def __init__(self, directory: Path, num_cpus: int = 1, num_gpus: int = 0):
        self.num_cpus, self.num_gpus = num_cpus, num_gpus
        self.address = f"127.0.0.1:{free_port()}"
        self._log = (directory / "ray.log").open("ab")
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.wrap: list[str] = []  # a command that runs the next nodes, e.g. in a namespace

    def __enter__(self) -> Cluster:
        self._start("--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false")
        return self

    def add(self) -> subprocess.Popen[bytes]:
        return self._start(f"--address={self.address}")

    def _start(
        self,
        *arguments: str,
        ip: str | None = "127.0.0.1",
        environment: dict[str, str] | None = None,
        runs_it: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        command = [
            *self.wrap,
            *runs_it,
            RAY,
            "start",
            *arguments,
            *([f"--node-ip-address={ip}"] if ip else []),
            f"--num-cpus={self.num_cpus}",
            f"--num-gpus={self.num_gpus}",
            "--disable-usage-stats",
            "--include-log-monitor=false",
            "--block",
        ]
        environment = {**os.environ, **ENVIRONMENT, **(environment or {})}
        environment.pop("CUDA_VISIBLE_DEVICES", None)  # it hides logical GPUs, too
        node = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=environment, start_new_session=True)
        self.nodes.append(node)
        deadline = time.monotonic() + 60
        while not below(node.pid, "raylet/raylet"):
            assert time.monotonic() < deadline
            assert node.poll() is None, "ray start failed"
            time.sleep(0.2)
        time.sleep(1)
        return node

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Pull the plug: every process of the node is killed."""
        kill_all(node)
        self.nodes.remove(node)

    def __exit__(self, *exception: object) -> None:
        for node in list(self.nodes):
            self.lose(node)
        self._log.close()


NO_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)
HEAD_ID = "f" * 51 + "00000"  # as Ray's fake provider names its head


class AutoscalingCluster(Cluster):
    """A head without CPUs, whose autoscaler adds up to `most` nodes of one CPU and one logical GPU, as processes of Ray's fake
    provider on this machine. (`ray.cluster_utils.AutoscalingCluster` reads a file that Ray's wheel lacks, and stops every
    Ray of the machine.)
    """

    def __init__(self, directory: Path, most: int = 2):
        super().__init__(directory, num_cpus=0)
        self._config = directory / "autoscaler.json"
        port = self.address.rpartition(":")[2]
        self.address = f"{get_node_ip_address()}:{port}"
        provider = {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
            "gcs_address": self.address,
        }
        kinds = {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
        }
        content = {
            "cluster_name": "fake",
            "max_workers": most,
            "upscaling_speed": 100.0,
            "idle_timeout_minutes": 0.1,
            "provider": provider,
            "head_node_type": "ray.head.default",
            "available_node_types": kinds,
            **{key: {} for key in ("auth", "docker", "file_mounts")},
            **{key: [] for key in NO_COMMANDS},
        }
        self._config.write_text(json.dumps(content))

    def __enter__(self) -> Cluster:
        port = self.address.rpartition(":")[2]
        environment = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        }
        options = (f"--port={port}", "--include-dashboard=false", f"--autoscaling-config={self._config}")
        self._start("--head", *options, ip=None, environment=environment)
        return self
