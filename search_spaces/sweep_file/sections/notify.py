"""A webhook that hears of a sweep: `notify` in a sweep file."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from fersweep.search_spaces.sweep_file.sections.part import Part


class Notify(Part):
    """A webhook that hears of the sweep. url: `${NAME}`, the environment variable that holds its address, which is a secret
    by itself; on: of what.
    """

    url: str
    on: list[Literal["start", "best", "failure", "end"]] = Field(
        default_factory=lambda: ["start", "best", "failure", "end"], min_length=1
    )

    @field_validator("url")
    @classmethod
    def _is_a_variable(cls, value: str) -> str:
        if not re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", value):
            raise ValueError(
                'notify.url: a webhook\'s address is a secret, which a sweep file does not hold: want "${NAME}", with the '
                "address in the environment variable NAME"
            )
        return value

    @property
    def variable(self) -> str:
        """Name of the environment variable that holds the address."""
        return self.url[2:-1]
