"""All checks: the functions `check_…` of these files, in their order. A new check is a function there, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType

from fersweep.cluster.doctor import driver_checks, machine_checks, software_checks, storage_checks
from fersweep.cluster.doctor.findings import Asked, Check, Finding, problem, reason

PREFIX = "check_"
LIMIT_S, LIMITS_S = 45.0, {"gpus": software_checks.ASK_S + 15}  # of a check; longer ones by topic


def _checks(*files: ModuleType) -> list[Check]:
    return [
        function
        for file in files
        for name, function in vars(file).items()
        if name.startswith(PREFIX) and function.__module__ == file.__name__
    ]


DRIVER = _checks(driver_checks)
EVERY_NODE = _checks(software_checks, storage_checks, machine_checks)


def topic(check: Check) -> str:
    """`check_free_disk` is about `free disk`."""
    return check.__name__.removeprefix(PREFIX).replace("_", " ")


def examine(asked: Asked, checks: Sequence[Check], node: str = "") -> list[Finding]:
    """What the checks find on a node, "" of no single one. Each has its time: one that hangs is a finding."""
    return [found._replace(topic=topic(check), node=node) for check in checks for found in _within(check, asked)]


def _within(check: Check, asked: Asked) -> list[Finding]:
    limit_s, found = LIMITS_S.get(topic(check), LIMIT_S), list[Finding]()

    def run() -> None:
        try:
            found.extend(check(asked))
        except Exception as error:  # a check that breaks must not hide what the others find
            found.append(
                problem(f"could not be checked: {type(error).__name__}: {reason(error)}", "look at this first")
            )

    thread = threading.Thread(target=run, name=check.__name__, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        what = f"no answer within {limit_s:g} s"
        return [*found, problem(what, "a disk, a network share or a driver hangs: look at that node's system log")]
    return found
