"""Read a video file or a camera frame by frame; one frame is in memory at a time.

clip = Clip(Path("clip.mp4"))                 # or Clip(0), a camera
for frame in clip.frames():
    frame.image                               # (H, W, 3) uint8 RGB, turned upright as the file says
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.processes import silent_stderr

DEFAULT_FPS = 25.0  # where a file does not say
MAX_FPS = 1000.0  # above it, a file's figure is not believed


class Frame(NamedTuple):
    number: int  # from 0, in the clip
    time_s: float  # since its beginning
    image: np.ndarray  # (H, W, 3) uint8 RGB


class Clip:
    """A video file or a camera's number, opened. Raises InputError if there is none or no frame can be read.

    Attributes:
        name: as it is written into tables.
        live: it is a camera.
        fps: frames a second, as the file or the camera says.
        num_frames: as the file says, which may be wrong; None of a camera.
    """

    def __init__(self, source: Path | int):
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's own lines on a damaged file
        # A file is all that is opened: no playlist in it may lead to the network.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
        import cv2

        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        self.live = isinstance(source, int)
        with silent_stderr():
            if isinstance(source, int):
                self._capture = cv2.VideoCapture(source)
            else:
                self._capture = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
            read, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not read or first is None:
            self._capture.release()
            raise InputError(self._missing(source))
        self._first, self._began = first, time.perf_counter()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else DEFAULT_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 and not self.live else None

    def _missing(self, source: Path | int) -> str:
        if isinstance(source, int):
            return f"camera {source}: there is none that can be read (0 is the first one)"
        return f"{source}: cannot be read as a picture or a video"

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every `every`-th frame, from the first one on. The clip is closed after the last one."""
        import cv2

        number, time_s, image = 0, 0.0, self._first
        try:
            while True:
                if number % every == 0:
                    yield Frame(number, time_s, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                number += 1
                wanted = number % every == 0
                if not self._capture.grab():
                    return
                time_s = self._time(number, time_s)
                if wanted:
                    read, image = self._capture.retrieve()
                    if not read:
                        return
        finally:
            self.close()

    def _time(self, number: int, before_s: float) -> float:
        """When a frame is shown: by the clock of a camera, by the file's time stamps, by counting where it has none."""
        import cv2

        if self.live:
            return time.perf_counter() - self._began
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp_s if stamp_s > before_s else max(number / self.fps, before_s)

    def close(self) -> None:
        self._capture.release()
