"""What `fersweep check trainable` found, and how it is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Finding:
    """What one step of the check found. what: the step, a few words; text: what is right, or what to mend."""

    what: str
    state: Literal["right", "doubtful", "wrong"]
    text: str


@dataclass
class Checked:
    """A trainable that was tried.

    Attributes:
        code: its name, with the digits of its content.
        files: what is copied into a sweep's directory.
        features: what it was tried with.
        faces: how many faces of train.
    """

    code: str
    files: list[str]
    features: str = ""
    faces: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong; something may be doubtful."""
        return all(finding.state != "wrong" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Its fields, and `is_sound`."""
        return {**asdict(self), "is_sound": self.is_sound}


def render(checked: Checked) -> RenderableType:
    """A table for the terminal: each step, and what it found."""
    from rich.console import Group
    from rich.text import Text

    from fersweep.common.display.tables import table

    marks = {"right": "✓", "doubtful": "?", "wrong": "✗"}
    shown = table(["", "step", "found"], 3)
    for finding in checked.findings:
        shown.add_row(marks[finding.state], finding.what, Text(finding.text))
    wrong = sum(finding.state == "wrong" for finding in checked.findings)
    files = f" ({', '.join(checked.files)})" if checked.files else ""
    head = f"{checked.code}{files}, on {checked.features} of {checked.faces:,} faces"
    end = (
        "it can be searched"
        if not wrong
        else f"{wrong} {'step fails' if wrong == 1 else 'steps fail'}: mend what ✗ says"
    )
    return Group(Text(head), shown, Text(end))
