"""Find what models see in the faces of photos, folders, videos and cameras: `fersweep predict`.

    run(["photo.jpg", "clip.mp4"], ["champion"], home, Options(out=Path("drawn")))
    (result,) = predict([Path("photo.jpg")], [open_model("champion", home)])
    result.faces[0].box, result.faces[0].label, result.faces[0].probabilities

A face is prepared like a dataset's face (data_pipeline/tasks/photo_reader.py), then given to each model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import check_target
from fersweep.common.text import printable
from fersweep.data_pipeline.tasks.photo_reader import Seen, read_photo
from fersweep.results.mlflow_store import registry
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.predict import draw
from fersweep.results.predict.inputs import Picture, place_outputs, sort_inputs
from fersweep.results.predict.options import Options
from fersweep.results.predict.outputs import PICTURES, FaceTable, Movie, write_picture
from fersweep.results.predict.recogniser import LabelledFace, Recogniser
from fersweep.results.predict.video import ClipResult, Screen, watch
from fersweep.results.predict.video_frames import Clip

CHUNK = 64  # pictures whose faces each model gets at once
MAX_TILES = 120  # of a grid


@dataclass(frozen=True)
class PictureResult:
    """What was seen in a picture.

    Attributes:
        image: its file; of pixels the number in the list that was given.
        faces: from left to right.
        true: the model's class that the picture's folder is called after; the folder's label if the model has no such class.
        error: why the picture, one of a folder, cannot be read.
    """

    image: Path
    faces: list[LabelledFace] = field(default_factory=list)
    true: str | None = None
    error: str | None = None

    def is_right(self, face: LabelledFace) -> bool | None:
        """Whether a face's label is the true class; None where that is not known, or is no class of the model."""
        if self.true is None or face.probabilities is None or self.true not in face.probabilities:
            return None
        return face.label == self.true

    def as_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"image": str(self.image), "error": self.error}
        true = {} if self.true is None else {"true": self.true}
        return {"image": str(self.image), **true, "faces": [face.as_json() for face in self.faces]}


def champion(home: Path, alias: str = registry.CHAMPION, uri: str | None = None) -> Path:
    """Checkpoint of the model version with `alias`, downloaded if its store is a server.

    Raises InputError if nothing has that alias, naming the aliases that there are.
    """
    client = registry.open_registry(home, uri)
    return registry.fetch(client, registry.find_version(client, alias))


def run(
    names: Sequence[str], specs: Sequence[str | FaceModel], home: Path, options: Options, bundle: Path | None = None
) -> list[PictureResult | ClipResult]:
    """What `look` sees in the pictures, then what `video.watch` sees in each clip. All files of `options` are written.

    Args:
        names: pictures, folders, videos, numbers of cameras.
        specs: models (models.open_model), by name or opened.
        bundle: the file face_landmarker.task; None finds it (data_pipeline/faces/landmarker_bundle.py).

    Raises InputError, before anything is written, if an input, a model or a place to write to is wrong.
    """
    inputs = sort_inputs(names)
    if inputs.left_out:
        others = ", ".join(f"{number:,} {what}" for what, number in inputs.left_out.most_common())
        print(f"no pictures, left out: {others}", file=sys.stderr)
    targets = place_outputs(inputs, options.out) if options.out else {}
    if options.grid:
        check_target(options.grid, "--grid", PICTURES)
        if not inputs.pictures:
            raise InputError(f"--grid {options.grid}: there are no pictures to make a grid of")
    for path, suffix in ((options.csv, ".csv"), (options.parquet, ".parquet")):
        if path is not None:
            check_target(path, f"--{suffix[1:]}", (suffix,))
    with ExitStack() as stack:
        models = [spec if isinstance(spec, FaceModel) else open_model(spec, home) for spec in specs]
        recogniser = stack.enter_context(Recogniser(models, bundle))
        recogniser.check_window(options.watching.window)
        tables = [stack.enter_context(FaceTable(path, recogniser)) for path in options.rows]
        pictures = list(look(inputs.pictures, recogniser))
        for result in pictures:
            for number, face in enumerate(result.faces, 1):
                for table in tables:
                    table.add(str(result.image), None, None, number, face)
        _draw(pictures, targets, options)
        clips = [_watch(Clip(clip), recogniser, options, targets.get(clip), tables) for clip in inputs.clips]
    for path in filter(None, (options.out, options.grid, *options.rows)):
        print(f"written: {printable(path)}", file=sys.stderr)
    return [*pictures, *clips]


def predict(
    images: Sequence[Path | np.ndarray], models: Sequence[FaceModel], bundle: Path | None = None
) -> list[PictureResult]:
    """The faces of each image and their class probabilities, as `look` sees them.

    images: files, or pixels: (H, W, 3) uint8 RGB, which are seen as a file of the same pixels is.
    """
    with Recogniser(models, bundle) as recogniser:
        return list(look([_picture(number, image) for number, image in enumerate(images)], recogniser))


def _picture(number: int, image: Path | np.ndarray) -> Picture:
    if isinstance(image, Path):
        return Picture(image, Path(image.name), folder=False)
    return Picture(Path(str(number)), Path(str(number)), folder=False, pixels=image)


def look(pictures: Sequence[Picture], recogniser: Recogniser) -> Iterator[PictureResult]:
    """The faces of each picture and what the models see in them.

    Raises InputError for a file that the user named and that is not a picture; one in a folder gives a result with `error`.
    """
    for start in range(0, len(pictures), CHUNK):
        chunk = pictures[start : start + CHUNK]
        seen = [_faces(picture, recogniser) for picture in chunk]
        answers = iter(recogniser.answers([face for faces in seen if not isinstance(faces, str) for face in faces]))
        for picture, faces in zip(chunk, seen, strict=True):
            if isinstance(faces, str):
                yield PictureResult(picture.path, error=faces)
                continue
            true = None if picture.true is None else _true_class(recogniser.models[0], picture.true)
            yield PictureResult(picture.path, [recogniser.label(face.box, next(answers)) for face in faces], true)


def _faces(picture: Picture, recogniser: Recogniser) -> list[Seen] | str:
    """The faces of a picture, or why it cannot be read."""
    try:
        return recogniser.faces(read_photo(picture.path) if picture.pixels is None else picture.pixels)
    except InputError as error:
        if not picture.folder:
            raise
        print(f"left out: {error}", file=sys.stderr)
        return str(error)


def _true_class(model: FaceModel, label: str) -> str:
    """The model's class that `label` belongs to; the label itself where it has none."""
    groups = model.described.get("groups") or {name: [name] for name in model.classes or ()}
    return next((name for name, labels in groups.items() if label in labels), label)


def _draw(pictures: Sequence[PictureResult], targets: dict[Path | int, Path], options: Options) -> None:
    """Write the annotated copies and the grid. Pictures are read again: not all of them were kept."""
    in_grid: dict[int, list[LabelledFace]] = {}  # index of the picture → its faces
    if options.grid:
        for index, face in _thinned([(index, face) for index, seen in enumerate(pictures) for face in seen.faces]):
            in_grid.setdefault(index, []).append(face)
    tiles: list[draw.Tile] = []
    for index, seen in enumerate(pictures):
        target = targets.get(seen.image)
        if seen.error is not None or not (target or index in in_grid):
            continue
        photo = read_photo(seen.image)
        tiles += [_tile(photo, seen, face) for face in in_grid.get(index, ())]
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_picture(target, draw.annotate(photo, [face.mark for face in seen.faces], options.emoji))
    if options.grid:
        write_picture(options.grid, draw.grid(tiles))


def _thinned(faces: Sequence[tuple[int, LabelledFace]]) -> Sequence[tuple[int, LabelledFace]]:
    """At most MAX_TILES, spread evenly: of a folder, all its classes are among them."""
    if len(faces) <= MAX_TILES:
        return faces
    print(f"the grid shows {MAX_TILES} of {len(faces)} faces", file=sys.stderr)
    return [faces[i * len(faces) // MAX_TILES] for i in range(MAX_TILES)]


def _tile(photo: np.ndarray, seen: PictureResult, face: LabelledFace) -> draw.Tile:
    left, top, right, bottom = face.box
    height, width = photo.shape[:2]
    crop = photo[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    return draw.Tile(crop, face.caption, seen.true, seen.is_right(face))


def _watch(
    clip: Clip, recogniser: Recogniser, options: Options, target: Path | None, tables: Sequence[FaceTable]
) -> ClipResult:
    how = options.watching
    with ExitStack() as stack:
        movie = None
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            movie = stack.enter_context(Movie(target, min(clip.fps, 30.0) if clip.live else clip.fps / how.every))
        screen = None
        if options.show if options.show is not None else clip.live:
            missing = Screen.missing()
            if missing:
                print(f"no window: {missing}; going on without", file=sys.stderr)
            else:
                screen = stack.enter_context(Screen())
        tell = print if clip.live and screen is None and options.say else None
        result = watch(clip, recogniser, how, tables, movie, screen, tell, options.emoji)
    if result.promised is not None:
        read = f"{clip.num_read} of {result.promised} frames could be read"
        print(f"{printable(clip.name)}: {read}: the file is cut off or damaged", file=sys.stderr)
    return replace(result, out=target)
