"""The instance: what an agent built for a request; listed from the global keyspace.

Three parties say things of one instance, each in its own column, so that none can bury another's:

- its *place*: the claim on a host's row and what the request says of it (``Instance``);
- its *guest*: what the agent sees of it on the host (``Guest``);
- its *reach*: whether its host can be reached at all (``Reach``).

Each is ordered by what its writer counts anyway, never by a clock: the host row's revision, or the
version in the agent's journal. A move takes an instance to another row with a revision of its own;
so each order begins with the *epoch* of its claim, which grows with every move. Who reads merges the
three (``merge``).
"""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct

from placer.errors import InvalidInput

#: Row revisions start at the time in microseconds: 52 bits last until the year 2112.
_REV_BITS: Final = 52
#: Moves of one instance between claims that its order has room for (a signed 64 bit number).
EPOCH_MAX: Final = (1 << (63 - _REV_BITS)) - 1

#: Lists are kept in slots of this length, by when instances were made (six hours).
SLOT_MS: Final = 21_600_000


class InstanceState(enum.StrEnum):
    """What an instance is doing, as far as is known.

    building -> running -> deleting -> deleted, or failed; stopped and lost are a guest's; moving
    while another claim is being built for it.
    """

    BUILDING = "building"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"
    MOVING = "moving"
    DELETING = "deleting"
    DELETED = "deleted"

    @property
    def is_final(self) -> bool:
        """Nothing more will be heard of it."""
        return self in (InstanceState.FAILED, InstanceState.DELETED)


class HostSeen(enum.StrEnum):
    """Whether what the list says of an instance is of now.

    ``up``: its agent reports. ``down``: its host's agent is away, the row says what was known then.
    ``disabled``, ``draining``: an operator's word; it reports all the same. ``cut_off``: nothing
    arrives from its cell.
    """

    UP = "up"
    DOWN = "down"
    DISABLED = "disabled"
    DRAINING = "draining"
    CUT_OFF = "cut_off"


class Instance(Struct, frozen=True, omit_defaults=True):
    """Where an instance is and what it was made from: the part that ``order`` orders.

    ``created_ms`` and ``id`` are its place in every list and never change, whatever moves. ``rev`` is
    the revision of its host's row, ``epoch`` that of its claim.
    """

    id: str
    project: str
    region: str
    cell: str
    host: str
    host_name: str
    request: str
    claim: str
    state: InstanceState
    resources: dict[str, int]
    created_ms: int
    updated_ms: int
    rev: int
    epoch: int = 0
    name: str = ""
    image: str = ""
    flavor: str = ""
    tags: tuple[str, ...] = ()

    @property
    def order(self) -> int:
        """Of two values for one id the one with the higher order is the newer."""
        return order(self.epoch, self.rev)


class Guest(Struct, frozen=True, omit_defaults=True):
    """What the agent last said of an instance; ``version`` is its journal's count of changes."""

    state: InstanceState
    at_ms: int
    epoch: int
    version: int
    why: str = ""


class Reach(Struct, frozen=True, omit_defaults=True):
    """Whether the instance's host could be reached at ``at_ms``."""

    seen: HostSeen
    at_ms: int
    why: str = ""


class InstanceView(Struct, frozen=True, omit_defaults=True):
    """An instance as a reader gets it: all that is known, and how old it is.

    ``as_of_ms`` is when what is told was last known to hold; without it, now. ``why`` is the agent's
    or the operator's word for the state or the host's status.
    """

    id: str
    project: str
    region: str
    cell: str
    host: str
    host_name: str
    request: str
    claim: str
    state: InstanceState
    resources: dict[str, int]
    created_ms: int
    updated_ms: int
    host_status: HostSeen
    name: str = ""
    image: str = ""
    flavor: str = ""
    tags: tuple[str, ...] = ()
    as_of_ms: int = 0
    why: str = ""


class Known(Struct, frozen=True):
    """The three parts of one instance as they are stored."""

    place: Instance
    guest: Guest | None = None
    reach: Reach | None = None

    @property
    def key(self) -> tuple[int, str]:
        """Its place in every list, newest first."""
        return self.place.created_ms, self.place.id


def order(epoch: int, count: int) -> int:
    """What orders the writes of one column: by epoch, then by the writer's own count.

    Fits a signed 64 bit number. Raises InvalidInput beyond EPOCH_MAX moves.
    """
    if not 0 <= epoch <= EPOCH_MAX:
        raise InvalidInput(
            f"An instance cannot be moved {epoch} times.", remedy="Delete it and make a new one."
        )
    return epoch << _REV_BITS | min(count, (1 << _REV_BITS) - 1)


def slot_of(created_ms: int) -> int:
    """The slot of every list that holds an instance made at ``created_ms``."""
    return created_ms // SLOT_MS


def merge(known: Known, cut_off_since_ms: int = 0) -> InstanceView:
    """What a reader is told. ``cut_off_since_ms``: until when its cell was heard; 0 if it still is."""
    place, guest, reach = known.place, known.guest, known.reach
    state, updated_ms, why = place.state, place.updated_ms, ""
    if guest is not None and guest.epoch == place.epoch:
        # A guest stops while its place stands; of a place that is not built it says nothing.
        if state is InstanceState.RUNNING:
            state, why = guest.state, guest.why
        updated_ms = max(updated_ms, guest.at_ms)
    seen, as_of_ms = HostSeen.UP, 0
    if reach is not None and not state.is_final:
        seen, why = reach.seen, reach.why or why
        updated_ms = max(updated_ms, reach.at_ms)
        as_of_ms = reach.at_ms if seen is HostSeen.DOWN else 0
    if cut_off_since_ms and not state.is_final:
        as_of_ms = min(as_of_ms or cut_off_since_ms, cut_off_since_ms)
        seen = HostSeen.CUT_OFF
    return InstanceView(
        id=place.id,
        project=place.project,
        region=place.region,
        cell=place.cell,
        host=place.host,
        host_name=place.host_name,
        request=place.request,
        claim=place.claim,
        state=state,
        resources=place.resources,
        created_ms=place.created_ms,
        updated_ms=updated_ms,
        host_status=seen,
        name=place.name,
        image=place.image,
        flavor=place.flavor,
        tags=place.tags,
        as_of_ms=as_of_ms,
        why=why,
    )
