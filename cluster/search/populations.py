"""Which trials train together, and who takes a place that has come free among them: a population is a Tune trial, with a worker
of its own. Every population gets a fair share of the trials that there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from fersweep.cluster.search.assignment import Assignment
from fersweep.cluster.search.decisions import Search


class Populations:
    """`members`: of each population, by Tune's id, the trials in the order in which they came.

    most: members of a population, at most; places: how many populations the cluster holds at once; first: with how many a
    population begins whose worker measures how many pay; None: it has `most`, as was asked for.
    """

    def __init__(self, search: Search, most: int, places: Callable[[], int], first: int | None = None):
        self.search, self.members = search, dict[str, list[int]]()
        self._most, self._places, self._first = most, places, first
        # Of a population that has not reported yet: as the last one that has.
        self._room = min(most, first or most)

    def wanted(self) -> int:
        """How many further populations the remaining trials fill."""
        alone = sum(map(self.search.must_be_alone, self.search.waiting()))
        return alone + math.ceil((self.search.remaining - alone) / self._room)

    def begin(self, population: str) -> list[Assignment]:
        """The members of a new population; none while a slow sampler makes its suggestion. Trials that must be alone come last."""
        self.members[population] = []
        members = self._fill(population, self._room)
        if not members and (one := self.search.next(wait=False)) is not None:
            members = [one]
            self.members[population] = [one.trial]
        if not members:
            del self.members[population]
        return members

    def exchange(
        self, population: str, left: Collection[int], at_rung: Collection[int], room: int
    ) -> tuple[list[int], list[Assignment]]:
        """Some members leave, and others take their places, up to `room` members → whom the worker drops, and who joins.

        One that left at a rung (PBT), and whose turn it is with the model that it has, stays where it is.
        """
        before, self._room = self.members[population], room
        was_alone = any(map(self.search.must_be_alone, before))
        self.leave(population, left)
        add = [] if was_alone and self.members[population] else self._fill(population, room)
        stay = {each.trial for each in add if each.trial in at_rung and _has_its_model(each)}
        joining = [each for each in add if each.trial not in stay]
        self.members[population] = [
            *(number for number in before if number not in left or number in stay),
            *(each.trial for each in joining),
        ]
        return [number for number in left if number not in stay], joining

    def leave(self, population: str, numbers: Collection[int]) -> None:
        self.members[population] = [number for number in self.members[population] if number not in numbers]

    def end(self, population: str) -> list[int]:
        """A population is no more → its members."""
        return self.members.pop(population, [])

    def took_too_much(self, number: int) -> None:
        """The machine of a population of so many members ran out of memory."""
        if self._first is not None:
            self._most = max(number // 2, 1)

    def _fill(self, population: str, room: int) -> list[Assignment]:
        members, add = self.members[population], list[Assignment]()
        if len(members) >= room:
            return []
        share = math.ceil((self.search.remaining + len(self.search.active)) / max(self._places(), 1))
        while len(members) < min(room, share, self._most):
            assignment = self.search.next(wait=False, beside=True)
            if assignment is None:
                break
            add.append(assignment)
            members.append(assignment.trial)
        return add


def _has_its_model(assignment: Assignment) -> bool:
    """Whether it goes on with the model that it had when it last reported, and not with a copy of another's."""
    return assignment.adopts is None or assignment.adopts.epoch < assignment.known_epochs
