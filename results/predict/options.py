"""What `fersweep predict` writes and how it watches. The command line reads it when it starts: nothing heavy here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fersweep.common.options import Option


@dataclass(frozen=True)
class Watching:
    """How a clip is watched."""

    smooth_s: Annotated[
        float,
        Option("Video: time constant of smoothing a face's probabilities, in seconds; 0: off.", flag="--smooth", min=0),
    ] = 0.3
    every: Annotated[int, Option("Video: look at every N-th frame.", min=1)] = 1
    window: Annotated[
        int,
        Option("Video: a blendshape LSTM sees a face's last N frames as N steps; it was trained on one.", min=0),
    ] = 0
    """0: the one frame that it was trained on."""
    num_frames: Annotated[int | None, Option("Video: stop after so many frames.", flag="--frames", min=1)] = None
    seconds: Annotated[float | None, Option("Video: stop after so many seconds of it.", min=0)] = None


@dataclass(frozen=True)
class Options:
    """What `predict` writes beside its answer."""

    out: Annotated[
        Path | None, Option("Annotated picture or video (without sound); of several inputs a directory.")
    ] = None
    grid: Annotated[Path | None, Option("A picture of all faces with their labels.")] = None
    csv: Annotated[Path | None, Option("A row for each face of each frame.", metavar="FILE")] = None
    parquet: Annotated[Path | None, Option("The same as Parquet.", metavar="FILE")] = None
    emoji: Annotated[bool, Option("Draw an emoji beside each face.")] = False
    watching: Watching = field(default_factory=Watching)
    show: Annotated[bool | None, Option("Open a window; default: of a camera, if there is a display.")] = None
    say: bool = True
    """Print a camera's labels as they change, where no window shows them."""

    @property
    def rows(self) -> list[Path]:
        """The tables of all faces."""
        return [path for path in (self.csv, self.parquet) if path]
