"""Streams of faces through Ray Data: one reader on this machine, workers of one core each, wherever the cluster has them.

Blocks are small and few are in memory, which does not grow with the source. The only module of this room that imports ray.
"""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

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


def _plain(error: Exception) -> RuntimeError:
    """One line: what a worker raised, out of the tracebacks that Ray wraps around it."""
    raised = re.findall(r"^\s*([\w.]*(?:Error|Exception)): (.+)$", str(error), re.MULTILINE)
    causes = [f"{name}: {message}" for name, message in raised if not name.startswith("ray.")]
    lines = str(error).strip().splitlines() or [""]
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
