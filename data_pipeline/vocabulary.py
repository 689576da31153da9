"""The words that every package speaks: splits, labels, MediaPipe's blendshapes."""

from typing import Literal

SPLITS = ("train", "val", "test")
By = Literal["auto", "official", "subject", "stratified"]
"""What splits go by: see `splits.assign`."""
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
"""Every label a dataset can hold, in canonical order (FER2013's ids 0–6, then FER+'s and CK+'s contempt)."""

UNKNOWN = "class unknown"
"""In counts by class: of rows and pictures whose class is not known."""
Counts = dict[str, dict[str, int]]
"""Faces per split and label: {"train": {"angry": 3995, …}, …}; of what is left out, per reason and label, or UNKNOWN."""

BLENDSHAPES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""MediaPipe's 52 scores in MediaPipe's order; `landmarker.py` refuses a bundle that returns others."""

NUM_LANDMARKS = 478

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TIFF", "WEBP")
"""Of Pillow's many: EPS would run Ghostscript, anything may pass for a TGA, and icons and films are no pictures of faces."""
