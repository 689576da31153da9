"""The device that a trial trains on: its threads, its hard memory cap, its precision, and the batch that fits.

FERSWEEP_GPU_SHARE is a trial's share of a GPU (gpu_share.py), OMP_NUM_THREADS its number of CPU threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from fersweep.common.processes import num_threads
from fersweep.trainables import gpu_share
from fersweep.trainables.protocol import TrialFailed

LARGEST_BATCH = 1024
MALLOPT = {-1: 2**30, -2: 2**26, -3: 2**30}  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h, bytes


def open_device() -> torch.device:
    """The GPU that this process may use, capped to its share of the memory, or the CPU with the trial's threads."""
    torch.set_num_threads(num_threads())
    if not torch.cuda.is_available():
        _keep_freed_memory()
        return torch.device("cpu")
    device = torch.device("cuda", torch.cuda.current_device())
    if gpu_share.share() < 1:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(gpu_share.cap_bytes(total, gpu_share.share()) / total, device)
    torch.backends.cudnn.deterministic = True  # a resumed trial trains as one without a break
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    return device


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """In the block a GPU multiplies float32 as float32, not with TF32's 10 bits."""
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory for the next batch (no effect with other C libraries).

    Otherwise large blocks go back to the system, and each step waits for their pages to be zeroed again
    (docs/explanation/measurements.md).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOPT.items():
            mallopt(option, value)


def choose_precision(wanted: str, device: torch.device, net: nn.Module, sam: bool) -> str:
    """The precision `wanted`; "auto" is bf16 where the hardware multiplies it, else fp16 on a GPU, else fp32.

    On a CPU nets without convolutions stay in fp32.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp32" if sam else "fp16"
    convolves = any(isinstance(m, nn.Conv2d) for m in net.modules())
    return "bf16" if torch.cpu._is_avx512_bf16_supported() and convolves else "fp32"


def largest_batch(fits: Callable[[int], bool], largest: int = LARGEST_BATCH) -> int | None:
    """The largest power of two from 2 to `largest` that `fits`; None if none does."""
    batch = 2 ** (largest.bit_length() - 1)
    while batch >= 2:
        if fits(batch):
            return batch
        batch //= 2
    return None


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def fits_in_memory(train_once: Callable[[int], None], device: torch.device) -> Callable[[int], bool]:
    """Does one forward and backward pass of a batch fit? On a GPU it is tried; on a CPU, where that may kill the
    process, it is estimated from what batches of 2 and of 4 keep for their backward pass.
    """
    if device.type == "cuda":

        def fits(batch: int) -> bool:
            try:
                train_once(batch)
                return True
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                return False
            finally:
                torch.cuda.empty_cache()

        return fits
    few, more = saved_bytes(lambda: train_once(2)), saved_bytes(lambda: train_once(4))
    # Saved tensors and their gradients; and half of the memory is for everything else.
    room = memory_bytes() * min(1.0, num_threads() / (os.cpu_count() or 1)) / 2
    return lambda batch: 2 * (few + (more - few) / 2 * (batch - 2)) <= room


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def saved_bytes(run: Callable[[], None]) -> int:
    """Bytes of all tensors that autograd keeps for the backward passes in `run`, each counted once."""
    num_bytes: dict[tuple[int, int], int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        num_bytes[storage.data_ptr(), storage.nbytes()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(num_bytes.values())


@contextlib.contextmanager
def named_out_of_memory(what: str):
    """Turn the framework's out-of-memory errors in the block into TrialFailed."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise TrialFailed(f"out of memory: {what}: {str(error).splitlines()[0]}") from None
