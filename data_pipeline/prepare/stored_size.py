"""As large as which pictures are a dataset's faces stored? As large as most of the sources' pictures, a sample says.

The sample depends on the sources alone: a `prepare` that goes on gets the same answer.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.crop import MAX_LONG, MIN_SIDE, SMALL
from fersweep.data_pipeline.prepare.options import SIDES
from fersweep.data_pipeline.sources.decode import Broken, size_of
from fersweep.data_pipeline.sources.source import Source

SAMPLED = 200  # pictures of a source, spread over it
USUAL_SHARE = 0.5  # of the sample: a shape that so many have is the source's
QUANTILE = 0.75  # of the shorter sides, where the pictures are of many shapes


def stored_size(sources: Sequence[Source], num_faces: Sequence[int]) -> tuple[int, int]:
    """(H, W) for all sources: the largest of what each needs, SMALL a side at most for images.

    InputError where no picture can be read, or faces in a table are of a size that is not stored.
    """
    sizes = [_size(source, num) for source, num in zip(sources, num_faces, strict=True)]
    known = [size for size in sizes if size is not None]
    if not known:
        raise InputError(f"no picture of {', '.join(str(source.path) for source in sources)} can be read")
    return max(height for height, _ in known), max(width for _, width in known)


def _size(source: Source, num_faces: int) -> tuple[int, int] | None:
    """(H, W) that fits the pictures of a source: theirs, where most are of one shape, else a square."""
    shapes = Counter[tuple[int, int]]()
    for face in source.faces(every=-(-num_faces // SAMPLED)):
        try:
            height, width = size_of(face)
        except Broken:
            continue
        if face.kind == "text" and not (height in SIDES and width in SIDES):
            raise InputError(f"{face.source}: a face of {height}×{width} pixels; both sides must lie in 8–1024")
        if min(height, width) >= MIN_SIDE and max(height, width) <= MAX_LONG * min(height, width):  # crop.degenerate
            if face.kind == "image" and max(height, width) > SMALL:
                height = width = SMALL
            shapes[height, width] += 1
    if not shapes:
        return None
    usual, num = shapes.most_common(1)[0]
    if num >= USUAL_SHARE * shapes.total():
        return usual
    sides = np.repeat([min(shape) for shape in shapes], list(shapes.values()))
    side = int(np.quantile(sides, QUANTILE, method="higher"))
    return side, side
