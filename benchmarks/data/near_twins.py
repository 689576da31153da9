"""Near twins of a dataset: what the two searches find of altered copies, and what they cost.

    .venv/bin/python benchmarks/data/near_twins.py --data runs/data/fer2013

Copies of 300 of its faces, mirrored, turned, zoomed or shifted, are put beside the originals; found is a copy that
becomes a near twin of its original, by the thumbnails as they are and with mirrored and turned ones (splits/turned_twins.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fersweep.data_pipeline.describe.rows import DatasetRows  # noqa: E402
from fersweep.data_pipeline.splits.near_twins import SIDE, near_pairs  # noqa: E402
from fersweep.data_pipeline.splits.turned_twins import turned_pairs  # noqa: E402

BORDERS = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE, "reflected": cv2.BORDER_REFLECT_101}
NUM_COPIED = 300


def moved(face: np.ndarray, degrees: float = 0, zoom: float = 1, shift: float = 0, border: str = "edge") -> np.ndarray:
    """(H, W) uint8, turned about its centre, enlarged, and shifted to the right by `shift` pixels."""
    height, width = face.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    matrix[0, 2] += shift
    return cv2.warpAffine(face, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=BORDERS[border])


ALTERED = {
    "mirrored": lambda face: face[:, ::-1],
    **{
        f"turned by {degrees}°, {border}": lambda face, d=degrees, b=border: moved(face, d, border=b)
        for degrees in (-15, -10, -5, 5, 10, 15)
        for border in BORDERS
    },
    "mirrored, turned by 10°": lambda face: moved(face[:, ::-1], 10),
    "zoomed by 1.03": lambda face: moved(face, zoom=1.03),
    "zoomed by 1.05": lambda face: moved(face, zoom=1.05),
    "shifted by a pixel": lambda face: moved(face, shift=1),
}


def thumbnails(faces: np.ndarray) -> np.ndarray:
    return np.stack([cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in faces])


def found(faces: np.ndarray, copies: np.ndarray) -> tuple[float, float]:
    """Shares of the copies that are found: by thumbnails alone, and by both searches."""
    both = thumbnails(np.concatenate([faces, copies]))
    alike = {tuple(pair) for pair in near_pairs(both).tolist()}
    turned = alike | {tuple(pair) for pair in turned_pairs(both).tolist()}
    num = len(faces)
    hits = [sum((row, num + row) in pairs for row in range(num)) / num for pairs in (alike, turned)]
    return hits[0], hits[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/data/fer2013")
    options = parser.parse_args()
    rows = DatasetRows(options.data)
    faces = rows.pictures(np.arange(len(rows.labels)))
    chosen = faces[np.random.default_rng(0).choice(len(faces), NUM_COPIED, replace=False)]
    print("| copies | thumbnails | with turned ones |\n|---|---|---|")
    for name, alter in ALTERED.items():
        before, after = found(chosen, np.stack([alter(face) for face in chosen]))
        print(f"| {name} | {before:.0%} | {after:.0%} |")
    small = thumbnails(faces)
    for name, search in (("thumbnails", near_pairs), ("turned", turned_pairs)):
        begun = time.process_time()
        pairs = search(small)
        print(f"{len(faces):,} faces, {name}: {len(pairs):,} pairs, {time.process_time() - begun:.2f} CPU s")


if __name__ == "__main__":
    main()
