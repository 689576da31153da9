"""The share of one GPU that a trial may use (`resources.gpus: 0.25`), as a hard cap on the memory that it takes.

cluster/worker/trial_session.py sets FERSWEEP_GPU_SHARE in a worker before a framework is loaded; each framework caps itself.
"""

from __future__ import annotations

import os
import subprocess

SHARE = "FERSWEEP_GPU_SHARE"
CONTEXT_BYTES = 512 * 2**20
"""Kept back for what a process takes beside its framework's memory: the CUDA context and the kernels of cuDNN and
cuBLAS. The caps of all trials on a GPU and these together are what the GPU has."""


def share() -> float:
    """The share of this process, in (0, 1]; 1 where none is set."""
    return min(float(os.environ.get(SHARE) or 1), 1.0)


def cap_bytes(total_bytes: int, share: float) -> int:
    """What a framework may take with a share of a GPU of `total_bytes`. Raises ValueError where nothing is left."""
    cap = int(share * total_bytes) - CONTEXT_BYTES
    if cap <= 0:
        raise ValueError(
            f"resources.gpus: {share:g} of a GPU of {total_bytes / 2**30:.1f} GiB leaves a trial no memory beside the "
            f"{CONTEXT_BYTES / 2**30:g} GiB of its CUDA context; ask for more"
        )
    return cap


def total_bytes() -> int:
    """Memory of the first GPU that this process may use, as nvidia-smi tells it. TensorFlow does not know it.

    Raises RuntimeError where nvidia-smi is not there, or does not tell.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):  # indices or UUIDs, which --id takes alike
        command.append(f"--id={visible.split(',')[0].strip()}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0]) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise RuntimeError(f"{' '.join(command)} does not tell the GPU's memory: {error}") from None
