"""What `fersweep predict` shows on a terminal: a table of the pictures' faces, and one of the clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.display.tables import table
from fersweep.common.text import printable
from fersweep.results.predict.prediction import PictureResult
from fersweep.results.predict.recogniser import Expression
from fersweep.results.predict.video import ClipResult

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


def render(results: Sequence[PictureResult | ClipResult]) -> RenderableType:
    """What `run` returned, as tables for the terminal."""
    from rich.console import Group

    pictures = [result for result in results if isinstance(result, PictureResult)]
    clips = [result for result in results if isinstance(result, ClipResult)]
    return Group(*([_pictures(pictures)] if pictures else []), *([_clips(clips)] if clips else []))


def _pictures(pictures: Sequence[PictureResult]) -> RenderableType:
    from rich.text import Text

    several = any(len(face.expressions) > 1 for picture in pictures for face in picture.faces)
    known = any(picture.true is not None for picture in pictures)
    texts = ["image", "face at", *(["true"] if known else []), *(["model"] if several else []), "label"]
    shown = table([*texts, "prob.", "then"], len(texts) + 2)
    for picture in pictures:
        name, true = Text(printable(picture.image.name)), [Text(picture.true or "")] if known else []
        if not picture.faces:
            nothing = Text("no face found" if picture.error is None else "cannot be read")
            shown.add_row(name, "", *true, *([""] if several else []), nothing)
        for face in picture.faces:
            left, top, right, bottom = face.box
            head = [name, Text(f"{left},{top} {right - left}×{bottom - top}"), *true]
            for model, expression in face.expressions.items():
                cells = _cells(expression, num_others=1 if known or several else 2)
                shown.add_row(*head, *([Text(model)] if several else []), *cells)
                head = [Text("")] * len(head)
            name = Text("")
    judged = [right for picture in pictures for face in picture.faces if (right := picture.is_right(face)) is not None]
    shown.caption = f"{sum(judged)} of {len(judged)} faces right" if judged else ""
    return shown


def _cells(expression: Expression, num_others: int) -> list[Text]:
    """Label, its probability, and the next most probable classes; files and JSON have all."""
    from rich.text import Text

    if expression.label is None or expression.probabilities is None:
        return [Text("no expression found")]
    (label, best), *others = sorted(expression.probabilities.items(), key=lambda pair: -pair[1])
    then = ", ".join(f"{name} {probability:.3f}" for name, probability in others[:num_others])
    return [Text(label), Text(f"{best:.3f}"), Text(then)]


def _clips(clips: Sequence[ClipResult]) -> RenderableType:
    from rich.text import Text

    columns = ["video", "labels (frames of a face)", "faces", "frames", "without a face", "frames/s"]
    shown = table(columns, 2)
    for clip in clips:
        labels = ", ".join(f"{label} {count}" for label, count in clip.labels.items()) or "no face found"
        frames = str(clip.frames) if clip.promised is None else f"{clip.frames} of {clip.promised}"
        numbers = [str(clip.faces), frames, str(clip.frames_without_face)]
        shown.add_row(Text(printable(Path(clip.video).name)), Text(labels), *numbers, f"{clip.frames_per_s:.1f}")
    return shown
