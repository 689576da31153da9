"""Whether the sampler that a sweep file names can search its space, what it draws at random instead, and how many points
there are where that is a number.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fersweep import search_spaces
from fersweep.common.errors import hint
from fersweep.search_spaces.sweep_file.searched_space import conditional, drawn_from, narrowed
from fersweep.search_spaces.sweep_file.sections.samplers import Grid, Nsga2, SamplerOptions, sampler_options
from fersweep.search_spaces.sweep_file.space.choices import drawn_as

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from fersweep.search_spaces.sweep_file.schema import Sweep

Space = Mapping[str, "BaseDistribution"]


def options_of(sweep: Sweep) -> SamplerOptions:
    """The sampler's options, and what it can do."""
    return sampler_options(sweep.search.sampler, sweep.search.sampler_options)


def refuse_unsearchable(sweep: Sweep) -> None:
    """Raises ValueError where the sampler cannot search the space at all."""
    name, options, space = sweep.search.sampler, options_of(sweep), drawn_from(sweep)
    sometimes = conditional(sweep)
    if sweep.stop.objectives and not options.SEVERAL_OBJECTIVES:
        raise ValueError(
            f"search.sampler: {name} searches for one objective, and stop.objectives has {len(sweep.stop.objectives)}: want tpe, "
            "nsga2 or another that takes several"
        )
    if isinstance(options, Grid):
        if sometimes:
            raise ValueError(
                f"search.sampler: grid needs parameters that every trial has, and not every one has {_list(sometimes)}: fix them, "
                "or take brute_force, which searches those"
            )
        grid(options, space)
    elif options.FINITE:
        endless = [each for each, distribution in space.items() if _num_values(distribution) is None]
        if endless:
            raise ValueError(
                f"search.sampler: {name} tries every point, and {_list(endless)} {'has' if len(endless) == 1 else 'have'} no number "
                "of values: fix them, or take grid"
            )
    elif not (options.CATEGORIES and options.CONDITIONS) and len(_at_random(sweep)) == len(space):
        what = "numbers" if not options.CATEGORIES else "parameters"
        raise ValueError(f"search.sampler: {name} searches {what} that every trial has, and this space has none")
    size, points = num_points(sweep), len(sweep.search.points) + sum(number or 0 for _, number in sweep.search.best_of)
    if isinstance(options, Grid) and size is not None and size + points > sweep.search.num_trials:
        beside = f", beside {points} of search.start_from" if points else ""
        raise ValueError(
            f"search.sampler: the grid has {size} points{beside}, and search.num_trials is {sweep.search.num_trials}: want as many "
            "trials, or fewer search.sampler_options.points"
        )


def remarks(sweep: Sweep) -> list[str]:
    """What the sampler does that may surprise, one line each."""
    search, options, space = sweep.search, options_of(sweep), drawn_from(sweep)
    name, lines, sometimes = search.sampler, list[str](), conditional(sweep)
    choices = [each for each in _at_random(sweep) if each not in sometimes]
    if choices:
        lines.append(f"{name} draws {_list(choices)} at random: {_they(choices, 'is no number', 'are no numbers')}")
    rare = [each for each in _at_random(sweep) if each in sometimes]
    if rare:
        lines.append(f"{name} draws {_list(rare)} at random: not every trial has {'it' if len(rare) == 1 else 'them'}")
    if (number := expected_trials(sweep)) < search.num_trials:
        lines.append(
            f"{name} has no more to try after {number} trials: the sweep ends then, not after {search.num_trials}"
        )
    if not options.LEARNS and search.older:
        lines.append(
            f"without effect: search.start_from {', '.join(search.older)}, as the {name} sampler learns nothing"
        )
    if search.constraints and not options.CONSTRAINTS:
        lines.append(f"{name} learns nothing from search.constraints: a trial that breaks one is only never the best")
    if isinstance(options, Nsga2) and options.population_size >= search.num_trials:
        lines.append(
            f"{name} draws its first {options.population_size} trials (sampler_options.population_size) at random, and "
            f"search.num_trials is {search.num_trials}"
        )
    if isinstance(options, Grid) and space.keys() - options.points.keys():
        values = ", ".join(f"{each}: {', '.join(map(_short, listed))}" for each, listed in grid(options, space).items())
        lines.append(f"the grid: {values}")
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def _they(names: Sequence[str], one: str, several: str) -> str:
    return f"it {one}" if len(names) == 1 else f"they {several}"


def _at_random(sweep: Sweep) -> list[str]:
    """The parameters that the sampler cannot search, and draws at random."""
    from optuna.distributions import CategoricalDistribution

    options, space, sometimes = options_of(sweep), drawn_from(sweep), conditional(sweep)
    return [
        name
        for name, distribution in sorted(space.items())
        if (not options.CATEGORIES and isinstance(distribution, CategoricalDistribution))
        or (not options.CONDITIONS and name in sometimes)
    ]


def grid(options: Grid, space: Space) -> dict[str, list[Any]]:
    """The values of each parameter. Raises ValueError where `points` are not of the space."""
    for name in options.points:
        if name not in space:
            near = hint(name, sorted(space), "searched are")
            raise ValueError(f"search.sampler_options.points.{name}: no parameter that is searched is named so; {near}")
    return {name: _values(name, space[name], options.points.get(name, options.default)) for name in sorted(space)}


def _values(name: str, distribution: Any, points: list[Any] | int) -> list[Any]:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    title = f"search.sampler_options.points.{name}"
    if isinstance(distribution, CategoricalDistribution):
        listed = list(distribution.choices) if isinstance(points, int) else list(map(drawn_as, points))
        for value in listed:
            if not any(type(choice) is type(value) and choice == value for choice in distribution.choices):
                raise ValueError(f"{title}: {value!r} is none of {list(distribution.choices)}")
        return listed
    low, high, whole = distribution.low, distribution.high, isinstance(distribution, IntDistribution)
    if not isinstance(points, int):
        for value in points:
            if type(value) not in (int, float) or not low <= value <= high or (whole and value != int(value)):
                raise ValueError(f"{title}: {value!r} is no {'whole ' if whole else ''}number in [{low:g}, {high:g}]")
        return [int(value) if whole else float(value) for value in dict.fromkeys(points)]
    shares = [0.5] if points == 1 else [index / (points - 1) for index in range(points)]
    if distribution.log:
        values = [math.exp(math.log(low) + share * (math.log(high) - math.log(low))) for share in shares]
    else:
        values = [low + share * (high - low) for share in shares]
    if distribution.step is not None:
        values = [low + round((value - low) / distribution.step) * distribution.step for value in values]
    values = [min(max(float(f"{value:.10g}"), low), high) for value in values]
    return list(dict.fromkeys(int(value) if whole else value for value in values))


def num_points(sweep: Sweep) -> int | None:
    """How many points the sampler can try; None where that is no number, or more than the sweep's trials."""
    options = options_of(sweep)
    if isinstance(options, Grid):
        return math.prod(len(values) for values in grid(options, drawn_from(sweep)).values())
    if not options.FINITE:
        return None
    number = sum(1 for _, _ in zip(_paths(sweep), range(sweep.search.num_trials + 1), strict=False))
    return None if number > sweep.search.num_trials else number


def expected_trials(sweep: Sweep) -> int:
    """search.num_trials, or fewer where the sampler has no more points to try."""
    size, num_trials = num_points(sweep), sweep.search.num_trials
    if size is None:
        return num_trials
    beside = len(sweep.search.points) + sum(number or 0 for _, number in sweep.search.best_of)
    return min(num_trials, size + beside * isinstance(options_of(sweep), Grid))


def _num_values(distribution: Any) -> int | None:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if distribution.single():
        return 1
    return (
        None
        if distribution.step is None
        else int((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
    )


def _paths(sweep: Sweep) -> Iterator[list[int]]:
    """The points of a space without continuous parameters, each as the number of the value that each parameter has."""
    space, path = search_spaces.load(sweep.trainable).space, list[int]()
    while True:
        walk = _Walk(path)
        with contextlib.suppress(Exception):  # a point that cannot be built is one, too
            space(narrowed(sweep, walk))
        yield walk.path
        path = walk.path
        while path and path[-1] == walk.sizes[len(path) - 1] - 1:
            path.pop()
        if not path:
            return
        path[-1] += 1


class _Walk:
    """Takes the place of an Optuna trial: follows `path`, and then takes first values. `sizes`: values at each step."""

    def __init__(self, path: list[int]):
        self.path, self.sizes = path, list[int]()
        self._known: dict[str, Any] = {}

    def _take(self, name: str, number: int | None, value: Callable[[int], Any]) -> Any:
        if name not in self._known:
            step = len(self.sizes)
            if step == len(self.path):
                self.path.append(0)
            self.sizes.append(number or 1)
            self._known[name] = value(self.path[step])
        return self._known[name]

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        from optuna.distributions import FloatDistribution

        number = _num_values(FloatDistribution(low, high, step=step, log=log))
        return self._take(name, number, lambda index: min(low + index * (step or 0.0), high))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        return self._take(name, (high - low) // step + 1, lambda index: low + index * step)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self._take(name, len(choices), choices.__getitem__)
