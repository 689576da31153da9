"""Faces through the workers into a stage: in this process, or through Ray Data, with one reader on this machine and workers of one
core each, wherever the cluster has them.

Blocks are small and few are in memory, which does not grow with the source. The only module of this room that imports ray.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from fersweep.common.errors import InputError
from fersweep.common.ray_connection import ray_session
from fersweep.data_pipeline.prepare.batches import BATCH_ROWS, Chosen, Sources
from fersweep.data_pipeline.prepare.progress import OnProgress, Progress
from fersweep.data_pipeline.prepare.staging import Stage
from fersweep.data_pipeline.prepare.workers import Extractor, Job, Ready

BATCH_BYTES = 2**23  # of a batch of faces that are only decoded: a batch costs Ray Data a quarter of a second
MIN_BATCH_ROWS = 16
ALONE_ROWS = 128

Blocks = Callable[[], Iterator[pa.Table]]


def stream(
    ray: Any, blocks: Blocks, worker: type, job: Any, *, workers: int, batch_rows: int, block_bytes: int
) -> Iterator[pa.Table]:
    """The tables of `blocks`, processed by `workers` processes of `worker(job)`, in any order.

    batch_rows: of a table, a worker's task. block_bytes: of what Ray Data puts into one block; a few are in memory.
    """
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    quiet = {
        "target_max_block_size": block_bytes,
        "enable_progress_bars": False,
        "print_on_execution_start": False,
    }
    before = {name: getattr(context, name) for name in quiet}
    try:
        for name, value in quiet.items():
            setattr(context, name, value)
        faces = ray.data.read_datasource(
            _datasource(blocks),
            override_num_blocks=1,
            num_cpus=0,
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},  # sources are on this machine
        ).map_batches(
            worker,
            fn_constructor_args=(job,),
            batch_size=batch_rows,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        yield from faces.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except Exception as error:
        raise _plain(error) from None
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _plain(error: Exception) -> Exception:
    """One line: what a worker raised, out of the tracebacks that Ray wraps around it. An InputError stays one."""
    raised = re.findall(r"^\s*([\w.]*(?:Error|Exception)): (.+)$", str(error), re.MULTILINE)
    causes = [f"{name}: {message}" for name, message in raised if not name.startswith("ray.")]
    lines = str(error).strip().splitlines() or [""]
    if raised and raised[-1][0].rpartition(".")[2] in (
        "InputError",
        "UnsteadyError",
    ):  # of a source that changed meanwhile
        return InputError(raised[-1][1])
    return RuntimeError(f"a worker failed: {causes[-1] if causes else f'{type(error).__name__}: {lines[0]}'}")


def _datasource(blocks: Blocks) -> Any:
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Faces(Datasource):
        """One task that streams `blocks`."""

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None):
            return [ReadTask(blocks, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]

    return Faces()


Worker = type[Extractor] | type[Ready]
Run = Callable[[str, "Sources | Chosen", Worker, Job, Stage, OnProgress], None]


@contextlib.contextmanager
def running(alone: bool, workers: int | None, address: str | None) -> Iterator[Run]:
    """A function that fills a stage: through Ray, or, with one worker, here, without Ray's share of a core."""

    def here(phase: str, blocks: "Sources | Chosen", kind: Worker, job: Job, stage: Stage, report: OnProgress) -> None:
        if stage.todo:
            batches = replace(blocks, batch_rows=min(ALONE_ROWS, stage.part_rows))
            with contextlib.closing(kind(job)) as worker:
                _fill(phase, map(worker, batches()), stage, report)

    if alone:
        yield here
        return
    with ray_session(workers, address) as ray:

        def through_ray(
            phase: str, blocks: "Sources | Chosen", kind: Worker, job: Job, stage: Stage, report: OnProgress
        ) -> None:
            if not stage.todo:
                return
            num = min(workers or int(ray.cluster_resources().get("CPU", 1)), -(-stage.todo // MIN_BATCH_ROWS))
            mean_bytes = blocks.mean_bytes
            most = BATCH_ROWS if job.sight is not None else max(BATCH_BYTES // mean_bytes, BATCH_ROWS)
            rows = min(max(stage.todo // (4 * num), MIN_BATCH_ROWS), most)
            blocks = replace(blocks, batch_rows=rows)
            size = mean_bytes * rows // 2  # half: faces vary, a batch must fill a block
            tables = stream(ray, blocks, kind, job, workers=num, batch_rows=rows, block_bytes=size)
            _fill(phase, tables, stage, report)

        yield through_ray


def _fill(phase: str, tables: Iterator[pa.Table], stage: Stage, report: OnProgress) -> None:
    """Stage the workers' results, and report how far they are."""
    total = todo = stage.todo
    begun_at, begun_with = 0.0, 0  # the rate counts from the first batch on: workers take seconds to start
    for table in tables:
        stage.add(table)
        todo = stage.todo
        num_faces = total - todo
        if not begun_with:
            begun_at, begun_with = time.monotonic(), num_faces
        rate = (num_faces - begun_with) / max(time.monotonic() - begun_at, 1e-3)
        whole = sum(stage.sizes)
        report(Progress(phase, whole - todo, whole, rate, todo / rate if rate else None))
    if stage.missing:
        raise RuntimeError(f"{todo} faces did not come back from the workers; run the same command again")
