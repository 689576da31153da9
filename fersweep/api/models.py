"""Models: open one, ask it, judge it, promote it, write it to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import fersweep.results.predict.options as predicting
from fersweep.api.options import checked, documented
from fersweep.api.settings import Data, Place, Results, data_of, home_of, listed, path_of, quiet_process, say, write
from fersweep.common.errors import InputError, hint

if TYPE_CHECKING:
    import numpy as np

    from fersweep.results.champion.champion import Champion, Rollback
    from fersweep.results.champion.moves import Move
    from fersweep.results.evaluate.model_judgement import ModelJudgement
    from fersweep.results.models.export import ExportedModel
    from fersweep.results.models.face_model import FaceModel
    from fersweep.results.predict.prediction import PictureResult
    from fersweep.results.predict.video import ClipResult
    from fersweep.results.promote.promotion import Promoted

    Image: TypeAlias = Place | np.ndarray

CHAMPION = "champion"


@checked
class Model:
    """Any model that answers faces. Its checkpoint is loaded when it is first asked.

    Attributes:
        name: as it was called: "champion", "cnn:7", …
        face_model: what it is inside: `face_model.predict(x)` takes its inputs as they are in a dataset, (N, F) float32 or
            (N, H, W) uint8, and returns (N, C) probabilities.
    """

    def __init__(self, face_model: FaceModel):
        self.name, self.face_model = face_model.name, face_model

    @property
    def classes(self) -> list[str] | None:
        """In the order of its answers; None: it does not say."""
        return self.face_model.classes

    @property
    def features(self) -> Any:
        """What it sees: "blendshapes", "pixels", "landmarks" or several of them."""
        return self.face_model.features

    def predict(self, images: Image | Sequence[Image], *, landmarker: Place | None = None) -> list[PictureResult]:
        """What it sees in the faces of images.

            (seen,) = model.predict("photo.jpg")
            seen.faces[0].label, seen.faces[0].probabilities["happy"], seen.faces[0].box
            [one.faces[0].label for one in model.predict(arrays)]       # arrays (N, H, W) uint8

        An array is seen as a file of the same pixels is: a small picture, and one that a face fills, is a face; in others
        faces are looked for.

        Args:
            images: one or several: paths of pictures, arrays (H, W) or (H, W, 3) uint8 (gray, RGB), or one array (N, H, W) or
                (N, H, W, 3). An array of three dimensions is one RGB image where its last is 3.
            landmarker: path of face_landmarker.task; default: cache, package, download.

        Returns:
            One PictureResult an image, in order: `image` (its path, or number), `faces` from left to right, none where none
            was found. A face has `label` (str), `probabilities` (class → float), `box` (left, top, right, bottom in pixels);
            label and probabilities are None where the model needs blendshapes and MediaPipe reads none.

        Raises InputError for what is no picture.
        """
        return predict_images([self], images, landmarker)

    def __repr__(self) -> str:
        return f"<model {self.name}: {self.features}, classes {', '.join(self.classes or ['not known'])}>"


def open_model(name: Place, *, home: Place | None = None) -> Model:
    """Any model by one name.

        fersweep.open_model("champion")           # an alias, or a version's number, of the MLflow registry
        fersweep.open_model("cnn")                # a sweep: its best trial; "cnn:7" is trial 7
        fersweep.open_model("path/epoch-0012")    # a checkpoint's directory
        fersweep.open_model("peer.onnx")          # an ONNX file, or another that `fersweep.export` wrote
        fersweep.open_model("peer.py:classify")   # a function, whose file is run: it must be trusted

    Raises InputError where there is none, saying what would be one.
    """
    from fersweep.results.models.open_model import open_model as opened

    quiet_process()
    return Model(opened(str(name), home_of(home)))


@documented(predicting.Options, predicting.Watching)
def predict(
    inputs: Image | int | Sequence[Image | int],
    model: Place | Model | Sequence[Place | Model] = CHAMPION,
    *,
    landmarker: Place | None = None,
    home: Place | None = None,
    say: bool = False,
    **fields: Any,
) -> Results[PictureResult | ClipResult]:
    """What a model sees in the faces of photos, videos and cameras; of several models, what each sees.

        fersweep.predict("photo.jpg")[0].faces[0].label
        fersweep.predict(["photos", "clip.mp4"], model=["champion", "cnn:7"], out="drawn", csv="faces.csv")

    Args:
        inputs: one or several: paths of photos, folders, videos, the number of a camera; or arrays, as `Model.predict`.
        model: an alias, version, sweep, checkpoint, …, as of `fersweep.open_model`, or a Model; one or several.
        landmarker: path of face_landmarker.task; default: cache, package, download.
        home: where sweeps and MLflow's records lie; default: FERSWEEP_HOME, else `runs`.
        say: print a camera's labels as they change.

    {options}

    Returns:
        A PictureResult for each picture (as of `Model.predict`; of several models a face's `expressions` has each one's
        answer), then a ClipResult for each video or camera.

    Raises InputError, before anything is written, where an input, a model or a place to write to is wrong.
    """
    from fersweep.results.predict import prediction

    quiet_process()
    options, several = _predict_options(fields, say), listed(model)
    if not _all_paths(inputs):
        if fields:
            raise InputError(f"{', '.join(fields)}: of arrays nothing is drawn or written; want paths")
        opened = [one if isinstance(one, Model) else open_model(one, home=home) for one in several]
        return Results(predict_images(opened, inputs, landmarker))
    names = [str(one) for one in listed(cast("Any", inputs))]
    specs = [one.face_model if isinstance(one, Model) else str(one) for one in several]
    return Results(prediction.run(names, specs, home_of(home), options, path_of(landmarker)))


def _all_paths(inputs: Any) -> bool:
    return not any(hasattr(one, "ndim") for one in (inputs, *(listed(inputs) if not hasattr(inputs, "ndim") else ())))


def _predict_options(given: Mapping[str, Any], say: bool) -> predicting.Options:
    watching = {field.name for field in fields(predicting.Watching)}
    known = [
        name for kind in (predicting.Options, predicting.Watching) for name in [field.name for field in fields(kind)]
    ]
    for name in given:
        if name not in known:
            raise InputError(f"predict has no option {name!r}; {hint(name, known)}")
    how = predicting.Watching(**{name: value for name, value in given.items() if name in watching})
    paths = {"out", "grid", "csv", "parquet"}
    rest: dict[str, Any] = {
        name: path_of(value) if name in paths else value for name, value in given.items() if name not in watching
    }
    return replace(predicting.Options(**rest), watching=how, say=say)


def predict_images(models: Sequence[Model], images: Any, landmarker: Place | None) -> list[PictureResult]:
    """`Model.predict` of several models."""
    from fersweep.results.predict.prediction import predict as run

    quiet_process()
    several = [images] if _is_image(images) else list(images)
    given = [_pixels(number, one) if hasattr(one, "ndim") else Path(one) for number, one in enumerate(several)]
    return run(given, [model.face_model for model in models], path_of(landmarker))


def _is_image(images: Any) -> bool:
    """Whether it is one, not several."""
    if not hasattr(images, "ndim"):
        return not isinstance(images, Sequence) or isinstance(images, str)
    return images.ndim == 2 or (images.ndim == 3 and images.shape[2] == 3)


def _pixels(number: int, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8."""
    import numpy as np

    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (image.ndim == 2 or colour) or not image.size:
        raise InputError(
            f"image {number}: want (H, W) or (H, W, 3) uint8, 0 to 255, but got {image.shape} {image.dtype}"
        )
    return np.ascontiguousarray(image if colour else np.repeat(image[..., None], 3, axis=2))


def evaluate(
    model: Place | Model,
    *,
    trial: int | None = None,
    data: Data | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    tta: bool = False,
    explain: Place | None = None,
    allow_seen: bool = False,
    html: Place | None = None,
    home: Place | None = None,
) -> ModelJudgement:
    """Judge any model on a split of a dataset, with 95 % intervals, the baseline, and the faces that it got wrong.

    Args:
        model: as of `fersweep.open_model`, or a Model.
        trial: of a sweep, which trial; default: the best.
        data: a dataset; default: the one of its sweep.
        split: "train", "val" or "test"; default: val of its sweep's dataset, test of another.
        classes: names of the model's answers in its order, where it does not say.
        tta: also judge answers averaged over each face and its mirror image.
        explain: a directory to draw to what the net looks at in faces of val.
        allow_seen: judge it also on faces that it learned; the figures are marked.
        html: a file to write a page with the mistakes' faces to.
        home: where sweeps and MLflow's records lie; default: FERSWEEP_HOME, else `runs`.

    Raises InputError where model and dataset do not fit, or the model learned these faces.
    """
    from fersweep.results.evaluate import page
    from fersweep.results.evaluate.model_judgement import judge_model

    quiet_process()
    where = home_of(home)
    if not isinstance(model, Model):
        model = open_model(model if trial is None else f"{model}:{trial}", home=where)
    elif trial is not None:
        raise InputError(f"trial {trial}: the model is opened already: want its sweep's name")
    names = None if classes is None else list(classes)
    judged = judge_model(model.face_model, where, data_of(data), split, tta, names, path_of(explain), allow_seen)
    if html is not None:
        write(Path(html), page.html(judged))
    return judged


def promote(
    names: str | Sequence[str],
    *,
    trial: int | None = None,
    alias: str = CHAMPION,
    gate: str | Sequence[str] | None = None,
    force: bool = False,
    refit: int = 0,
    ensemble: str | None = None,
    licence: str | None = None,
    pick: str | None = None,
    home: Place | None = None,
) -> Promoted:
    """Judge a sweep's best checkpoint on test, register it in MLflow, and make it champion if its gates open.

        fersweep.promote("cnn", gate="min_macro_f1=0.55")
        fersweep.promote(["cnn", "dense"], ensemble="greedy")

    Args:
        names: of the sweep, or its address in a bucket; with `ensemble="greedy"` or "bagged" several.
        trial: its number; default: the best.
        alias: of the registered version.
        gate: what it must show, one or several: "better_than_champion" (the default; p < .05 on the same test faces),
            "same_fingerprint", "fresh_test", "min_macro_f1=X" (also accuracy, balanced_accuracy), "max_recall_drop=X",
            "max_latency_ms=X"; or "none".
        force: promote it whatever the gates say; that is recorded.
        refit: train its hparams again on train and val with so many seeds; take their median.
        ensemble: "greedy" or "bagged": of all trials of the sweeps those that answer val best together; "mean", with
            `refit`: of all seeds instead of the median.
        licence: of the data, for the model card.
        pick: of several objectives, which trial of the front: "knee", or an objective whose best it is.
        home: where sweeps and MLflow's records lie; default: FERSWEEP_HOME, else `runs`.

    Raises:
        InputError: there is no such sweep or trial, it runs still, or the dataset has changed.
        fersweep.Refused (a RuntimeError): a gate did not open; `verdicts` says which, and why.
    """
    from fersweep.results.promote import gates, promotion
    from fersweep.results.record.home import find_sweep

    quiet_process()
    wanted = None if gate is None else gates.read_gates(listed(gate))
    return promotion.promote(
        [find_sweep(home_of(home), name) for name in listed(names)],
        alias,
        trial,
        gates=wanted,
        force=force,
        refit=refit,
        ensemble=ensemble,
        licence=licence,
        pick=None if pick is None else pick.removeprefix("metric="),
        tell=lambda line: say(line),
    )


def export(model: Place, out: Place, *, home: Place | None = None) -> ExportedModel:
    """Write a model to one file that predicts by itself, preprocessing included; the file is checked against the model.

    Args:
        model: its name, as of `fersweep.open_model`.
        out: FILE.onnx, .tflite, .keras or .safetensors.
    """
    from fersweep.results.models import export as exporting

    quiet_process()
    return exporting.export(str(model), Path(out), home_of(home))


def champion(alias: str = CHAMPION, *, home: Place | None = None) -> Champion:
    """The version that has an alias: `version`, `tags`, `card` (Markdown), `moves`. InputError where there is none."""
    from fersweep.results.champion.champion import champion as show

    quiet_process()
    return show(home_of(home), alias)


def champion_history(alias: str = CHAMPION, *, home: Place | None = None) -> Results[Move]:
    """The versions that had an alias, newest first: when, by whom, how they were judged, and what was forced."""
    from fersweep.results.champion.champion import moves_of

    quiet_process()
    return Results(moves_of(home_of(home), alias))


def champion_rollback(to: str | int | None = None, *, alias: str = CHAMPION, home: Place | None = None) -> Rollback:
    """Give an alias back to the version that had it before, or to version `to`."""
    from fersweep.results.champion.champion import rollback

    quiet_process()
    return rollback(home_of(home), alias, None if to is None else str(to), say)
