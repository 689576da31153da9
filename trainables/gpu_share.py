"""The share of one GPU that a trial may use (`resources.gpus: 0.25`), as a hard cap on the memory that it takes.

cluster/worker/actor.py sets FERSWEEP_GPU_SHARE in a worker before a framework is loaded; each framework caps itself.
"""

from __future__ import annotations

import os
import subprocess

SHARE = "FERSWEEP_GPU_SHARE"
CONTEXT_BYTES = 512 * 2**20
"""Reserved for what a process needs beside its framework's memory: the CUDA context and the kernels of cuDNN and
cuBLAS. The caps of all trials on a GPU and these together are the GPU's memory."""


def take(gpus: float) -> None:
    """Give this process, in which no framework is loaded yet, a trial's share of a GPU; 0: it sees none."""
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray 2.60 hides no GPU from a trial that asks for none
    os.environ.pop(SHARE, None)
    if 0 < gpus < 1:
        os.environ[SHARE] = str(gpus)


def share() -> float:
    """The share of this process, in (0, 1]; 1 where none is set."""
    return min(float(os.environ.get(SHARE) or 1), 1.0)


def cap_bytes(total_bytes: int, share: float) -> int:
    """Memory that a framework may use with a share of a GPU of `total_bytes`. Raises ValueError if nothing is left."""
    cap = int(share * total_bytes) - CONTEXT_BYTES
    if cap <= 0:
        raise ValueError(
            f"resources.gpus: {share:g} of a GPU of {total_bytes / 2**30:.1f} GiB leaves a trial no memory beside the "
            f"{CONTEXT_BYTES / 2**30:g} GiB of its CUDA context; ask for more"
        )
    return cap


def total_bytes() -> int:
    """Memory of the first GPU that this process may use, as nvidia-smi reports it; TensorFlow does not.

    Raises RuntimeError if nvidia-smi is not there or does not report it.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):  # indices or UUIDs: --id takes both
        command.append(f"--id={visible.split(',')[0].strip()}")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(answer.stdout.split()[0]) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise RuntimeError(f"{' '.join(command)} does not report the GPU's memory: {error}") from None
