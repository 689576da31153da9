"""A share of a GPU as a cap on memory, as far as it goes without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fersweep.trainables.gpu_share import CONTEXT_BYTES, SHARE, cap_bytes, share, total_bytes
from fersweep.trainables.keras_training import runtime

GIB = 2**30
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  *"--query-gpu=memory.total --format=csv,noheader,nounits --id=1") echo 16384 ;;
  *"--query-gpu=memory.total --format=csv,noheader,nounits --id=GPU-8f4c") echo 81920 ;;
  *"--query-gpu=memory.total --format=csv,noheader,nounits") printf '24576\\n16384\\n' ;;
  *) echo "No devices were found"; exit 6 ;;
esac
"""


@pytest.mark.parametrize(("text", "expected"), [(None, 1), ("", 1), ("0.25", 0.25), ("1", 1), ("2", 1)])
def test_the_share_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str | None, expected: float
) -> None:
    monkeypatch.delenv(SHARE, raising=False)
    if text is not None:
        monkeypatch.setenv(SHARE, text)
    assert share() == expected


def test_caps_and_contexts_together_are_the_gpu() -> None:
    for part in (0.5, 0.25, 0.2):
        assert round(1 / part) * (cap_bytes(24 * GIB, part) + CONTEXT_BYTES) <= 24 * GIB
    assert cap_bytes(24 * GIB, 0.25) == 6 * GIB - CONTEXT_BYTES
    with pytest.raises(ValueError, match=r"0\.05 of a GPU of 8\.0 GiB leaves a trial no memory beside the 0\.5 GiB"):
        cap_bytes(8 * GIB, 0.05)


def test_the_memory_is_that_of_the_gpu_that_the_process_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for visible, gib in (("1", 16), ("1,0", 16), ("GPU-8f4c", 80), ("", 24)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert total_bytes() == gib * GIB
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(RuntimeError, match="does not report the GPU's memory"):
        total_bytes()
    (tmp_path / "nvidia-smi").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"nvidia-smi.*does not report the GPU's memory"):
        total_bytes()


class FakeConfig:
    """Stands for tf.config on a machine with a GPU: remembers what is set."""

    def __init__(self) -> None:
        self.set: list[object] = []
        self.experimental = SimpleNamespace(set_memory_growth=lambda gpu, grows: self.set.append(("grows", gpu, grows)))

    def list_physical_devices(self, kind: str) -> list[str]:
        return [f"/physical_device:{kind}:0"]

    def LogicalDeviceConfiguration(self, memory_limit: int) -> int:
        return memory_limit

    def set_logical_device_configuration(self, gpu: str, limits: list[int]) -> None:
        self.set.append(("limits", gpu, limits))


def test_tensorflow_is_limited_to_the_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    config = FakeConfig()
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    monkeypatch.setenv(SHARE, "0.25")
    runtime._limit_gpus.__wrapped__()
    monkeypatch.setenv(SHARE, "0.01")
    with pytest.raises(ValueError, match=r"resources\.gpus"):
        runtime._limit_gpus.__wrapped__()
    monkeypatch.delenv(SHARE)
    runtime._limit_gpus.__wrapped__()
    gpu = "/physical_device:GPU:0"
    assert config.set == [("limits", gpu, [4096 - 512]), ("grows", gpu, True)]
