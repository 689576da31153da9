"""Files that `predict` writes: whole under their name, or not at all.

with FaceTable(path, recogniser) as table:               # .csv or .parquet: a row a face, of each frame
    table.add("clip.mp4", 0, 0.0, 1, face)
with Movie(path, 25.0) as movie:                         # .mp4, .mkv, .mov, .avi or .webm
    movie.write(image, 0.04)
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fersweep.common.files import replacing
from fersweep.common.processes import silent_stderr
from fersweep.common.text import FORMULA, csv_text, printable
from fersweep.common.video_file import frame_times, write_times

if TYPE_CHECKING:
    import pyarrow as pa

    from fersweep.results.predict.recogniser import LabelledFace, Recogniser


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# What the OpenCV wheel's FFmpeg can write everywhere; H.264 is not among it.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
BATCH_ROWS = 1000


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) uint8 RGB in the format that its name says."""
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, quality=92)  # of JPEG and WebP; other formats know no quality


class FaceTable:
    """A table with a row for each face of each frame, written in batches, as CSV or Parquet by its name.

    Columns: `input`, `frame` (from 0) and `time_s` (null for a picture), `face` (its number in the picture, or in the
    video, where a face keeps it), box in pixels, then `label` and a column of probabilities for each class; of several
    models `<name>.label` and `<name>.<class>`. Label and probabilities are null where no expression was found.
    """

    def __init__(self, path: Path, recogniser: Recogniser):
        self.path, self._recogniser = path, recogniser
        self._rows: list[dict[str, Any]] = []
        self._stack = ExitStack()

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        fields = [("input", pa.string()), ("frame", pa.int64()), ("time_s", pa.float64()), ("face", pa.int64())]
        fields += [(side, pa.int32()) for side in ("left", "top", "right", "bottom")]
        for prefix, classes in zip(self._prefixes, self._recogniser.classes, strict=True):
            fields += [
                (f"{prefix}label", pa.string()),
                *((f"{prefix}{self._text(name)}", pa.float32()) for name in classes),
            ]
        return pa.schema(fields)

    def __enter__(self) -> Self:
        import pyarrow.csv
        import pyarrow.parquet

        names = self._recogniser.names
        self._prefixes = [f"{name}." for name in names] if len(names) > 1 else [""]
        self._text = csv_text if self.path.suffix.lower() == ".csv" else printable
        self._columns = self._schema()
        temporary = str(self._stack.enter_context(replacing(self.path)))
        make = pyarrow.csv.CSVWriter if self.path.suffix.lower() == ".csv" else pyarrow.parquet.ParquetWriter
        self._writer = self._stack.enter_context(make(temporary, self._columns))
        return self

    def add(self, source: str, frame: int | None, time_s: float | None, number: int, face: LabelledFace) -> None:
        """One row: face `number` of an input, or of a frame of it."""
        box = dict(zip(("left", "top", "right", "bottom"), face.box, strict=True))
        row = {"input": self._name(source), "frame": frame, "time_s": time_s, "face": number, **box}
        for prefix, expression in zip(self._prefixes, face.expressions.values(), strict=True):
            row[f"{prefix}label"] = None if expression.label is None else self._text(expression.label)
            row |= {f"{prefix}{self._text(name)}": value for name, value in (expression.probabilities or {}).items()}
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _name(self, source: str) -> str:
        """The name of an input, which stays one where it could be a formula."""
        return printable(f"./{source}" if source.startswith(FORMULA) else source)

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, self._columns))
        self._rows.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)


class Movie:
    """A video without sound of frames of one size: that of the first; others are fitted to it.

    A frame is shown when it was in its clip, whose frames need not come evenly. AVI holds no times: there a frame is
    repeated, or left out, so that it is shown to within one frame of `fps` a second.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.fps, self.num_frames = path, fps, 0
        self._times: list[float] = []
        self._stack = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(replacing(self.path))
        return self

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append an image (H, W, 3) uint8 RGB that is shown at `time_s`."""
        if self.path.suffix.lower() != ".avi":
            self._times.append(time_s)
            self._append(image)
            return
        place = round(time_s * self.fps)
        while 0 < self.num_frames < place:
            self._append(self._last)
        if self.num_frames <= place:
            self._append(image)
            self._last = image

    def _append(self, image: np.ndarray) -> None:
        import cv2

        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            codec = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
            with silent_stderr():
                self._writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, codec, self.fps, self._size)
            if not self._writer.isOpened():
                raise RuntimeError(
                    f"{self.path}: OpenCV cannot write a video of {image.shape[1]}×{image.shape[0]} there"
                )
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.num_frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
            if kind is None:
                self._check()
                self._set_times()
        except BaseException as failure:
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def _set_times(self) -> None:
        """Give the frames their times, unless they come evenly anyway: to a quarter of a frame."""
        import cv2

        even = (abs(time - self._times[0] - i / self.fps) < 0.25 / self.fps for i, time in enumerate(self._times))
        if all(even):
            return
        timed = self._temporary.with_stem(f"{self._temporary.stem}.timed")
        try:
            write_times(self._temporary, timed, self._times, cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()]))
            timed.replace(self._temporary)
        finally:
            timed.unlink(missing_ok=True)

    def _check(self) -> None:
        """VideoWriter reports no failure: a full disk shows in the file alone."""
        if self.num_frames == 0:
            raise RuntimeError(f"{self.path}: not written, as no frame was seen")
        written = len(frame_times(self._temporary))
        if written < self.num_frames * 0.98:
            raise RuntimeError(f"{self.path}: only {written} of {self.num_frames} frames could be written; disk full?")
