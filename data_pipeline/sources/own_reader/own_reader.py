"""A reader of somebody's own, run as one of ours: a file, a module, or an entry point of the group `fersweep.readers`.

    reader = find_reader("my_reader.py")        # OwnReader: its code as it is now, collected and hashed
    source = open_with(Path("faces.zip"), reader)   # in source.py: a Source like any other

It has `read(files)`, which yields a dict for each face (records.py), and perhaps `LABELS`: what its labels are called
here. It is called anew for each pass over a source, and must yield the same faces in the same order each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from types import FrameType, ModuleType
from typing import Any, cast

from fersweep.common.errors import InputError, hint
from fersweep.common.own_code.code import Code
from fersweep.common.own_code.collect import collect
from fersweep.common.own_code.importing import imported
from fersweep.common.text import one_line
from fersweep.data_pipeline.sources.archives import Tar
from fersweep.data_pipeline.sources.containers import Files, Member
from fersweep.data_pipeline.sources.formats.reader import MISSING, RawFace, Reader
from fersweep.data_pipeline.sources.labels import DROP, label_of
from fersweep.data_pipeline.sources.own_reader.contained import contained, quiet_end
from fersweep.data_pipeline.sources.own_reader.given_files import GivenFiles
from fersweep.data_pipeline.sources.own_reader.records import EXAMPLE, Wrong, raw_face
from fersweep.data_pipeline.vocabulary import LABELS

GROUP = "fersweep.readers"
WHAT = "reader"
FUNCTION = "read"
MOST_REASONS = 100
END = object()
STEADY = "want the same faces in the same order in each reading (sorted, without chance)"
TOLD_AFTER_S, TOLD_EACH_S = 2.0, 0.5

Tell = Callable[[int, float], None]
"""Is told how many faces are read, and how many a second."""


class UnsteadyError(InputError):
    """The reader yields other faces than the first time."""


def find_reader(asked: str) -> OwnReader:
    """The reader that `asked` means: FILE.py, the name of an entry point, or package.module, each perhaps with :FUNCTION.

    Nothing is run. InputError where there is none.
    """
    place, colon, function = asked.rpartition(":")
    if not colon or not function.isidentifier():
        place, function = asked, ""
    if not place.endswith(".py"):
        entries = {entry.name: entry.value for entry in entry_points(group=GROUP)}
        if place in entries:
            place, _, named = entries[place].partition(":")
            function = function or named
        elif "." not in place and "/" not in place:
            known = f"; {hint(place, sorted(entries), 'installed')}" if entries else ""
            raise InputError(
                f"{WHAT}: there is no {place!r}: want FILE.py, package.module, or an installed reader{known}"
            )
    return OwnReader(collect(place, WHAT), function or FUNCTION)


class OwnReader:
    """A reader of somebody's own, for one source.

    Attributes:
        labels: what the reader calls its labels → LABELS or "drop".
        digest: sha256 of all records of the first whole pass; "" before.
        opened: names of files that it opened itself.
        missing: the first picture that is not there.
        most: stop after so many records.
        tell: see Tell.
    """

    def __init__(self, code: Code, function: str = FUNCTION):
        self.code, self.function = code, function
        self.digest, self.missing, self.opened = "", "", set[str]()
        self.most: int | None = None
        self.tell: Tell | None = None
        self._order: array[int] | None = None  # 8 bytes of each record's sha256

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"tell": None}  # to a process of Ray

    @property
    def name(self) -> str:
        """Of the code, with its digits: `my_reader.py@3f2a9c81d0e4`; and of the function, if it is not `read`."""
        return self.code.name if self.function == FUNCTION else f"{self.code.name}:{self.function}"

    def for_another_source(self) -> OwnReader:
        return OwnReader(self.code, self.function)

    @property
    def labels(self) -> dict[str, str]:
        """InputError where LABELS is no dict of them, or the file cannot be imported."""
        given = getattr(self._imported(), "LABELS", {})
        where = f"{self.code.asked}: LABELS"
        if not isinstance(given, Mapping):
            raise InputError(f"{where} is a {type(given).__name__}: want a dict, {{'joy': 'happy', 'bored': None}}")
        labels: dict[str, str] = {}
        for name, label in cast(Mapping[Any, Any], given).items():
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise InputError(f"{where}: {one_line(repr(name), 60)} is no label: want text or a whole number")
            known = DROP if label is None else label_of(label) if isinstance(label, str) else None
            if known is None:
                raise InputError(
                    f"{where}: {name!r} is called {one_line(repr(label), 60)}: {hint(str(label), LABELS)}; None drops it"
                )
            labels[str(name)] = known
        return labels

    def as_reader(self) -> Reader:
        return Reader("image", "faces", fits=lambda _: False, read=self.read, listed=True)

    def read(self, files: Files, _: tuple[str, ...] = ()) -> Iterator[RawFace]:
        """The faces of a source. InputError, in one line with the file, its line and the record, where anything is wrong.

        UnsteadyError where a later pass differs from the first whole one.
        """
        function = self._function()
        with files.by_names() if isinstance(files, Tar) else contextlib.nullcontext(files) as by_name:
            given = GivenFiles(by_name)
            generator = self._called(function, given)
            try:
                yield from self._faces(generator, given)
            finally:
                self.opened |= given.opened
                with quiet_end():
                    self._close(generator)
                    del generator

    def _faces(self, generator: Iterator[object], files: GivenFiles) -> Iterator[RawFace]:
        names, reasons, order = set[int](), set[str](), array("Q")
        whole, first, number, kind = hashlib.sha256(), self._order, 0, None
        telling = _Telling(self.tell)
        while number != self.most:
            try:
                with contained():
                    record = next(generator, END)
                if record is END:
                    break
            except (Exception, SystemExit) as error:
                raise self._raised(error, number + 1) from None
            number += 1
            try:
                face = raw_face(record, number, files)
                if face.drop is None and face.kind != (kind := kind or face.kind):
                    raise Wrong("some records have a face and some blendshapes: make a dataset of each")
            except Wrong as error:
                raise InputError(f"{self._place(generator)}, record {number}: {error}") from None
            digest = _digest(face)
            if first is None:
                self._check_first(face, generator, number, names, reasons)
                whole.update(digest)
                order.append(int.from_bytes(digest[:8]))
            elif number > len(first) or first[number - 1] != int.from_bytes(digest[:8]):
                was = "another face" if number <= len(first) else "the end"
                raise UnsteadyError(
                    f"{self._place(generator)}, record {number}: {face.source!r}, where {was} was before: {STEADY}"
                )
            telling(number)
            yield face
        if number == 0:
            raise InputError(f"{self.code.asked}: {self.function}() yields no face of {files.path}")
        if first is None:
            self._order, self.digest = order, whole.hexdigest()
        elif number < len(first):
            raise UnsteadyError(
                f"{self.code.asked}: {self.function}() ends after {number:,} records, where {len(first):,} were before: {STEADY}"
            )

    def _check_first(
        self, face: RawFace, generator: Iterator[object], number: int, names: set[int], reasons: set[str]
    ) -> None:
        key = hash(face.source)
        if key in names:
            raise InputError(
                f"{self._place(generator)}, record {number}: {face.source!r} was yielded before: a face has one record; give "
                "each of several faces of a picture a 'name' of its own"
            )
        names.add(key)
        if face.drop is not None:
            reasons.add(face.drop)
            if face.drop == MISSING:
                self.missing = self.missing or face.source
        if len(reasons) > MOST_REASONS:
            raise InputError(
                f"{self._place(generator)}, record {number}: drop names more than {MOST_REASONS} reasons: want one of a few"
            )

    def _imported(self) -> ModuleType:
        with contained(f"{self.code.asked}: "):
            return imported(self.code, WHAT)

    def _close(self, generator: Iterator[object]) -> None:
        """End a reader that is not at its end; what it raises then is said, and no error."""
        try:
            with contained():
                getattr(generator, "close", lambda: None)()
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {one_line(error, 300)}"
            print(f"note: {self.code.asked}: {self.function}() raises {what}, where it is ended early", file=sys.stderr)

    def _function(self) -> Callable[[GivenFiles], object]:
        module = self._imported()
        function = getattr(module, self.function, None)
        how = f"want `def {self.function}(files):` that yields {EXAMPLE}"
        if not callable(function):
            names = [name for name, value in vars(module).items() if inspect.isfunction(value)]
            known = f"; {hint(self.function, names, 'it has')}" if names else ""
            raise InputError(f"{self.code.asked} has no function {self.function}: {how}{known}")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise InputError(f"{self.code.asked}: {self.function} is async: {how}")
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            raise InputError(f"{self.code.asked}: {self.function}{inspect.signature(function)}: {how}") from None
        except ValueError:  # of what is not written in Python
            pass
        return function

    def _called(self, function: Callable[[GivenFiles], object], files: GivenFiles) -> Iterator[object]:
        try:
            with contained():
                generator = function(files)
        except (Exception, SystemExit) as error:
            raise self._raised(error, 1) from None
        if not hasattr(generator, "__next__"):
            what = "nothing" if generator is None else f"a {type(generator).__name__}"
            raise InputError(
                f"{self.code.asked}: {self.function}() returns {what}: want it to yield a dict for each face, one after "
                f"the other: yield {EXAMPLE}"
            )
        return cast(Iterator[object], generator)

    def _raised(self, error: BaseException, number: int) -> InputError:
        place, trace = self.code.asked, error.__traceback__
        while trace is not None:
            if (path := self._own(trace.tb_frame)) is not None:
                place = f"{path}, line {trace.tb_lineno}"
            trace = trace.tb_next
        if isinstance(error, InputError):
            return InputError(f"{place}, record {number}: {error}")
        what = f"{type(error).__name__}: {one_line(error, 300)}".rstrip(": ")
        return InputError(f"{place}, record {number}: {self.function}() raises {what}")

    def _place(self, generator: object) -> str:
        """File and line of the yield at which a generator stands, or that from which it yields, as far as it says."""
        place = self.code.asked
        while generator is not None:
            frame = getattr(generator, "gi_frame", None)
            if frame is not None and (path := self._own(frame)) is not None:
                place = f"{path}, line {frame.f_lineno}"
            generator = getattr(generator, "gi_yieldfrom", None)
        return place

    def _own(self, frame: FrameType) -> str | None:
        """The path of the file of this code that a frame is of."""
        begin = f"<{self.code.name}>/"
        name = frame.f_code.co_filename
        return name.removeprefix(begin) if name.startswith(begin) else None


class _Telling:
    """Tells how many faces are read, where that takes long."""

    def __init__(self, tell: Tell | None):
        self.tell, self.begun = tell, time.monotonic()
        self.next = self.begun + TOLD_AFTER_S

    def __call__(self, number: int) -> None:
        if self.tell is not None and (now := time.monotonic()) >= self.next:
            self.next = now + TOLD_EACH_S
            self.tell(number, number / (now - self.begun))


def _digest(face: RawFace) -> bytes:
    """sha256 of a record; a file of the source stands for its content, which is of the source's own sha256."""
    data = face.data.name.encode() if isinstance(face.data, Member) else hashlib.sha256(face.data).digest()
    votes = sorted(face.votes.items()) if face.votes else None
    said = (face.source, face.label, face.split, face.subject, votes, face.box, face.drop, face.kind)
    return hashlib.sha256(repr(said).encode("utf-8", "backslashreplace") + data).digest()
