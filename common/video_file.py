"""What a video file says of itself before a picture of it is decoded: when its frames are shown, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fersweep.common.processes import silent_stderr

NUM_ZEROS = 4096
SEGMENT = 0x18538067  # Matroska's element that holds all the rest


def frame_times(path: Path) -> np.ndarray:
    """When each frame of a file is shown, in seconds from its beginning (N,) float64, ascending. Decodes nothing."""
    import cv2

    with silent_stderr():
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])  # packets as they are
        times: list[float] = []
        while capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        capture.release()
    return np.sort(np.asarray(times))


def write_times(path: Path, to: Path, times_s: list[float], codec: int) -> None:
    """Copy a film whose frames come evenly to one whose frames are shown at `times_s`, to the millisecond.

    The codec may not store frames in another order than they are shown. AVI cannot hold times.
    """
    import cv2

    with silent_stderr():
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        raw = [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1]
        writer = cv2.VideoWriter(str(to), cv2.CAP_FFMPEG, codec, 1000.0, size, raw)
        head, shown_ms = int(capture.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)), -1
        for number, time_s in enumerate(times_s):
            if not capture.grab():
                break
            packet = capture.retrieve()[1].reshape(1, -1)
            extra = capture.retrieve(flag=head)[1] if number == 0 else None
            if extra is not None and extra.size:
                packet = np.concatenate([extra.reshape(1, -1), packet], axis=1)
            shown_ms = max(shown_ms + 1, round(1000 * (time_s - times_s[0])))
            writer.set(cv2.VIDEOWRITER_PROP_PTS, shown_ms)
            writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))
            writer.write(packet)
        writer.release()
        capture.release()


def is_cut_off(path: Path) -> bool:
    """Whether an MP4, MOV, AVI or Matroska file is shorter than it says itself, or ends in zeros, as a download leaves it
    that reserves its place and is broken off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - NUM_ZEROS, 0))
        if size > NUM_ZEROS and not any(file.read()):
            return True
        file.seek(0)
        return any(end > size for end in _ends(file, size))


def _ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the parts of a file end, as they say."""
    head, start = file.read(12), 0
    while start + 8 <= size:
        file.seek(start)
        if head[4:8] == b"ftyp":
            box = file.read(16)
            length = int.from_bytes(box[:4])
            length = int.from_bytes(box[8:]) if length == 1 else length or size - start  # 0: to the end of the file
        elif head[:4] == b"RIFF" and head[8:11] == b"AVI":
            length = 8 + int.from_bytes(file.read(8)[4:], "little")
            length += length % 2
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            element, length = _number(file, whole=True), _number(file)
            if length is None:  # written as it was filmed
                return
            length += file.tell() - start
            if element == SEGMENT:
                yield start + length
                return
        else:
            return
        if length < 8:
            return
        yield (start := start + length)


def _number(file: BinaryIO, whole: bool = False) -> int | None:
    """A number of Matroska, as long as its first bits say; `whole`: with these bits. None: "unknown"."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    number = int.from_bytes(bytes([first]) + file.read(length - 1))
    bits = 7 * length
    if whole:
        return number
    number &= (1 << bits) - 1
    return None if number == (1 << bits) - 1 else number
