"""The samplers by name: those of search_spaces/sweep_file/sections/samplers.py, each made by one function.

Importing this module loads no Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fersweep.cluster.samplers.asked import Asked, Shown
from fersweep.search_spaces.sweep_file.sections import samplers as sections

if TYPE_CHECKING:
    import optuna

GOOD = 25  # the most trials that TPE takes for good, unless the sweep says how many


@dataclass(frozen=True)
class Row:
    """A sampler. slow: a suggestion takes so long that the reports of other trials must not wait for it. told: its
    `after_trial` is called.
    """

    make: Callable[[Asked], optuna.samplers.BaseSampler]
    shown: Callable[[Any], Shown] = field(default=lambda options: Shown())
    slow: bool = False
    told: bool = False


def _tpe(asked: Asked) -> optuna.samplers.BaseSampler:
    from optuna.samplers import TPESampler

    options: sections.Tpe = asked.options
    weight: dict[str, Any] = (
        {} if options.prior_weight == 1 else {"prior_weight": options.prior_weight}
    )  # which Optuna will do without
    return TPESampler(
        seed=asked.seed,
        multivariate=options.multivariate,
        group=options.group,
        constant_liar=options.constant_liar,
        n_startup_trials=options.n_startup_trials,
        n_ei_candidates=options.n_ei_candidates,
        gamma=lambda number: good(options, number),
        **weight,
    )


def good(options: sections.Tpe, number: int) -> int:
    """How many of `number` trials TPE takes for good."""
    if isinstance(options.gamma, int):
        return min(options.gamma, number)
    return min(math.ceil(options.gamma * number), GOOD)  # as Optuna's own, with a share of 0.1


def _tpe_is_shown(options: sections.Tpe) -> Shown:
    best = max(GOOD, int(options.gamma))
    return Shown(500, best, curves=True, judge_running=options.consider_running_trials, keeps=False)


def _random(asked: Asked) -> optuna.samplers.BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=asked.seed)


def _gp(asked: Asked) -> optuna.samplers.BaseSampler:
    from optuna.samplers import GPSampler

    options: sections.Gp = asked.options
    return GPSampler(
        seed=asked.seed,
        n_startup_trials=options.n_startup_trials,
        deterministic_objective=options.deterministic_objective,
        warn_independent_sampling=False,  # suitability.py says so
    )


def _cmaes(asked: Asked) -> optuna.samplers.BaseSampler:
    from fersweep.cluster.samplers.cmaes import CmaEs

    return CmaEs(asked)


def _qmc(asked: Asked) -> optuna.samplers.BaseSampler:
    from fersweep.cluster.samplers.qmc import Qmc

    return Qmc(asked)


def _nsga(asked: Asked) -> optuna.samplers.BaseSampler:
    from optuna.samplers import NSGAIIISampler, NSGAIISampler

    options: sections.Nsga2 = asked.options
    given: dict[str, Any] = {
        "seed": asked.seed,
        "population_size": options.population_size,
        "mutation_prob": options.mutation_prob,
        "crossover_prob": options.crossover_prob,
        "swapping_prob": options.swapping_prob,
    }
    if isinstance(options, sections.Nsga3):
        return NSGAIIISampler(dividing_parameter=options.dividing_parameter, **given)
    return NSGAIISampler(**given)


def _grid(asked: Asked) -> optuna.samplers.BaseSampler:
    from optuna.samplers import GridSampler

    from fersweep.search_spaces.sweep_file.sections.suitability import grid

    return GridSampler(grid(asked.options, asked.space), seed=asked.sweep_seed)


def _brute_force(asked: Asked) -> optuna.samplers.BaseSampler:
    from optuna.samplers import BruteForceSampler

    return BruteForceSampler(seed=asked.seed)


def _stopped_count(options: Any) -> Shown:
    return Shown(judge_stopped=options.consider_pruned_trials)


SAMPLERS: dict[str, Row] = {
    "tpe": Row(_tpe, _tpe_is_shown),
    "random": Row(_random, lambda options: Shown(0, keeps=False)),
    "gp": Row(_gp, lambda options: Shown(300, GOOD, options.consider_pruned_trials, keeps=False), slow=True),
    "cmaes": Row(_cmaes, _stopped_count),
    "qmc": Row(_qmc, lambda options: Shown(0)),
    "nsga2": Row(_nsga, _stopped_count),
    "nsga3": Row(_nsga, _stopped_count),
    "grid": Row(_grid),
    "brute_force": Row(_brute_force, lambda options: Shown(keeps=False)),
}
