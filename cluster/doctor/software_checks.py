"""Checks of a node's software: versions, and the GPUs as Ray and the frameworks see them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from fersweep.cluster.doctor.findings import Asked, Finding, Software, ok, problem, warning
from fersweep.common.errors import install
from fersweep.common.shipped_code import code_fingerprint
from fersweep.common.versions import installed, own_version

PACKAGES = (
    "ray",
    "torch",
    "tensorflow",
    "keras",
    "numpy",
    "optuna",
    "mlflow",
    "pandas",
    "pyarrow",
    "mediapipe",
    "timm",
)
NEEDED = (
    "ray",
    "numpy",
    "pyarrow",
    "pandas",
)  # on every node; the driver's machine needs more, or it would not be here
SHOWN = ("ray", "torch", "tensorflow", "numpy")
INSTALL = "install there what the driver's machine has (in a checkout: uv pip sync requirements.lock)"
ASK_S = 120.0  # a framework takes seconds to import, on a slow disk a minute

# Each is asked in a process of its own: in one they fight for the GPU. A sum on each GPU shows that it works.
ASK = {
    "torch": """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
for i in range(len(gpus)):
    torch.ones(8, device=f"cuda:{i}").sum().item()
print(json.dumps({"cuda": torch.version.cuda, "gpus": gpus}))
""",
    "tensorflow": """
import json, tensorflow as tf
found = tf.config.list_physical_devices("GPU")
for gpu in found:
    tf.config.experimental.set_memory_growth(gpu, True)
gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in found]
for i in range(len(gpus)):
    with tf.device(f"/GPU:{i}"):
        float(tf.reduce_sum(tf.ones(8)))
print(json.dumps({"cuda": tf.sysconfig.get_build_info().get("cuda_version"), "gpus": gpus}))
""",
}
REMEDY = {
    "torch": "look at `nvidia-smi`, and install a torch that is built for its CUDA: pip install torch",
    "tensorflow": f"look at `nvidia-smi`, and install TensorFlow with CUDA: {install('cuda')}",
}


def software() -> Software:
    """Of this process; imports none of the packages."""
    return Software(code_fingerprint(), platform.python_version(), installed(PACKAGES))


def check_versions(asked: Asked) -> Iterator[Finding]:
    here, driver, sound = software(), asked.driver, True
    needed = {*NEEDED, *([asked.framework] if asked.framework in ASK else [])}
    if here.code != driver.code:
        sound = False
        yield problem(
            f"runs other code of fersweep ({here.code[:12]}) than the driver ({driver.code[:12]})",
            "something there comes before what is sent to it: look at PYTHONPATH and sitecustomize",
        )
    if here.python != driver.python:
        sound = False
        yield warning(f"has Python {here.python}, the driver {driver.python}", "install the driver's version there")
    for name in PACKAGES:
        ours, theirs = here.packages.get(name), driver.packages.get(name)
        if ours is None and name in needed:
            sound = False
            yield problem(
                f"has no {name}, which trials need", f"pip install '{name}=={theirs}' there" if theirs else INSTALL
            )
        elif ours != theirs:
            sound = False
            yield warning(
                f"has {f'{name} {ours}' if ours else f'no {name}'}, the driver {theirs or 'none'}",
                f"pip install '{name}=={theirs}' there" if theirs else INSTALL,
            )
    if sound:
        shown = ", ".join(f"{name} {here.packages[name]}" for name in SHOWN if name in here.packages)
        yield ok(
            f"fersweep {own_version()} (code {here.code[:12]}), Python {here.python}, {shown}",
            fersweep=own_version(),
            code=here.code,
            python=here.python,
            **here.packages,
        )


def check_gpus(asked: Asked) -> Iterator[Finding]:
    of_ray = int(asked.node.resources.get("GPU", 0))
    wanted = asked.sweep is not None and asked.sweep.resources.gpus > 0
    asking = {name: _ask(name) for name in ASK if name in software().packages}
    seen: dict[str, dict[str, Any]] = {}
    for name, process in asking.items():
        serious = problem if name == asked.framework else warning
        answer = _answer(process)
        if isinstance(answer, str):
            yield serious(f"{name} does not run: {answer}", f"try `python -c 'import {name}'`; {INSTALL}")
            continue
        seen[name] = answer
        number = len(answer["gpus"])
        if number < of_ray:
            yield (serious if wanted else warning)(
                f"Ray hands out {_count(of_ray)}, {name} sees {number or 'none'}", REMEDY[name], ray=of_ray, **answer
            )
        elif number > of_ray:
            remedy = (
                f"start Ray there with --num-gpus {number}" if asked.num_nodes > 1 else "look at CUDA_VISIBLE_DEVICES"
            )
            yield warning(
                f"{name} sees {_count(number)}, Ray hands out {of_ray or 'none'}", remedy, ray=of_ray, **answer
            )
    if seen and all(len(answer["gpus"]) == of_ray for answer in seen.values()):
        *others, last = ["Ray", *seen]
        kinds = sorted({kind for answer in seen.values() for kind in answer["gpus"]})
        what = f"{_count(of_ray)} ({', '.join(kinds)})" if of_ray else "none"
        yield ok(f"{', '.join(others)} and {last} agree: {what}", ray=of_ray, frameworks=seen)


def _count(number: int) -> str:
    return f"{number} GPU{'s' * (number != 1)}"


def _ask(framework: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", ASK[framework]],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str]) -> dict[str, Any] | str:
    """What a framework says of its GPUs, or why it says nothing."""
    try:
        told, errors = process.communicate(timeout=ASK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"it has not answered within {ASK_S:g} s"
    if process.returncode == 0 and told.strip():
        return json.loads(told.strip().splitlines()[-1])
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"its process ended with {process.returncode}"
