"""Places for populations of trials, as Ray grants them: trials are sampled when there is a place for them, not before.

A place is a placement group: Ray reserves it on one node, never across two GPUs, also beside other users of the cluster, and
when nodes join or leave. A few more than there are wait in Ray's queue: an autoscaler sees them as demand, and a node that
joins is used at once. They belong to the driver's job, so that nothing stays reserved when the driver dies.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.air.execution.resources import placement_group as rays
from ray.air.execution.resources.placement_group import PlacementGroupAcquiredResources
from ray.air.execution.resources.request import ResourceRequest
from ray.air.execution.resources.resource_manager import ResourceManager
from ray.tune.execution import tune_controller
from ray.util import placement_group_table, remove_placement_group

from fersweep.cluster import capacity
from fersweep.search_spaces.sweep_file.schema import Resources

MORE = 8  # places that are asked for beside those that there are, at least
LOOK_S, LOOK_WAITING_S = 1.0, 0.1  # between two looks at Ray's queue; while somebody waits for a place
SOON_S = 1.0  # in which Ray grants a place where there is one
LOOK_NODES_S = 2.0  # between two looks at Ray's nodes


class Places(ResourceManager):
    """Ray Tune's resource manager for populations that all want the same. `request`: what one wants."""

    def __init__(self, request: ResourceRequest):
        self._request = request
        self._queued: set[Any] = set()
        self._granted: list[Any] = []
        self._acquired: set[Any] = set()
        self._claimed = 0  # requests of Tune's that have no place yet
        self._looked = self._counted = self._queued_at = -float("inf")
        self._on_nodes = 0

    def free(self, active: int) -> int:
        """Places that nobody has, where `active` populations are with Tune: one that ended leaves its worker to the next."""
        is_soon = active == 0 or time.monotonic() - self._queued_at < SOON_S
        self._look(LOOK_WAITING_S if is_soon else LOOK_S)
        return len(self._granted) + len(self._acquired) - active

    def expected(self, resources: Resources) -> int:
        """Places that the nodes have that are there now, whether Ray has granted them yet or not."""
        if time.monotonic() - self._counted >= LOOK_NODES_S:
            self._counted, self._on_nodes = time.monotonic(), capacity.places(resources)
        return max(self._on_nodes, len(self._granted) + len(self._acquired))

    def want(self, more: int, active: int) -> None:
        """Queue for the places of `more` populations: for all of them, but not for many more than there are already."""
        held = len(self._granted) + len(self._acquired)
        queue = min(more - max(held - active, 0), max(MORE, held))
        while len(self._queued) < queue:
            self._queued.add(self._request.to_placement_group())
            self._queued_at = time.monotonic()
        while len(self._queued) > max(queue, self._claimed - len(self._granted)):
            remove_placement_group(self._queued.pop())
        while more <= 0 and len(self._granted) > self._claimed:
            remove_placement_group(self._granted.pop())

    def _look(self, every_s: float) -> None:
        """Move the places that Ray has granted since."""
        if not self._queued or time.monotonic() - self._looked < every_s:
            return
        self._looked = time.monotonic()
        states: dict[str, dict[str, Any]] = placement_group_table()
        for place in list(self._queued):
            state = states.get(place.id.hex(), {}).get("state")
            if state == "CREATED":
                self._queued.remove(place)
                self._granted.append(place)
            elif state == "REMOVED":
                self._queued.remove(place)

    # What Tune calls.

    def request_resources(self, resource_request: ResourceRequest) -> None:
        self._claimed += 1
        while len(self._granted) + len(self._queued) < self._claimed:
            self._queued.add(self._request.to_placement_group())

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        self._claimed -= 1

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        if self._claimed and not self._granted:
            self._look(LOOK_WAITING_S)
            if not self._granted and not self._acquired:
                time.sleep(LOOK_WAITING_S)  # Tune would ask again at once
        return bool(self._granted)

    def acquire_resources(self, resource_request: ResourceRequest) -> PlacementGroupAcquiredResources | None:
        if not self.has_resources_ready(resource_request):
            return None
        place = self._granted.pop(0)
        self._acquired.add(place)
        self._claimed -= 1
        return PlacementGroupAcquiredResources(resource_request=resource_request, placement_group=place)

    def free_resources(self, acquired_resource: Any) -> None:
        place = acquired_resource.placement_group
        self._acquired.remove(place)
        remove_placement_group(place)

    def clear(self) -> None:
        if ray.is_initialized():
            for place in (*self._queued, *self._granted, *self._acquired):
                remove_placement_group(place)
        self.__init__(self._request)


@contextmanager
def given_to_tune(places: Places) -> Iterator[None]:
    """`tune.run` takes no resource manager: its controller makes one of a class that it names, which this is in the block."""
    controller: Any = tune_controller
    if getattr(controller, "PlacementGroupResourceManager", None) is not rays.PlacementGroupResourceManager:
        raise RuntimeError(f"Ray {ray.__version__}: its TuneController names no PlacementGroupResourceManager")
    controller.PlacementGroupResourceManager = lambda: places
    try:
        yield
    finally:
        controller.PlacementGroupResourceManager = rays.PlacementGroupResourceManager
