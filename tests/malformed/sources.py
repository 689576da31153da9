"""Malformed sources: sound CSVs, folders and archives with a few mutations, drawn by hypothesis."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from tests.malformed.garbled import garbled

SIDE, NUM_FACES = 10, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (NUM_FACES, SIDE, SIDE)).astype(np.uint8)
EMOTIONS = ["3", "4", "6", "3", "4", "6"]
USAGES = ["Training", "Training", "Training", "Training", "PublicTest", "PrivateTest"]
ODD_PIXELS = [
    "256", "-1", "x", "1.5", "", "nan", "4294967297", "99999999999999999999", "0x10", "1_0", "²", "٣", "1\0", "+5",
    "5-5", "1e2", "1\x1c2", "007", "1,2", '"', "\ufeff", "1 2", "-0",
]  # fmt: skip
ODD_CELLS = [
    "", " ", "-1", "7", "3.0", "٣", " 3", "x", "\0", '"', '"3', 'a"b', '"a\nb"', '"3"', "training", "PublicTest ", "test",
    "1 2 3", "1", "1" * 140_000, " ".join(["300"] * 100), "0 " * 99 + "0", "\ufeff", "é\u2028", "\r", "emotion", "=1+1",
]  # fmt: skip
ODD_NAMES = [
    "happy.png", "data/bored/1.png", "data/Happy/1.PNG", "data/.happy/1.png", "data/happy/.png", "../../happy/1.png",
    "/etc/happy/1.png", "data/happy/a\nb.png", f"data/happy/{'x' * 240}.png", "data/happy/é%ff.png", "data/%ff/1.png",
    "data\\happy\\1.png", "C:/happy/1.png", "data/happy/1.png/2.png", "data/happy /1.png", "data/__MACOSX/happy/1.png",
    "data/\u202esad/1.png", "./happy/./1.png", "data/happy/-rf.png", "%ff.csv", "fer.csv", "x.csv/happy/1.png", ".png",
]  # fmt: skip
SUFFIXES = [".csv", ".zip", ".tar", ".tar.gz", ".tgz", ".csv.gz", ".txt", ".png", "", "\udcff.csv"]


def encoded(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def csv_rows() -> list[list[str]]:
    rows = [
        [emotion, " ".join(map(str, face.ravel())), usage]
        for emotion, face, usage in zip(EMOTIONS, PIXELS, USAGES, strict=True)
    ]
    return [["emotion", "pixels", "Usage"], *rows]


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """FER2013's CSV with some cells, rows or pixels changed, in some encoding."""
    rows = csv_rows()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(rows) - 1))
        row = rows[number]
        how = draw(st.sampled_from(["cell", "cell", "pixel", "pixel", "pixels", "drop", "add", "empty", "swap", "cut"]))
        if how == "cell" and row:
            row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(ODD_CELLS))
        elif how == "pixel" and number and len(row) == 3:
            values = row[1].split(" ")
            values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from(ODD_PIXELS))
            row[1] = " ".join(values)
        elif how == "pixels" and number and len(row) == 3:
            row[1] = " ".join(row[1].split(" ")[: draw(st.sampled_from([0, 1, 64, 99]))])
        elif how == "drop" and row:
            del row[draw(st.integers(0, len(row) - 1))]
        elif how in ("add", "empty", "swap"):
            rows[number] = {"add": [*row, "1"], "empty": [""] * draw(st.integers(0, 3)), "swap": row[::-1]}[how]
        elif how == "cut":
            del rows[number + 1 :]
    text = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"])).join(",".join(row) for row in rows)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return text.encode(encoding, "replace")


def huge_images() -> list[bytes]:
    """Headers that promise more pixels than there are."""
    bitmap = bytearray(encoded(PIXELS[0], ".bmp"))
    bitmap[18:26] = (2**31 - 1).to_bytes(4, "little") * 2
    return [b"P5\n30000 30000\n255\n", b"P5\n-5 0\n255\n", bytes(bitmap), b"P5\n9999999999 1\n255\n\0"]


@st.composite
def image_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    face = draw(st.sampled_from(list(PIXELS)))
    other = encoded(face, draw(st.sampled_from([".jpg", ".bmp", ".webp", ".tiff", ".pgm", ".png"])))
    odd = [b"", b"\0", b"no image", b"emotion,pixels,Usage\n", encoded(face[:1, :1]), encoded(face[:3]), *huge_images()]
    return draw(
        st.one_of(
            st.sampled_from(odd), garbled(content), garbled(other), st.just(other[: len(other) // 2]), st.just(other)
        )
    )


@st.composite
def folder_files(draw: st.DrawFn) -> dict[str, bytes]:
    """Images in class folders with some changed, renamed, added or lost; `%ff` in a name stands for that byte."""
    folders = [("train", "train", "train", "train", "val", "test")[index] for index in range(NUM_FACES)]
    labels = ["happy", "sad", "neutral"] * 2
    images = [encoded(face) for face in PIXELS]
    files = {f"data/{folders[i]}/{labels[i]}/{i}.png": images[i] for i in range(NUM_FACES)}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        how = draw(st.sampled_from(["image", "image", "image", "rename", "add", "lose", "suffix"]))
        if how == "image":
            files[name] = draw(image_bytes(files[name]))
        elif how == "rename":
            files[draw(st.sampled_from(ODD_NAMES))] = files.pop(name)
        elif how == "add":
            files[draw(st.sampled_from(ODD_NAMES))] = draw(image_bytes(files[name]))
        elif how == "suffix":
            files[f"{name}.{draw(st.sampled_from(['zip', 'csv', 'txt', 'jpg']))}"] = files.pop(name)
        else:
            files = {name: files[name]}
    return files


def raw(name: str) -> bytes:
    return name.encode().replace(b"%ff", b"\xff")


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)  # a ZipInfo's date is always the same
    return target.getvalue().replace(b"%ff", b"a\xff\xfe")  # no UTF-8, and of the same length


def tarred(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(raw(name).decode("utf-8", "surrogateescape"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


@st.composite
def zip_headers(draw: st.DrawFn, content: bytes) -> bytes:
    """A zip with a header that lies: sizes, sums, methods, flags (encrypted), offsets, names."""
    signature = draw(st.sampled_from([b"PK\1\2", b"PK\1\2", b"PK\3\4", b"PK\5\6"]))
    starts = [at for at in range(len(content)) if content.startswith(signature, at)]
    at = draw(st.sampled_from(starts)) + draw(st.integers(4, 48))
    odd = draw(
        st.one_of(st.sampled_from([b"\xff" * 4, bytes(4), b"\1\0", b"\xff\xff"]), st.binary(min_size=1, max_size=4))
    )
    return content[:at] + odd + content[at + len(odd) :]


@st.composite
def tar_headers(draw: st.DrawFn, content: bytes) -> bytes:
    """A tar with a header that lies, its checksum right: links, devices, sparse files, sizes below 0, odd names."""
    starts = [at for at in range(0, len(content), 512) if content.startswith(b"ustar", at + 257)]
    at = draw(st.sampled_from(starts))
    sizes = [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0", b"-0000000512\0", bytes(12), b"x" * 12]
    kinds = [bytes([kind]) for kind in b"\x001234567KLSxgXVMNDA~"]
    field, odd = draw(
        st.one_of(
            st.tuples(st.just(156), st.sampled_from(kinds)),
            st.tuples(st.just(124), st.sampled_from(sizes)),
            st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=12)),
        )
    )
    return tar_header(content, at, field, odd)


def tar_header(content: bytes, at: int, field: int, odd: bytes) -> bytes:
    """`content` with `odd` at `field` of the header at `at`, whose checksum is right."""
    header = bytearray(content[at : at + 512])
    header[field : field + len(odd)] = odd
    del header[512:]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:at] + bytes(header) + content[at + 512 :]


@st.composite
def archives(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """(suffix, content): an archive of `files`, sound, with a lying header or with garbled bytes; perhaps another's name."""
    kind = draw(st.sampled_from([".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]))
    if kind == ".zip":
        content = zipped(files, draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA])))
    else:
        content = tarred(files, draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])))
    how = draw(st.sampled_from(["sound", "header", "header", "garbled", "nested"]))
    if how == "header" and files:
        content = draw(zip_headers(content) if kind == ".zip" else tar_headers(content))
    elif how == "nested":
        content = zipped({"inner" + kind: content})
        kind = ".zip"
    compress = {".tar.gz": partial(gzip.compress, mtime=0), ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}
    if kind in compress:
        content = compress[kind](content)
    if how == "garbled":
        content = draw(garbled(content))
    return (kind if draw(st.integers(0, 9)) else draw(st.sampled_from(SUFFIXES))), content


SPECIAL: dict[str, Callable[[Path], object]] = {
    "none": lambda path: None,
    "fifo": lambda path: os.mkfifo(path / "happy.png"),
    "loop": lambda path: (path / "happy").symlink_to(path),
    "dangling": lambda path: (path / "sad.png").symlink_to(path / "nowhere.png"),
    "itself": lambda path: (path / "fer.csv").symlink_to(path / "fer.csv"),
    "device": lambda path: (path / "zero.csv").symlink_to("/dev/zero"),
    "directory": lambda path: (path / "data2.csv" / "1.png").mkdir(parents=True),
}


def write_folder(path: Path, files: dict[str, bytes], special: str) -> None:
    path.mkdir()
    for name, content in files.items():
        place = os.fsencode(path) + b"/" + raw(name.lstrip("/").replace("..", "up"))
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            Path(os.fsdecode(place)).write_bytes(content)
    with contextlib.suppress(FileExistsError):
        SPECIAL[special](path)


Given = tuple[str, bytes | dict[str, bytes], str]
"""(suffix, content, what a folder holds besides): a file's bytes, or a folder's files."""


def write(place: Path, given: Given) -> Path:
    """The path of a source that alone stands in the new directory `place`."""
    suffix, content, special = given
    place.mkdir()
    source = place / f"source{suffix}"
    if isinstance(content, dict):
        write_folder(source, content, special)
    else:
        source.write_bytes(content)
    return source


@st.composite
def sources(draw: st.DrawFn) -> Given:
    container = draw(st.sampled_from(["archive", "archive", "folder", "file"]))
    if container == "file":
        content = draw(csv_files())
        if draw(st.booleans()):
            content = draw(garbled(content))
        return (".csv" if draw(st.integers(0, 9)) else draw(st.sampled_from(SUFFIXES))), content, "none"
    files = {"data/fer.csv": draw(csv_files())} if draw(st.booleans()) else draw(folder_files())
    if container == "folder":
        return "", files, draw(st.sampled_from(["none", *SPECIAL]))
    return *draw(archives(files)), "none"
