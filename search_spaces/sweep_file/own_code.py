"""Which keys of a sweep file name somebody's own code, and that code."""

from __future__ import annotations

from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code, is_own
from fersweep.search_spaces.sweep_file.overrides import put
from fersweep.search_spaces.sweep_file.schema import Sweep


def own_code(sweep: Sweep) -> dict[str, str]:
    """Key of the sweep file → the name of its code."""
    named = {"trainable": sweep.trainable}
    return {key: name for key, name in named.items() if is_own(name)}


def code_of(sweep: Sweep) -> list[Code]:
    """The code that a sweep needs. Raises InputError where a copy is missing, or is another than its name says."""
    return [copies.find(name, key) for key, name in own_code(sweep).items()]


def renamed(sweep: Sweep, key: str, name: str) -> Sweep:
    """The sweep with other code for a key."""
    content = sweep.model_dump(mode="json")
    put(content, key.split("."), name)
    return Sweep.model_validate(content)
