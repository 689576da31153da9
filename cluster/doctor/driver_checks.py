"""Checks of the driver's machine alone: where sweeps are recorded, and whether the cluster holds a trial.

MLflow is written by the driver's recorder, never by a trial: no other node needs to reach it.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fersweep.cluster import capacity
from fersweep.cluster.doctor.findings import Asked, Finding, ok, problem, warning
from fersweep.cluster.driver.notifications import webhook
from fersweep.common.errors import InputError
from fersweep.results.record.home import check_home
from fersweep.results.tracking import address
from fersweep.search_spaces.sweep_file.fusing import in_populations


def check_home_directory(asked: Asked) -> Iterator[Finding]:
    if asked.home is None:
        return
    try:
        check_home(Path(asked.home))
    except InputError as error:
        yield problem(str(error), "name another with --home, or make it writable for this user")
    else:
        yield ok(f"{asked.home} can be written")


def check_lost_nodes(asked: Asked) -> Iterator[Finding]:
    """Nodes that Ray has given up. Where an autoscaler takes nodes away that is as it should be."""
    import ray

    machines: list[dict[str, Any]] = ray.nodes()
    lost = sorted({str(node["NodeManagerHostname"]) for node in machines if not node["Alive"]})
    if lost and not capacity.groups():
        yield warning(
            f"{', '.join(lost[:5])}{f' and {len(lost) - 5} more' if len(lost) > 5 else ''}: no longer in the cluster",
            "start Ray there again; nothing is to do if it was taken out",
            hosts=lost,
        )
    elif asked.num_nodes > 1:
        yield ok(f"none; {asked.num_nodes} nodes are alive")


def check_tracking(asked: Asked) -> Iterator[Finding]:
    tracking = None if asked.sweep is None else asked.sweep.tracking
    if tracking is None or tracking.uri is None:
        yield ok("records go to the home's own MLflow store")
        return
    away: list[str] = []
    try:
        address.check(tracking.uri, tracking.experiment, away.append)
    except InputError as error:
        yield problem(str(error), "a sweep is refused until tracking.uri is right, and the server lets this user in")
        return
    if away:
        yield warning(
            away[0].removeprefix("note: "), "a sweep runs all the same; `fersweep status --sync` makes it good"
        )
    else:
        yield ok(f"{tracking.uri} answers")


def check_places(asked: Asked) -> Iterator[Finding]:
    if asked.sweep is None:
        return
    wanted = asked.sweep.resources
    try:
        capacity.check(wanted)
    except InputError as error:
        yield problem(str(error), "lower `resources` in the sweep file, or bring a larger node")
        return
    number = capacity.places(wanted)
    if number:
        several = in_populations(asked.sweep)
        yield ok(
            f"{number} {'workers, each with one trial or several,' if several else 'trials'} at once", places=number
        )
    else:
        yield warning(capacity.shortage(wanted), "the autoscaler brings nodes when the sweep runs", places=0)


def check_notifications(asked: Asked) -> Iterator[Finding]:
    if asked.sweep is None or asked.sweep.notify is None:
        return
    try:
        webhook(asked.sweep)
    except InputError as error:
        yield problem(str(error), f"export {asked.sweep.notify.variable} where the driver runs")
    else:
        yield ok(f"{asked.sweep.notify.variable} has the webhook's address")
