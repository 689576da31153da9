"""Copies of a train face that show the same expression: mirrored, turned, lit, cropped; for blendshape models.

    copy, text = augmented(face, face_id, number=1, seed=0)     # text: what was done, the dataset's column `augmentation`

Each copy goes through MediaPipe as a face does. Nets of pixels augment while they train instead (trainables/torch_training/augment.py).
"""

import numpy as np

MAX_COPIES = 16
TURN = 8.0  # degrees, standard deviation; never more than twice that
LIGHT, SHADE = 0.15, 12.0  # standard deviations of the factor and of the gray levels added
ZOOM, SHIFT = 0.1, 0.04  # at most so much closer; standard deviation of the shift, as a share of the side


def augmented(face: np.ndarray, face_id: bytes, number: int, seed: int) -> tuple[np.ndarray, str]:
    """Copy `number` (from 1) of a face (H, W) uint8: of the same size, and what was done to it.

    Copy 1 is the mirror image; of the others every second one is mirrored, and all are turned, zoomed, shifted and lit
    as drawn with (`seed`, `face_id`, `number`).
    """
    import cv2

    if number == 1:
        return np.ascontiguousarray(face[:, ::-1]), "flip"
    rng = np.random.default_rng([seed, number, *np.frombuffer(face_id, np.uint32)])
    turn = float(np.clip(rng.normal(0, TURN), -2 * TURN, 2 * TURN))
    zoom = 1 + ZOOM * float(rng.random())
    shift = np.clip(rng.normal(0, SHIFT, 2), -2 * SHIFT, 2 * SHIFT)
    gain, shade = float(np.clip(rng.normal(1, LIGHT), 0.6, 1.4)), float(rng.normal(0, SHADE))
    height, width = face.shape
    flips = number % 2 == 1
    source = face[:, ::-1] if flips else face
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
    matrix[:, 2] += shift * (width, height)
    moved = cv2.warpAffine(
        np.ascontiguousarray(source), matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    mean = float(moved.mean())
    lit = np.clip((moved.astype(np.float32) - mean) * gain + mean + shade, 0, 255).astype(np.uint8)
    text = f"turn={turn:.1f} zoom={zoom:.3f} shift={shift[0]:.3f},{shift[1]:.3f} gain={gain:.2f} shade={shade:.0f}"
    return lit, f"flip {text}" if flips else text
