"""The schedulers by name: those of search_spaces/sweep_file/sections/schedulers.py."""

from __future__ import annotations

from collections.abc import Callable

from fersweep.cluster.schedulers.asha import Asha
from fersweep.cluster.schedulers.never import Never
from fersweep.cluster.schedulers.pbt import Pbt
from fersweep.cluster.schedulers.rule import Rule
from fersweep.search_spaces.sweep_file.schema import Stop

RULES: dict[str, Callable[[Stop], Rule]] = {"asha": Asha, "none": Never, "pbt": Pbt}


def rule(stop: Stop) -> Rule:
    """The rule that a sweep file asks for."""
    return RULES[stop.scheduler](stop)
