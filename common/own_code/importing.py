"""Run own code from memory: what was collected and hashed is what runs, whatever has become of the files since.

    module = imported(code, "trainable")

Its modules are below a package of their own, `fersweep_own_3f2a9c81d0e4`, so that two versions of a file can be loaded side by
side. `import blocks` in one of its files means its own blocks, where it has one.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, FrameType, ModuleType
from typing import Any, NoReturn

from fersweep.common.errors import InputError
from fersweep.common.own_code.code import DIGITS, Code
from fersweep.common.text import one_line

PREFIX = "fersweep_own_"
_loaded: dict[str, Code] = {}  # by the name of their package
_told: set[tuple[str, str]] = set()
_MODULE = re.compile(rf"(?P<package>{PREFIX}[0-9a-f]{{{DIGITS}}})(\.(?P<inner>.+))?")


def imported(code: Code, what: str) -> ModuleType:
    """The module that is asked for. The first time it is run, which a line on stderr says; what it prints goes there, too.

    `what` begins the line and each message. Raises InputError where it raises, or exits.
    """
    package = f"{PREFIX}{code.sha256[:DIGITS]}"
    main = f"{package}.{code.main}"
    if main in sys.modules:
        return sys.modules[main]
    say(code, what)
    _loaded[package] = code
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    try:
        with contextlib.redirect_stdout(sys.stderr), exits_raise():
            return importlib.import_module(main)
    except (Exception, SystemExit) as error:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            del sys.modules[name]
        raise InputError(f"{what}: {code.place or code.asked} cannot be imported: {said(error)}") from error


def is_loaded(name: str) -> bool:
    """Whether the own code of this name runs in this process."""
    return any(code.name == name for code in _loaded.values())


def say(code: Code, what: str) -> None:
    """A line on stderr: whose code is run. Once a process."""
    if (what, code.name) in _told:
        return
    _told.add((what, code.name))
    print(f"{what}: runs the code of {code.asked} (sha256 {code.sha256[:DIGITS]})", file=sys.stderr, flush=True)


def said(error: BaseException) -> str:
    """An error of somebody's code, and where in that code it was raised, in one line."""
    return f"{worded(error)}{where(error)}"


def worded(error: BaseException) -> str:
    """Its kind and, where it has one, its text, in one line."""
    text = f"{one_line(error, 300)}{not_copied(error)}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def not_copied(error: BaseException) -> str:
    """Of an error over a data file beside own code: why it is not there. Empty for other errors."""
    if isinstance(error, FileNotFoundError) and _PLACE.match(str(error.filename)):
        return " (of own code .py files alone are copied: name a data file by a path that all machines see)"
    return ""


def where(error: BaseException) -> str:
    """Where in own code an error was raised: ` (my_model.py, line 12)`; empty where it was raised elsewhere."""
    place, trace = "", error.__traceback__
    while trace is not None:
        place = _place(trace.tb_frame.f_code, trace.tb_lineno) or place
        trace = trace.tb_next
    return place


def _place(code: CodeType, line: int) -> str:
    match = _PLACE.fullmatch(code.co_filename)
    return f" ({match['path']}, line {line})" if match else ""


@contextlib.contextmanager
def exits_raise() -> Iterator[None]:
    """In the block `os._exit` raises SystemExit: this process is not the code's to end without a word."""
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a process that it has started
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def say_who_exits() -> None:
    """Have `os._exit` say where in own code it was called, before it ends this process without another word."""
    leave = os._exit

    def said_exit(status: int) -> NoReturn:
        if place := _place_in(inspect.currentframe()):
            print(f"os._exit({status}) was called{place}", file=sys.stderr, flush=True)
        leave(status)

    os._exit = said_exit


def _place_in(frame: FrameType | None) -> str:
    """Where in own code the innermost frame of a stack is, as `where`."""
    while frame is not None:
        if place := _place(frame.f_code, frame.f_lineno):
            return place
        frame = frame.f_back
    return ""


def place_of(part: Any) -> str:
    """Where a function or a class's `__init__` is in own code, as `where`; empty where it is elsewhere."""
    code = getattr(part.__init__ if isinstance(part, type) else part, "__code__", None)
    return "" if code is None else _place(code, code.co_firstlineno)


def name_of(module: str) -> str:
    """The name of the own code that a module, by its `__name__`, is of; of other modules that name itself."""
    match = _MODULE.fullmatch(module)
    code = _loaded.get(match["package"]) if match else None
    return code.name if code else module


_PLACE = re.compile(rf"<[^<>]+@[0-9a-f]{{{DIGITS}}}>/(?P<path>.+)")


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        match = _MODULE.fullmatch(fullname)
        if match is None or match["package"] not in _loaded:
            return None
        code, inner = _loaded[match["package"]], match["inner"]
        if inner is None:
            return ModuleSpec(fullname, self, is_package=True)
        found = _path(code, inner)
        if found is None and not any(file.startswith(f"{inner.replace('.', '/')}/") for file in code.files):
            return None
        is_package = found is None or found.endswith("/__init__.py")
        spec = ModuleSpec(fullname, self, origin=f"<{code.name}>/{found or inner}", is_package=is_package)
        spec.has_location = found is not None
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        source = self.get_source(module.__name__)
        if source is None:  # a folder without an __init__.py
            return
        match = _MODULE.fullmatch(module.__name__)
        assert match is not None
        code = _loaded[match["package"]]
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _own_import(match["package"], code)}
        assert module.__spec__ is not None
        exec(compile(source, str(module.__spec__.origin), "exec", dont_inherit=True), vars(module))

    def get_source(self, fullname: str) -> str | None:
        """What Python shows of it in tracebacks; `inspect.getsource` asks for it, too."""
        match = _MODULE.fullmatch(fullname)
        if match is None or match["inner"] is None or match["package"] not in _loaded:
            return None
        code = _loaded[match["package"]]
        path = _path(code, match["inner"])
        return None if path is None else importlib.util.decode_source(code.files[path])


_FINDER = _Finder()


def _path(code: Code, inner: str) -> str | None:
    """The file of a module, by its name inside the code."""
    if inner == code.main and "." not in inner and f"{code.asked}" in code.files:
        return code.asked
    stem = inner.replace(".", "/")
    return next((path for path in (f"{stem}/__init__.py", f"{stem}.py") if path in code.files), None)


def _own_import(package: str, code: Code) -> Any:
    """`__import__` for the modules of a piece of code: their own first."""
    tops = {path.partition("/")[0].removesuffix(".py") for path in code.files} | {code.main.partition(".")[0]}

    def own_import(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in tops or _FINDER.find_spec(f"{package}.{name}") is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{package}.{name}")
        return sys.modules[f"{package}.{top}"]

    return own_import
