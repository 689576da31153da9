"""Export a model to one file that predicts by itself, and check the file against the model before it is kept.

    export("champion", Path("model.onnx"), home)      # fersweep export champion --out model.onnx

The suffix says the format: .onnx for every net, .tflite (LiteRT) and .keras for those in Keras, .safetensors for those in
PyTorch; .onnx for an ensemble of nets. A file takes what the model's task gives, raw features (N, F) float32 or
gray faces (N, H, W) uint8, or both, where an ensemble sees both,
and answers with probabilities (N, C); its metadata has the classes, features and preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError
from fersweep.common.files import check_target, replacing
from fersweep.data_pipeline.tasks.features import is_mixed, is_score, kind, mixed, vector_names
from fersweep.results.models.open_model import open_model
from fersweep.trainables.ensemble import Ensemble
from fersweep.trainables.exports.formats import FORMATS, open_exported, write
from fersweep.trainables.exports.onnx_files import read_onnx

if TYPE_CHECKING:
    from rich.console import RenderableType


TOLERANCE = 1e-4  # of a probability
BATCHES = (1, 2, 61)  # a graph may have learned its example's number of rows by heart


@dataclass(frozen=True)
class Input:
    """What an exported file takes. shape: `["N", 52]` or `["N", 48, 48]`; dtype as NumPy names it.

    more: a second input, of an ensemble that sees pixels and numbers.
    """

    features: str
    shape: list[int | str]
    dtype: str
    more: Input | None = None


@dataclass(frozen=True)
class ExportedModel(AsJson):
    """A file that was written, and how far its answers are from the model's.

    Attributes:
        rows: number of inputs that it was checked with.
        difference: the largest, of a probability, from the model in float32.
        as_trained: the same from the model in the precision that it has on this machine.
    """

    path: str
    format: str
    bytes: int
    trainable: str
    classes: list[str]
    input: Input
    rows: int
    difference: float
    as_trained: float


def export(spec: str, out: Path, home: Path) -> ExportedModel:
    """Write the model called `spec` (see open_model.py) to `out`, and check it.

    Raises InputError if `out`'s suffix is no format, or none for this model; RuntimeError if the file does not answer as
    the model does, and then writes nothing.
    """
    check_target(out, "--out", tuple(FORMATS))
    model = open_model(spec, home).loaded
    _check_format(spec, model, out)
    described = model.model
    x = typical_inputs(described, sum(BATCHES), getattr(model, "statistics", None))
    with replacing(out) as temporary:
        write(model, temporary)
        answers = _answers(_reader(temporary), x)
        difference = float(np.abs(answers - model.predict_exactly(x)).max())
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"{out} is not written: its answers are up to {difference:.2g} from those of the model, more than {TOLERANCE:g}"
            )
    return ExportedModel(
        path=str(out),
        format=FORMATS[out.suffix],
        bytes=out.stat().st_size,
        trainable=_trainable(described),
        classes=described["classes"],
        input=_input(described["feature_names"], x),
        rows=len(x),
        difference=difference,
        as_trained=float(np.abs(answers - model.predict(x)).max()),
    )


def _trainable(described: Mapping[str, Any]) -> str:
    """`cnn`; of an ensemble those of its members, `ensemble of cnn, transfer`."""
    if not (members := described.get("members")):
        return described["trainable"]
    return f"ensemble of {', '.join(dict.fromkeys(member['trainable'] for member in members))}"


def _input(names: list[str], x: np.ndarray) -> Input:
    if not is_mixed(names):
        return Input(kind(names), ["N", *x.shape[1:]], str(x.dtype))
    return replace(_input(["pixels"], x["pixels"]), more=_input(vector_names(names), x["features"]))


def _check_format(spec: str, model: Any, out: Path) -> None:
    formats: tuple[str, ...] = getattr(model, "EXPORTS", ())
    if isinstance(model, Ensemble):
        for index, member in enumerate(model.members):
            if ".onnx" not in getattr(member, "EXPORTS", ()):
                known = (model.model.get("members") or [model.model] * len(model.members))[index]
                name = known.get("name", f"member {index}")
                raise InputError(
                    f"{spec} cannot be exported: its member {name} ({known['trainable']}) is no net that can"
                )
        if out.suffix != ".onnx":
            raise InputError(f"--out {out}: an ensemble is exported as .onnx, not as {out.suffix}")
        return
    if not formats:
        raise InputError(f"{spec} cannot be exported: only single nets can, no trees, curves or files")
    if out.suffix not in formats:
        name = model.model["trainable"]
        raise InputError(f"--out {out}: {name} is exported as {', '.join(formats)}, not as {out.suffix}")


def typical_inputs(
    described: Mapping[str, Any], num: int, statistics: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """`num` rows like those that the model of a model.json is fed, always the same: scores, most near 0, some 0 and 1,
    and landmarks about where they were in training; or faces of smooth gray with noise, one black and one white.

    Args:
        statistics: `mean` and `std` (F,) of train, of which those of landmarks are used; without them a landmark lies
            anywhere in a face, at most about an outer-eye distance from its middle.
    """
    rng, names = np.random.default_rng(0), described["feature_names"]
    if is_mixed(names):  # every seventh face without numbers
        vectors = typical_inputs({**described, "feature_names": vector_names(names)}, num, statistics)
        vectors[::7] = np.nan
        return mixed(typical_inputs({**described, "feature_names": ["pixels"]}, num), vectors)
    if names != ["pixels"]:
        scores = rng.beta(0.3, 3.0, (num, len(names))).astype(np.float32)
        scores[rng.random(scores.shape) < 0.02] = 0.0
        scores[rng.random(scores.shape) < 0.02] = 1.0
        mean, std = (statistics["mean"], statistics["std"]) if statistics else (0.0, 0.4)
        places = (mean + std * rng.normal(size=scores.shape)).astype(np.float32)
        return np.where(is_score(names), scores, places)
    height, width = described["preprocessing"]["image_size"]
    waves = rng.normal(size=(num, 2, 1, 1)) * 3
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    faces = 128 + 80 * np.sin(waves[:, 0] * rows + waves[:, 1] * columns) + 20 * rng.normal(size=(num, height, width))
    faces[-2], faces[-1] = 0, 255
    return np.clip(faces, 0, 255).astype(np.uint8)


def _reader(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    return read_onnx(path)[1] if path.suffix == ".onnx" else open_exported(path).predict


def _answers(predict: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """(N, C): asked in several batches, of different sizes."""
    return np.concatenate([predict(batch) for batch in np.split(x, np.cumsum(BATCHES)[:-1])])


def render(exported: ExportedModel) -> RenderableType:
    """A table for the terminal."""
    from rich.text import Text

    from fersweep.common.display.tables import table

    takes = exported.input
    shown = table(["", ""], 2)
    for name, text in {
        "file": f"{exported.path} ({exported.bytes:,} bytes, {exported.format})",
        "takes": " and ".join(
            f"{one.features} ({', '.join(map(str, one.shape))}) {one.dtype}" for one in (takes, takes.more) if one
        ),
        "answers": f"probabilities of {', '.join(exported.classes)}",
        "checked": f"{exported.rows} rows in batches of {', '.join(map(str, BATCHES))}: at most {exported.difference:.1e} "
        f"from {exported.trainable} in float32, {exported.as_trained:.1e} as it predicts here",
    }.items():
        shown.add_row(Text(name), Text(text))
    return shown
