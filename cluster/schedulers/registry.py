"""The schedulers by name: those of search_spaces/sweep_file/sections/schedulers.py."""

from __future__ import annotations

from collections.abc import Callable

from fersweep.cluster.schedulers.asha import Asha
from fersweep.cluster.schedulers.hyperband import Hyperband
from fersweep.cluster.schedulers.never import Never
from fersweep.cluster.schedulers.patient import Patient
from fersweep.cluster.schedulers.percentile import median, percentile
from fersweep.cluster.schedulers.rule import Rule
from fersweep.cluster.schedulers.wilcoxon import Wilcoxon
from fersweep.search_spaces.sweep_file.schema import Stop


def rule(stop: Stop) -> Rule:
    """The rule that a sweep file asks for."""
    return RULES[stop.scheduler](stop)


def _patient(stop: Stop) -> Rule:
    options = stop.scheduler_options
    asked = {"scheduler": options["inner"], "scheduler_options": options["inner_options"]}
    return Patient(stop, None if options["inner"] is None else rule(stop.model_copy(update=asked)))


RULES: dict[str, Callable[[Stop], Rule]] = {
    "asha": Asha,
    "hyperband": Hyperband,
    "median": median,
    "percentile": percentile,
    "patient": _patient,
    "wilcoxon": Wilcoxon,
    "pbt": Never,  # it ends none: pbt.py has what it does
    "none": Never,
}
