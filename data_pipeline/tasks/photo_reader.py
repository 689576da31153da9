"""From a photo to what a model is fed: find its faces, crop them, and see each crop as the model's dataset saw its faces.

    with PhotoReader(model) as reader:                       # `model`: the content of a checkpoint's model.json
        for seen in reader.faces(read_photo(path)):          # or read_photo(bytes): JPEG, PNG and what Pillow reads
            probabilities = net.predict(seen.features[None]) # features is None where the crop shows no expression

A face is treated as a face of the dataset: found by the same rule (data_pipeline/faces/crop.py), which takes a small picture
and one that its face fills as they are, cropped to the same frame, made gray, fitted to the dataset's image size, and read by the landmarker with the border, size and views of training; a model of pixels is fed the gray crop itself.

One reader may serve several models, `PhotoReader(a, b)`: faces are found once, and a crop is read once for each
distinct (image size, border, size, views). `Seen.views` has one View a model, in their order; `Seen.face` and
`Seen.features` are the first model's.

Needs nothing but this package: it travels inside the registered MLflow model. MediaPipe is imported, and its bundle looked
for (data_pipeline/faces/landmarker_bundle.py), when the first photo is read.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import regular_file
from fersweep.data_pipeline.faces.crop import MAX_FACES, degenerate, find_faces, fit, is_crop, to_gray
from fersweep.data_pipeline.faces.landmarker import Box, Landmarker, Reading, faces_in_photo
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.tasks.features import is_mixed, mixed, values, vector_names
from fersweep.data_pipeline.vocabulary import FORMATS

if TYPE_CHECKING:
    from PIL import Image


# FER2013's: for a model that does not name its own. Older models name no views, as there was one only, and
# no fit, as pictures were stretched.
PREPROCESSING = {"image_size": (48, 48), "border": 0.25, "size": 192, "views": 1, "fit": "stretch", "crop": "auto"}
MAX_PIXELS = 2**27  # of a photo: 400 MB once decoded; the largest telephones take 108 million


class View(NamedTuple):
    """A face as one model sees it."""

    face: np.ndarray
    """(H, W) uint8 gray, in the image size of the model's dataset."""
    features: np.ndarray | None
    """What the model is fed: (F,) float32 scores and coordinates (features.py), the face itself, or both; None: the
    landmarker detects no face in it, and the model sees nothing else."""


class Seen(NamedTuple):
    """A face of a photo."""

    box: Box
    """(left, top, right, bottom) in pixels of the photo, may reach beyond it."""
    views: tuple[View, ...]
    """One a model of the reader."""

    @property
    def face(self) -> np.ndarray:
        return self.views[0].face

    @property
    def features(self) -> np.ndarray | None:
        return self.views[0].features


class _Sight(NamedTuple):
    """What of a model's preprocessing decides how a crop is seen."""

    image_size: tuple[int, int]
    border: float
    size: int
    views: int
    keeps_aspect: bool


class PhotoReader(AbstractContextManager["PhotoReader"]):
    """Finds the faces of photos and turns them into the inputs of each of `models` (model.json). One thread at a time."""

    def __init__(self, *models: dict[str, Any], bundle: Path | None = None):
        if not models:
            raise ValueError("a PhotoReader needs at least one model's description")
        self._models, self._bundle = models, bundle
        self._path: Path | None = None
        self._landmarkers: dict[tuple[float, int, int, int], Landmarker] = {}

    def faces(self, photo: np.ndarray, near: Sequence[Box] | None = None, film: bool = False) -> list[Seen]:
        """Faces of a photo (H, W, 3) uint8 RGB, from left to right.

        A picture that is a face already is one: `crop.find_faces`. A photo in which none is found is treated as a crop
        itself, as a dataset's images are, if the landmarker detects a face in it.

        Args:
            near: boxes of a video's previous frame: search the whole frame and around these only, instead of all parts of
                the photo (a quarter of the time).
            film: the photo is a frame of a video: however small, it is searched.

        Raises RuntimeError if MediaPipe's bundle is not there and cannot be fetched.
        """
        sights = [_sight(model) for model in self._models]
        gray = to_gray(photo)
        height, width = gray.shape
        whole = (0, 0, width, height)

        def finder() -> Landmarker:
            return self._landmarker(sights[0]._replace(views=1), MAX_FACES)

        if degenerate(gray) is not None:
            return []
        if film or near is not None:
            faces = faces_in_photo(photo, finder(), near)
        elif _leaves_whole(self._models[0]) and is_crop(gray):
            faces = [(whole, gray)]
        else:
            faces = find_faces(photo, gray, finder, several=True)
        if faces or (near is not None and whole not in near):
            return [self._seen(box, crop, sights) for box, crop in faces]
        return self._whole(gray, whole, sights)

    def _seen(self, box: Box, crop: np.ndarray, sights: Sequence[_Sight]) -> Seen:
        known: dict[_Sight, Reading | None] = {}
        views: list[View] = []
        for model, sight in zip(self._models, sights, strict=True):
            face = fit(crop, sight.image_size, sight.keeps_aspect)
            if model["feature_names"] == ["pixels"]:
                views.append(View(face, face))
                continue
            if sight not in known:
                known[sight] = self._landmarker(sight).read(face)
            views.append(View(face, _features(model["feature_names"], face, known[sight])))
        return Seen(box, tuple(views))

    def _whole(self, gray: np.ndarray, box: Box, sights: Sequence[_Sight]) -> list[Seen]:
        for sight in dict.fromkeys(sights):
            if self._landmarker(sight).read(fit(gray, sight.image_size, sight.keeps_aspect)) is not None:
                return [self._seen(box, gray, sights)]
        return []

    def _landmarker(self, sight: _Sight, num_faces: int = 1) -> Landmarker:
        key = (sight.border, sight.size, sight.views, num_faces)
        if key not in self._landmarkers:
            self._path = self._path or find_bundle(self._bundle)
            self._landmarkers[key] = Landmarker(
                self._path, border=sight.border, size=sight.size, views=sight.views, num_faces=num_faces
            )
        return self._landmarkers[key]

    def close(self) -> None:
        """Free MediaPipe's graphs. The reader can be used again: it makes new ones."""
        while self._landmarkers:
            self._landmarkers.popitem()[1].close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _sight(model: dict[str, Any]) -> _Sight:
    options = _options(model)
    return _Sight(
        tuple(options["image_size"]), options["border"], options["size"], options["views"], options["fit"] == "pad"
    )


def _options(model: dict[str, Any]) -> dict[str, Any]:
    return PREPROCESSING | model.get("preprocessing", {})


def _leaves_whole(model: dict[str, Any]) -> bool:
    """No face was looked for in the pictures that the model learned from."""
    return _options(model)["crop"] == "none"


def _features(names: Sequence[str], face: np.ndarray, reading: Reading | None) -> np.ndarray | None:
    numbers = vector_names(names)
    vector = None if reading is None else values(numbers, reading.scores[None], reading.landmarks[None])
    if is_mixed(names):
        return mixed(face[None], np.full((1, len(numbers)), np.nan) if vector is None else vector)[0]
    return None if vector is None else vector[0]


def read_photo(source: Path | bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture's file or content, turned upright as its EXIF says; the first frame of several.

    Raises InputError if it is not a picture of FORMATS, is cut off, has more than MAX_PIXELS, or is no file but a pipe.
    """
    from PIL import Image

    name = "the picture" if isinstance(source, bytes) else source
    content = io.BytesIO(source) if isinstance(source, bytes) else regular_file(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken EXIF, and of sizes that are checked here
            with Image.open(content, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(f"{name}: {image.width}×{image.height} pixels, more than {MAX_PIXELS:,} in all")
                return _upright(image)
    except InputError:
        raise
    except Exception as error:  # whatever Pillow raises: OSError, SyntaxError, ValueError, struct.error, MemoryError, …
        raise InputError(f"{name}: cannot be read as a picture ({error})") from error


def _upright(image: Image.Image) -> np.ndarray:
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):  # Pillow would cut values at 255, so that the picture turns white
        return np.repeat((np.asarray(turned) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if turned.has_transparency_data:  # black, as in a dataset
        from PIL import Image

        turned = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, (0, 0, 0, 255)), turned)
    return np.array(turned.convert("RGB"))
