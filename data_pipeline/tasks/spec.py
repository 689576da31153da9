"""The `task:` of a sweep file: which faces, classes and features of a dataset a model learns. task.py applies it."""

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.tasks.features import Features


def _a_fold(value: Any) -> Any:
    if isinstance(value, str) and value != "all" and not value.isdecimal():
        raise ValueError("wants the number of a fold, from 0 on, or all")
    return value


Fold = Annotated[NonNegativeInt | Literal["all"] | None, BeforeValidator(_a_fold)]


class Section(BaseModel):
    """A section of a sweep file: unknown keys are refused, and nothing changes once it is read. `true` and `false` are no
    numbers, which pydantic takes for 1 and 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and kinds & {int, float} and not kinds & {bool, Any}:
            raise ValueError("must be a number")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field may have: those of a union, without what annotates them."""
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _kinds(parts[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for part in parts for kind in _kinds(part)}
    return {annotation} if isinstance(annotation, type) or annotation is Any else set()


class TaskSpec(Section):
    """The `task:` of a sweep file."""

    features: Features = "blendshapes"
    classes: dict[str, list[str]] | None = None
    """Model class → dataset labels. None: each label is a class. Labels of no class are left out."""
    balance: PositiveInt | Literal["smallest"] | dict[str, PositiveInt] | None = None
    """At most so many train faces per model class; "smallest": as many as the rarest class has; a mapping: at most so
    many per dataset label. They are drawn with `seed`. val and test stay whole."""
    fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of what is left of train, this share of each model class is learned, at least a face of each, drawn with `seed`.
    The faces of a smaller fraction are among those of a larger one. val and test stay whole."""
    fold: Fold = None
    """Of a dataset that was prepared with folds: val is this fold, train are the others. "all": each fold in turn, with a
    model of its own that learns the others; a trial's scores are the means over the folds."""
    sources: list[str] | None = None
    """Only faces from these sources of the dataset (`origins` in its manifest), in all splits; None: from all."""
    keep_twins: bool = False
    """Train faces whose pixels are also in val or test are dropped unless this is set."""
    drop_near_twins: bool = False
    """Train faces with nearly the pixels of a face in val or test are dropped, too."""
    augmented: bool | None = None
    """Train on the augmented copies of train faces that the dataset has. None: yes, except for pixels, which their
    trainables augment anew in each epoch. val and test never have any."""
    blendshapes: Literal["all", "varying"] | list[str] = "varying"
    varying_min: float = Field(default=0.05, ge=0.0, lt=1.0)
    """"varying" keeps a score when its maximum over train reaches this and it is not constant there, which is how the
    first blendshape project chose its relevant scores (it took 0.4). On FER2013 0.05 drops the six dead scores (maxima
    below 0.007) and keeps the weakest live one (jawForward, 0.06): 46 are left."""
    landmarks: Literal["expressive", "all"] = "expressive"
    """Of 60 landmarks of mouth, brows, eyes, nose and chin (geometry.EXPRESSIVE), or of all 478: their x and y."""
    informative: PositiveInt | None = None
    """Of the features above, only so many of the most informative: those with the highest mutual information with the
    class on train, each on its own."""
    seed: int = Field(default=0, ge=0)


def groups_of(spec: TaskSpec, labels: Sequence[str]) -> dict[str, list[str]]:
    """Model class → labels. Raises InputError for unknown labels, a label in two classes, and fewer than two classes."""
    groups = {label: [label] for label in labels} if spec.classes is None else spec.classes
    class_of: dict[str, str] = {}
    for name, members in groups.items():
        for label in members:
            check_label(label, labels, f"task.classes.{name}")
            if label in class_of:
                raise InputError(f"task.classes: label '{label}' is in '{class_of[label]}' and in '{name}'; choose one")
            class_of[label] = name
    if len(groups) < 2:
        raise InputError(f"task.classes: a task needs two classes or more, but got {list(groups)}")
    return groups


def check_label(label: str, labels: Sequence[str], key: str) -> None:
    """InputError if there is no such label; `key`: who names it."""
    if label not in labels:
        raise InputError(f"{key}: there is no label '{label}'; {hint(label, labels, 'there are')}")
