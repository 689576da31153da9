"""The samplers that a sweep file can name, and the options of each; cluster/samplers/ has what they do.

Optuna's own defaults change between its versions: every option has its default here.
"""

from __future__ import annotations

from fersweep.search_spaces.sweep_file.sections.part import Part


class Tpe(Part):
    """Tree-structured Parzen estimators (Bergstra et al. 2011)."""

    multivariate: bool = True
    group: bool = True
    constant_liar: bool = True


class Random(Part):
    """Independent and uniform."""


SAMPLERS: dict[str, type[Part]] = {"tpe": Tpe, "random": Random}
