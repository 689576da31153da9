"""Samplers that somebody else wrote: `search.sampler: FILE.py:CLASS`, or a package of OptunaHub's.

    search: {sampler: "my_sampler.py:Mine", sampler_options: {temperature: 0.5}}
    search: {sampler: "optunahub:samplers/auto_sampler"}

A class is a subclass of optuna.samplers.BaseSampler; the options are its keyword arguments, and `seed` if it takes one. It is
made anew for each suggestion: what it keeps, it keeps in attributes of the study and of trials, as JSON. Its `after_trial` is
called at the next suggestion, for the trials that have ended since.

It is code that gets run. The sweep's directory has a copy, which is what a resumed sweep uses.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fersweep.cluster.samplers.asked import Asked, Shown
from fersweep.cluster.samplers.registry import Row
from fersweep.common.errors import InputError, install
from fersweep.common.files import write_whole
from fersweep.common.untrusted import MB, is_object, parse_json, read_regular, why
from fersweep.results.record.storage import Storage
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.sections.samplers import HUB, OWN

if TYPE_CHECKING:
    import optuna

    from fersweep.cluster.samplers.known_trials import KnownTrials

MOST_BYTES = 16 * MB  # of a file
COPIES, SUMS = "sampler", "sha256.json"  # in a sweep's directory; and in that one, path → sha256


def row(name: str, directory: Path | None) -> Row:
    """The row of a sampler that is not of the registry. Raises InputError where its code cannot be had."""
    kind = load(name, directory)
    return Row(functools.partial(_make, name, kind), lambda options: Shown(curves=True), slow=True, told=True)


def _make(name: str, kind: type[optuna.samplers.BaseSampler], asked: Asked) -> optuna.samplers.BaseSampler:
    options = dict(asked.options.model_extra or {})
    if "seed" in inspect.signature(kind).parameters:
        options["seed"] = asked.seed
    return _made(name, kind, options)


def _made(name: str, kind: type[optuna.samplers.BaseSampler], options: dict[str, Any]) -> optuna.samplers.BaseSampler:
    try:
        return kind(**options)
    except (Exception, SystemExit) as error:
        what = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"search.sampler_options: {name} does not take them: {type(error).__name__}: {what}") from None


def load(name: str, directory: Path | None = None) -> type[optuna.samplers.BaseSampler]:
    """The class. Of a sweep's `directory` that has a copy, that is taken. Raises InputError."""
    copy = None if directory is None else directory / COPIES
    if copy is not None and copy.is_dir():
        _refuse_changed(copy)
        return _class(name, copy)
    if directory is not None and (directory / "sweep.json").exists():
        raise InputError(f"{copy} is gone, the copy of the sampler that the sweep was launched with: put it back")
    return _class(name, None)


def _class(name: str, copy: Path | None) -> type[optuna.samplers.BaseSampler]:
    import optuna

    own, hub = OWN.fullmatch(name), HUB.fullmatch(name)
    if own is not None:
        path = Path(own["file"]).expanduser() if copy is None else copy / Path(own["file"]).name
        module, wanted = _module(path, _read(path)), own["name"]
    else:
        assert hub is not None
        module, wanted = _from_hub(hub["package"], copy), hub["name"]
    kinds = {
        key: kind
        for key, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, optuna.samplers.BaseSampler) and not inspect.isabstract(kind)
    }
    if wanted is None:
        kinds = {key: kind for key, kind in kinds.items() if kind.__module__.startswith(module.__name__)}
        if len(kinds) != 1:
            raise InputError(
                f"search.sampler: {name} has the samplers {', '.join(sorted(kinds)) or 'none'}: want {name}:CLASS"
            )
        return next(iter(kinds.values()))
    if wanted not in kinds:
        known = f"; it has {', '.join(sorted(kinds))}" if kinds else ""
        raise InputError(f"search.sampler: {name}: {wanted} is no subclass of optuna.samplers.BaseSampler in it{known}")
    return kinds[wanted]


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"search.sampler: {path} cannot be read: {why(error)}") from None


_modules: dict[tuple[Path, str], ModuleType] = {}  # by place and sha256: a file is run once


def _module(path: Path, content: bytes) -> ModuleType:
    sha256 = hashlib.sha256(content).hexdigest()
    key = path.resolve(), sha256
    if key not in _modules:
        name = f"fersweep_sampler_{sha256[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        _say(str(path), sha256)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                exec(compile(content, str(path), "exec"), vars(module))  # what was hashed, not what is there by now
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            what = (str(error).strip().splitlines() or [""])[0]
            raise InputError(f"search.sampler: {path} cannot be imported: {type(error).__name__}: {what}") from None
        _modules[key] = module
    return _modules[key]


def _say(place: str, sha256: str) -> None:
    print(f"search.sampler: runs the code of {place} (sha256 {sha256[:12]})", file=sys.stderr, flush=True)


def _from_hub(package: str, copy: Path | None) -> ModuleType:
    try:
        import optunahub
    except ModuleNotFoundError:
        raise InputError(f"search.sampler: optunahub:{package} needs the package optunahub: {install('hub')}") from None
    key = (copy or Path(package), "")
    if key not in _modules:
        try:
            if copy is None:
                module = optunahub.load_module(package)
            else:
                module = optunahub.load_local_module(package, registry_root=str(copy))
        except Exception as error:  # of the network, of GitHub's address, of the package itself
            what = (str(error).strip().splitlines() or [""])[0]
            raise InputError(
                f"search.sampler: optunahub:{package} cannot be loaded: {type(error).__name__}: {what}"
            ) from None
        _modules[key] = module
        content = b"".join(_files(module).values())
        _say(f"OptunaHub's {package}", hashlib.sha256(content).hexdigest())
    return _modules[key]


def _files(module: ModuleType) -> dict[str, bytes]:
    """The files of a package's directory, by name."""
    directory = Path(str(module.__file__)).parent
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(directory)): _read(path) for path in paths}


def check(name: str, options: dict[str, Any]) -> None:
    """Load a sampler that is somebody's own, and make one. Raises InputError."""
    kind = load(name)
    if "seed" in inspect.signature(kind).parameters:
        options = {**options, "seed": 0}
    _made(name, kind, options)


def keep(name: str) -> dict[str, bytes]:
    """What a new sweep's directory is to hold of its sampler: path → content; {} of one of the registry's."""
    own, hub = OWN.fullmatch(name), HUB.fullmatch(name)
    if own is not None:
        path = Path(own["file"]).expanduser()
        files = {path.name: _read(path)}
    elif hub is not None:
        content = _files(_from_hub(hub["package"], None))
        files = {f"{hub['package']}/{path}": part for path, part in content.items()}
    else:
        return {}
    sums = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    files[SUMS] = json.dumps(sums, indent=1).encode()
    return {f"{COPIES}/{path}": content for path, content in files.items()}


def write(files: dict[str, bytes], directory: Path) -> None:
    """Write the files of `keep` into a sweep's directory."""
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(directory / path, content)


def pull(storage: Storage, directory: Path) -> None:
    """Get the copy of a sweep's sampler from its bucket, if there is one. Raises InputError, OSError."""
    if COPIES not in storage.names("") or (directory / COPIES).is_dir():
        return
    content = storage.read(f"{COPIES}/{SUMS}", MOST_BYTES)
    paths = _sums(content, f"{storage.address}: {COPIES}/{SUMS}")
    files = {f"{COPIES}/{path}": storage.read(f"{COPIES}/{path}", MOST_BYTES) for path in paths}
    write({**files, f"{COPIES}/{SUMS}": content}, directory)


def _sums(content: bytes, place: str) -> dict[str, Any]:
    """path → sha256. Raises InputError."""
    try:
        sums = parse_json(content)
        if not is_object(sums):
            raise ValueError("no object")
    except ValueError as error:
        raise InputError(f"{place} cannot be read: {why(error)}; put a copy of the file back") from None
    for path in sums:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise InputError(f"{place}: {path!r} is outside the directory")
    return sums


def _refuse_changed(copy: Path) -> None:
    """InputError where the copy is not what the sweep was launched with."""
    sums = _sums(_read(copy / SUMS), str(copy / SUMS))
    files = {str(path.relative_to(copy)) for path in copy.rglob("*.py")}
    if unknown := sorted(files - sums.keys()):
        raise InputError(f"{copy / SUMS} does not name {unknown[0]}, which is there: put a copy of the directory back")
    for path, sha256 in sums.items():
        if hashlib.sha256(_read(copy / path)).hexdigest() != sha256:
            raise InputError(
                f"{copy / path} is not the sampler that the sweep was launched with (sha256 {str(sha256)[:12]}): put a copy of "
                "it back"
            )


def to_be_told(known: KnownTrials) -> list[TrialRecord]:
    """The trials that have ended since the sampler was told of them, in the order in which they did."""
    new = [trial for trial in known.ended.values() if known.told.get(trial.number, 0) < trial.ends]
    return sorted(new, key=lambda trial: (trial.ended_at or 0.0, trial.number))


def tell(study: optuna.Study, sampler: optuna.samplers.BaseSampler, ended: Sequence[TrialRecord]) -> dict[str, int]:
    """Tell a sampler of trials that have ended → trial → how often it has, for the journal."""
    if not ended:
        return {}
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    for trial in ended:
        frozen = trials[trial.number]
        sampler.after_trial(study, frozen, frozen.state, frozen.values)
    return {str(trial.number): trial.ends for trial in ended}
