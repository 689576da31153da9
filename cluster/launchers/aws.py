"""Target `aws`: Ray's cluster launcher on EC2."""

from __future__ import annotations

import re

from fersweep.cluster.launchers.clouds import Library, ray_up_files, wants_cpus, wants_kind
from fersweep.cluster.launchers.cluster_file import ClusterFile
from fersweep.common.errors import InputError

SUMMARY = "EC2 by Ray's launcher (`ray up`): workers from none to `nodes`"
NEXT = "fersweep cluster up {{ out | shell }}  (the first lines of its ray.yaml say what comes before)"

AMI = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
KINDS = {
    "g4dn.": "T4",
    "g5.": "A10G",
    "g6.": "L4",
    "g6e.": "L40S",
    "p3.": "V100",
    "p4d.": "A100",
    "p4de.": "A100",
    "p5.": "H100",
    "p5en.": "H200",
}  # of GPUs, by Ray's names


def render(cluster: ClusterFile) -> dict[str, str]:
    """Raises InputError where machines could not start, or could not reach their bucket."""
    if cluster.aws.ami is None:
        raise InputError(
            "aws: aws.ami is missing: Ray's own default is Ubuntu 18.04, too old for the driver; the newest that fits: "
            f"aws ssm get-parameter --region {cluster.aws.region} --name {AMI} --query Parameter.Value --output text"
        )
    if cluster.aws.instance_profile is None:
        raise InputError(
            "aws: aws.instance_profile is missing: the rights by which the head starts workers, and all use the bucket "
            "(docs/how-to/aws.md says which)"
        )
    machine = cluster.aws.worker_instance
    size = re.fullmatch(r"[a-z0-9-]+\.(\d*)xlarge", machine)
    wants_cpus(cluster, "aws", machine, 4 * int(size[1] or 1) if size else None)
    wants_kind(cluster, "aws", machine, KINDS)
    return ray_up_files(cluster, "aws", Library("boto3", "boto3"))
