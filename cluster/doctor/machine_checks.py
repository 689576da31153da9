"""Checks of a node as a machine: disk, memory, limits, and what MediaPipe needs."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fersweep.cluster.doctor.findings import Asked, Finding, ok, problem, warning
from fersweep.cluster.doctor.software_checks import software
from fersweep.common.errors import HOW_TO_INSTALL_LIBRARIES, LIBRARIES, install
from fersweep.common.files import nearest_directory
from fersweep.data_pipeline.faces.landmarker_bundle import NAME, bundle_here

GB = 10**9
DISK_PROBLEM_BYTES, DISK_WARNING_BYTES = 1 * GB, 10 * GB
DISK_FULL = 0.95  # above it Ray takes no more objects (local_fs_capacity_threshold)
MEMORY_PROBLEM_BYTES, MEMORY_WARNING_BYTES = GB // 2, 2 * GB  # a trial's process with a framework takes half a GB
OPEN_FILES = 4096


def check_free_disk(asked: Asked) -> Iterator[Finding]:
    places = {"temporary files": Path(tempfile.gettempdir())}
    if asked.home is not None:
        places["home"] = nearest_directory(Path(asked.home))
    free: dict[str, int] = {}
    for what, place in places.items():
        usage = shutil.disk_usage(place)
        free[what] = usage.free
        text = f"{what} ({place}): {usage.free / GB:.1f} GB free of {usage.total / GB:.0f}"
        if usage.free < DISK_PROBLEM_BYTES:
            yield problem(
                text, "delete what nobody needs, or name another disk (--home, TMPDIR)", free_bytes=usage.free
            )
        elif what != "home" and usage.free < (1 - DISK_FULL) * usage.total:
            remedy = "Ray takes no more objects there: make room, or name another disk with TMPDIR before Ray starts"
            yield problem(text, remedy, free_bytes=usage.free)
        elif usage.free < DISK_WARNING_BYTES:
            yield warning(text, "make room: checkpoints and Ray's logs grow", free_bytes=usage.free)
        else:
            continue
        del free[what]
    if free:
        yield ok(", ".join(f"{what} {num / GB:.0f} GB" for what, num in free.items()), free_bytes=free)


def check_memory(asked: Asked) -> Iterator[Finding]:
    available = available_memory()
    if available is None:
        return
    text = f"{available / GB:.1f} GB available"
    if available < MEMORY_WARNING_BYTES:
        find = problem if available < MEMORY_PROBLEM_BYTES else warning
        yield find(
            text, "a trial takes half a GB and more: end other programs, or give the machine more", bytes=available
        )
    else:
        yield ok(text, bytes=available)


def available_memory() -> int | None:
    """Bytes that programs may still take: of the machine, or of this container; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no limit is "max"
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        return left if found is None else min(found, left)
    return found


def check_shared_memory(asked: Asked) -> Iterator[Finding]:
    place, store = Path("/dev/shm"), int(asked.node.resources.get("object_store_memory", 0))
    if not place.is_dir():
        return
    total = shutil.disk_usage(place).total
    text = f"/dev/shm has {total / GB:.1f} GB, Ray's object store {store / GB:.1f} GB"
    if store > total:
        yield warning(
            text,
            "Ray keeps objects on disk then, which is slow: in a container give --shm-size (Kubernetes: an emptyDir of "
            "medium Memory at /dev/shm)",
            shm_bytes=total,
            object_store_bytes=store,
        )
    else:
        yield ok(text, shm_bytes=total, object_store_bytes=store)


def check_open_files(asked: Asked) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        yield warning(
            f"a process may open {soft} files, which many workers use up",
            f"`ulimit -n 65536` before Ray starts (at most {most} here; LimitNOFILE= for systemd)",
            soft=soft,
            hard=hard,
        )
    else:
        yield ok(f"{'unlimited' if soft == resource.RLIM_INFINITY else soft} a process", soft=soft, hard=hard)


def check_mediapipe(asked: Asked) -> Iterator[Finding]:
    """For `prepare` and `predict`: a sweep needs none of it."""
    if "mediapipe" not in software().packages:
        yield ok("not installed: `prepare` and `predict` run elsewhere")
        return
    lacking = [name for name in LIBRARIES if not _loads(name)]
    if lacking:
        yield warning(
            f"{' and '.join(lacking)} cannot be loaded: `prepare` and `predict` do not run",
            HOW_TO_INSTALL_LIBRARIES,
        )
    bundle = bundle_here()
    if bundle is None:
        yield warning(
            f"{NAME} is not here: `prepare` and `predict` would download it",
            f"run `fersweep prepare` where there is a network, or {install('landmarker')}",
        )
    if bundle is not None and not lacking:
        yield ok(f"{NAME} and its libraries are here", bundle=str(bundle))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
