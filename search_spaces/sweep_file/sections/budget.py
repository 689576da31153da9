"""When a whole search ends before its last trial: `stop.sweep` in a sweep file."""

from __future__ import annotations

from pydantic import Field, model_validator

from fersweep.search_spaces.sweep_file.sections.part import Part


class Budget(Part):
    """Whichever comes first. hours: that drivers were at work; epochs: of all trials; no_better_in: so many trials have ended
    since the best one so far was reached; target: the sweep's metric and the value that is enough.

    When hours or target are reached, running trials end at their next report; else they go on as the scheduler says.
    """

    hours: float | None = Field(None, gt=0, le=1e6)
    epochs: int | None = Field(None, ge=1)
    no_better_in: int | None = Field(None, ge=1)
    target: dict[str, float] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Budget:
        if (self.hours, self.epochs, self.no_better_in, self.target) == (None, None, None, None):
            raise ValueError("want at least one of hours, epochs, no_better_in and target")
        return self

    def refuse_other_metrics(self, metric: str) -> None:
        """Raises ValueError where `target` is of something else than what the sweep's trials are ranked by."""
        if self.target is not None and list(self.target) != [metric]:
            named = ", ".join(self.target) or "nothing"
            raise ValueError(
                f"stop.sweep.target: names {named}, but trials are ranked by {metric}: want {{{metric}: VALUE}}"
            )

    def no_smaller_than(self, other: Budget) -> Budget:
        """This budget, with what `other` has more of: a sweep that was extended keeps that."""
        most = {
            key: max(now, before)
            for key in ("hours", "epochs", "no_better_in")
            if (now := getattr(self, key)) is not None and (before := getattr(other, key)) is not None
        }
        return self.model_copy(update=most)
