"""Target `docker`: the image that all targets use, and a compose file for one machine."""

from __future__ import annotations

from fersweep.cluster.launchers.clouds import SYSTEM_LIBRARIES, driver, is_bucket, option
from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.cluster.launchers.templates import fill
from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.landmarker_bundle import SHA256

SUMMARY = "the container image of all targets (Dockerfile), and Compose for one machine"
NEXT = "docker build -f {{ (out ~ '/Dockerfile') | shell }} -t {{ (cluster.image or 'fersweep') | shell }} .  (in a checkout of fersweep)"

ROOMS = ["fersweep", "common", "data_pipeline", "trainables", "search_spaces", "results", "cluster"]


def render(cluster: ClusterFile) -> dict[str, str]:
    """Raises InputError where the container would not see what `run` names."""
    values = {"cluster": cluster, "rooms": ROOMS, "libraries": SYSTEM_LIBRARIES, "bundle_sha256": SHA256}
    return {
        "Dockerfile": fill("docker/Dockerfile.jinja", **values),
        "Dockerfile.dockerignore": fill("docker/Dockerfile.dockerignore.jinja", **values),
        "compose.yaml": fill(
            "docker/compose.yaml.jinja",
            cluster=cluster,
            image=cluster.image or "fersweep",
            command=[_for_compose(word) for word in _command(cluster)],
            mounts=[(_for_compose(path), read_only) for path, read_only in _mounts(cluster)],
        ),
    }


def _command(cluster: ClusterFile) -> list[str]:
    """Without a cluster: Ray of the container."""
    return driver(cluster, "docker", "local") if cluster.run is not None else ["fersweep", "demo"]


def _mounts(cluster: ClusterFile) -> list[tuple[str, bool]]:
    """Directories of the machine that the container sees: path, and whether it only reads there."""
    mounts: dict[str, bool] = {}
    for key, path, read_only in (
        ("run: --data", option(cluster, "--data"), True),
        ("run: --home", option(cluster, "--home"), False),
        ("storage", cluster.storage, False),
    ):
        if path is None or is_bucket(path):
            continue
        if not path.startswith("/"):
            raise InputError(
                f"docker: {key}: {path}: must be an absolute path, the same in the container as on this machine"
            )
        mounts[path] = mounts.get(path, True) and read_only
    if cluster.run is not None and option(cluster, "--home") is None and not is_bucket(cluster.storage):
        raise InputError(
            "docker: run: --home is missing: sweeps would lie in the container, and go with it; e.g. --home /shared/runs"
        )
    return list(mounts.items())


def _for_compose(text: str) -> str:
    """Compose fills in what follows a `$`."""
    return text.replace("$", "$$")
