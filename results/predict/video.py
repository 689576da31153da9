"""Watch a video or a camera: faces found, followed and named frame by frame.

    watch(Clip(Path("clip.mp4")), recogniser, Watching(smooth_s=0.3), rows=[…], movie=…)    # → what was seen, JSON-able

Memory does not grow with the clip. The faces of most frames are looked for in the whole frame and around those of the
frame before; small ones are looked for in all parts of it once every LOOK_S seconds (data_pipeline/faces/landmarker.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.processes import silent_stderr
from fersweep.data_pipeline.tasks.photo_reader import Seen
from fersweep.results.predict import draw
from fersweep.results.predict.face_tracker import Track, Tracker
from fersweep.results.predict.options import Watching
from fersweep.results.predict.outputs import FaceTable, Movie
from fersweep.results.predict.recogniser import Answers, Recogniser, caption, mark
from fersweep.results.predict.video_frames import Clip, Frame

LOOK_S = 1.0
WINDOW = "fersweep"
NO_EXPRESSION = "no expression"


def check_window(recogniser: Recogniser, window: int) -> None:
    """Raise InputError if a model cannot see several frames at once."""
    for model in recogniser.models if window else ():
        if not hasattr(model.loaded, "predict_window"):
            raise InputError(
                f"--window {window}: {model.name} sees one frame; only blendshape_lstm with layout: features can see several"
            )


def watch(
    clip: Clip,
    recogniser: Recogniser,
    how: Watching,
    rows: Sequence[FaceTable] = (),
    movie: Movie | None = None,
    screen: Screen | None = None,
    tell: Callable[[str], None] | None = None,
    emoji: bool = False,
) -> dict[str, Any]:
    """Watch `clip` to its end, or until a limit of `how`, Ctrl-C (of a camera) or the window's end.

    Args:
        tell: called with a line whenever another label is seen in a face.
        emoji: draw them beside the faces.

    Returns:
        {video, frames, seconds (of computing), frames_per_s (behind the first frame), frames_without_face, faces (how
        many were followed), labels (label → frames of faces with it; "no expression" where none was found)}; of several
        models the first one's labels.
    """
    tracker, tally, looked_s = Tracker(), _Tally(), -LOOK_S
    with _progress(clip, how) as advance, _stopping(clip):
        for frame in clip.frames(how.every):
            if how.seconds is not None and frame.time_s > how.seconds:
                break
            full = frame.time_s - looked_s >= LOOK_S
            looked_s = frame.time_s if full else looked_s
            faces = recogniser.faces(frame.image, None if full else [track.box for track in tracker.tracks])
            tracks = tracker.follow([face.box for face in faces], frame.time_s)
            answers = _answers(recogniser, faces, tracks, frame, how)
            records = {
                track.number: recogniser.record(face.box, answer)
                for track, face, answer in zip(tracks, faces, answers, strict=True)
            }
            if tell is not None:
                for number in tally.changed(records):
                    tell(f"{frame.time_s:8.2f} s  face {number}  {caption(records[number])}")
            tally.add(records)
            for number, record in records.items():
                for table in rows:
                    table.add(clip.name, frame.number, frame.time_s, number, record)
            advance(tally.rate)
            if movie is not None or screen is not None:
                image = draw.annotate(frame.image, [mark(record) for record in records.values()], emoji)
                if not _show(image, frame.time_s, clip, movie, screen):
                    break
            if tally.num_frames == how.num_frames:
                break
    return {
        "video": clip.name,
        **tally.summary(),
        "faces": tracker.num_tracks,
        "labels": dict(tally.labels.most_common()),
    }


class _Tally:
    """Counts what was seen; of a fixed size, however long the clip."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.num_frames = self.num_empty = 0
        self.rate = 0.0  # frames/s
        self._last: dict[int, str | None] = {}
        self._began = self._warm = time.perf_counter()

    def changed(self, records: dict[int, dict[str, Any]]) -> list[int]:
        """Faces that have another label than in the frame before."""
        return [number for number, record in records.items() if self._last.get(number, "") != record["label"]]

    def add(self, records: dict[int, dict[str, Any]]) -> None:
        self._last = {number: record["label"] for number, record in records.items()}
        self.labels.update(label or NO_EXPRESSION for label in self._last.values())
        self.num_empty += not records
        if self.num_frames == 0:
            self._warm = time.perf_counter()  # the first frame waited for MediaPipe and the models to be loaded
        self.num_frames += 1
        self.rate = (self.num_frames - 1) / max(time.perf_counter() - self._warm, 1e-9)

    def summary(self) -> dict[str, Any]:
        return {
            "frames": self.num_frames,
            "seconds": round(time.perf_counter() - self._began, 3),
            "frames_per_s": round(self.rate, 2),
            "frames_without_face": self.num_empty,
        }


def _answers(
    recogniser: Recogniser, faces: Sequence[Seen], tracks: Sequence[Track], frame: Frame, how: Watching
) -> list[Answers]:
    """Of each face what each model says, smoothed."""
    if not faces:
        return []
    if how.window:
        asked = []
        for index, _ in enumerate(recogniser.models):
            inputs = [face.views[index].features for face in faces]
            windows = [track.window(index, x, how.window) for track, x in zip(tracks, inputs, strict=True)]
            asked.append(recogniser.ask_window(index, windows))
        answers = [list(answer) for answer in zip(*asked, strict=True)]
    else:
        answers = recogniser.answers(faces)
    return [
        [track.smooth(index, one, frame.time_s, how.smooth_s) for index, one in enumerate(answer)]
        for track, answer in zip(tracks, answers, strict=True)
    ]


def _show(image: np.ndarray, time_s: float, clip: Clip, movie: Movie | None, screen: Screen | None) -> bool:
    """False: the window was closed."""
    if movie is not None:
        if clip.live:
            movie.write_until(image, time_s)
        else:
            movie.write(image)
    return screen is None or screen.show(image)


@contextmanager
def _progress(clip: Clip, how: Watching) -> Iterator[Callable[[float], None]]:
    """A bar on stderr; the function is told frames a second after each frame."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    total = -(-clip.num_frames // how.every) if clip.num_frames else None
    if how.num_frames is not None:
        total = min(total or how.num_frames, how.num_frames)
    columns = (
        TextColumn("frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("frames", total=total, rate="")
        yield lambda rate: bars.update(task, advance=1, rate=f"{rate:.1f} frames/s")


@contextmanager
def _stopping(clip: Clip) -> Iterator[None]:
    """Ctrl-C or SIGTERM is how a camera is left, so that what was written is kept; of a file it is an interruption."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if clip.live else None
    try:
        yield
    except KeyboardInterrupt:
        if not clip.live:
            raise
    finally:
        clip.close()
        if clip.live:
            signal.signal(signal.SIGTERM, before)


class Screen:
    """A window that shows images until it is closed, or q or Esc is pressed."""

    @staticmethod
    def missing() -> str | None:
        """Why no window can be opened here; None if one can. Asked in a process of its own, as Qt aborts without."""
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return "there is no display"
        probe = "import cv2; cv2.namedWindow('fersweep'); cv2.waitKey(1)"
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
        return None if done.returncode == 0 else "OpenCV cannot open one here"

    def show(self, image: np.ndarray) -> bool:
        """Show an image (H, W, 3) uint8 RGB. False once the user has closed the window."""
        import cv2

        cv2.imshow(WINDOW, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return False
        return cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) >= 1

    def __enter__(self) -> Self:
        import cv2

        with silent_stderr():  # Qt tells at length that it looked for fonts
            cv2.namedWindow(WINDOW)
        return self

    def __exit__(self, *_: object) -> None:
        import cv2

        cv2.destroyAllWindows()
