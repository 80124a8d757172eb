"""Server groups in a decision: which cells and hosts remain, and who must agree to a choice.

The facts are read once and may be stale: they only spare a choice that would be refused. What
decides is the row that keeps the rule (``model/groups.py``): the host's own for anti-affinity of
hosts, else the group row, which every member joins in the write set of its claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from placer.claims.operations import Refusal
from placer.claims.pools import MakeGroup
from placer.claims.protocol import HostWriter
from placer.errors import Conflict
from placer.model import groups
from placer.model.groups import Place, Policy, Scope, ServerGroup
from placer.model.host_view import HostView
from placer.settings import Cell
from placer.store.base import CellStore

AFFINITY: Final = "group_affinity"
ANTI_AFFINITY: Final = "group_anti_affinity"


class GroupFacts(Struct, frozen=True):
    """A group and where its members are, as far as its row says. Empty for anti-affinity of hosts."""

    group: ServerGroup
    members: tuple[Place, ...] = ()

    def joined(self, place: Place) -> GroupFacts:
        """The facts once one more member is at ``place``: for the next instance of one request."""
        return msgspec.structs.replace(self, members=(*self.members, place))


async def create_group(writer: HostWriter, group: ServerGroup, deadline_s: float) -> None:
    """Make the group's row in its home cell, whose writer this is. Safe to repeat.

    Raises Conflict or StoreError; the group must not be told of before this has returned.
    """
    if not group.has_row:
        return
    operation = MakeGroup(group=group.id, name=group.name)
    result = await writer.submit(group.id, operation, deadline_s=deadline_s)
    if isinstance(result, Refusal):
        raise Conflict(
            f"The group {group.id} cannot be made: {result.reason}.", remedy="Use a new id."
        )


async def read_facts(store: CellStore, group: ServerGroup, moving: str = "") -> GroupFacts:
    """Where the members are, but for the instance ``moving``: its own place cannot stand in its way.

    ``store`` is that of the group's home cell; raises StoreError. Should the row be missing, its first member makes it: the group then has none yet.
    """
    row = await store.read_row(group.id) if group.has_row else None
    if row is None:
        return GroupFacts(group)
    members = (claim for claim in row.claims if not moving or claim.consumer != moving)
    return GroupFacts(group, tuple(groups.place_of(member.data) for member in members))


def cells_left(facts: GroupFacts, cells: Iterable[Cell]) -> list[str]:
    """Those of ``cells`` (in their order) that may hold one more member."""
    return [cell.name for cell in cells if not _place_reason(facts, cell.region, cell.name, "")]


def rejects(facts: GroupFacts, host: HostView) -> str:
    """Why ``host`` may not hold one more member; empty if it may."""
    group = facts.group
    if group.max_per_host and host.groups.get(group.id, 0) >= group.max_per_host:
        return ANTI_AFFINITY
    return _place_reason(facts, host.region, host.cell, host.host)


def _place_reason(facts: GroupFacts, region: str, cell: str, host: str) -> str:
    """Judge a place by the members; an empty ``host`` stands for any host of the cell."""
    group, place = facts.group, Place(region, cell, host)
    scope = group.scope
    if not host and scope is Scope.HOST:
        if group.policy is Policy.ANTI_AFFINITY:
            return ""
        # Together on one host is together in its cell.
        scope = Scope.CELL
    if groups.admits(group.policy, scope, list(facts.members), place):
        return ""
    return AFFINITY if group.policy is Policy.AFFINITY else ANTI_AFFINITY
