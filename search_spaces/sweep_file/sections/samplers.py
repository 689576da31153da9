"""The samplers that a sweep file can name, and the options of each; cluster/samplers/ has what they do.

Optuna's own defaults change between its versions: every option has its default here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from fersweep.common.errors import hint
from fersweep.search_spaces.sweep_file.sections.part import Part, filled_in

Share = Annotated[float, Field(gt=0, lt=1)]
MOST = 10_000  # of what a sampler holds or draws at once
Count = Annotated[int, Field(ge=1, le=MOST)]
Chance = Annotated[float, Field(ge=0, le=1)]
OWN = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")
HUB = re.compile(r"optunahub:(?P<package>samplers/\w+)(:(?P<name>[^\W\d]\w*))?")


class SamplerOptions(Part):
    """Options of a sampler, and what it can do.

    LEARNS: what it suggests depends on what earlier trials gave. CATEGORIES, CONDITIONS: it searches choices, and parameters
    that only some trials have; else it draws them at random. FINITE: it searches spaces that have a number of points.
    SEVERAL_OBJECTIVES; CONSTRAINTS: it learns from them.
    """

    LEARNS: ClassVar[bool] = True
    CATEGORIES: ClassVar[bool] = True
    CONDITIONS: ClassVar[bool] = True
    FINITE: ClassVar[bool] = False
    SEVERAL_OBJECTIVES: ClassVar[bool] = True
    CONSTRAINTS: ClassVar[bool] = False

    @property
    def num_first(self) -> int:
        """The first trials, which it suggests whatever they give; of one that never learns, that is all."""
        return 0


class Tpe(SamplerOptions):
    """Tree-structured Parzen estimators (Bergstra et al. 2011). gamma: how many trials count as good, a number or a share of
    all, of which it is 25 at most. consider_running_trials: what running trials have reached counts, as if they were stopped now;
    constant_liar: those that have reached nothing yet, and without it all that run, count as bad.
    """

    CONSTRAINTS: ClassVar[bool] = True

    multivariate: bool = True
    group: bool = True
    constant_liar: bool = True
    consider_running_trials: bool = True
    n_startup_trials: int = Field(10, ge=0)
    n_ei_candidates: Count = 24
    gamma: Count | Share = 0.1
    prior_weight: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Tpe:
        if self.group and not self.multivariate:
            raise ValueError("group: true needs multivariate: true")
        return self

    @property
    def num_first(self) -> int:
        return self.n_startup_trials


class Random(SamplerOptions):
    """Independent and uniform."""

    LEARNS: ClassVar[bool] = False


class Gp(SamplerOptions):
    """A Gaussian process and expected improvement (Optuna's, on torch). consider_pruned_trials: stopped trials count, with
    their best value.
    """

    CONDITIONS: ClassVar[bool] = False
    CONSTRAINTS: ClassVar[bool] = True

    n_startup_trials: Count = 10
    deterministic_objective: bool = False
    consider_pruned_trials: bool = True

    @property
    def num_first(self) -> int:
        return self.n_startup_trials


class CmaEs(SamplerOptions):
    """CMA-ES (Hansen 2016, arXiv:1604.00772). popsize: null: 4 + 3·ln(number of parameters); sigma0: first step, of a space
    that is 1 wide; with_margin: CMA-ES with margin (Hamano et al. 2022), for whole numbers.
    """

    CATEGORIES: ClassVar[bool] = False
    CONDITIONS: ClassVar[bool] = False
    SEVERAL_OBJECTIVES: ClassVar[bool] = False

    popsize: int | None = Field(None, ge=2, le=MOST)
    sigma0: float = Field(1 / 6, gt=0, le=1)
    with_margin: bool = False
    consider_pruned_trials: bool = True

    @property
    def num_first(self) -> int:
        return self.popsize or 4


class Qmc(SamplerOptions):
    """A sequence that fills the space evenly: Sobol's or Halton's."""

    LEARNS: ClassVar[bool] = False

    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = True


class Nsga2(SamplerOptions):
    """Genetic, by non-dominated sorting (Deb et al. 2002). mutation_prob: null: 1 / number of parameters."""

    CONDITIONS: ClassVar[bool] = False
    CONSTRAINTS: ClassVar[bool] = True

    population_size: int = Field(50, ge=2, le=MOST)
    mutation_prob: Chance | None = None
    crossover_prob: Chance = 0.9
    swapping_prob: Chance = 0.5
    consider_pruned_trials: bool = True

    @property
    def num_first(self) -> int:
        return self.population_size


class Nsga3(Nsga2):
    """The same with reference points, for more than three objectives (Deb & Jain 2014)."""

    dividing_parameter: int = Field(3, ge=1, le=100)


class Grid(SamplerOptions):
    """Every point of a grid, in an order that the seed draws. points: parameter → values, or how many; default: how many of
    the other numbers, evenly on their scale; of choices, all.
    """

    LEARNS: ClassVar[bool] = False
    FINITE: ClassVar[bool] = True

    points: dict[str, Annotated[list[Any], Field(min_length=1)] | Count] = Field(default_factory=dict)
    default: Count = 3


class BruteForce(SamplerOptions):
    """Every point of a space without continuous parameters."""

    LEARNS: ClassVar[bool] = False
    FINITE: ClassVar[bool] = True


class Custom(SamplerOptions):
    """A class of somebody's, whose keyword arguments the options are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    CONSTRAINTS: ClassVar[bool] = True


SAMPLERS: dict[str, type[SamplerOptions]] = {
    "tpe": Tpe,
    "random": Random,
    "gp": Gp,
    "cmaes": CmaEs,
    "qmc": Qmc,
    "nsga2": Nsga2,
    "nsga3": Nsga3,
    "grid": Grid,
    "brute_force": BruteForce,
}


def is_custom(name: str) -> bool:
    """Whether it names a class of somebody's: `FILE.py:CLASS`, or a package of OptunaHub's."""
    return OWN.fullmatch(name) is not None or HUB.fullmatch(name) is not None


def sampler_options(name: str, options: dict[str, Any]) -> SamplerOptions:
    """The options of a sampler. Raises ValueError as pydantic does."""
    return (Custom if is_custom(name) else SAMPLERS[name]).model_validate(options)


def with_defaults(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a sampler as a sweep records them. Raises ValueError."""
    if is_custom(name):
        for option in ("seed", "self"):
            if option in options:
                raise ValueError(f"search.sampler_options.{option}: is given by the sweep: search.seed")
        return Custom.model_validate(options).model_dump(mode="json")
    if name not in SAMPLERS:
        near = hint(name, sorted(SAMPLERS), "names")
        raise ValueError(
            f"search.sampler: there is no {name!r}; {near}; your own: FILE.py:CLASS, OptunaHub's: optunahub:samplers/NAME"
        )
    return filled_in("search.sampler", name, SAMPLERS, options)
