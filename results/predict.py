"""Classify the faces of photos with a promoted model.

    predict([Path("photo.jpg")], champion(home))    # → [{"image": …, "faces": [{"box": …, "label": …, …}]}]

A face goes the way of a dataset's face: cropped as the dataset frames it, gray, in the dataset's image size, seen by
the landmarker with the border and size of training (all of it in the checkpoint's `model.json`), then by the model. A
model of pixels is shown the gray crop itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import trainables
from data_pipeline.bundle import find_bundle
from data_pipeline.errors import InputError
from data_pipeline.landmarks import Landmarker, faces_in_photo
from data_pipeline.sources import fit
from results import store
from results.promote import MODEL
from results.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_FACES = 20

# Of one photo: (left, top, right, bottom) in pixels, and the face's features or None.
Faces = list[tuple[Sequence[int], np.ndarray | None]]


def champion(home: Path, alias: str = "champion", uri: str | None = None) -> Path:
    """Checkpoint of the model version with `alias`, downloaded if its store is a server.

    Raises InputError if nothing has that alias, naming the aliases that there are.
    """
    address = store.tracking_uri(home, uri)
    if uri is None and not (Path(home) / "mlflow.db").exists():
        raise InputError(f"nothing is recorded under {home}: launch a sweep and promote it first")
    client = store.open_home(home, uri)
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        client.get_model_version_by_alias(MODEL, alias)
    except MlflowException:
        models = client.search_registered_models(f"name = '{MODEL}'")
        known = ", ".join(sorted(models[0].aliases)) if models else ""
        raise InputError(f"no model has the alias {alias!r}; known: {known or 'none yet, promote a sweep'}") from None
    mlflow.set_tracking_uri(address)
    directory = Path(download_artifacts(f"models:/{MODEL}@{alias}", tracking_uri=address))
    return next(directory.glob("artifacts/*/model.json")).parent


def predict(images: Sequence[Path], checkpoint: Path, bundle: Path | None = None) -> list[dict[str, Any]]:
    """The faces of each image and their class probabilities, JSON-able.

    Args:
        checkpoint: a checkpoint directory, e.g. `champion(home)`.
        bundle: the file face_landmarker.task; None finds it (data_pipeline/bundle.py).

    Returns:
        One {image, faces} an image; a face is {box (left, top, right, bottom in pixels), label, probabilities
        (class → float)}, faces from left to right; label and probabilities are None where the landmarker saw a face in
        the photo but none in its crop. Raises InputError for a file that is not a picture.
    """
    photos = [read_photo(path) for path in images]
    described = json.loads((checkpoint / "model.json").read_text())
    model = trainables.restore(checkpoint)
    options = {name: described["preprocessing"][name] for name in ("border", "size")}
    path = find_bundle(bundle)
    found: list[Faces] = []
    with Landmarker(path, **options) as landmarker, Landmarker(path, **options, num_faces=MAX_FACES) as finder:
        for photo in photos:
            crops = faces_in_photo(photo, finder)
            faces: Faces = [(box, _features(_fitted(crop, described), landmarker, described)) for box, crop in crops]
            found.append(faces or _whole(photo, landmarker, described))
    inputs = [features for faces in found for _, features in faces if features is not None]
    answers = iter(model.predict(np.stack(inputs)) if inputs else ())
    return [
        {"image": str(path), "faces": [_answer(box, x, answers, described["classes"]) for box, x in faces]}
        for path, faces in zip(images, found, strict=True)
    ]


def read_photo(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned upright as its EXIF says. Raises InputError if it is not a picture."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a file that is cut off or no picture
        raise InputError(f"{path}: cannot be read as a picture ({error})") from error


def _features(face: np.ndarray, landmarker: Landmarker, described: dict[str, Any]) -> np.ndarray | None:
    """What the model is fed of a gray face: its blendshapes (F,), None if there are none, or its pixels (H, W)."""
    from data_pipeline.schema import BLENDSHAPES

    if described["feature_names"] == ["pixels"]:
        return face
    scores = landmarker.blendshapes(face)
    if scores is None:
        return None
    return scores[[BLENDSHAPES.index(name) for name in described["feature_names"]]]


def _whole(photo: np.ndarray, landmarker: Landmarker, described: dict[str, Any]) -> Faces:
    """The image itself as a face's crop, if there is a face in it: what a dataset's own images are."""
    import cv2

    face = _fitted(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), described)
    if landmarker.blendshapes(face) is None:
        return []
    height, width = photo.shape[:2]
    return [((0, 0, width, height), _features(face, landmarker, described))]


def _fitted(crop: np.ndarray, described: dict[str, Any]) -> np.ndarray:
    """A gray crop in the dataset's image size."""
    return fit(crop, tuple(described["preprocessing"]["image_size"]))


def _answer(box: Sequence[int], features: np.ndarray | None, answers: Any, classes: list[str]) -> dict[str, Any]:
    if features is None:
        return {"box": list(box), "label": None, "probabilities": None}
    probabilities = dict(zip(classes, map(float, next(answers)), strict=True))
    return {
        "box": list(box),
        "label": max(probabilities, key=probabilities.__getitem__),
        "probabilities": probabilities,
    }


def render(found: list[dict[str, Any]]) -> RenderableType:
    """What `predict` returned as a table for the terminal."""
    from rich.text import Text

    classes = next((list(f["probabilities"]) for one in found for f in one["faces"] if f["probabilities"]), [])
    texts = ["image", "face at", "label"]
    shown = table([*texts, *classes], len(texts), wraps=[*texts, *classes])
    for one in found:
        if not one["faces"]:
            shown.add_row(Text(Path(one["image"]).name), "", "no face found")
        for face in one["faces"]:
            left, top, right, bottom = face["box"]
            cells = [f"{p:.3f}" for p in face["probabilities"].values()] if face["probabilities"] else []
            place = f"{left},{top} {right - left}×{bottom - top}"
            shown.add_row(Text(Path(one["image"]).name), place, face["label"] or "no expression found", *cells)
    return shown
