"""`fersweep cluster up` and `down`: what `fersweep cluster render` wrote, handed to the tool that it was written for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from fersweep.common.display.as_json import AsJson
from fersweep.common.errors import InputError
from fersweep.common.ray_address import for_its_owner
from fersweep.common.text import shell

RENDERED = ".rendered.json"
SCRIPT, RAY_YAML = "cluster.sh", "ray.yaml"
TOKEN = "~/.ray/auth_token"
BY_HAND = {  # file → what a person types, with rights and choices that only they have
    "raycluster.yaml": {"up": "kubectl apply -f {file}", "down": "kubectl delete -f {file}"},
    "rayjob.yaml": {"up": "kubectl apply -f {file}", "down": "kubectl delete -f {file}"},
    "sky.yaml": {
        "up": "cd {directory} && sky launch --secret RAY_AUTH_TOKEN sky.yaml  (its first lines say what comes before)",
        "down": "sky status; sky down CLUSTER  (of spot machines: sky jobs queue; sky jobs cancel JOB)",
    },
    "job.sh": {"up": "sbatch {file}", "down": "squeue --me; scancel JOB"},
    "compose.yaml": {"up": "docker compose -f {file} up", "down": "docker compose -f {file} down"},
}
Verb = Literal["up", "down"]


@dataclass(frozen=True)
class Step(AsJson):
    """What starts or ends a cluster. command: to run in `directory`; None: `line` is for a person to type."""

    line: str
    command: list[str] | None
    directory: Path


def step(verb: Verb, place: Path | None, yes: bool, asks: bool) -> Step:
    """What is to be done with the files at `place`: a directory, or one file of it; None: the only one rendered here.

    `asks`: somebody can answer Ray's questions. Raises InputError where there is nothing to start, and where Ray would
    ask and nobody can answer, or would miss a file.
    """
    place = place or _only_one()
    names = [place.name] if place.is_file() else [SCRIPT, RAY_YAML, *BY_HAND]
    directory = place.parent if place.is_file() else place
    name = next((name for name in names if (directory / name).is_file() and name in (SCRIPT, RAY_YAML, *BY_HAND)), None)
    if name is None:
        known = ", ".join((SCRIPT, RAY_YAML, *BY_HAND))
        raise InputError(f"{place}: none of {known} is there; `fersweep cluster render TARGET` writes them")
    file = directory / name
    if name in BY_HAND:
        return Step(BY_HAND[name][verb].format(file=shell(file), directory=shell(directory)), None, directory)
    if name == SCRIPT:
        return Step(shell("bash", file, verb), ["bash", name, verb], directory)
    if not yes and not asks:
        raise InputError(f"cluster {verb}: Ray asks before it {_does(verb)}, and nobody can answer here: --yes")
    if verb == "up":
        _check_mounts(file)
    options = [*(["--no-config-cache"] if verb == "up" else []), *(["--yes"] if yes else [])]
    line = shell("ray", verb, file, *options)
    return Step(line, [sys.executable, "-m", "ray.scripts.scripts", verb, name, *options], directory)


def _check_mounts(file: Path) -> None:
    """InputError where the file names what goes to every machine, and is not here."""
    try:
        content: Any = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}") from None
    mounts: Any = cast(dict[str, Any], content).get("file_mounts") if isinstance(content, dict) else None
    for source in map(str, cast(dict[str, Any], mounts or {}).values()):
        if not (file.parent / Path(source).expanduser()).exists():
            makes = (
                "`ray get-auth-token --generate` makes it" if source == TOKEN else "its first lines say how it is made"
            )
            raise InputError(f"{file}: {source} goes to every machine, and is not there: {makes}")
        if source == TOKEN:
            for_its_owner(Path(source).expanduser())


def run(step: Step) -> None:
    """Run it, in front of the person. Raises RuntimeError where it fails."""
    assert step.command is not None
    try:
        code = subprocess.run(step.command, cwd=step.directory, check=False).returncode
    except OSError as error:
        raise RuntimeError(f"{step.line}: {error.strerror}") from None
    if code:
        raise RuntimeError(f"{step.line}: exit code {code}")


def _does(verb: Verb) -> str:
    return "starts machines that cost money" if verb == "up" else "ends the machines"


def _only_one() -> Path:
    found = sorted(path.parent for path in Path().glob(f"*/{RENDERED}"))
    if not found:
        raise InputError(
            "no rendered cluster is here: `fersweep cluster render TARGET` writes one, or name its directory"
        )
    if len(found) > 1:
        raise InputError(f"several rendered clusters are here: name one of {', '.join(map(str, found))}")
    return found[0]
