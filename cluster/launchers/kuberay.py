"""Target `kuberay`: a sweep as a RayJob, and a RayCluster that stays, for the KubeRay operator."""

from __future__ import annotations

import math
import re
from importlib.metadata import version
from pathlib import PurePosixPath

from fersweep.cluster.launchers.clouds import (
    arguments,
    driver,
    is_bucket,
    option,
    plain_words,
    wants_buckets,
)
from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.cluster.launchers.templates import fill
from fersweep.common.errors import InputError

SUMMARY = "Kubernetes by KubeRay: a RayJob for one sweep, a RayCluster for many"
NEXT = "kubectl apply -f {{ (out ~ ('/rayjob.yaml' if cluster.run else '/raycluster.yaml')) | shell }}"

PORT = 6379  # of Ray's head: KubeRay's own
CLAIM_PATH = "/shared"  # where the claim is mounted, if nothing of the file says so
OF_THE_IMAGE = {"bin", "dev", "etc", "home", "lib", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var"}


def render(cluster: ClusterFile) -> dict[str, str]:
    """Raises InputError where the operator would refuse it, or a sweep would be lost with its pods."""
    _check(cluster)
    claim = cluster.kubernetes.claim
    command = driver(cluster, "kuberay", f"127.0.0.1:{PORT}") if cluster.run is not None else None
    values = {
        "cluster": cluster,
        "namespace": cluster.kubernetes.namespace,
        "claim": claim,
        "secret": cluster.kubernetes.secret,
        "mount": _mount(cluster) if claim else None,
        "ray_version": version("ray"),
        "head_memory": _memory(cluster.head.memory_gb),
        "worker_memory": _memory(cluster.memory_gb),
        "deadline_s": math.ceil(cluster.max_hours * 3600) if cluster.max_hours else None,
        "in_bucket": is_bucket(cluster.storage),
        "run": arguments(cluster, "kuberay") if cluster.run is not None else None,
        "entrypoint": plain_words("kuberay", command) if command else None,
    }
    files = {"raycluster.yaml": fill("kuberay/raycluster.yaml.jinja", **values)}
    if command:
        files["rayjob.yaml"] = fill("kuberay/rayjob.yaml.jinja", **values)
    return files


def _check(cluster: ClusterFile) -> None:
    if cluster.image is None:
        raise InputError(
            "kuberay: image is missing: pods run a container image with fersweep in it (target docker makes it)"
        )
    if cluster.port != PORT:
        raise InputError(
            f"kuberay: port: {cluster.port}: a pod has its ports to itself, and KubeRay takes {PORT}; leave it out"
        )
    for key, name in cluster.kubernetes.model_dump().items():
        if name is not None and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name):
            raise InputError(
                f"kuberay: kubernetes.{key}: {name!r} is no name in Kubernetes: small letters, digits, - and ."
            )
    if cluster.kubernetes.claim is None:
        wants_buckets(cluster, "kuberay", "a volume that all pods mount (kubernetes.claim)")
    elif cluster.run is not None and cluster.storage is None and option(cluster, "--home") is None:
        raise InputError(
            "kuberay: run: without --home or storage, sweeps lie on the head's disk, which goes with its pod"
        )


def _mount(cluster: ClusterFile) -> str:
    """The top directory of the paths in the file: all of them must be on the volume."""
    given = {
        "storage": cluster.storage,
        "run: --data": option(cluster, "--data"),
        "run: --home": option(cluster, "--home"),
    }
    tops: dict[str, str] = {}
    for key, path in given.items():
        if path is None or is_bucket(path):
            continue
        parts = PurePosixPath(path).parts
        if parts[0] != "/" or len(parts) < 2:
            raise InputError(
                f"kuberay: {key}: {path}: must be an absolute path below the one where the volume is mounted"
            )
        if parts[1] in OF_THE_IMAGE:
            raise InputError(
                f"kuberay: {key}: {path}: /{parts[1]} of the image would be hidden by the volume; take e.g. {CLAIM_PATH}/…"
            )
        tops[f"/{parts[1]}"] = key
    if len(tops) > 1:
        (one, key), (other, of) = list(tops.items())[:2]
        raise InputError(
            f"kuberay: {key} is below {one}, {of} below {other}: the volume is mounted at one place; use one of them"
        )
    return next(iter(tops), CLAIM_PATH)


def _memory(gb: float) -> str:
    return f"{math.ceil(gb * 1024)}Mi"
