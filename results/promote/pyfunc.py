"""The model that `promote` registers, as MLflow keeps it: this file itself ("models from code"), nothing pickled.

It loads without Ray, without this repository and its data: a checkpoint, MediaPipe's bundle and a copy of the package
`fersweep` with what predicting needs travel with it.

    model = mlflow.pyfunc.load_model("models:/fersweep@champion")  # runs this file, as it was registered
    model.predict(pd.DataFrame({"image": [Path("photo.jpg").read_bytes()]}))
    model.predict(frame_of_features)       # a net of blendshapes or landmarks: a column each, as its signature says
    model.predict(pd.DataFrame({"face": list(faces)}))       # a net of pixels: gray faces (N, H, W) uint8
    # an ensemble of both kinds: `face`, and a column each where there are landmarks

    mlflow models serve -m models:/fersweep@champion --env-manager local    # MLFLOW_TRACKING_URI=sqlite:///runs/mlflow.db
    POST /invocations   {"dataframe_records": [{"image": "<base64 of a JPEG or PNG>"}], "params": {"all_faces": true}}

A cell of `image` is the content of a picture's file as bytes or base64, or an array (H, W) or (H, W, 3) uint8 RGB, also
as nested lists. The answer is a DataFrame with the index of the input: a column a class, `label`, and for images the
box of the face, `left top right bottom` in pixels: the largest face of each image, or, with the parameter all_faces, all
of them, from left to right, each with the number of its `row`. Where there is no face, or no input, all cells are None.

MediaPipe is imported when the first image comes. MLflow runs this file to load the model; nothing else imports it.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
import binascii
import threading
import weakref
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

BOX = ("left", "top", "right", "bottom")


class Face(NamedTuple):
    """A face of a row of the input: its box (None for one that came without) and the model's input, if there is any."""

    row: int
    box: tuple[int, ...] | None
    features: np.ndarray | None


class FaceClassifier(PythonModel):
    """Images, faces or their features in; class probabilities out."""

    def load_context(self, context: Any) -> None:
        from fersweep import trainables
        from fersweep.trainables.saved_model import read_model

        checkpoint = Path(context.artifacts["checkpoint"])
        self.described = read_model(checkpoint)
        self.classes, self.feature_names = self.described["classes"], self.described["feature_names"]
        self.model = trainables.restore(checkpoint)
        bundle = context.artifacts.get("landmarker")  # a model that was registered where there was none looks for one
        self._bundle = None if bundle is None else Path(bundle)
        self._reader: Any = None
        self._lock = threading.Lock()  # a server's threads take turns at MediaPipe

    def predict(  # type: ignore[override]  # MLflow would derive a signature from a type hint; ours has optional columns
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """See the top of this file. Raises MlflowException, one line, for an input that is none."""
        from fersweep.common.errors import InputError
        from fersweep.data_pipeline.tasks.features import described

        all_faces = bool((params or {}).get("all_faces"))
        wanted = ["face"] if "pixels" in self.feature_names else self.feature_names
        missing = [name for name in wanted if name not in model_input]
        try:
            if "image" in model_input and (missing or model_input["image"].notna().any()):
                faces = self._in_images(model_input["image"], all_faces)
            elif missing:
                others = "column face" if wanted == ["face"] else f"{described(wanted)} in its signature"
                raise InputError(
                    "the model wants a column image (bytes or base64 of a JPEG or PNG, or uint8 arrays), or the "
                    f"{others}: there is no column {missing[0]}"
                )
            else:
                faces = self._in_rows(model_input)
            return self._answer(model_input, faces, all_faces)
        except (InputError, RuntimeError) as error:  # RuntimeError: no MediaPipe, or no bundle
            raise MlflowException.invalid_parameter_value(" ".join(str(error).split())) from None

    def _in_images(self, cells: pd.Series, all_faces: bool) -> list[Face]:
        faces: list[Face] = []
        for row, cell in enumerate(cells):
            in_image = self._faces(row, cell) if not _is_missing(cell) else []
            if all_faces:
                faces += in_image
            elif in_image:
                faces.append(max(in_image, key=lambda face: _area(face.box)))
            else:
                faces.append(Face(row, None, None))
        return faces

    def _faces(self, row: int, cell: Any) -> list[Face]:
        from fersweep.common.errors import InputError
        from fersweep.data_pipeline.tasks.photo_reader import PhotoReader, read_photo

        try:
            content = _decoded(cell)
            photo = read_photo(content) if isinstance(content, bytes) else content
        except InputError as error:
            raise InputError(f"image of row {row}: {error}") from None
        with self._lock:
            if self._reader is None:
                self._reader = PhotoReader(self.described, bundle=self._bundle)
                weakref.finalize(self, self._reader.close)
            return [Face(row, seen.box, seen.features) for seen in self._reader.faces(photo)]

    def _in_rows(self, frame: pd.DataFrame) -> list[Face]:
        """Faces or their features as they are; a row that lacks any has none."""
        from fersweep.data_pipeline.tasks.features import mixed, vector_names

        vectors = vector_names(self.feature_names)
        scores = frame.reindex(columns=vectors).to_numpy("float32")
        if "pixels" not in self.feature_names:
            return [Face(row, None, x if np.isfinite(x).all() else None) for row, x in enumerate(scores)]
        size = tuple(self.described["preprocessing"]["image_size"])
        faces: list[Face] = []
        for row, cell in enumerate(frame["face"]):
            face = None if _is_missing(cell) else _face(row, cell, size)
            if face is not None and vectors:  # the members that see numbers answer where all of theirs are given
                face = mixed(face[None], scores[row : row + 1])[0]
            faces.append(Face(row, None, face))
        return faces

    def _answer(self, frame: pd.DataFrame, faces: list[Face], all_faces: bool) -> pd.DataFrame:
        inputs = [face.features for face in faces if face.features is not None]
        known = np.array([face.features is not None for face in faces], bool)
        probabilities = np.full((len(faces), len(self.classes)), np.nan)
        if inputs:
            probabilities[known] = self.model.predict(np.stack(inputs))
        rows = [face.row for face in faces]
        answer = pd.DataFrame(probabilities, columns=self.classes, index=frame.index[rows])
        best = np.where(known, probabilities.argmax(axis=1), 0) if len(faces) else np.zeros(0, int)
        labels = [self.classes[i] if is_known else None for i, is_known in zip(best, known, strict=True)]
        answer["label"] = pd.Series(labels, index=answer.index, dtype=object)
        if all_faces:
            answer.insert(0, "row", rows)
        if "image" in frame:
            boxes = [face.box or (None,) * 4 for face in faces]
            for i, name in enumerate(BOX):
                answer[name] = pd.Series([box[i] for box in boxes], index=answer.index, dtype=object)
        # None, not NaN, which JSON does not have; only where it is needed, since such columns are slow.
        return answer if known.all() else answer.astype(object).where(answer.notna(), None)


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell))


def _area(box: tuple[int, ...] | None) -> int:
    left, top, right, bottom = box or (0, 0, 0, 0)
    return (right - left) * (bottom - top)


def _decoded(cell: Any) -> bytes | np.ndarray:
    """Content of a picture's file, or a photo (H, W, 3) uint8. Raises InputError."""
    from fersweep.common.errors import InputError

    if isinstance(cell, str):
        text = cell.partition(",")[2] if cell.startswith("data:") else cell
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InputError("a text must be the base64 of a JPEG or PNG file, and this one is no base64") from None
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cast(bytes, cell))
    photo = _bytes(cell)
    if photo.ndim == 2:
        photo = np.repeat(photo[..., None], 3, axis=2)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise InputError(f"an array must be (H, W) or (H, W, 3), but this one is {photo.shape}")
    return photo


def _face(row: int, cell: Any, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint8. Raises InputError."""
    from fersweep.common.errors import InputError

    try:
        face = _bytes(cell)
        if face.shape != size:
            raise InputError(f"wanted a gray face of {size}, but it is {face.shape}")
    except InputError as error:
        raise InputError(f"face of row {row}: {error}") from None
    return face


def _bytes(cell: Any) -> np.ndarray:
    """An array, or nested lists, of whole numbers from 0 to 255 → uint8. Raises InputError."""
    from fersweep.common.errors import InputError

    try:
        array = np.stack([np.asarray(row) for row in cell])
        if array.dtype == object:  # nested lists as Parquet gives them: arrays of arrays
            array = np.stack([np.stack(list(row)) for row in array])
    except (TypeError, ValueError):
        raise InputError(f"wanted a picture, but got a {type(cell).__name__}") from None
    if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() > 255)):
        kind = {"U": "text", "f": "fractions"}.get(array.dtype.kind, "others")
        raise InputError(f"wanted whole numbers from 0 to 255, but the array has {kind}")
    return array.astype(np.uint8)


set_model(FaceClassifier())
