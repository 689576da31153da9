"""Say what models see in the faces of photos, folders, videos and cameras: `fersweep predict`.

    run(["photo.jpg", "clip.mp4"], ["champion"], home, Options(out=Path("drawn")))
    predict([Path("photo.jpg")], [open_model("champion", home)])    # → [{"image": …, "faces": [{"box": …, "label": …}]}]

A face goes the way of a dataset's face (data_pipeline/tasks/photo_reader.py), then to each model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.display.tables import table
from fersweep.common.errors import InputError
from fersweep.common.files import check_target
from fersweep.data_pipeline.tasks.photo_reader import Seen, read_photo
from fersweep.results.mlflow_store import registry
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.predict import draw
from fersweep.results.predict.inputs import Picture, place_outputs, sort_inputs
from fersweep.results.predict.options import Options
from fersweep.results.predict.outputs import PICTURES, FaceTable, Movie, write_picture
from fersweep.results.predict.recogniser import Recogniser, caption, mark
from fersweep.results.predict.video import Screen, check_window, watch
from fersweep.results.predict.video_frames import Clip

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


CHUNK = 64  # pictures whose faces the models are asked about at once
MAX_TILES = 120  # of a grid


def champion(home: Path, alias: str = registry.CHAMPION, uri: str | None = None) -> Path:
    """Checkpoint of the model version with `alias`, downloaded if its store is a server.

    Raises InputError if nothing has that alias, naming the aliases that there are.
    """
    client = registry.open_registry(home, uri)
    return registry.fetch(client, registry.find_version(client, alias))


def run(
    given: Sequence[str], specs: Sequence[str], home: Path, options: Options, bundle: Path | None = None
) -> list[dict[str, Any]]:
    """What `look` finds in the pictures, then what `video.watch` finds in each clip. All files of `options` are written.

    Args:
        given: pictures, folders, videos, numbers of cameras.
        specs: models (models.open_model).
        bundle: the file face_landmarker.task; None finds it (data_pipeline/faces/landmarker_bundle.py).

    Raises InputError, before anything is written, if an input, a model or a place to write to is wrong.
    """
    inputs = sort_inputs(given)
    targets = place_outputs(inputs, options.out) if options.out else {}
    if options.grid:
        check_target(options.grid, "--grid", PICTURES)
        if not inputs.pictures:
            raise InputError(f"--grid {options.grid}: there are no pictures to make a grid of")
    for path in options.rows:
        check_target(path, f"--{path.suffix[1:]}", (".csv", ".parquet"))
    with ExitStack() as stack:
        recogniser = stack.enter_context(Recogniser([open_model(one, home) for one in specs], bundle))
        check_window(recogniser, options.watching.window)
        tables = [stack.enter_context(FaceTable(path, recogniser)) for path in options.rows]
        found = list(look(inputs.pictures, recogniser))
        for one in found:
            for index, face in enumerate(one.get("faces", ()), 1):
                for rows in tables:
                    rows.add(one["image"], None, None, index, face)
        _draw(inputs.pictures, found, targets, options)
        for clip in inputs.clips:
            found.append(_watch(Clip(clip), recogniser, options, targets.get(clip), tables))
    for path in filter(None, (options.out, options.grid, *options.rows)):
        print(f"written: {path}", file=sys.stderr)
    return found


def predict(images: Sequence[Path], models: Sequence[FaceModel], bundle: Path | None = None) -> list[dict[str, Any]]:
    """The faces of each image and their class probabilities: what `look` finds."""
    with Recogniser(models, bundle) as recogniser:
        return list(look([Picture(path, Path(path.name), folder=False) for path in images], recogniser))


def look(pictures: Sequence[Picture], recogniser: Recogniser) -> Iterator[dict[str, Any]]:
    """The faces of each picture and what the models say of them, JSON-able.

    Yields:
        One {image, faces} a picture; a face is {box (left, top, right, bottom in pixels), label, probabilities
        (class → float)}, and `models` (name → {label, probabilities}) where there are several; faces from left to
        right. Label and probabilities are None where the landmarker saw a face in the photo but none in its crop.
        Of a picture in a folder that is called like a class, `true` is that class. {image, error} for a picture in a
        folder that cannot be read.

    Raises InputError for a file that was named and is not a picture.
    """
    for start in range(0, len(pictures), CHUNK):
        chunk = pictures[start : start + CHUNK]
        seen = [_faces(picture, recogniser) for picture in chunk]
        answers = iter(recogniser.answers([face for faces in seen if not isinstance(faces, str) for face in faces]))
        for picture, faces in zip(chunk, seen, strict=True):
            one: dict[str, Any] = {"image": str(picture.path)}
            if isinstance(faces, str):
                yield one | {"error": faces}
                continue
            if picture.true is not None:
                one["true"] = _true_class(recogniser.models[0], picture.true)
            yield one | {"faces": [recogniser.record(face.box, next(answers)) for face in faces]}


def _faces(picture: Picture, recogniser: Recogniser) -> list[Seen] | str:
    """The faces of a picture, or why it cannot be read."""
    try:
        return recogniser.faces(read_photo(picture.path))
    except InputError as error:
        if not picture.folder:
            raise
        print(f"left out: {error}", file=sys.stderr)
        return str(error)


def _true_class(model: FaceModel, label: str) -> str:
    """The model's class that `label` belongs to; the label itself where it has none."""
    groups = model.described.get("groups") or {name: [name] for name in model.classes or ()}
    return next((name for name, labels in groups.items() if label in labels), label)


def _draw(
    pictures: Sequence[Picture], found: Sequence[dict[str, Any]], targets: dict[Path | int, Path], options: Options
) -> None:
    """Write the annotated copies and the grid. Pictures are read again: they were not all kept."""
    tiles = _chosen([(one, face) for one in found for face in one.get("faces", ())]) if options.grid else []
    photos: dict[str, list[dict[str, Any]]] = {}
    for one, face in tiles:
        photos.setdefault(one["image"], []).append(face)
    made: list[draw.Tile] = []
    for picture, one in zip(pictures, found, strict=True):
        if "error" in one or not (picture.path in targets or one["image"] in photos):
            continue
        photo = read_photo(picture.path)
        made += [_tile(photo, one, face) for face in photos.get(one["image"], ())]
        if target := targets.get(picture.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_picture(target, draw.annotate(photo, [mark(face) for face in one["faces"]], options.emoji))
    if options.grid:
        write_picture(options.grid, draw.grid(made))


def _chosen(faces: Sequence[Any]) -> list[Any]:
    """At most MAX_TILES, spread evenly: of a folder, all its classes are among them."""
    if len(faces) > MAX_TILES:
        print(f"the grid shows {MAX_TILES} of {len(faces)} faces", file=sys.stderr)
        return [faces[i * len(faces) // MAX_TILES] for i in range(MAX_TILES)]
    return list(faces)


def _tile(photo: np.ndarray, one: dict[str, Any], face: dict[str, Any]) -> draw.Tile:
    left, top, right, bottom = face["box"]
    height, width = photo.shape[:2]
    crop = photo[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    return draw.Tile(crop, caption(face), one.get("true"), is_right(one, face))


def is_right(one: dict[str, Any], face: dict[str, Any]) -> bool | None:
    """Whether a face's label is the true class; None where that is not known, or no class of the model."""
    if one.get("true") is None or face["label"] is None or one["true"] not in face["probabilities"]:
        return None
    return face["label"] == one["true"]


def _watch(
    clip: Clip, recogniser: Recogniser, options: Options, target: Path | None, rows: Sequence[FaceTable]
) -> dict[str, Any]:
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
        found = watch(clip, recogniser, how, rows, movie, screen, tell, options.emoji)
    return found if target is None else {**found, "out": str(target)}


def render(found: list[dict[str, Any]]) -> RenderableType:
    """What `run` returned as tables for the terminal."""
    from rich.console import Group

    parts = [make([one for one in found if key in one]) for key, make in (("image", _pictures), ("video", _clips))]
    return Group(*(part for part in parts if part is not None))


def _pictures(found: list[dict[str, Any]]) -> RenderableType | None:
    from rich.text import Text

    if not found:
        return None
    faces = [(one, face) for one in found for face in one.get("faces", ())]
    several, known = any("models" in face for _, face in faces), any("true" in one for one in found)
    texts = ["image", "face at", *(["true"] if known else []), *(["model"] if several else []), "label"]
    shown = table([*texts, "prob.", "then"], len(texts), wraps=("image", "model", "then"))
    shown.columns[-1].justify, shown.columns[0].overflow, shown.columns[0].min_width = "left", "fold", 16
    for one in found:
        head = [Text(Path(one["image"]).name)]
        if not one.get("faces"):
            nothing = Text("cannot be read" if "error" in one else "no face found")
            shown.add_row(*head, "", *([one.get("true", "")] if known else []), *([""] if several else []), nothing)
        for face in one.get("faces", ()):
            left, top, right, bottom = face["box"]
            head += [
                Text(f"{left},{top} {right - left}×{bottom - top}"),
                *([Text(one.get("true", ""))] if known else []),
            ]
            for name, answer in face.get("models", {"": face}).items():
                shown.add_row(*head, *([Text(name)] if several else []), *_cells(answer, 1 if known or several else 2))
                head = [Text("")] * len(head)
            head = [Text("")]
    judged = [right for one, face in faces if (right := is_right(one, face)) is not None]
    shown.caption = f"{sum(judged)} of {len(judged)} faces right" if judged else None
    return shown


def _cells(answer: dict[str, Any], num_others: int) -> list[Text]:
    """Label, its probability, and the next most probable classes; files and JSON have all."""
    from rich.text import Text

    if answer["label"] is None:
        return [Text("no expression found")]
    (label, best), *others = sorted(answer["probabilities"].items(), key=lambda one: -one[1])
    then = ", ".join(f"{name} {p:.3f}" for name, p in others[:num_others])
    return [Text(label), Text(f"{best:.3f}"), Text(then)]


def _clips(found: list[dict[str, Any]]) -> RenderableType | None:
    from rich.text import Text

    if not found:
        return None
    columns = ["video", "labels (frames of a face)", "faces", "frames", "without a face", "frames/s"]
    shown = table(columns, 2, wraps=columns)
    for one in found:
        labels = ", ".join(f"{label} {count}" for label, count in one["labels"].items())
        numbers = [str(one[key]) for key in ("faces", "frames", "frames_without_face")]
        name = Text(Path(one["video"]).name)
        shown.add_row(name, Text(labels or "no face found"), *numbers, f"{one['frames_per_s']:.1f}")
    return shown
