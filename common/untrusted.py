"""Files that others may have written, in a home, a dataset or a bucket: plain files alone, none larger than it can be, JSON
that is not too deep, arrays that are as large as they say. Nothing is waited for, and nothing is allocated for a claim.

    content = parse_json(read_regular(path, 16 * MB))
    arrays = read_arrays(path, GB)
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, TypeGuard

MB, GB = 2**20, 2**30
DEEPEST = 64  # objects and lists within each other
LARGEST = 2**64  # of a whole number in JSON
KINDS: dict[str, Callable[[int], bool]] = {
    "a directory": stat.S_ISDIR,
    "a FIFO": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def open_regular(path: Path) -> BinaryIO:
    """A file opened to be read. Raises OSError, also where it is a FIFO, a socket, a device or a directory."""
    _check_regular(os.stat(path).st_mode, path)  # before it is opened: to open a device may do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = next((kind for kind, is_one in KINDS.items() if is_one(mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read_regular(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises OSError as `open_regular`, and where it is larger."""
    with open_regular(path) as file:
        check_size(os.fstat(file.fileno()).st_size, most, path)
        content = file.read(most + 1)  # it may grow
    check_size(len(content), most, path)
    return content


def check_size(num_bytes: int, most: int, place: Path | str) -> None:
    """Raises OSError where a file is larger than any of its kind can be."""
    if num_bytes > most:
        raise OSError(errno.EFBIG, f"it is larger than {most / MB:,.0f} MiB, as no such file is", str(place))


def parse_json(content: bytes) -> Any:
    """JSON, NaN and infinities included. Raises ValueError in words where it is none, too deep, or has a whole number
    of more than 64 bits.
    """
    return parse_quickly(content, parse_int=_whole_number)


def parse_quickly(content: bytes, parse_int: Callable[[str], int] | None = None) -> Any:
    """`parse_json` that looks at no number."""
    try:
        value = json.loads(content, parse_int=parse_int)
    except RecursionError:
        raise ValueError("too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise ValueError("not JSON (no text)") from None
    if content.count(b"{") + content.count(b"[") > DEEPEST and _is_too_deep(value):
        raise ValueError("too deep")
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > len(str(LARGEST)) or abs(int(digits)) > LARGEST:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for each in level:
            below += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        if not below:
            return False
        level = below
    return True


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether what was parsed is an object, and not a list, a text or a number."""
    return isinstance(value, dict)


def why(error: BaseException) -> str:
    """An OSError or ValueError of this file in a few words."""
    return (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split()) or repr(error)


def is_plain_name(name: object) -> bool:
    """Whether it is the name of a file or directory, and no path."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or not name.isprintable():
        return False
    return len(name.encode()) <= 255


def is_plain_path(name: object) -> bool:
    """Whether it is the path of something within a directory, with "/" between its names."""
    return isinstance(name, str) and str(PurePosixPath(name)) == name and all(map(is_plain_name, name.split("/")))


def read_arrays(source: Path | bytes, most: int) -> dict[str, Any]:
    """The arrays of an .npz file, or of its content, as `numpy.savez` writes it: uncompressed, nothing pickled.

    Each array's header is checked against the size of its member before memory is taken. Raises OSError, and ValueError
    where it is not such a file.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        num_bytes = file.seek(0, os.SEEK_END)
        check_size(num_bytes, most, "" if isinstance(source, bytes) else source)
        try:
            return _arrays(file, num_bytes)
        except OSError as error:
            if error.errno is not None:
                raise
            raise ValueError(f"not an .npz file ({why(error)})") from None
        except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds of what is damaged
            raise ValueError(f"not an .npz file ({why(error)})") from None


def _arrays(file: IO[bytes], num_bytes: int) -> dict[str, Any]:
    import numpy as np

    arrays: dict[str, Any] = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > num_bytes:
            raise ValueError("its members are larger than it is")
        for member in members:
            name, end = member.filename[:-4], member.filename[-4:]
            if end != ".npy" or member.compress_type != zipfile.ZIP_STORED or name in arrays:
                raise ValueError(f"{member.filename}: not what numpy.savez writes")
            with archive.open(member) as content:
                _check_header(name, content, member.file_size)
            with archive.open(member) as content:
                arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
    return arrays


def _check_header(name: str, content: IO[bytes], num_bytes: int) -> None:
    from numpy.lib import format as npy

    version = npy.read_magic(content)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name}: version {version} of .npy")
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(content)
    left = num_bytes - content.tell()
    if dtype.hasobject or not dtype.itemsize or any(length < 0 for length in shape):
        raise ValueError(f"{name}: {dtype} of shape {shape}")
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"{name}: {dtype} of shape {shape}, but there are {left} bytes")
