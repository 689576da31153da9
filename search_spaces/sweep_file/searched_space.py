"""The space that a sweep searches: the trainable's space file, narrowed by the sweep file. Drawing from it, checking it
before anything starts, and whether a point is in it.

A point is a mapping of Optuna parameters, as in a space file's POINTS and in a trial's record.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from fersweep import search_spaces, trainables
from fersweep.common.errors import hint
from fersweep.common.own_code.code import is_own
from fersweep.common.text import one_line
from fersweep.search_spaces.sweep_file.schema import Space
from fersweep.search_spaces.sweep_file.space.choices import drawn_as, drawn_params, read_list
from fersweep.search_spaces.sweep_file.space.narrowing import Layers, NarrowedTrial, check_names
from fersweep.search_spaces.sweep_file.space.whole_space import (
    PROBES,
    lists,
    searched_hparams,
    unsearched_hparams,
    widened_parameters,
)
from fersweep.search_spaces.sweep_file.space.widening import Wider, check_wider, complaint, wider

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from fersweep.search_spaces.sweep_file.schema import Sweep


LONGEST_REASON = 400  # characters
NamedPoint = tuple[str, dict[str, Any]]  # a name and Optuna parameters


class CannotBeBuilt(ValueError):
    """A point of the space that its trainable cannot train: its hparams refuse it, or the space raises. The text says why."""


class _Probes(NamedTuple):
    """What random points of a space have drawn from, by parameter; the hparams of each that can be built; of the others the
    reason.
    """

    distributions: dict[str, BaseDistribution]
    hparams: list[dict[str, Any]]
    varying: set[str]  # parameters that not every point has, or not from the same distribution
    refused: list[str]


_kept: dict[tuple[Any, str], _Probes] = {}  # those of the space that was asked for last


def sample_space(sweep: Sweep, trial: Any) -> dict[str, Any]:
    """Hparams for one Optuna trial, from the narrowed space and validated by the trainable. Raises CannotBeBuilt, and what
    the trial raises.
    """
    seen = narrowed(sweep, trial)
    try:
        hparams = search_spaces.load(sweep.trainable).space(seen)
    except Exception as error:  # a space is somebody's code
        if seen.error is not None:
            raise seen.error from None
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise CannotBeBuilt(one_line(said, LONGEST_REASON)) from error
    model = trainables.load(sweep.trainable).Hparams
    unsearched = unsearched_hparams(sweep.trainable)
    hparams |= {name: value for name, value in sweep.space.fix.items() if name in unsearched}
    if "schedule_epochs" in model.model_fields:  # a schedule ends where the sweep's longest trial ends
        hparams.setdefault("schedule_epochs", sweep.stop.max_epochs)
    try:
        return model(**hparams).model_dump(mode="json")
    except ValidationError as error:
        message = complaint(error)
        raise CannotBeBuilt(f"space: {message}" if error.errors()[0]["loc"] else message) from None


def narrowed(sweep: Sweep, trial: Any) -> NarrowedTrial:
    """The trial as the sweep's space sees it."""
    return NarrowedTrial(trial, sweep.space.fix, sweep.space.range, _lists_of_choices(sweep))


def _lists_of_choices(sweep: Sweep) -> dict[str, Layers]:
    """Those lists of layers of which the sweep file has choices: `range: {units: [[64], [64, 32]]}`."""
    if not any(isinstance(choice, list) for choices in sweep.space.range.values() for choice in choices):
        return {}
    return {name: layers for name, layers in lists(sweep.trainable).items() if name in sweep.space.range}


class _Replay:
    """Takes the place of an Optuna trial: gives the values that are known."""

    def __init__(self, values: dict[str, Any]):
        self._values = values

    def suggest_float(self, name: str, *_: Any, **__: Any) -> Any:
        return self._values[name]

    suggest_int = suggest_categorical = suggest_float


def named_as_in_a_sweep_file(sweep: Sweep, params: dict[str, Any], hparams: dict[str, Any]) -> dict[str, Any]:
    """A trial's hparams under the names that `space.fix` and `space.range` take: `units_0`, not a list `units`, unless the
    sweep file has choices of the whole list.

    Args:
        params: what its sampler drew.
        hparams: what it trains with. They stay as they are where the space has changed since.
    """
    if is_own(sweep.trainable):  # a look at a sweep runs nobody's code
        return {**params, **hparams}
    replayed, whole = narrowed(sweep, _Replay(params)), _lists_of_choices(sweep)
    try:
        search_spaces.load(sweep.trainable).space(replayed)
    except Exception:  # the space is somebody's code, and may have changed
        return {**params, **hparams}
    asked = {
        name: value for name, value in replayed.given.items() if not any(layers.sets(name) for layers in whole.values())
    }
    searched = searched_hparams(
        sweep.trainable
    )  # those not asked for have no part in this trial, as `l2` without use_l2
    return {**asked, **{k: v for k, v in hparams.items() if k in asked or k not in searched}}


def drawn(sweep: Sweep) -> set[str]:
    """The parameters that the narrowed space draws, for some of its trials."""
    return set(_probes(sweep).distributions)


def drawn_from(sweep: Sweep) -> dict[str, BaseDistribution]:
    """What they are drawn from, by name."""
    return dict(_probes(sweep).distributions)


def conditional(sweep: Sweep) -> set[str]:
    """Those of them that not every trial draws, or not always from the same distribution."""
    return set(_probes(sweep).varying)


def cannot_be_built(sweep: Sweep) -> tuple[float, str] | None:
    """The share of random points that the trainable cannot train, and the commonest reason; None where it can train all."""
    probes = _probes(sweep)
    if not probes.refused:
        return None
    kinds = Counter(reason.partition(", but got ")[0] for reason in probes.refused)
    return len(probes.refused) / PROBES, kinds.most_common(1)[0][0].removeprefix("space: ")


def check_space(sweep: Sweep) -> None:
    """Try the narrowed space with random points and the named points against the trainable. Raises ValueError."""
    usable = trainables.load(sweep.trainable).FEATURES
    if usable is not None and sweep.task.features not in usable:
        known = " or ".join(usable)
        raise ValueError(f"task.features: {sweep.trainable} learns from {known}, not from {sweep.task.features}")
    space = search_spaces.load(sweep.trainable)
    asked = _of_the_space(sweep)
    calls = widened_parameters(sweep.trainable, asked.fix, asked.range)
    check_names(asked.fix, asked.range, calls, lists(sweep.trainable))
    check_wider(sweep.trainable, asked)
    if not hasattr(space, "POINTS"):
        raise ValueError(f"{search_spaces.file_of(sweep.trainable)} has no POINTS")
    distributions(sweep)
    first_points(sweep)
    search = sweep.search
    num_points = len(search.points) + sum(number or 0 for _, number in search.best_of)
    if num_points > search.num_trials:
        raise ValueError(f"search.num_trials: {search.num_trials} is fewer than start_from's {num_points} points")


def _of_the_space(sweep: Sweep) -> Space:
    """What is asked of parameters, without the hparams that the space never sets."""
    unsearched = unsearched_hparams(sweep.trainable)
    return Space(fix={k: v for k, v in sweep.space.fix.items() if k not in unsearched}, range=sweep.space.range)


def wider_values(sweep: Sweep) -> list[Wider]:
    """What the sweep file has beyond the space file's bounds."""
    return wider(sweep.trainable, _of_the_space(sweep))


def distributions(sweep: Sweep) -> dict[str, str]:
    """Parameters of the narrowed space → their Optuna distributions as JSON, by name. Raises ValueError."""
    from optuna.distributions import distribution_to_json

    drawn_from = _probes(sweep).distributions
    return {name: distribution_to_json(drawn_from[name]) for name in sorted(drawn_from)}


def fetch(sweep: Sweep, older: Sequence[NamedPoint] = (), before: dict[str, str] | None = None) -> dict[str, str]:
    """Let the trainable get what its trials may need from outside, such as pretrained weights (trainables/protocol.py)
    → its sha256 by name.

    It gets the hparams of random points and of the first trials. `older`: see first_points. `before`: what the sweep got
    when it was launched, which must be the same. Raises InputError.
    """
    module = trainables.load(sweep.trainable)
    if not hasattr(module, "fetch"):
        return {}
    trainables.expect(sweep.trainable, before or {})
    return {**(before or {}), **(module.fetch(some_hparams(sweep, older)) or {})}


def some_hparams(sweep: Sweep, older: Sequence[NamedPoint] = ()) -> list[dict[str, Any]]:
    """Those of the first trials, and of random points. `older`: see first_points."""
    from optuna.trial import FixedTrial

    first = [sample_space(sweep, FixedTrial(params)) for _, params in first_points(sweep, older)]
    each = {json.dumps(hparams, sort_keys=True): hparams for hparams in [*first, *_probes(sweep).hparams]}
    return list(each.values())


def _probes(sweep: Sweep) -> _Probes:
    """The same random points each time; kept, since a launch asks two or three times."""
    import optuna

    space = search_spaces.load(sweep.trainable).space
    key = (space, repr((sweep.trainable, sweep.space, sweep.stop.max_epochs)))  # all that they depend on
    if key not in _kept:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        probes = _Probes({}, [], set(), [])
        for number, trial in enumerate(study.ask() for _ in range(PROBES)):
            try:
                probes.hparams.append(sample_space(sweep, trial))
            except CannotBeBuilt as error:
                probes.refused.append(str(error))
            before, here = dict(probes.distributions), trial.distributions  # a deep copy, each time it is asked for
            probes.distributions.update(here)
            if number:
                names = probes.distributions.keys()
                probes.varying.update(name for name in names if before.get(name) != here.get(name))
        if not probes.hparams:
            raise ValueError(Counter(probes.refused).most_common(1)[0][0])
        _kept.clear()
        _kept[key] = probes
    return _kept[key]


def first_points(sweep: Sweep, older: Sequence[NamedPoint] = ()) -> list[NamedPoint]:
    """The points of the first trials: the named points of the space file, then those of `older` sweeps
    (cluster/search/older_sweeps.py). Raises ValueError if a named one is not there or is outside the space.
    """
    known = search_spaces.load(sweep.trainable).POINTS
    points: list[NamedPoint] = []
    for name in sweep.search.points:
        if name not in known:
            near = hint(name, known, "points")
            raise ValueError(f"search.start_from: {sweep.trainable} has no point {name!r}; {near}")
        points.append((name, fitted(sweep, name, known[name]).params))
    return [*points, *older]


def fitted(sweep: Sweep, name: str, point: dict[str, Any]) -> optuna.trial.FixedTrial:
    """A point as a trial of the narrowed space: its `params` without those that the sweep fixes, and their
    `distributions`. Raises ValueError, which says what of the point `name` is outside the space.
    """
    from optuna.trial import FixedTrial

    title, fix = f"search.start_from: point {name!r}", sweep.space.fix
    point = drawn_params(_with_lists(sweep, point))
    for key, value in fix.items():
        if key in point and point[key] != drawn_as(value):
            raise ValueError(f"{title} has {key} = {point[key]!r}, but space.fix says {value!r}")
    for key, bounds in sweep.space.range.items():
        if key in point and not _allowed(point[key], bounds):
            raise ValueError(f"{title} has {key} = {point[key]!r}, outside space.range's {bounds}")
    fixed = FixedTrial({key: value for key, value in point.items() if key not in fix})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna only warns of a value outside its distribution
            sample_space(sweep, fixed)
    except ValueError as error:
        raise ValueError(f"{title} is not in the space: {error}") from None
    if problem := outside(fixed):
        raise ValueError(f"{title} has {problem}")
    return fixed


def outside(trial: optuna.trial.BaseTrial) -> str | None:
    """The first value of a trial that is not of its distribution, in words. Optuna itself takes it."""
    for key, distribution in trial.distributions.items():
        if not distribution._contains(distribution.to_internal_repr(trial.params[key])):
            return f"{key} = {trial.params[key]!r}, outside the space's {distribution}"
    return None


def _with_lists(sweep: Sweep, point: dict[str, Any]) -> dict[str, Any]:
    """A point with its lists as this sweep draws them: whole where it has choices of them, else layer by layer."""
    whole, fitting = _lists_of_choices(sweep), dict(point)
    for name, layers in lists(sweep.trainable).items():
        if name not in whole and isinstance(text := point.get(name), str):
            fitting = {**layers.parameters(read_list(text)), **fitting}
            del fitting[name]
        elif name in whole and name not in point:
            fitting = {key: value for key, value in fitting.items() if not layers.sets(key)}
            fitting[name] = layers.values(point)
    return fitting


def _allowed(value: Any, bounds: list[Any]) -> bool:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return bounds[0] <= value <= bounds[1] if numeric and len(bounds) == 2 else value in map(drawn_as, bounds)
