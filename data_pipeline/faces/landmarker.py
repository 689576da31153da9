"""MediaPipe: from a gray face to 52 blendshapes and 478 landmarks, and from any photo to gray faces like those of a dataset.

    with Landmarker(find_bundle(), views=4) as landmarker:
        reading = landmarker.read(face)                # scores (52,), landmarks (478, 3), pose; None: no face is found

The only module that imports mediapipe. A landmarker cannot be pickled and hangs after a fork: one per process.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fersweep.common.errors import not_installed
from fersweep.common.processes import silent_stderr
from fersweep.data_pipeline.faces.mirror import MIRROR_LANDMARKS, MIRROR_SCORES
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

# How a FER2013 crop frames a face, from the landmarks of 2,000 of them: side of the crop over the mean of the
# landmarks' width and height, and how far the crop's centre is above theirs, as a share of the side.
CROP_SIDE = 1.14
CROP_RISE = 0.043
MIN_TILE = 96  # pixels
NEAR = 2.0  # side of the square around a face of the frame before, over the face's own

Box = tuple[int, int, int, int]  # (left, top, right, bottom) in pixels


class View(NamedTuple):
    """One way of showing a face to the detector, relative to the border and size of the landmarker."""

    border: float
    size: float
    is_mirrored: bool


VIEWS = (View(1.0, 1.0, False), View(1.0, 1.0, True), View(0.5, 5 / 6, False), View(2.0, 4 / 3, False))
"""With the default border and size: 25 % at 192 pixels, the same mirrored, 12.5 % at 160, 50 % at 256. Each finds some
faces that the others miss, and their mean is less noisy than any of them."""


class Reading(NamedTuple):
    """What MediaPipe reads from a face: means over the views in which it found one."""

    scores: np.ndarray
    """(52,) float32 in the order of BLENDSHAPES."""
    landmarks: np.ndarray
    """(478, 3) float32: x and y as shares of the face's width and height, from its upper left corner; z in units of x,
    smaller is nearer to the camera."""
    pose: np.ndarray
    """(3,) float32 degrees: yaw (right of the picture is positive), pitch (up), roll (counter-clockwise)."""
    num_views: int
    spread: float
    """Root mean square, over the 52 scores, of their standard deviation over the views: 0 for a single view."""


class Landmarker(contextlib.AbstractContextManager["Landmarker"]):
    """MediaPipe's FaceLandmarker with the preprocessing that small crops need.

    `border`: black border on each side as a share of the side; without it the detector misses tight crops (89.5 % of
    FER2013 found against 96.5 %). `size`: side in pixels of the square that the detector sees. `views`: how many of
    VIEWS are looked at and averaged.
    """

    def __init__(
        self, bundle: Path | bytes, *, border: float = 0.25, size: int = 192, num_faces: int = 1, views: int = 1
    ):
        self.border, self.size, self.views = border, size, VIEWS[:views]
        self._mediapipe = _import_mediapipe()
        tasks, vision = self._mediapipe.tasks, self._mediapipe.tasks.vision
        content = bundle if isinstance(bundle, bytes) else Path(bundle).read_bytes()
        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=content),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
            num_faces=num_faces,
        )
        with silent_stderr(), _explained():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
            self.detect(np.zeros((size, size, 3), np.uint8))  # the first call warms up and logs

    def blendshapes(self, face: np.ndarray) -> np.ndarray | None:
        """Scores (52,) float32 in the order of BLENDSHAPES of a gray `face` (H, W) uint8; None: no face found."""
        reading = self.read(face)
        return None if reading is None else reading.scores

    def read(self, face: np.ndarray) -> Reading | None:
        """All that is read from a gray `face` (H, W) uint8; None: no view shows a face."""
        readings = [reading for view in self.views if (reading := self._look(face, view)) is not None]
        if len(readings) < 2:
            return readings[0] if readings else None
        scores = np.stack([reading.scores for reading in readings])
        return Reading(
            scores=scores.mean(axis=0),
            landmarks=np.stack([reading.landmarks for reading in readings]).mean(axis=0),
            pose=np.stack([reading.pose for reading in readings]).mean(axis=0),
            num_views=len(readings),
            spread=float(np.sqrt((scores.std(axis=0) ** 2).mean())),
        )

    def _look(self, face: np.ndarray, view: View) -> Reading | None:
        result = self.detect(self.preprocess(face[:, ::-1] if view.is_mirrored else face, view))
        if not result.face_blendshapes:
            return None
        scores, pose = _scores(result.face_blendshapes[0]), _pose(result.facial_transformation_matrixes[0])
        landmarks = np.array([(point.x, point.y, point.z) for point in result.face_landmarks[0]], np.float32)
        border = self.border * view.border
        # from the square to the face
        landmarks = landmarks * (1 + 2 * border) - np.array([border, border, 0], np.float32)
        if view.is_mirrored:
            scores, pose = scores[MIRROR_SCORES], pose * np.array([-1, 1, -1], np.float32)
            landmarks = landmarks[MIRROR_LANDMARKS] * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32)
        return Reading(scores, landmarks, pose, 1, 0.0)

    def preprocess(self, face: np.ndarray, view: View = VIEWS[0]) -> np.ndarray:
        """What the detector sees of a gray face (H, W) uint8: bordered, cubic, a square of RGB uint8."""
        import cv2

        height, width = (round(side * self.border * view.border) for side in face.shape)
        side = round(self.size * view.size)
        bordered = cv2.copyMakeBorder(face, height, height, width, width, cv2.BORDER_CONSTANT, value=0)
        square = cv2.resize(bordered, (side, side), interpolation=cv2.INTER_CUBIC)
        return cv2.cvtColor(square, cv2.COLOR_GRAY2RGB)

    def detect(self, image: np.ndarray) -> Any:
        """MediaPipe's result for an RGB image (H, W, 3) uint8."""
        frame = self._mediapipe.Image(self._mediapipe.ImageFormat.SRGB, np.ascontiguousarray(image))
        return self._landmarker.detect(frame)

    def close(self) -> None:
        """Free the graph. Left to the interpreter's exit, it prints a TypeError."""
        self._landmarker.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def faces_in_photo(
    image: np.ndarray, landmarker: Landmarker, near: Sequence[Box] | None = None
) -> list[tuple[Box, np.ndarray]]:
    """Faces of a photo (H, W, 3) RGB uint8, from left to right: (box, crop).

    box: (left, top, right, bottom) in pixels of the photo, may reach beyond it. crop: gray (side, side) uint8, framed
    as FER2013 frames a face, black beyond the photo; `crop.fit` to the dataset's image size makes it a face like
    the dataset's. `landmarker` must have been made with num_faces > 1 to find more than one.

    `near`: boxes of the frame before of a video. Searched are then the whole frame, and the surroundings of those boxes
    where the whole frame showed no face; None: all parts of the photo.
    """
    import cv2

    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = gray.shape
    faces: list[tuple[Box, np.ndarray]] = []
    for left, top, side in _boxes(image, landmarker, near):
        margin = max(0, -left, -top, left + side - width, top + side - height)
        wide = cv2.copyMakeBorder(gray, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
        crop = wide[top + margin : top + margin + side, left + margin : left + margin + side]
        faces.append(((left, top, left + side, top + side), np.ascontiguousarray(crop)))
    return sorted(faces, key=lambda face: face[0])


def _boxes(image: np.ndarray, landmarker: Landmarker, near: Sequence[Box] | None) -> list[tuple[int, int, int]]:
    """Crops (left, top, side) of the photo's faces: of the whole photo, then of parts of it.

    The detector is made for selfies: a face narrower than about a seventh of what it is shown is missed.
    """
    boxes = _add_boxes([], 0, 0, image, landmarker)
    if near is None:
        for x, y, tile in _tiles(image):
            _add_boxes(boxes, x, y, tile, landmarker)
        return boxes
    for left, top, right, _ in near:
        if not any(_same_face((left, top, right - left), other) for other in boxes):
            _add_boxes(boxes, *_surroundings(image, left, top, right - left), landmarker)
    return boxes


def _add_boxes(
    boxes: list[tuple[int, int, int]], x: int, y: int, tile: np.ndarray, landmarker: Landmarker
) -> list[tuple[int, int, int]]:
    """`boxes`, and those of the faces of `tile`, whose corner is at (x, y), that are not among them."""
    for landmarks in landmarker.detect(tile).face_landmarks:
        points = np.array([(point.x * tile.shape[1] + x, point.y * tile.shape[0] + y) for point in landmarks])
        low, high = points.min(axis=0), points.max(axis=0)
        side = max(round(float((high - low).mean()) * CROP_SIDE), 2)
        corner: np.ndarray = (low + high) / 2 - side / 2 - np.array([0, side * CROP_RISE])
        left, top = np.round(corner).astype(int).tolist()
        if not any(_same_face((left, top, side), other) for other in boxes):
            boxes.append((left, top, side))
    return boxes


def _surroundings(image: np.ndarray, left: int, top: int, side: int) -> tuple[int, int, np.ndarray]:
    """(x, y, view): the part of the image around a face, NEAR times its side."""
    height, width = image.shape[:2]
    margin = round(side * (NEAR - 1) / 2)
    x, y = min(max(left - margin, 0), width - 1), min(max(top - margin, 0), height - 1)
    return x, y, image[y : max(top + side + margin, y + 1), x : max(left + side + margin, x + 1)]


def _tiles(image: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """(x, y, view): squares of half the photo's longer side that overlap by half."""
    height, width = image.shape[:2]
    side = min(max(height, width) // 2, height, width)
    if side >= MIN_TILE:
        for y in range(0, height - side // 2, side // 2):
            for x in range(0, width - side // 2, side // 2):
                yield x, y, image[y : y + side, x : x + side]


def _same_face(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    """Are the centres closer than half the larger side?"""
    distance = max(abs(a[axis] + a[2] / 2 - b[axis] - b[2] / 2) for axis in (0, 1))
    return distance < max(a[2], b[2]) / 2


def _scores(categories: list[Any]) -> np.ndarray:
    names = tuple(category.category_name for category in categories)
    if names != BLENDSHAPES:
        raise RuntimeError(f"MediaPipe returns other blendshapes than expected: {names}")
    return np.array([category.score for category in categories], np.float32)


def _pose(matrix: np.ndarray) -> np.ndarray:
    """(3,) float32 yaw, pitch, roll in degrees of a (4, 4) transformation from the canonical face to the camera's space,
    whose x points right, y up and z towards the camera; the rotations are applied roll first, yaw last."""
    yaw, pitch = np.arctan2(matrix[0, 2], matrix[2, 2]), np.arcsin(np.clip(matrix[1, 2], -1, 1))
    return np.degrees([yaw, pitch, np.arctan2(matrix[1, 0], matrix[1, 1])]).astype(np.float32)


def _import_mediapipe() -> ModuleType:
    """mediapipe, without the TensorFlow that it imports for a documentation decorator (1.4 s instead of 10 s)."""
    hidden = "tensorflow" not in sys.modules
    if hidden:
        sys.modules["tensorflow"] = None  # pyright: ignore[reportArgumentType]
    try:
        with _explained():
            import mediapipe
            import mediapipe.tasks.python.vision
    finally:
        if hidden:
            del sys.modules["tensorflow"]
    return mediapipe


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError) as error:
        if (line := not_installed(error)) is not None:
            raise RuntimeError(f"MediaPipe does not run: {line}") from None
        raise
