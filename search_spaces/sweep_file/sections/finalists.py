"""The best points of a search run again, so that what wins is not luck: `finalists` in a sweep file."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field, model_validator

from fersweep.search_spaces.sweep_file.sections.part import Part


class Finalists(Part):
    """The `best` points of the search are trained again with `seeds` other seeds each, in full, when the search is over.

    by: the winner has the best mean over them, or the best bound of the mean's interval: `lower` is the one that is
    nearer to a bad value.
    """

    best: int = Field(5, ge=1, le=1000)
    seeds: int = Field(5, ge=1, le=1000)
    by: Literal["mean", "lower"] = "mean"

    @model_validator(mode="before")
    @classmethod
    def _no_folds(cls, value: Any) -> Any:
        if isinstance(value, dict) and "folds" in cast("dict[str, Any]", value):
            raise ValueError(
                "folds: finalists are run with other seeds, not on other folds; then: {best: 5, fold: all} trains the "
                "best points on every fold; want e.g. {best: 5, seeds: 5}"
            )
        return cast("Any", value)

    @model_validator(mode="after")
    def _has_an_interval(self) -> Finalists:
        if self.by == "lower" and self.seeds < 2:
            raise ValueError("by: lower wants an interval, and one seed has none: want seeds: 2 or more")
        return self

    @property
    def num_repeats(self) -> int:
        return self.best * self.seeds
