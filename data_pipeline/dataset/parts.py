"""The Parquet parts of a dataset: written by temp-and-rename, read whole or by column."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.data_pipeline.dataset.manifest import Part, read_manifest
from fersweep.data_pipeline.dataset.schema import ADDED_FIELDS, check_claims, check_table


def part_path(directory: Path, number: int) -> Path:
    return directory / "faces" / f"part-{number:05d}.parquet"


def write_part(directory: Path, number: int, rows: pa.Table) -> None:
    """Write part `number` of a dataset by temp-and-rename. `rows` has the columns of `arrow_schema`."""
    write_table(part_path(directory, number), rows)


def write_table(path: Path, rows: pa.Table) -> None:
    """Write Parquet by temp-and-rename, uncompressed and each column in one page (see pixels.py)."""
    sink = pa.BufferOutputStream()
    names = [field.name for field in rows.schema if pa.types.is_dictionary(field.type)]
    pq.write_table(  # pyright: ignore[reportArgumentType]
        rows,
        sink,
        compression="none",
        use_dictionary=names,  # pyright: ignore[reportArgumentType]
        data_page_size=2**30,
        max_rows_per_page=max(rows.num_rows, 1),
        row_group_size=max(rows.num_rows, 1),
    )
    write_whole(path, sink.getvalue().to_pybytes())


def open_table(directory: Path, columns: Sequence[str] | None = None, split: str | None = None) -> pa.Table:
    """Rows of a dataset in their order: all `columns`, or those named; all splits, or the one named.

    InputError where a part that the manifest names is missing or truncated.
    """
    directory = Path(directory)
    with_split = None if columns is None else [*dict.fromkeys([*columns, "split"])]
    tables = []
    for part in read_manifest(directory)["parts"]:
        table = open_part(directory, part, with_split)
        if split is not None:
            table = table.filter(pc.field("split").cast(pa.string()) == split)
        tables.append(table)
    table = pa.concat_tables(tables)
    return table if columns is None else table.select(list(columns))


def open_part(directory: Path, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """`read_part` of one of the manifest's "parts". InputError where it is missing, truncated or broken, and where it has
    other rows than the manifest says, or columns of other types than a dataset's.
    """
    path = part_file(directory, part)
    try:
        table = read_part(path, columns)
        check_table(table, columns, part["num_rows"])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None
    return table


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a part that is as long as it should be and cannot be read."""
    return InputError(
        f"{path} cannot be read ({(str(error).splitlines() or [type(error).__name__])[0]}): prepare the dataset anew"
    )


def part_file(directory: Path, part: Part) -> Path:
    """File of one of the manifest's "parts". InputError where it is missing or truncated."""
    path = directory / part["file"]
    num_bytes = path.stat().st_size if path.is_file() else None
    if num_bytes != part["num_bytes"]:
        state = "is missing" if num_bytes is None else f"has {num_bytes} bytes, not {part['num_bytes']}"
        raise InputError(f"{path} {state}: the dataset is damaged, prepare it anew")
    return path


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one part: all columns, or those named, in the file's order; ADDED_FIELDS that it lacks are null."""
    with pq.ParquetFile(path, memory_map=True) as file:
        check_claims(file, path.stat().st_size)
        present = file.schema_arrow.names
        table = file.read(None if columns is None else [name for name in columns if name in present])
    for field in ADDED_FIELDS:
        if field.name not in present and (columns is None or field.name in columns):
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table
