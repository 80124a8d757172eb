"""Server groups: instances that belong together, or must be kept apart, by host, cell or region.

Where a rule is kept without a race:
- *anti-affinity of hosts* in the host row's own transaction, which counts the group's claims there;
- everything else in the *group row* (kind ``group``, in the group's home cell): each instance joins
  it with its place, in one write set with the claim on its host, and the row refuses a place that
  contradicts the members it has.
"""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct

from placer.errors import InvalidInput, NotFound
from placer.model import ids

GROUP_NAME_CHARS_MAX: Final = 200


class Policy(enum.StrEnum):
    """Together, or apart."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"


class Scope(enum.StrEnum):
    """What the members share, or do not share."""

    HOST = "host"
    CELL = "cell"
    REGION = "region"


class ServerGroupSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A group as it is asked for."""

    name: str
    policy: Policy
    scope: Scope = Scope.HOST
    project: str = "default"


class ServerGroup(Struct, frozen=True, omit_defaults=True):
    """A group as it is stored. ``id`` is ``<home cell>.<random>``; the group row has the same id."""

    id: str
    name: str
    policy: Policy
    scope: Scope
    project: str
    created_ms: int = 0

    @property
    def home_cell(self) -> str:
        """The cell whose ``host`` table holds the group row."""
        return ids.cell_of(self.id)

    @property
    def has_row(self) -> bool:
        """Whether its rule is kept by the group row, and not by the host rows themselves."""
        return (self.policy, self.scope) != (Policy.ANTI_AFFINITY, Scope.HOST)

    @property
    def max_per_host(self) -> int:
        """How many members one host may hold; 0: any number."""
        return 0 if self.has_row else 1


class Place(Struct, frozen=True, omit_defaults=True):
    """Where a member of a group is."""

    region: str
    cell: str
    host: str

    def at(self, scope: Scope) -> str:
        """The part of the place that ``scope`` compares; hosts are compared by their uuid."""
        return {Scope.HOST: self.host, Scope.CELL: self.cell, Scope.REGION: self.region}[scope]

    @property
    def data(self) -> dict[str, str]:
        """As a record of the group row keeps it."""
        return {"region": self.region, "cell": self.cell, "host": self.host}


def place_of(data: dict[str, str]) -> Place:
    """The place that a record of a group row keeps."""
    return Place(data.get("region", ""), data.get("cell", ""), data.get("host", ""))


def admits(policy: Policy, scope: Scope, members: list[Place], place: Place) -> bool:
    """Whether one more member may be at ``place``."""
    same = [member.at(scope) == place.at(scope) for member in members]
    return all(same) if policy is Policy.AFFINITY else not any(same)


def new_group(cell: str, spec: ServerGroupSpec, now_ms: int) -> ServerGroup:
    """A group with a new id whose home is ``cell``; raises InvalidInput."""
    if not 1 <= len(spec.name) <= GROUP_NAME_CHARS_MAX:
        raise InvalidInput(
            f"A group's name of {len(spec.name)} characters cannot be used.",
            remedy=f"Use 1 to {GROUP_NAME_CHARS_MAX}.",
            field="name",
        )
    if not 1 <= len(spec.project) <= GROUP_NAME_CHARS_MAX:
        raise InvalidInput(
            f"A project's name of {len(spec.project)} characters cannot be used.",
            remedy=f"Use 1 to {GROUP_NAME_CHARS_MAX}.",
            field="project",
        )
    return ServerGroup(
        id=ids.new_request_id(cell),
        name=spec.name,
        policy=spec.policy,
        scope=spec.scope,
        project=spec.project,
        created_ms=now_ms,
    )


def unknown_group(group_id: str) -> NotFound:
    """The error for a group that is not there."""
    return NotFound(
        f"There is no server group {group_id!r}.",
        remedy="Make it with POST /v1/server-groups and use the id of its answer.",
        server_group=group_id,
    )
