"""The schedulers that a sweep file can name, and the options of each; cluster/schedulers/ has their rules.

What is compared, and where a report must end, is counted in `stop.unit`: epochs, or seconds of training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from fersweep.search_spaces.sweep_file.sections.part import Part, filled_in

MOST_LEVELS = 10_000  # at which a trial is compared


class Scheduler(Part):
    """Options of a scheduler. `USES`: what it reads of `grace` (grace_epochs, or grace_s) and `reduction`;
    `SEVERAL_OBJECTIVES`: whether it can compare trials by more than one.
    """

    SEVERAL_OBJECTIVES: ClassVar[bool] = False
    USES: ClassVar[tuple[str, ...]] = ()
    TITLE: ClassVar[str] = ""
    UNITS: ClassVar[tuple[str, ...]] = ("epochs", "seconds")  # in which it can count

    def in_words(self, at_rungs: str) -> str:
        """What ends a trial early; `at_rungs`: where trials are compared, in words, or ""."""
        return f"{self.TITLE} compares trials {at_rungs}" if at_rungs else "no trial is stopped early"

    def rungs(self, grace: float, reduction: int, end: float) -> Sequence[float]:
        """Epochs (or seconds) at which trials are compared, ascending: a report ends there. All are below `end`."""
        return []

    def settled(self, grace: float, reduction: int, end: float) -> Self:
        """The options with those that follow from the rest of `stop`, which `resume` may change later. Raises ValueError."""
        return self


class Asha(Scheduler):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934)."""

    USES, TITLE = ("grace", "reduction"), "ASHA"
    SEVERAL_OBJECTIVES = True

    def rungs(self, grace: float, reduction: int, end: float) -> Sequence[float]:
        return rungs(grace, reduction, end)


class Hyperband(Scheduler):
    """Brackets of ASHA; the one of number b begins to compare at grace · reduction^b (Li et al. 2018, arXiv:1603.06560).

    brackets: null: as many as there are rungs up to the last epoch, as in the paper.
    """

    USES, TITLE = ("grace", "reduction"), "Hyperband"
    brackets: int | None = Field(None, ge=1)

    def rungs(self, grace: float, reduction: int, end: float) -> Sequence[float]:
        return rungs(grace, reduction, end)

    def settled(self, grace: float, reduction: int, end: float) -> Self:
        return self.model_copy(update={"brackets": self.brackets or most_brackets(grace, reduction, end)})


class Spaced(Scheduler):
    """Trials are compared at grace, and every `interval` from there on; null: as long as grace."""

    USES = ("grace",)
    interval: int | float | None = Field(None, gt=0)

    def rungs(self, grace: float, reduction: int, end: float) -> Sequence[float]:
        step = self.interval or grace
        return [grace + step * index for index in range(self._number(grace, end))]

    def _number(self, grace: float, end: float) -> int:
        step = self.interval or grace
        if end - grace > MOST_LEVELS * step:
            raise ValueError(
                f"stop.scheduler_options.interval: {step}, which compares a trial more than {MOST_LEVELS:,} times: want a longer one"
            )
        return max(math.ceil((end - grace) / step), 0)

    def settled(self, grace: float, reduction: int, end: float) -> Self:
        self._number(grace, end)
        return self.model_copy(update={"interval": self.interval or grace})


class Median(Spaced):
    """A trial ends whose best value so far is worse than the median of the finished trials there (Golovin et al. 2017).

    startup_trials: that must have finished before any trial ends; min_trials: of these, that must have come so far;
    against: their running averages up to there, as in Vizier, or their values at that epoch, as Optuna does.
    """

    TITLE = "the median rule"
    startup_trials: int = Field(5, ge=1)
    min_trials: int = Field(1, ge=1)
    against: Literal["averages", "values"] = "averages"


class Percentile(Median):
    """The same with the best `percentile` % instead of the better half."""

    TITLE = "the percentile rule"
    percentile: float = Field(25.0, gt=0, lt=100)


class Wilcoxon(Spaced):
    """A trial ends whose values over folds are worse than those of the best trial at the same epoch, by Wilcoxon's
    signed-rank test with `p_threshold`. It wants `task.fold: all`.
    """

    TITLE = "the signed-rank test"
    p_threshold: float = Field(0.1, gt=0, lt=1)


class Patient(Scheduler):
    """A trial ends that has not got better by more than `min_delta` in `patience` epochs; with `inner`, the name of another
    scheduler, only where that one ends it, too.
    """

    USES = ("grace",)
    patience: int = Field(10, ge=1)
    min_delta: float = Field(0.0, ge=0)
    inner: str | None = None
    inner_options: dict[str, Any] = Field(default_factory=dict, validate_default=True)

    @field_validator("inner")
    @classmethod
    def _is_another(cls, value: str | None) -> str | None:
        if value is not None and value not in INNER:
            raise ValueError(f"want null, or one of {', '.join(INNER)}")
        return value

    @field_validator("inner_options")
    @classmethod
    def _all_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if (inner := info.data.get("inner")) is not None:
            return filled_in("inner", inner, SCHEDULERS, value)
        if value and "inner" in info.data:
            raise ValueError("there is no inner scheduler that could have options")
        return value

    def in_words(self, at_rungs: str) -> str:
        idle = f"a trial ends after {self.patience} epochs in which it got no better"
        return idle if self.inner is None else f"{idle}, where {SCHEDULERS[self.inner].TITLE} {at_rungs} ends it, too"

    def rungs(self, grace: float, reduction: int, end: float) -> Sequence[float]:
        return [] if self.inner is None else self._inner(self.inner).rungs(grace, reduction, end)

    def settled(self, grace: float, reduction: int, end: float) -> Self:
        if self.inner is None:
            return self
        options = self._inner(self.inner).settled(grace, reduction, end).model_dump(mode="json")
        return self.model_copy(update={"inner_options": options})

    def _inner(self, name: str) -> Scheduler:
        return SCHEDULERS[name](**self.inner_options)


class Never(Scheduler):
    """Every trial trains all its epochs."""

    SEVERAL_OBJECTIVES = True


SCHEDULERS: dict[str, type[Scheduler]] = {
    "asha": Asha,
    "hyperband": Hyperband,
    "median": Median,
    "percentile": Percentile,
    "patient": Patient,
    "wilcoxon": Wilcoxon,
    "none": Never,
}
INNER = ("asha", "hyperband", "median", "percentile", "wilcoxon")  # of what `patient` may ask


def most_brackets(grace: float, reduction: int, end: float) -> int:
    """How many of Hyperband's brackets can begin within `end`."""
    levels = len(rungs(grace, reduction, end))
    return max(levels + (grace * reduction**levels == end), 1)


def rungs(grace: float, reduction: int, end: float) -> list[float]:
    """grace · reduction^k below `end`, ascending."""
    levels: list[float] = []
    level = grace
    while level < end:
        levels.append(level)
        level *= reduction
    return levels
