"""Follow faces from frame to frame, and smooth the probabilities of each.

A face is the same as one of the frame before if their boxes overlap the most and by at least MIN_OVERLAP (the IoU
tracker of Bochinski, Eiselein and Sikora, AVSS 2017); a face not seen for LOST_S seconds is forgotten. Probabilities are
smoothed exponentially over time, whatever the frame rate: after `smooth_s` seconds a change is shown to 63 %.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fersweep.data_pipeline.faces.landmarker import Box

MIN_OVERLAP = 0.25  # intersection over union
LOST_S = 1.0


@dataclass
class Track:
    """One face over time. `number` counts from 1."""

    number: int
    box: Box
    seen_s: float
    smoothed: dict[int, tuple[float, np.ndarray]] = field(default_factory=dict)  # model → (when, probabilities)
    windows: dict[int, deque[np.ndarray]] = field(default_factory=dict)  # model → its inputs of the last frames

    def smooth(self, model: int, answer: np.ndarray | None, time_s: float, smooth_s: float) -> np.ndarray | None:
        """Probabilities (C,) of `model`, smoothed over the frames before; None stays None, and changes nothing."""
        if answer is None:
            return None
        if smooth_s > 0 and model in self.smoothed:
            then_s, before = self.smoothed[model]
            answer = before + (1 - math.exp(-(time_s - then_s) / smooth_s)) * (answer - before)
        self.smoothed[model] = (time_s, answer)
        return answer

    def window(self, model: int, x: np.ndarray | None, length: int) -> deque[np.ndarray] | None:
        """The last `length` inputs of `model`, `x` the latest; None where there is no x."""
        if x is None:
            return None
        window = self.windows.setdefault(model, deque(maxlen=length))
        window.append(x)
        return window


class Tracker:
    """Numbers the faces of a clip."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.num_tracks = 0

    def follow(self, boxes: Sequence[Box], time_s: float) -> list[Track]:
        """The track of each of a frame's boxes; a new one where no known face was."""
        self.tracks = [track for track in self.tracks if time_s - track.seen_s <= LOST_S]
        pairs = [(overlap(box, track.box), i, j) for i, box in enumerate(boxes) for j, track in enumerate(self.tracks)]
        matches: dict[int, Track] = {}
        matched: set[int] = set()
        for share, i, j in sorted(pairs, key=lambda pair: -pair[0]):
            if share >= MIN_OVERLAP and i not in matches and j not in matched:
                matches[i] = self.tracks[j]
                matched.add(j)
        for i, box in enumerate(boxes):
            if i not in matches:
                self.num_tracks += 1
                matches[i] = Track(self.num_tracks, box, time_s)
                self.tracks.append(matches[i])
            matches[i].box, matches[i].seen_s = box, time_s
        return [matches[i] for i in range(len(boxes))]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
