"""A model teaches the trials of a sweep: `distil` in a sweep file (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field, model_serializer, model_validator

from fersweep.search_spaces.sweep_file.sections.part import Part


class Distil(Part):
    """Trials learn the probabilities that a model, the teacher, answers on the faces of train.

    from: the model, as `evaluate` names it: `champion`, a version's number, SWEEP, SWEEP:TRIAL, a checkpoint or a file.
    weight: the teacher's share of what a face's target is; the rest is its label. temperature: the teacher's probabilities
    are taken to the power of 1 / temperature; above 1 they say more of the classes that it finds less likely.
    """

    teacher: str = Field(alias="from", min_length=1, max_length=500)
    weight: float = Field(1.0, gt=0, le=1)
    temperature: float = Field(1.0, gt=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return cast("Any", value)
        content = cast("dict[str, Any]", value)
        if "unlabelled" in content:
            raise ValueError(
                "distil.unlabelled: faces without labels are not read yet; want {from: MODEL}, which teaches the faces of train"
            )
        version = content.get("from")
        return {**content, "from": str(version)} if type(version) is int else content

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        """`from` is a word of Python's, so the field has another name."""
        return {"from": self.teacher, "weight": self.weight, "temperature": self.temperature}
