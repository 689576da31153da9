"""Our blendshapes beside those of an earlier project, from the same raw 48-pixel images (FER2013's PublicTest).

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/data/agreement.py --faces fer2013.csv.zip --scores blends_validation_set.csv

Both are happy, sad and neutral faces seen without a border. The earlier rows do not name their faces, so a row and a face
are paired if each is the other's nearest among those of the same label. For each size at which the detector may have been
shown the image it prints how many rows have a face, and how many of those agree within 1e-3 rms.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LABELS = {"0": "happy", "1": "sad", "2": "neutral"}  # the earlier project's ids
AGREES = 1e-3  # rms over the scores that both have


def main() -> None:
    from fersweep.data_pipeline.faces.landmarker import Landmarker
    from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
    from fersweep.data_pipeline.sources.decode import decode
    from fersweep.data_pipeline.sources.source import open_source

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="FER2013's CSV")
    parser.add_argument("--scores", type=Path, required=True, help="the CSV of blendshapes")
    parser.add_argument("--split", default="val", help="of the faces; default: val, PublicTest")
    parser.add_argument("--sizes", type=int, nargs="+", default=[48], help="sides in pixels; default: 48, not enlarged")
    options = parser.parse_args()

    rows = list(open_source(options.scores, labels=LABELS).faces())
    theirs = np.stack([np.frombuffer(row.data, "<f4") for row in rows])
    names = np.array([row.label for row in rows])
    faces = open_source(options.faces).faces()
    wanted = [face for face in faces if face.split == options.split and face.label in LABELS.values()]
    print(f"{len(rows):,} rows, {len(wanted):,} faces of {options.split}\n")
    print(
        "| size | faces seen | rows with a face | agree within 1e-3 rms | median rms | largest |\n|---|---|---|---|---|---|"
    )
    for size in options.sizes:
        with Landmarker(find_bundle(), border=0.0, size=size) as landmarker:
            readings = [(face.label, landmarker.blendshapes(decode(face))) for face in wanted]
        detected = [(label, scores) for label, scores in readings if scores is not None]
        ours, labels = np.stack([scores for _, scores in detected]), np.array([label for label, _ in detected])
        rms = np.concatenate([pair_rms(theirs[names == name], ours[labels == name]) for name in LABELS.values()])
        agree = f"{np.mean(rms < AGREES):.2%} ({np.sum(rms < AGREES):,})"
        print(
            f"| {size} | {len(detected):,} | {len(rms):,} | {agree} | {np.median(rms):.1e} | {rms.max():.1e} |",
            flush=True,
        )


def pair_rms(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """rms (M,) of the pairs of rows (N, 52) of one label that are each other's nearest; columns of NaN do not count."""
    both = ~np.isnan(theirs).any(axis=0)
    theirs, ours = theirs[:, both].astype(np.float64), ours[:, both].astype(np.float64)
    squares = (theirs**2).sum(axis=1)[:, None] + (ours**2).sum(axis=1) - 2 * theirs @ ours.T
    nearest, back = squares.argmin(axis=1), squares.argmin(axis=0)
    rows = np.flatnonzero(back[nearest] == np.arange(len(theirs)))
    return np.sqrt(((theirs[rows] - ours[nearest[rows]]) ** 2).mean(axis=1))


if __name__ == "__main__":
    main()
