"""The sweep file: its schema, where it comes from, and everything that is checked before anything starts.

name: lstm-3class
task:      {features: blendshapes, classes: {happy: [happy], sad: [sad], neutral: [neutral]}}
trainable: blendshape_lstm
space:     {fix: {optimizer: adam}, range: {learning_rate: [1e-5, 1e-2]}}
search:    {sampler: tpe, num_trials: 64, seed: 7, start_from: [seed_paper]}
stop:      {metric: val_macro_f1, mode: max, scheduler: asha, grace_epochs: 5, max_epochs: 200, reduction: 3}
resources: {cpus: 1, gpus: 0}
failures:  {max_retries: 2, max_failed_share: 0.5}
keep_checkpoints: 5
storage:   null
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import search_spaces
import trainables
from cluster import yaml_file
from cluster.narrow import NarrowedTrial, Probe, check_names
from data_pipeline.errors import InputError, hint
from data_pipeline.task import TaskSpec

PROBES = 200  # random points that a space is tried with before a sweep starts


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Space(_Part):
    """fix: parameter → value; range: parameter → [low, high] or the list of choices."""

    fix: dict[str, Any] = Field(default_factory=dict)
    range: dict[str, list[Any]] = Field(default_factory=dict)


class Older(_Part):
    """A sweep under the same home whose trials the sampler learns from, where they lie in the space."""

    sweep: str


class Search(_Part):
    """start_from: named points of the space file, which are the first trials, and older sweeps ({sweep: NAME})."""

    sampler: Literal["tpe", "random"] = "tpe"
    num_trials: int = Field(32, ge=1)
    seed: int = Field(0, ge=0)
    start_from: list[str | Older] = Field(default_factory=list)

    @field_validator("start_from", mode="before")
    @classmethod
    def _one_sweep(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @property
    def points(self) -> list[str]:
        return [one for one in self.start_from if isinstance(one, str)]

    @property
    def older(self) -> list[str]:
        return [one.sweep for one in self.start_from if isinstance(one, Older)]


class Stop(_Part):
    """ASHA compares trials at grace_epochs · reduction^k; `report_s` is the least training time between two reports;
    a trial that reports nothing for `timeout_s` (null: for ever) hangs, and fails.
    """

    metric: Literal["val_macro_f1", "val_balanced_accuracy", "val_accuracy", "val_loss"] = "val_macro_f1"
    mode: Literal["max", "min"] = "max"
    scheduler: Literal["asha", "none"] = "asha"
    grace_epochs: int = Field(5, ge=1)
    max_epochs: int = Field(100, ge=1)
    reduction: int = Field(3, ge=2)
    report_s: float = Field(1.0, ge=0)
    timeout_s: float | None = Field(3600.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Stop:
        if (self.metric == "val_loss") != (self.mode == "min"):
            raise ValueError(
                f"stop.mode: {self.metric} wants mode {'min' if self.metric == 'val_loss' else 'max'}, not {self.mode}"
            )
        return self

    def rungs(self) -> list[int]:
        """Epochs at which ASHA compares trials, ascending; empty without ASHA."""
        levels, level = [], self.grace_epochs
        while self.scheduler == "asha" and level < self.max_epochs:
            levels.append(level)
            level *= self.reduction
        return levels


class Resources(_Part):
    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)


class Tracking(_Part):
    uri: str | None = None
    experiment: str | None = None


class Failures(_Part):
    """max_retries: how often a trial whose process died or that raised something unforeseen is tried again; a lost
    machine does not count. max_failed_share: a sweep ends when more of its trials than this have failed.
    """

    max_retries: int = Field(2, ge=0)
    max_failed_share: float = Field(0.5, ge=0, le=1)


class Sweep(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)
    task: TaskSpec = TaskSpec()
    trainable: str
    space: Space = Space()
    search: Search = Field(default_factory=lambda: Search.model_validate({}))
    stop: Stop = Field(default_factory=lambda: Stop.model_validate({}))
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}))
    tracking: Tracking = Tracking()
    failures: Failures = Field(default_factory=lambda: Failures.model_validate({}))
    keep_checkpoints: int | None = Field(5, ge=1)
    storage: str | None = None

    @field_validator("storage")
    @classmethod
    def _is_a_bucket(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(s3|gs|abfss?)://[^/?\s]+\S*", value):
            raise ValueError("must be a bucket's address (s3://…, gs://…); a shared path is given with --home")
        return value


def read_sweep(recipe_or_file: str, overrides: list[str], **replaced: Any) -> Sweep:
    """The sweep in a YAML file or a shipped recipe, with `a.b=c` overrides; every mistake is an InputError.

    Args:
        recipe_or_file: a path, or the name of a file in search_spaces/recipes.
        overrides: `key.path=value`, the value read as YAML.
        replaced: `key__path=value` that wins over both where it is not None (the command line's own options).
    """
    path, origin = Path(recipe_or_file), ""
    try:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            origin = f"{path}: "
        else:
            path = search_spaces.recipe(recipe_or_file)
        content = yaml_file.read(path)
    except ValueError as error:
        raise InputError(f"{origin}{error}") from None
    except OSError as error:
        raise InputError(f"sweep file {path}: {error.strerror}") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: a sweep file is a mapping of name, task, trainable, …; this is {type(content).__name__}"
        )
    for override in overrides:
        change(content, override)
    for key, value in replaced.items():
        if value is not None:
            _put(content, key.split("__"), value)
    content.setdefault("name", path.stem)
    return parse_sweep(content, str(path))


def change(content: dict[str, Any], override: str) -> None:
    """Apply `key.path=value`, the value read as YAML, to the content of a sweep file. Raises InputError."""
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[a-z_0-9]+(\.[A-Za-z_0-9]+)*", key):
        raise InputError(f"--set {override!r}: want KEY.PATH=VALUE, e.g. stop.max_epochs=20")
    try:
        value = yaml_file.load(text)
    except ValueError as error:
        raise InputError(f"--set {override!r}: {text!r} is not a YAML value: {error}") from None
    _put(content, key.split("."), value)


def _put(content: dict[str, Any], keys: list[str], value: Any) -> None:
    for i, key in enumerate(keys[:-1]):
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise InputError(f"--set {'.'.join(keys)}: {'.'.join(keys[: i + 1])} is {content!r}, which has no parts")
    content[keys[-1]] = value


def parse_sweep(content: dict[str, Any], origin: str) -> Sweep:
    """Validate a sweep against the schema, its trainable and its space."""
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{origin}: {_first_problem(error, content)}") from None
    try:
        check_space(sweep)
    except ValueError as error:
        raise InputError(f"{origin}: {error}") from None
    return sweep


def _first_problem(error: ValidationError, content: Any) -> str:
    paths = [_path(problem, content) for problem in error.errors()]
    path = max(paths, key=len)  # where pydantic tried several types, the one that came furthest
    problem = error.errors()[paths.index(path)]
    where, value = ".".join(path), problem.get("input")
    if problem["type"] == "extra_forbidden":
        fields: dict[str, Any] = Sweep.model_fields
        for part in path[:-1]:
            fields = getattr(fields[part].annotation, "model_fields", {}) if part in fields else {}
        return f"unknown key {where!r}" + (f"; {hint(path[-1], fields)}" if fields else "")
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return message if message.startswith(where.split(".")[0] + ".") else f"{where}: {message}, but got {value!r}"


def _path(problem: Any, content: Any) -> list[str]:
    """The keys that lead to a problem. pydantic's `loc` also names the types that it tried there: they are left out."""
    path = []
    for part in problem["loc"]:
        inside = part in content if isinstance(content, dict) else isinstance(content, list) and isinstance(part, int)
        if inside:
            path.append(str(part))
            content = content[part]
    return [*path, str(problem["loc"][-1])] if problem["type"] == "missing" else path


def sample_space(sweep: Sweep, trial: Any) -> dict[str, Any]:
    """Hparams for one Optuna trial, from the narrowed space and validated by the trainable."""
    hparams = search_spaces.load(sweep.trainable).space(NarrowedTrial(trial, sweep.space.fix, sweep.space.range))
    model = trainables.load(sweep.trainable).Hparams
    if "schedule_epochs" in model.model_fields:  # a schedule ends where the sweep's longest trial ends
        hparams.setdefault("schedule_epochs", sweep.stop.max_epochs)
    return model(**hparams).model_dump(mode="json")


def check_space(sweep: Sweep) -> None:
    """Try the narrowed space with random points and the named points against the trainable. Raises ValueError."""
    trainables.load(sweep.trainable)
    space = search_spaces.load(sweep.trainable)
    whole = Probe()
    for _ in range(PROBES):
        space.space(whole)
    check_names(sweep.space.fix, sweep.space.range, whole.asked)
    distributions(sweep)
    for point in sweep.search.points:
        point_params(sweep, point)
    if len(sweep.search.points) > sweep.search.num_trials:
        raise ValueError(
            f"search.num_trials: {sweep.search.num_trials} is fewer than start_from's {len(sweep.search.points)} points"
        )
    if not hasattr(space, "POINTS"):
        raise ValueError(f"search_spaces/{sweep.trainable}.py has no POINTS")


def distributions(sweep: Sweep) -> dict[str, str]:
    """What the narrowed space draws from: parameter → its Optuna distribution as JSON. Raises ValueError."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, found = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), {}
    for _ in range(PROBES):
        trial = study.ask()
        sample_space(sweep, trial)
        found |= trial.distributions
    return {name: optuna.distributions.distribution_to_json(found[name]) for name in sorted(found)}


def point_params(sweep: Sweep, name: str) -> dict[str, Any]:
    """The Optuna parameters of a named point, without those that the sweep fixes. Raises ValueError if it lies outside."""
    import optuna

    points = search_spaces.load(sweep.trainable).POINTS
    if name not in points:
        near = hint(name, points, "points")
        raise ValueError(f"search.start_from: {sweep.trainable} has no point {name!r}; {near}")
    point = points[name]
    for key, value in sweep.space.fix.items():
        if key in point and point[key] != value:
            raise ValueError(
                f"search.start_from: point {name!r} has {key} = {point[key]!r}, but space.fix says {value!r}"
            )
    params = {key: value for key, value in point.items() if key not in sweep.space.fix}
    for key, bounds in sweep.space.range.items():
        if key in params and not _allowed(params[key], bounds):
            raise ValueError(
                f"search.start_from: point {name!r} has {key} = {params[key]!r}, outside space.range's {bounds}"
            )
    try:
        sample_space(sweep, optuna.trial.FixedTrial(params))
    except ValueError as error:
        raise ValueError(f"search.start_from: point {name!r} is not in the space: {error}") from None
    return params


def _allowed(value: Any, bounds: list[Any]) -> bool:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return bounds[0] <= value <= bounds[1] if numeric and len(bounds) == 2 else value in bounds
