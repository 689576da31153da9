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
from fersweep.common.files import regular_file
from fersweep.common.processes import silent_stderr
from fersweep.common.video_file import frame_times, is_cut_off

DEFAULT_FPS = 25.0  # where a file does not say
MAX_TOLD_FPS = 240.0
MAX_FPS = 1000.0  # above it, a file's figure is not believed
MAX_PIXELS = 2**26  # of a frame: 200 MB once decoded; 8K has 33 million
SHOWN_SHARE = 0.9  # of the frames that a file stores; where fewer can be decoded, it is damaged


class Frame(NamedTuple):
    number: int  # from 0, in the clip
    time_s: float  # since its beginning
    image: np.ndarray  # (H, W, 3) uint8 RGB


class Clip:
    """A video file or a camera's number, opened. Raises InputError if there is none, no frame can be read, or one has more
    than MAX_PIXELS.

    Attributes:
        name: as it is written into tables.
        live: it is a camera.
        fps: frames a second, as most frames of the file follow each other, or as the camera says.
        num_frames: as the file says, which may be wrong; None of a camera.
        num_read: how many `frames` came to; with `ended`, all that could be read.
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
                self._capture = cv2.VideoCapture(str(regular_file(source)), cv2.CAP_FFMPEG)
            width, height = (self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            if width * height > MAX_PIXELS:
                self._capture.release()
                raise InputError(
                    f"{source}: frames of {width:.0f}×{height:.0f} pixels, more than {MAX_PIXELS:,} in all"
                )
            read, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not read or first is None:
            self._capture.release()
            raise InputError(self._missing(source))
        self._first, self._began = first, time.perf_counter()
        self._path = None if isinstance(source, int) else source
        times = np.zeros(0) if self._path is None else frame_times(self._path)
        self._num_stored, self.num_read, self.ended = len(times), 0, False
        interval_s = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        stated_fps = self._capture.get(cv2.CAP_PROP_FPS)
        fps = 1 / interval_s if interval_s > 0 else stated_fps
        self.fps = fps if 0 < fps <= MAX_FPS else DEFAULT_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if stated_fps > MAX_TOLD_FPS:  # a file of times, not frames: FFmpeg takes each tick for one
            count = round(count / stated_fps * self.fps)
        self.num_frames = count if count > 0 and not self.live else None

    def _missing(self, source: Path | int) -> str:
        if isinstance(source, int):
            return f"camera {source}: there is none that can be read (0 is the first one)"
        cut_off = ": the file is cut off, and lacks its end" if source.is_file() and is_cut_off(source) else ""
        return f"{source}: cannot be read as a picture or a video{cut_off}"

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every `every`-th frame, from the first one on. The clip is closed after the last one."""
        import cv2

        number, time_s, image = 0, 0.0, self._first
        try:
            while True:
                if number % every == 0:
                    yield Frame(number, time_s, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                number += 1
                self.num_read = number
                wanted = number % every == 0
                if not self._capture.grab():
                    self.ended = True
                    return
                time_s = self._time(number, time_s)
                if wanted:
                    read, image = self._capture.retrieve()
                    if not read:
                        self.ended = True
                        return
        finally:
            self.close()

    def promised(self) -> int | None:
        """After the last frame: how many the file promised, if it is cut off or damaged, and they were fewer; else None.

        A film that was trimmed without being coded anew stores some more frames than it shows.
        """
        if self._path is None or not self.ended or self.num_read >= (self.num_frames or 0):
            return None
        lacks = is_cut_off(self._path) or self.num_read < SHOWN_SHARE * self._num_stored
        return self.num_frames if lacks else None

    def _time(self, number: int, before_s: float) -> float:
        """When a frame is shown: by the clock of a camera, by the file's time stamps, by counting where it has none."""
        import cv2

        if self.live:
            return time.perf_counter() - self._began
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp_s if stamp_s > before_s else max(number / self.fps, before_s)

    def close(self) -> None:
        self._capture.release()
