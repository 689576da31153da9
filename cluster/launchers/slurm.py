"""Target `slurm`: one batch script, a Ray cluster within its job, one sweep. No job arrays: trials are Ray's."""

from __future__ import annotations

from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.cluster.launchers.templates import fill

SUMMARY = "a batch script for `sbatch`: Ray and one sweep in a job, requeued at its time limit"
NEXT = "sbatch {{ (out ~ '/job.sh') | shell }}"


def render(cluster: ClusterFile) -> dict[str, str]:
    gpus = [cluster.slurm.gpu_type, str(cluster.gpus)] if cluster.slurm.gpu_type else [str(cluster.gpus)]
    minutes = round(cluster.max_hours * 60) if cluster.max_hours else 0
    script = fill(
        "slurm/job.sh.jinja",
        cluster=cluster,
        memory_mb=round(cluster.memory_gb * 1024),
        gpus_per_node=":".join(gpus) if cluster.gpus else "",
        time_limit=f"{minutes // 60}:{minutes % 60:02}:00" if minutes else "",
        min_nodes=max(1, cluster.min_nodes),
        # A tenth of what the job has: Ray itself would take a third of the machine, whosever it is.
        object_store_bytes=max(200 * 2**20, round(cluster.memory_gb * 2**30 / 10)),
    )
    return {"job.sh": script}
