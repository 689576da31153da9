"""Landmarks of a face as numbers of its expression, whatever its place, size and tilt in the picture.

    points = normalised(landmarks, EXPRESSIVE)          # (N, 478, 3) → (N, 60, 3)

Indexes are those of MediaPipe's face mesh (468 points of its canonical face model, canonical_face_model_uv_visualization
in its repository, and 10 of the irises); which of them are lips, eyes, brows and nose its FaceLandmarksConnections say.
Left and right are the person's own, so that the right eye is on the left of the picture.
"""

from collections.abc import Sequence

import numpy as np

OUTER_EYES = (33, 263)  # outer corners of the right and of the left eye

LIPS = (
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,  # outer edge, from the right corner over the upper lip
    78, 81, 13, 311, 308, 402, 14, 178,  # inner edge
)  # fmt: skip
BROWS = (70, 63, 105, 66, 107, 46, 55, 300, 293, 334, 296, 336, 276, 285)
EYES = (33, 160, 159, 158, 133, 153, 145, 144, 263, 387, 386, 385, 362, 380, 374, 373)
NOSE = (1, 2, 168, 98, 327, 129, 358)  # tip, base, bridge, nostrils, wings
CHIN = (152, 148, 377)
EXPRESSIVE = tuple(sorted((*LIPS, *BROWS, *EYES, *NOSE, *CHIN)))
"""The 60 landmarks that move with an expression, or that others move against."""


def normalised(landmarks: np.ndarray, keep: Sequence[int] | None = None) -> np.ndarray:
    """Landmarks centred between the outer eye corners, the line of the eyes level, in units of the corners' distance.

    Args:
        landmarks: (N, 478, 3) float, x and y as shares of the picture's side, y downwards, z in units of x. A picture
            that is not square counts as the square that MediaPipe was shown of it.
        keep: indexes of the landmarks that are wanted; None: all.

    Returns:
        (N, 478, 3) float32, or (N, len(keep), 3). The right eye's corner is at (-0.5, 0), the left eye's at (0.5, 0); z is
        0 halfway.
    """
    right, left = (landmarks[:, index].astype(np.float32) for index in OUTER_EYES)
    points = (landmarks if keep is None else landmarks[:, list(keep)]).astype(np.float32)
    across = (left - right)[:, :2]
    distance = np.maximum(np.hypot(across[:, 0], across[:, 1]), np.float32(1e-6))[:, None]
    cos, sin = (across / distance).T[:, :, None]
    points = (points - ((right + left) / 2)[:, None]) / distance[:, None]
    level = np.empty_like(points)
    level[..., 0] = cos * points[..., 0] + sin * points[..., 1]
    level[..., 1] = cos * points[..., 1] - sin * points[..., 0]
    level[..., 2] = points[..., 2]
    return level
