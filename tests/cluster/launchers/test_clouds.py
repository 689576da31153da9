"""What the targets of clouds write, against what their owners take: Ray's own validation, KubeRay's fields, SkyPilot's tasks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fersweep.cluster import launchers
from fersweep.cluster.launchers.cluster_file import MAX_NAME, ClusterFile
from fersweep.common.errors import InputError
from tests.processes import ROOT

CLOUD = {
    "name": "fer",
    "nodes": 4,
    "gpus": 1,
    "cpus": 8,
    "memory_gb": 32,
    "accelerator": "A100",
    "spot": True,
    "min_nodes": 1,
    "run": "blendshape_lstm --data s3://bucket/fer2013",
    "storage": "s3://bucket/sweeps",
    "image": "registry.example/fersweep:1",
    "aws": {"ami": "ami-0123456789abcdef0", "instance_profile": "fersweep", "worker_instance": "p4d.24xlarge"},
    "gcp": {"project": "my-project", "worker_instance": "a2-highgpu-1g"},
}
LOCAL = {"run": "cnn --data /shared/fer2013 --home /shared/runs", "storage": None}
OF_TARGET: dict[str, dict[str, Any]] = {"docker": LOCAL, "ssh": {"ssh": {"hosts": ["u@h1", "u@h2"], "path": "/shared"}}}
CLOUDS = ("sky", "aws", "gcp", "kuberay", "docker")


def render(target: str, **changes: Any) -> dict[str, str]:
    cluster = ClusterFile.model_validate({**CLOUD, **OF_TARGET.get(target, {}), **changes})
    return launchers.load(target).render(cluster)


def read(target: str, file: str, **changes: Any) -> dict[str, Any]:
    return yaml.safe_load(render(target, **changes)[file])


# What KubeRay 1.6 and 1.7 have in ray.io/v1 (ray-operator/config/crd/bases): all fields of these, so that a wrong one is found.
KUBERAY = {
    "RayJob": "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus entrypointNumGpus "
    "entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec runtimeEnvYAML shutdownAfterJobFinishes "
    "submissionMode submitterConfig submitterPodTemplate suspend ttlSecondsAfterFinished",
    "RayCluster": "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec headServiceAnnotations "
    "managedBy rayVersion suspend upgradeStrategy workerGroupSpecs",
    "autoscalerOptions": "env envFrom idleTimeoutSeconds image imagePullPolicy resources securityContext upscalingMode version volumeMounts",
    "headGroupSpec": "enableIngress headService labels rayStartParams resources serviceType template",
    "workerGroupSpec": "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts priority rayStartParams replicas resources "
    "scaleStrategy suspend template",
    "pod": "affinity containers securityContext tolerations volumes",  # of many
    "container": "envFrom image name ports resources volumeMounts",  # of many
}
MAX_RAYJOB = 47  # characters of a RayJob's name (MaxRayJobNameLength)


def known(kind: str, given: dict[str, Any]) -> None:
    assert set(given) <= set(KUBERAY[kind].split()), f"{kind}: {set(given) - set(KUBERAY[kind].split())}"


@pytest.mark.parametrize("spot", [True, False])
@pytest.mark.parametrize("claim", [None, "faces"])
def test_kuberay_knows_every_field(spot: bool, claim: str | None) -> None:
    changes: dict[str, Any] = {"spot": spot, "kubernetes": {"claim": claim, "secret": "keys", "namespace": "ml"}}
    changes |= LOCAL if claim else {}
    job = read("kuberay", "rayjob.yaml", **changes)
    cluster = read("kuberay", "raycluster.yaml", **changes)
    assert (job["apiVersion"], job["kind"], cluster["kind"]) == ("ray.io/v1", "RayJob", "RayCluster")
    assert job["metadata"] == cluster["metadata"] == {"name": "fer", "namespace": "ml"}
    assert MAX_NAME <= MAX_RAYJOB
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    known("RayJob", job["spec"])
    known("RayCluster", cluster["spec"])
    known("autoscalerOptions", cluster["spec"]["autoscalerOptions"])
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"][0]
    known("headGroupSpec", head)
    known("workerGroupSpec", workers)
    for group in (head, workers):
        assert group["rayStartParams"] == {}
        assert all(isinstance(value, str) for value in group["resources"].values())
        pod = group["template"]["spec"]
        known("pod", pod)
        (container,) = pod["containers"]
        known("container", container)
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
        if claim:
            assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "faces"}}]
            assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]


def test_a_rayjob_starts_or_goes_on_and_leaves_nothing_behind() -> None:
    spec = read("kuberay", "rayjob.yaml")["spec"]
    assert spec["entrypoint"].split()[:5] == ["python", "-m", "fersweep", "launch", "blendshape_lstm"]
    assert spec["entrypoint"].endswith(
        "--set storage=s3://bucket/sweeps --home /tmp/fersweep/runs --resume --address 127.0.0.1:6379"
    )
    assert not re.search(r"[;&|`$<>(){}\n'\"\\*?~#!]", spec["entrypoint"]), "it passes two shells"
    assert spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["preRunningDeadlineSeconds"] > 0
    assert spec["backoffLimit"] > 0
    assert spec["activeDeadlineSeconds"] == 24 * 3600
    assert "activeDeadlineSeconds" not in read("kuberay", "rayjob.yaml", max_hours=None)["spec"]
    assert spec["submissionMode"] == "SidecarMode"
    assert not {"submitterConfig", "submitterPodTemplate"} & set(spec), "KubeRay refuses them in this mode"
    assert "RAY_JOB_STOP_WAIT_TIME_S" in yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    workers = cluster["workerGroupSpecs"][0]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (1, 4)
    assert workers["resources"] == {"accelerator_type:A100": "1"}
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert list(render("kuberay", run=None)) == ["raycluster.yaml"]


def test_no_driver_on_a_spot_machine() -> None:
    head = read("kuberay", "raycluster.yaml")["spec"]["headGroupSpec"]
    assert head["resources"] == {"CPU": "0"}
    terms = head["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = terms["nodeSelectorTerms"]
    assert {rule["operator"] for rule in term["matchExpressions"]} == {"NotIn"}
    for target, key in (("aws", "InstanceMarketOptions"), ("gcp", "scheduling")):
        types = read(target, "ray.yaml")["available_node_types"]
        assert key not in types["head"]["node_config"]
        assert key in types["worker"]["node_config"]
        assert types["head"]["resources"] == {"CPU": 0}, "no trial beside the driver"
        assert (
            key
            not in read(target, "ray.yaml", spot=False, gpus=0, accelerator=None)["available_node_types"]["worker"][
                "node_config"
            ]
        )


@pytest.mark.parametrize("image", [None, CLOUD["image"]])
@pytest.mark.parametrize("target", ["aws", "gcp", "ssh"])
def test_ray_takes_the_yaml(target: str, image: str | None) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    given = read(target, "ray.yaml", image=image)
    config = prepare_config(given)
    validate_config(config)
    assert "ray-wheels" not in json.dumps(config), "Ray's defaults install a nightly wheel"
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in start for start in starts if start != "ray stop")
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])
    assert any(path.endswith(".ray/auth_token") for path in config["file_mounts"])
    if target == "ssh":
        return
    assert config["provider"]["cache_stopped_nodes"] is False
    assert config["idle_timeout_minutes"] == 10
    worker = config["available_node_types"]["worker"]
    assert (worker["min_workers"], worker["max_workers"], config["max_workers"]) == (1, 4, 4)
    assert worker["resources"] == {"CPU": 8, "GPU": 1, "accelerator_type:A100": 1}
    kept = re.findall(r"'(?:DeleteOnTermination|autoDelete)': (\w+)", str(config))
    assert kept == ["True", "True"], "disks go with their machines"
    assert bool(config["setup_commands"]) == (image is None)


def test_a_wrong_field_of_ray_is_found() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="idle_timeout"):
        validate_config(prepare_config(read("aws", "ray.yaml") | {"idle_timeout": 1}))


def test_the_gpu_of_a_google_machine() -> None:
    def worker(machine: str, kind: str) -> dict[str, Any]:
        changes = {"gcp": {"project": "p", "worker_instance": machine}, "accelerator": kind, "gpus": 2}
        return read("gcp", "ray.yaml", **changes)["available_node_types"]["worker"]["node_config"]

    attached = worker("n1-standard-8", "T4")["guestAccelerators"]
    assert attached == [{"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 2}]
    assert "guestAccelerators" not in worker("g2-standard-24", "L4")
    assert isinstance(worker("g2-standard-24", "L4")["scheduling"], dict), (
        "Ray's own examples have a list, which is wrong"
    )


def test_a_sky_task_has_a_ray_of_its_own(tmp_path: Path) -> None:
    task = read("sky", "sky.yaml")
    assert task["resources"]["accelerators"] == "A100:1"
    assert task["resources"]["use_spot"] is True
    assert task["resources"]["image_id"] == "docker:registry.example/fersweep:1"
    assert task["secrets"] == {"RAY_AUTH_TOKEN": None}
    assert "autostop" not in task["resources"], "a managed job ends its machines"
    assert read("sky", "sky.yaml", spot=False)["resources"]["autostop"] == {"idle_minutes": 10, "down": True}
    assert "--port=6379" in task["run"]
    assert "6380" not in task["run"]
    assert '--resume --address "$head:6379"' in task["run"]
    assert "ray stop" not in task["run"]
    assert "auto" not in task["run"].split("--address")[-1]
    for image in (None, CLOUD["image"]):
        task = read("sky", "sky.yaml", image=image)
        for part in {"setup", "run"} & set(task):
            (tmp_path / part).write_text(f"#!/bin/bash\n{task[part]}")
            subprocess.run(["bash", "-n", tmp_path / part], check=True)
            if shutil.which("shellcheck"):
                checked = subprocess.run(["shellcheck", tmp_path / part], capture_output=True, text=True, check=False)
                assert checked.returncode == 0, checked.stdout


@pytest.mark.clusters
@pytest.mark.parametrize("image", [None, CLOUD["image"]])
@pytest.mark.parametrize("spot", [True, False])
def test_skypilot_takes_the_task(spot: bool, image: str | None, tmp_path: Path) -> None:
    """SkyPilot wants a Python of its own: FERSWEEP_SKY names one that has it."""
    python = os.environ.get("FERSWEEP_SKY")
    if python is None:
        pytest.skip(
            "FERSWEEP_SKY names no Python with SkyPilot (uv venv sky; uv pip install --python sky/bin/python skypilot)"
        )
    for name, text in render("sky", spot=spot, image=image).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    program = (
        "import sky; task = sky.Task.from_yaml('sky.yaml'); resources = list(task.resources)[0]\n"
        "print(task.num_nodes, resources.use_spot, resources.accelerators, [ref.name for ref in task.managed_secret_refs])\n"
        "from sky.data.storage_utils import get_excluded_files\n"
        "print(get_excluded_files('code') if task.workdir else [])"
    )
    if image is None:
        (tmp_path / "code" / ".gitignore").write_text("*")  # as `uv build` does
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(
        [python, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    what, excluded = done.stdout.splitlines()[-2:]
    assert what == f"4 {spot} {{'A100': 1}} ['RAY_AUTH_TOKEN']"
    assert excluded == ("[]" if image else "['.gitignore']"), "Sky brings the code to its machines"


def test_every_source_of_the_image_is_in_the_repository() -> None:
    files = render("docker")
    lines = files["Dockerfile"].replace("\\\n", " ").splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert {"pyproject.toml", "requirements.lock", "fersweep", "cluster"} <= set(copied)
    let_in = {line[1:] for line in files["Dockerfile.dockerignore"].splitlines() if line.startswith("!")}
    assert let_in == set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
    linked = {path.name for path in (ROOT / "fersweep").iterdir() if path.is_symlink()}
    assert linked <= set(copied), "a room is missing"
    instructions = [line.split()[0] for line in lines if line and not line.startswith((" ", "#"))]
    assert set(instructions) <= {"FROM", "ARG", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"}
    assert instructions.index("USER") > max(place for place, name in enumerate(instructions) if name in ("RUN", "COPY"))
    assert "USER root" not in lines
    assert "sha256sum --check" in files["Dockerfile"]
    for command in (line for line in lines if line.startswith("RUN ")):
        subprocess.run(["bash", "-n", "-c", command.removeprefix("RUN ")], check=True)


def test_a_compose_file_fills_in_nothing_of_a_name() -> None:
    run = "cnn --data '/shared/$HOME of ${SECRET}' --home /shared/runs"
    service = read("docker", "compose.yaml", run=run)["services"]["sweep"]
    assert "/shared/$$HOME of $${SECRET}" in service["command"]
    assert [volume["target"] for volume in service["volumes"]] == ["/shared/$$HOME of $${SECRET}", "/shared/runs"]
    assert [volume["read_only"] for volume in service["volumes"]] == [True, False]
    assert all("=" not in variable for variable in service["environment"]), (
        "names alone: values come from the environment"
    )
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 1
    assert "deploy" not in read("docker", "compose.yaml", gpus=0, accelerator=None)["services"]["sweep"]


HOSTILE = "x'y\"z $(touch PWNED) `touch PWNED`; touch PWNED"


@pytest.mark.parametrize("target", ["sky", "aws", "gcp", "docker"])
def test_a_hostile_sweep_name_stays_a_word(target: str, tmp_path: Path) -> None:
    place = "/shared/d" if target == "docker" else "s3://bucket/d"
    quoted = "'" + HOSTILE.replace("'", "'\\''") + "'"
    texts = render(target, run=f"cnn --data {place} --home /tmp/runs --name {quoted}")
    if target == "docker":
        words = yaml.safe_load(texts["compose.yaml"])["services"]["sweep"]["command"]
        assert HOSTILE.replace("$", "$$") in words, "no shell reads it, and Compose fills nothing in"
        return
    if target == "sky":
        command = yaml.safe_load(texts["sky.yaml"])["run"].splitlines()[-1]
    else:
        command = next(line[1:] for line in texts["ray.yaml"].splitlines() if "cluster submit" in line)
    echoed = f'python() {{ printf "%s\\n" "$@"; }}; fersweep() {{ python "$@"; }}; head=h; {command}'
    done = subprocess.run(["bash", "-c", echoed], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert HOSTILE in done.stdout.splitlines()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("kuberay", {"image": None}, "image is missing"),
        ("kuberay", {"port": 6390}, "KubeRay takes 6379; leave it out"),
        ("kuberay", {"storage": None}, "storage: null: what lies on these machines goes with them; give a volume"),
        ("kuberay", {"run": "cnn --data /shared/f"}, "--data /shared/f: these machines share no directory"),
        ("kuberay", {"run": "cnn --data s3://b/f --set 'a=[1, 2]'"}, "'a=[1, 2]' passes two shells"),
        ("kuberay", {"run": "cnn --data s3://b/f --name 'a;b'"}, "belongs into a sweep file"),
        ("kuberay", {"kubernetes": {"secret": "My_Keys"}}, "kubernetes.secret: 'My_Keys' is no name in Kubernetes"),
        ("kuberay", {"kubernetes": {"claim": "c"}, "run": "cnn --data /a/f --home /b/r"}, "is mounted at one place"),
        ("kuberay", {"kubernetes": {"claim": "c"}, "run": "cnn --data /home/f"}, "/home of the image would be hidden"),
        (
            "kuberay",
            {"kubernetes": {"claim": "c"}, "run": "cnn --data /shared/f", "storage": None},
            "without --home or storage",
        ),
        ("aws", {"aws": {"instance_profile": "p"}}, "aws.ami is missing"),
        ("aws", {"aws": {"ami": "ami-1"}}, "aws.instance_profile is missing"),
        ("aws", {"aws": {"ami": "a", "instance_profile": "p"}}, "accelerator: A100: g6.2xlarge has L4"),
        ("gcp", {"accelerator": "V100"}, "V100 is too old for the locked torch"),
        ("gcp", {"accelerator": "L4"}, "accelerator: L4: a2-highgpu-1g has A100"),
        ("aws", {"cpus": 100}, "cpus: 100: a p4d.24xlarge has 96"),
        ("aws", {"storage": "/shared/sweeps"}, "storage: /shared/sweeps: what lies on these machines goes with them"),
        (
            "aws",
            {"run": "cnn --data s3://b/f --home /shared/runs"},
            "--home /shared/runs: these machines share no directory",
        ),
        ("aws", {"port": 8265}, "port: 8265 is used for something else there"),
        ("gcp", {"gcp": None}, "gcp.project is missing"),
        ("gcp", {"gcp": {"project": "p", "worker_instance": "e2-standard-8"}}, "e2-standard-8 has no GPU"),
        ("gcp", {"gcp": {"project": "p"}}, "accelerator: A100: to n1-standard-8 a T4 is attached"),
        ("sky", {"accelerator": None}, "Sky finds machines by the kind of GPU"),
        ("sky", {"run": None}, "the cluster file has no `run`"),
        ("sky", {"port": 6380}, "port: 6380 is used for something else there"),
        ("sky", {"run": "cnn --data /shared/f"}, "--data /shared/f: these machines share no directory"),
        ("docker", {"run": "cnn --data /shared/f"}, "--home is missing"),
        ("docker", {"run": "cnn --data f --home /shared/r"}, "run: --data: f: must be an absolute path"),
    ],
)
def test_what_a_target_cannot_do_is_said(target: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        render(target, **changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith((f"{target}: ", "the cluster file has no"))


def test_places_that_share_directories_may_use_them() -> None:
    shared = {"run": "cnn --data /shared/f --home /shared/r", "storage": None, "sky": {"infra": "slurm/mycluster"}}
    assert "--data /shared/f" in render("sky", **shared)["sky.yaml"]


@pytest.mark.parametrize("target", CLOUDS)
def test_no_rendered_file_names_a_package_registry_or_a_credential(target: str) -> None:
    for image in (None, CLOUD["image"]):
        if target == "kuberay" and image is None:
            continue
        text = "\n".join(render(target, image=image).values())
        assert not re.search(r"pypi\.org|pythonhosted|index-url|wheels", text)
        assert not re.search(r"(?i)(password|secret_access_key|token) ?[:=] ?['\"]?[a-z0-9/+]{8}", text)
