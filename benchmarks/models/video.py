"""Speed and memory of `predict` on a video, beside a plain loop of OpenCV, MediaPipe and the model.

    python -m benchmarks.models.video MODEL VIDEO... [--home runs] [--frames 2000]

Prints for each video frames/s of the plain loop (on every part of each frame, as for photos; and on the whole frame alone,
which misses small faces), of `watch`, and of `watch` that writes an annotated video and a table; then the growth of resident
memory from frame 100 to the last of the first video, repeated up to --frames frames, with all outputs.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import psutil

from fersweep.results.models.open_model import open_model
from fersweep.results.predict.outputs import FaceTable, Movie
from fersweep.results.predict.recogniser import Recogniser
from fersweep.results.predict.video import Watching, watch
from fersweep.results.predict.video_frames import Clip, Frame

FIRST = 100  # the frame from which memory must not grow


def plain(path: Path, recogniser: Recogniser, parts: bool) -> tuple[float, int]:
    """(frames/s, frames with a face) of the loop that a tutorial would show."""
    capture, num_frames, with_face = cv2.VideoCapture(str(path)), 0, 0
    began = time.perf_counter()
    while True:
        read, frame = capture.read()
        if not read:
            return num_frames / (time.perf_counter() - began), with_face
        faces = recogniser.faces(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), None if parts else [])
        recogniser.answers(faces)
        num_frames += 1
        with_face += bool(faces)


def watched(path: Path, recogniser: Recogniser, out: Path | None) -> tuple[float, int]:
    with ExitStack() as stack:
        clip = Clip(path)
        movie = stack.enter_context(Movie(out / "out.mp4", clip.fps)) if out else None
        rows = [stack.enter_context(FaceTable(out / "out.parquet", recogniser))] if out else []
        result = watch(clip, recogniser, Watching(), rows, movie)
    return result.frames_per_s, result.frames - result.frames_without_face


class Looped(Clip):
    """A video repeated up to `num_frames`, with the resident memory after each frame."""

    def __init__(self, path: Path, num_frames: int):
        super().__init__(path)
        self.path, self.num_frames, self.rss_bytes = path, num_frames, list[int]()

    def frames(self, every: int = 1) -> Iterator[Frame]:
        endless = itertools.chain.from_iterable(Clip(self.path).frames(every) for _ in itertools.count())
        for number, frame in enumerate(itertools.islice(endless, self.num_frames)):
            yield Frame(number, number / self.fps, frame.image)
            self.rss_bytes.append(psutil.Process().memory_info().rss)


def memory(path: Path, recogniser: Recogniser, num_frames: int, out: Path) -> np.ndarray:
    """(num_frames,) resident memory in MiB after each frame."""
    clip = Looped(path, num_frames)
    with Movie(out / "long.mp4", clip.fps) as movie, FaceTable(out / "long.csv", recogniser) as rows:
        watch(clip, recogniser, Watching(), [rows], movie)
    return np.array(clip.rss_bytes) / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--home", type=Path, default=Path("runs"))
    parser.add_argument("--frames", type=int, default=2000)
    options = parser.parse_args(arguments)
    with (
        Recogniser([open_model(options.model, options.home)]) as recogniser,
        tempfile.TemporaryDirectory() as directory,
    ):
        out = Path(directory)
        for path in options.videos:
            watched(path, recogniser, None)  # warms up
            ways = {
                "plain loop, all parts": plain(path, recogniser, True),
                "plain loop, whole frame": plain(path, recogniser, False),
                "watch": watched(path, recogniser, None),
                "watch, video and table written": watched(path, recogniser, out),
            }
            for way, (rate, with_face) in ways.items():
                print(f"{path.name:24} {way:32} {rate:6.1f} frames/s, a face in {with_face}")
        used_mib = memory(options.videos[0], recogniser, options.frames, out)
    last = used_mib[-FIRST:].max()
    print(
        f"memory: {used_mib[FIRST]:.0f} MiB at frame {FIRST}, {last:.0f} MiB at {options.frames} ({last - used_mib[FIRST]:+.1f})"
    )


if __name__ == "__main__":
    main()
