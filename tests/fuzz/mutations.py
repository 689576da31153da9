"""What may lie where a file of ours belongs: sound files with a few mutations, drawn by hypothesis."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tests.malformed.garbled import garbled

DEEP: Any = []
for _ in range(400):  # Python reads and writes it, but not what is a few times as deep
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**400, "", "x", "0",
    "nan", "max", "../../x", "/tmp/x", "a\0b", "\ud800", "\x1b[2J", "é" * 300, [], {}, [None], [[]], {"": None},
    [0] * 3, ["x", "x"], {"a": {"b": [1]}}, DEEP,
]  # fmt: skip
WHOLE = [b"", b"\n", b"[", b"{}", b"[]", b"null", b"0", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff\xfe\0", b"PK\3\4", b"\x93NUMPY", b"PAR1"]  # fmt: skip
SHAPES = [(), (0,), (1,), (-1,), (10**13,), (2**40, 2**40), (2**63,), (0, 2**62), (3, 52, 1), (10**6,), ("a",), (True,)]
DTYPES = ["<f4", "<f8", "|O", "<U0", "|S0", "<U64", "|b1", "<i8", "<M8[s]", "|V0", "<c16", "<f2", "|V9", "[('a', '<f4')]"]  # fmt: skip


def places(tree: Any, deepest: int = 12) -> Iterator[tuple[Any, Any]]:
    """Each (container, key) of a JSON tree."""
    if not deepest:
        return
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from places(tree[key], deepest - 1)


@st.composite
def trees(draw: st.DrawFn, tree: Any) -> Any:
    """A JSON tree in which one or two values are others, absent, doubled, or each other's."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 2))):
        known = list(places(tree))
        if not known:
            return copy.deepcopy(draw(st.sampled_from(VALUES)))
        container, key = known[draw(st.integers(0, len(known) - 1))]
        how = draw(st.integers(0, 9))
        if how == 0:
            del container[key]
        elif how == 1 and isinstance(container, list):
            container.insert(key, container[key])
        elif how == 2:
            other, at = known[draw(st.integers(0, len(known) - 1))]
            container[key] = copy.deepcopy(other[at])
        elif how == 3 and isinstance(container, dict):
            container[draw(st.sampled_from(["", "x", "../x", "epoch", "é"]))] = container.pop(key)
        else:
            container[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return tree


def json_files(content: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file that is another than `content`."""
    mutated = trees(json.loads(content)).map(lambda tree: json.dumps(tree).encode())
    return st.one_of(mutated, mutated, mutated, garbled(content), st.sampled_from(WHOLE))


@st.composite
def journals(draw: st.DrawFn, content: bytes) -> bytes:
    """A journal in which a line is another, absent, doubled, or somewhere else."""
    lines = content.splitlines(keepends=True)
    place = draw(st.integers(0, len(lines) - 1))
    how = draw(st.integers(0, 8))
    if how == 0:
        del lines[place]
    elif how == 1:
        lines.insert(draw(st.integers(0, len(lines))), lines[place])
    elif how == 2:
        return draw(garbled(content))
    elif how == 3:
        lines[place] = draw(st.sampled_from(WHOLE)) + b"\n"
    else:
        lines[place] = json.dumps(draw(trees(json.loads(lines[place])))).encode() + b"\n"
    return b"".join(lines)


def npy_file(values: np.ndarray, shape: Any, dtype: str) -> bytes:
    """An .npy file of `values` whose header says that they are something else."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header = header.replace(b'"[', b"[").replace(b']"', b"]") + b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values.tobytes()


@st.composite
def npz_files(draw: st.DrawFn, content: bytes) -> bytes:
    """An .npz file of which an array's header lies, an array is another or absent, or bytes are others."""
    import zipfile

    how = draw(st.integers(0, 5))
    if how == 0:
        return draw(garbled(content))
    if how == 1:
        return draw(st.sampled_from(WHOLE))
    with np.load(io.BytesIO(content)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = draw(st.sampled_from(sorted(arrays)))
    target = io.BytesIO()
    if how == 2:
        shape = draw(
            st.sampled_from([shape for shape in SHAPES if shape and all(type(n) is int and 0 <= n < 99 for n in shape)])
        )
        arrays[name] = np.full(shape, draw(st.sampled_from([0, 1, np.nan, np.inf, -5, "x"])))
        np.savez(target, **arrays)
        return target.getvalue()
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(target, "w", method) as archive:
        for each, values in arrays.items():
            if each == name and how == 3:
                archive.writestr(draw(st.sampled_from(["../x.npy", "/x.npy", "x", ".npy", f"{each}.NPY"])), npy_file(values, values.shape, values.dtype.str))  # fmt: skip
            elif each == name:
                shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from([values.dtype.str, *DTYPES]))
                archive.writestr(f"{each}.npy", npy_file(values, shape, dtype))
            else:
                archive.writestr(f"{each}.npy", npy_file(values, values.shape, values.dtype.str))
    return target.getvalue()


TYPES = [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.binary(7), pa.null(), pa.list_(pa.int8()), pa.float16(), pa.dictionary(pa.int32(), pa.string()), pa.timestamp("s")]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, table: pa.Table) -> pa.Table:
    """A part of a dataset in which a column is of another type, has other values, nulls or another name, or is absent."""
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, min(table.num_columns, 12) - 1))  # the others are scores like the last of these
        name, how = table.column_names[place], draw(st.integers(0, 5))
        if how == 0:
            table = table.remove_column(place)
        elif how == 1:
            kind = draw(st.sampled_from(TYPES))
            table = table.set_column(place, name, pa.nulls(table.num_rows, kind))
        elif how == 2:
            table = table.rename_columns([*table.column_names[:place], "source", *table.column_names[place + 1 :]])
        elif how == 3:
            table = table.slice(0, draw(st.integers(0, table.num_rows)))
        elif how == 4:
            table = table.set_column(place, name, pa.nulls(table.num_rows, table.schema.field(place).type))
        else:
            values = draw(st.sampled_from([["x"], [1], [1.5], [b"\xff"], [[1.0]], [True], [float("nan")]]))
            table = table.set_column(place, name, pa.array(values * table.num_rows))
    return table
