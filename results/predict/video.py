"""Watch a video or a camera: faces found, followed and named frame by frame.

    watch(Clip(Path("clip.mp4")), recogniser, Watching(smooth_s=0.3), tables=[…], movie=…)    # → ClipResult

Memory grows by some bytes a frame. In most frames, faces are searched in the whole frame and around those of the frame
before; small ones are searched in all parts of it once every LOOK_S seconds (data_pipeline/faces/landmarker.py).
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from fersweep.common.processes import silent_stderr
from fersweep.data_pipeline.tasks.photo_reader import Seen
from fersweep.results.predict import draw
from fersweep.results.predict.face_tracker import Track, Tracker
from fersweep.results.predict.options import Watching
from fersweep.results.predict.outputs import FaceTable, Movie
from fersweep.results.predict.recogniser import Answers, LabelledFace, Recogniser
from fersweep.results.predict.video_frames import Clip, Frame

LOOK_S = 1.0
WINDOW = "fersweep"
NO_EXPRESSION = "no expression"


@dataclass(frozen=True)
class ClipResult:
    """What was seen in a clip.

    Attributes:
        video: name of the file or the camera.
        promised: frames that the file says it has, if it is cut off or damaged and they could not all be read.
        seconds: of computing.
        frames_per_s: after the first frame.
        faces: how many were followed.
        labels: label → frames of faces with it, the most frequent first; of several models, the first one's labels.
        out: the annotated video.
    """

    video: str
    frames: int
    seconds: float
    frames_per_s: float
    frames_without_face: int
    faces: int
    labels: dict[str, int]
    promised: int | None = None
    out: Path | None = None

    def as_json(self) -> dict[str, Any]:
        content = asdict(self)
        out = content.pop("out")
        return content if out is None else {**content, "out": str(out)}


def watch(
    clip: Clip,
    recogniser: Recogniser,
    how: Watching,
    tables: Sequence[FaceTable] = (),
    movie: Movie | None = None,
    screen: Screen | None = None,
    tell: Callable[[str], None] | None = None,
    emoji: bool = False,
) -> ClipResult:
    """Watch `clip` to its end, or until a limit of `how`, Ctrl-C (of a camera) or the window's end.

    Args:
        tell: called with a line whenever another label is seen in a face.
        emoji: draw them beside the faces.
    """
    tracker, tally, looked_s = Tracker(), _Tally(), -LOOK_S
    with _progress(clip, how) as advance, _stopping(clip):
        for frame in clip.frames(how.every):
            if how.seconds is not None and frame.time_s > how.seconds:
                break
            full = frame.time_s - looked_s >= LOOK_S
            looked_s = frame.time_s if full else looked_s
            faces = recogniser.faces(frame.image, None if full else [track.box for track in tracker.tracks], film=True)
            tracks = tracker.follow([face.box for face in faces], frame.time_s)
            answers = _answers(recogniser, faces, tracks, frame, how)
            labelled = {
                track.number: recogniser.label(face.box, answer)
                for track, face, answer in zip(tracks, faces, answers, strict=True)
            }
            if tell is not None:
                for number in tally.changed(labelled):
                    tell(f"{frame.time_s:8.2f} s  face {number}  {labelled[number].caption}")
            tally.add(labelled)
            for number, face in labelled.items():
                for table in tables:
                    table.add(clip.name, frame.number, frame.time_s, number, face)
            advance(tally.rate)
            if movie is not None or screen is not None:
                image = draw.annotate(frame.image, [face.mark for face in labelled.values()], emoji)
                if not _show(image, frame.time_s, movie, screen):
                    break
            if tally.num_frames == how.num_frames:
                break
    return replace(tally.result(clip.name, tracker.num_tracks), promised=clip.promised())


class _Tally:
    """Counts what was seen; its size does not grow with the clip."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.num_frames = self.num_empty = 0
        self.rate = 0.0  # frames/s
        self._last: dict[int, str | None] = {}  # face → its label in the last frame
        self._began = self._warm = time.perf_counter()

    def changed(self, faces: dict[int, LabelledFace]) -> list[int]:
        """Numbers of the faces that have another label than in the frame before."""
        return [number for number, face in faces.items() if self._last.get(number, "") != face.label]

    def add(self, faces: dict[int, LabelledFace]) -> None:
        """Count a frame with these faces, by number."""
        self._last = {number: face.label for number, face in faces.items()}
        self.labels.update(label or NO_EXPRESSION for label in self._last.values())
        self.num_empty += not faces
        if self.num_frames == 0:
            self._warm = time.perf_counter()  # the first frame waited for MediaPipe and the models to be loaded
        self.num_frames += 1
        self.rate = (self.num_frames - 1) / max(time.perf_counter() - self._warm, 1e-9)

    def result(self, video: str, num_faces: int) -> ClipResult:
        return ClipResult(
            video=video,
            frames=self.num_frames,
            seconds=round(time.perf_counter() - self._began, 3),
            frames_per_s=round(self.rate, 2),
            frames_without_face=self.num_empty,
            faces=num_faces,
            labels=dict(self.labels.most_common()),
        )


def _answers(
    recogniser: Recogniser, faces: Sequence[Seen], tracks: Sequence[Track], frame: Frame, how: Watching
) -> list[Answers]:
    """Of each face what each model answers, smoothed."""
    if not faces:
        return []
    if how.window:
        by_model: list[Answers] = []
        for index, _ in enumerate(recogniser.models):
            inputs = [face.views[index].features for face in faces]
            windows = [track.window(index, x, how.window) for track, x in zip(tracks, inputs, strict=True)]
            by_model.append(recogniser.ask_window(index, windows))
        answers = [list(answer) for answer in zip(*by_model, strict=True)]
    else:
        answers = recogniser.answers(faces)
    return [
        [track.smooth(index, answer, frame.time_s, how.smooth_s) for index, answer in enumerate(of_face)]
        for track, of_face in zip(tracks, answers, strict=True)
    ]


def _show(image: np.ndarray, time_s: float, movie: Movie | None, screen: Screen | None) -> bool:
    """False: the window was closed."""
    if movie is not None:
        movie.write(image, time_s)
    return screen is None or screen.show(image)


@contextmanager
def _progress(clip: Clip, how: Watching) -> Iterator[Callable[[float], None]]:
    """A bar on stderr; the function is to be called after each frame, with the frames a second so far."""
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
    """Ctrl-C or SIGTERM ends a camera, and what was written is kept; it interrupts a file."""
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
        """Why no window can be opened here; None if one can. Tried in a process of its own: without a display, Qt aborts."""
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return "there is no display"
        probe = "import cv2; cv2.namedWindow('fersweep'); cv2.waitKey(1)"
        process = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
        return None if process.returncode == 0 else "OpenCV cannot open one here"

    def show(self, image: np.ndarray) -> bool:
        """Show an image (H, W, 3) uint8 RGB. False once the user has closed the window."""
        import cv2

        cv2.imshow(WINDOW, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return False
        return cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) >= 1

    def __enter__(self) -> Self:
        import cv2

        with silent_stderr():  # Qt writes at length that it looked for fonts
            cv2.namedWindow(WINDOW)
        return self

    def __exit__(self, *_: object) -> None:
        import cv2

        cv2.destroyAllWindows()
