"""What rests on a sweep: registered versions, other sweeps that learned from it, the ledger of test. In words, for `rm`."""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError
from fersweep.results.housekeeping.sweep_runs import SweepRuns, all_versions, ledger_lines, local_place
from fersweep.results.record.home import sweep_directories
from fersweep.results.record.sweep_json import SweepJson, read_sweep_json

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def named(version: ModelVersion, aliases: Sequence[str]) -> str:
    """`version 3 of fersweep (champion)`."""
    names = f" ({', '.join(sorted(aliases))})" if aliases else ""
    return f"version {version.version} of {version.name}{names}"


def resting(sweep: SweepJson, home: Path, found: Sequence[SweepRuns]) -> list[str]:
    """A line on each thing that rests on a sweep, and how it goes on without it."""
    lines: list[str] = []
    for store in found:
        aliases = _aliases(store)
        own = {(version.name, str(version.version)) for version in store.versions}
        for version in store.versions:
            lines.append(f"{named(version, aliases.get(_key(version), []))} stays, with its own copy of the model")
        for version in all_versions(store.client):
            members = version.tags.get("fersweep.members", "").split(", ")
            if _key(version) not in own and any(
                f" {sweep.name}:" in f" {member.split(' × ')[-1]}" for member in members
            ):
                lines.append(
                    f"{named(version, aliases.get(_key(version), []))} is an ensemble with its trials: it has copies of them"
                )
        if judged := len(ledger_lines(store.client, sweep.name)):
            what = "1 judgement of its trials stays" if judged == 1 else f"{judged} judgements of its trials stay"
            lines.append(f"{what} in the ledger of test")
    return [*lines, *_sweeps(sweep, home)]


def refuse_loaded_from(directory: Path, found: Sequence[SweepRuns]) -> None:
    """InputError where a registered version is loaded from a sweep's directory itself, which only hands can make it be."""
    place = directory.resolve()
    for store in found:
        aliases = _aliases(store)
        for version in all_versions(store.client):
            source = local_place(str(version.source or ""))
            if source is not None and place in (source.resolve(), *source.resolve().parents):
                who = named(version, aliases.get(_key(version), []))
                raise InputError(
                    f"{directory.name}: {who} is loaded from {source}, in the sweep's directory: delete that version first, or "
                    f"`fersweep promote {directory.name}` registers one with a copy"
                )


def _key(version: ModelVersion) -> tuple[str, str]:
    return version.name, str(version.version)


def _aliases(store: SweepRuns) -> dict[tuple[str, str], list[str]]:
    """(model, version) → its aliases; those of versions that a search returns are empty in some of MLflow's stores."""
    found: dict[tuple[str, str], list[str]] = {}
    for model in store.client.search_registered_models():
        for alias, version in dict(model.aliases).items():
            found.setdefault((model.name, str(version)), []).append(str(alias))
    return found


def _sweeps(sweep: SweepJson, home: Path) -> Iterator[str]:
    """Lines on other sweeps of the home."""
    name = sweep.name
    for directory in sweep_directories(home):
        if directory.name == name:
            continue
        with contextlib.suppress(InputError):
            other = read_sweep_json(directory)
            learned = any(trial.sweep == name for trial in other.history)
            if learned or any(point.name.rpartition("/")[0] == name for point in other.points):
                yield f"sweep {other.name} learned from its trials: it has a copy of them"
            if other.teacher is not None and other.teacher.sweep == name:
                yield f"sweep {other.name} was taught by it: it has a copy of the answers"
            if other.asked.following is not None and other.asked.following.name == name:
                yield f"sweep {other.name} is followed by it (`then`): to resume that one launches it again"
    following = sweep.asked.following
    if following is not None and (Path(home) / "sweeps" / following.name).is_dir():
        yield f"sweep {following.name} goes on with its best points (`then`): it has a copy of them"
