"""The function `net` of a file of the short form: what it asks for, and how it is called."""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from fersweep.common.errors import hint
from fersweep.common.own_code.importing import worded
from fersweep.trainables.protocol import TrialFailed

WANTED = "want net(hparams, image_size, num_classes) for pixels, or net(hparams, num_features, num_classes)"
OUT_OF_MEMORY = ("out of memory", "OutOfMemory", "allocate memory", "ResourceExhausted")
OPTIONAL = ("pretrained", "feature_names")


@dataclass
class NetFunction:
    """`net`, to be called by name.

    Attributes:
        asks_for: its parameters after the first.
        own: names of the file's own hparams, of which is said if `net` does not read them; only the first time.
        first: whether the next net is to be trained.
        weights: whether that one is to have its pretrained weights, if it asks for them.
    """

    file: str
    function: Callable[..., Any]
    asks_for: tuple[str, ...]
    own: frozenset[str] = field(default_factory=frozenset)
    first: bool = False
    weights: bool = True

    def __post_init__(self) -> None:
        self._values = _Read({})

    @classmethod
    def of(cls, file: str, module: ModuleType) -> NetFunction:
        """Raises ValueError for a file without such a function."""
        function = getattr(module, "net", None)
        if not callable(function):
            raise ValueError(f"{file}: it has no net: {WANTED}")
        kinds = inspect.Parameter
        given = [p for p in inspect.signature(function).parameters.values()
                 if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]  # fmt: skip
        names = [p.name for p in given]
        inputs = [name for name in names[1:] if name in ("image_size", "num_features")]
        known = {"image_size", "num_features", "num_classes", *OPTIONAL}
        unknown = [p.name for p in given[1:] if p.name not in known and p.default is kinds.empty]
        if len(inputs) != 1 or "num_classes" not in names[1:] or unknown or names[0] in known:
            raise ValueError(f"{file}: net({', '.join(names)}): {WANTED}; it may ask for {' and '.join(OPTIONAL)}, too")
        if any(p.kind == kinds.POSITIONAL_ONLY for p in given[1:]):
            raise ValueError(f"{file}: net: parameters after the first are given by name")
        return cls(file, function, tuple(name for name in names[1:] if name in known))

    @property
    def sees_pixels(self) -> bool:
        return "image_size" in self.asks_for

    def fresh(self, own: frozenset[str], weights: bool) -> NetFunction:
        """The same for a model that is to be trained: its first net has pretrained weights, if it asks for them."""
        return replace(self, own=own, first=True, weights=weights)

    def __call__(
        self, hparams: BaseModel, num_inputs: int, num_classes: int, feature_names: Sequence[str] | None = None
    ) -> Any:
        """What `net` returns. num_inputs: image_size or num_features. Raises ValueError with the line where it fails."""
        values = self._values = _Read(hparams.model_dump(mode="json"))
        known = {
            "image_size": num_inputs,
            "num_features": num_inputs,
            "num_classes": num_classes,
            "pretrained": self.first and self.weights,
            "feature_names": list(feature_names or ()),
        }
        with Blaming(self, "net"):
            made = self.function(values, **{name: known[name] for name in self.asks_for})
        self.first = False
        return made

    def warn_of_unread(self, hparams: BaseModel) -> None:
        """Say once which of the file's own hparams that are given neither `net` nor its model's first answers have read."""
        unread, self.own = (self.own & hparams.model_fields_set) - self._values.read, frozenset()
        for name in sorted(unread):
            near = hint(name, type(hparams).model_fields.keys() - unread)
            said = f"; {near}" if near.startswith("did") else ""
            warnings.warn(
                f"{self.file}: net does not read {name!r}, and the training loop has no such knob{said}", stacklevel=2
            )

    def line_of(self, error: BaseException) -> str:
        """`my_model.py:12`: where in its file it failed; without a line where it did not fail there."""
        code = getattr(self.function, "__code__", None)
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if code is not None and frame.filename == code.co_filename]
        return f"{self.file}:{lines[-1]}" if lines else self.file


class Blaming:
    """A block that runs somebody's code: what it fails with becomes a ValueError of one line; running out of memory is left."""

    def __init__(self, function: NetFunction, what: str):
        self._function, self._what = function, what

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        text = f"{type(error).__name__} {error}"
        left = isinstance(error, (MemoryError, TrialFailed)) or any(part in text for part in OUT_OF_MEMORY)
        if isinstance(error, Exception) and not left:
            raise ValueError(f"{self._function.line_of(error)}: {self._what}: {worded(error)}") from error


class _Read(dict[str, Any]):
    """A dict that knows which of its keys were read."""

    def __init__(self, values: dict[str, Any]):
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.read.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        self.read.update(super().keys())
        return super().keys()

    def values(self) -> Any:
        self.read.update(super().keys())
        return super().values()

    def items(self) -> Any:
        self.read.update(super().keys())
        return super().items()

    def copy(self) -> dict[str, Any]:
        self.read.update(super().keys())
        return dict(super().items())
