"""How hparams are searched, and what a search begins with: `search` in a sweep file."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from fersweep.search_spaces.sweep_file.sections.objectives import Constraint, parse_constraint
from fersweep.search_spaces.sweep_file.sections.part import Part
from fersweep.search_spaces.sweep_file.sections.samplers import with_defaults


class Older(Part):
    """A sweep under the same home. Without `best`, the sampler learns from its trials that are in the space; with `best`,
    the points of its best trials are the first to be tried again, and the sampler learns nothing from the old values.

    `values`: null: it learns from them where the task is the same, else the sweep is refused; true: also from another
    task's; false: it does not, and without `best` all points are tried again, best first, as far as there are trials.
    """

    sweep: str
    best: int | None = Field(None, ge=1)
    values: bool | None = None

    @field_validator("values")
    @classmethod
    def _fits_best(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and info.data.get("best") is not None:
            raise ValueError("best tries points again without their values: want one of them, or an entry for each")
        return value

    @property
    def is_learned(self) -> bool:
        """Whether the sampler learns its values."""
        return self.best is None and self.values is not False


class Search(Part):
    """start_from: named points of the space file, which are the first trials, and older sweeps: {sweep: NAME, best: K};
    constraints: what a trial must keep to, e.g. `latency_ms <= 5`.
    """

    sampler: str = "tpe"
    sampler_options: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    num_trials: int = Field(32, ge=1)
    seed: int = Field(0, ge=0)
    start_from: list[str | Older] = Field(default_factory=list)
    constraints: list[str] = Field(default_factory=list)

    @field_validator("constraints")
    @classmethod
    def _can_be_read(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_constraint(text)
        return value

    @field_validator("sampler_options")
    @classmethod
    def _all_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("sampler")  # none where it is of another type
        return value if name is None else with_defaults(name, value)

    @field_validator("start_from", mode="before")
    @classmethod
    def _one_sweep(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @property
    def parsed_constraints(self) -> tuple[Constraint, ...]:
        return tuple(map(parse_constraint, self.constraints))

    @property
    def points(self) -> list[str]:
        return [start for start in self.start_from if isinstance(start, str)]

    @property
    def older(self) -> list[str]:
        """The sweeps whose trials the sampler learns from."""
        return [start.sweep for start in self.start_from if isinstance(start, Older) and start.is_learned]

    @property
    def insists(self) -> list[str]:
        """Those of them whose values are taken whatever their task was."""
        return [start.sweep for start in self.start_from if isinstance(start, Older) and start.values]

    @property
    def best_of(self) -> list[tuple[str, int | None]]:
        """(sweep, number) of the sweeps whose best points are tried again; None: as many as there is room for."""
        starts = (start for start in self.start_from if isinstance(start, Older))
        return [(start.sweep, start.best) for start in starts if not start.is_learned]
