"""Faults between places: a region or a cell that is cut off, by halves, by turns, in a ring; slow and lossy paths.

Regions are cut and slowed on the WAN's paths. A cell is cut by drops between addresses, which reach
inside its region.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from faults import target
from faults.errors import FaultError, unknown
from faults.target import Member, regions
from faults.wan import Wan

RING_MIN = 3


class Network:
    """Network faults by name, each for some seconds. The same name again renews one."""

    def __init__(self, deployment: str, members: Callable[[], Sequence[Member]]) -> None:
        self.wan = Wan(deployment)
        self._members = members

    def cut(
        self, name: str, seconds: float, *, region: str | None = None, cell: str | None = None
    ) -> str:
        """A region, or a cell also within its region, hears nobody outside and is heard by nobody."""
        if (region is None) == (cell is None):
            raise FaultError("A cut is of a region or of a cell.", "Name one of the two.")
        if region is not None:
            self._need(region)
            self.wan.cut(name, seconds, region)
            return f"region {region} is cut off from all others"
        among = [member for member in self._members() if member.addresses]
        inside = target.select(among, cell=cell)
        self.wan.drop(name, seconds, *sides(among, inside))
        return f"cell {cell} is cut off from everybody else"

    def one_way(self, name: str, seconds: float, *, source: str, goal: str | None = None) -> str:
        """Nothing that a region sends reaches another one, or any; what comes back does."""
        self._need(source, *([goal] if goal else []))
        self.wan.cut(name, seconds, source, goal, one_way=True)
        return f"nothing that {source} sends reaches {goal or 'any other region'}"

    def flap(self, name: str, seconds: float, *, region: str, up_s: float, down_s: float) -> str:
        """A region is cut off for ``down_s``, there for ``up_s``, and so on; it begins cut."""
        self._need(region)
        self.wan.cut(name, seconds, region, down_s=down_s, up_s=up_s)
        return f"region {region} is cut off for {down_s:g} s and there for {up_s:g} s by turns"

    def ring(self, name: str, seconds: float) -> str:
        """Each region hears only of the one before it."""
        for number, (source, goal) in enumerate(ring_cuts(self._members())):
            self.wan.cut(f"{name}.{number}", seconds, source, goal, one_way=True)
        return "each region hears only of the one before it"

    def bridge(self, name: str, seconds: float, *, region: str) -> str:
        """All regions reach ``region``, and none another."""
        self._need(region)
        for number, (one, other) in enumerate(bridge_cuts(self._members(), region)):
            self.wan.cut(f"{name}.{number}", seconds, one, other)
        return f"all regions reach {region}, and none another"

    def slow(
        self,
        name: str,
        seconds: float,
        *,
        source: str,
        goal: str,
        changes: Mapping[str, float],
        one_way: bool = False,
    ) -> str:
        """Another delay_ms, jitter_ms, loss_percent, reorder_percent or duplicate_percent between two regions."""
        self._need(source, goal)
        self.wan.change(name, seconds, source, goal, changes, one_way=one_way)
        said = ", ".join(f"{key} {value:g}" for key, value in changes.items())
        return f"from {source} to {goal}{'' if one_way else ' and back'}: {said}"

    def on(self) -> list[str]:
        """Names of the network faults that are on."""
        state = self.wan.state()
        return [str(one["name"]) for one in [*state["disturbances"], *state["drops"]]]

    def heal(self, name: str | None = None) -> None:
        """End one by its name, with its parts, or all."""
        if name is None:
            self.wan.heal()
            return
        for one in self.on():
            if one == name or one.startswith(f"{name}."):
                self.wan.heal(one)

    def _need(self, *names: str) -> None:
        known = regions(self._members())
        for name in names:
            if name not in known:
                raise unknown("region", name, known)


def bridge_cuts(among: Sequence[Member], bridge: str) -> list[tuple[str, str]]:
    """Pairs of regions to cut so that all others meet in ``bridge`` alone."""
    others = [region for region in regions(among) if region != bridge]
    if len(others) < RING_MIN - 1:
        raise FaultError(
            f"A bridge over {len(others) + 1} regions parts nobody.", "It takes three or more."
        )
    return list(itertools.combinations(others, 2))


def ring_cuts(among: Sequence[Member]) -> list[tuple[str, str]]:
    """Directions to cut so that each region hears only of the one before it: none agrees with another."""
    names = regions(among)
    if len(names) < RING_MIN:
        raise FaultError(
            f"A ring of {len(names)} regions parts nobody.", f"It takes {RING_MIN} or more."
        )
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    return [
        (source, target)
        for source, target in itertools.permutations(names, 2)
        if following[source] != target
    ]


def sides(among: Sequence[Member], inside: Sequence[Member]) -> tuple[list[str], list[str]]:
    """Addresses on either side of a cut around ``inside``."""
    names = {member.name for member in inside}
    outside = [member for member in among if member.name not in names]
    ends = [
        [address for member in side for address in member.addresses] for side in (inside, outside)
    ]
    if not all(ends):
        raise FaultError("One side of the cut is empty.", "Leave somebody on either side.")
    return ends[0], ends[1]
