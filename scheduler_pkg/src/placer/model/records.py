"""The record: one format for what a host offers and for what has been promised away.

The idea is the negative claim record: a host's row holds *inventory records* with positive amounts
and *claim records* with negative ones, side by side and in one format, so that

    available = sum of the amounts of all records

and a claim is made by adding a record to the row by one lightweight transaction.

A row holds a whole tree of resource providers. Amounts are kept by *slot*: one provider's inventory
of one class, written ``CLASS`` for the root provider and ``provider/CLASS`` for one below it, where
``provider`` is its key, a short name that is unique in the tree (``numa0/VCPU``).

A change of several rows (claim protocol, section 3) leaves *tagged* records on each until it is
decided: ``+T`` will be added by T, ``-T`` dropped. What a slot has given is then the settled amount
and, for each T, the larger of the two sums, so that either outcome of T fits.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

#: Largest integer of Placement's API (a signed 32 bit number); amounts are 1..MAX_INT.
MAX_INT = 2_147_483_647

#: Keys of providers that the scheduler keeps on a host and no agent reports: slices of address pools.
SLICE_PREFIX = "net-"


class ClaimState(enum.StrEnum):
    """Life of a claim: claimed (leased) -> building (adopted) -> built -> deleting -> gone."""

    CLAIMED = "claimed"
    BUILDING = "building"
    BUILT = "built"
    DELETING = "deleting"


class HostStatus(enum.StrEnum):
    """Whether a host's agent is there. A host that is not keeps what it has and is not chosen."""

    UP = "up"
    DOWN = "down"


class HostDuty(enum.StrEnum):
    """What an operator wants of a host; whether its agent is there changes nothing of it.

    Only an ``enabled`` host is chosen. ``disabled`` keeps what it has, ``draining`` has its instances
    moved away, ``evacuating`` has them taken from it because it is down.
    """

    ENABLED = "enabled"
    DISABLED = "disabled"
    DRAINING = "draining"
    EVACUATING = "evacuating"


class RowKind(enum.StrEnum):
    """What a row stands for; all are written by the same protocol.

    ``host``: a compute host. ``pool``: a sharing provider (storage, addresses), used by hosts of its
    aggregates. ``group``: a server group; its claims are the members and where they are.
    ``quota``: a cell's slice of a project's quota; its claims are the shares that instances have of it.
    """

    HOST = "host"
    POOL = "pool"
    GROUP = "group"
    QUOTA = "quota"


class Inventory(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a provider has of one resource class; field names and meaning are Placement's.

    ``units`` are the identities of discrete units or devices (serials, PCI addresses); empty for
    divisible classes. ``traits`` hold for this inventory only, not for its provider's others.
    ``fields`` belong to the resource class, which alone reads and checks them.
    """

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MAX_INT
    step_size: int = 1
    allocation_ratio: float = 1.0
    units: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    fields: dict[str, Any] = {}

    @property
    def capacity(self) -> int:
        """Amount that may be promised: (total - reserved) x ratio, rounded down."""
        return int((self.total - self.reserved) * self.allocation_ratio)


class Record(Struct, frozen=True, omit_defaults=True):
    """One entry of a row.

    An inventory record is a provider: its uuid as ``id`` and ``provider``, its ``key`` in the tree
    and its parent's, its ``inventories`` and positive ``amounts`` (each the capacity of its
    inventory) by slot, its traits and aggregates.
    A claim record has a ``consumer``, a ``state`` and negative ``amounts`` by slot; ``units`` says
    which device gave how much: {slot: {device: amount}}; ``image`` is what its instance is made from.
    ``group`` is the server group it belongs
    to, ``data`` what a row that is not a host keeps with an entry, ``tag`` as the module says.
    ``shares`` names the rows (cell/row) with an entry that goes with this claim.
    ``trace`` is its request's trace id.
    ``epoch`` counts the claims that its consumer had before this one: it grows with every move.
    """

    id: str
    provider: str
    amounts: dict[str, int]
    key: str = ""
    parent: str = ""
    inventories: dict[str, Inventory] = {}
    traits: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    consumer: str = ""
    request: str = ""
    project: str = ""
    state: ClaimState | None = None
    created_ms: int = 0
    lease_until_ms: int = 0
    units: dict[str, dict[str, int]] = {}
    group: str = ""
    data: dict[str, str] = {}
    tag: str = ""
    image: str = ""
    epoch: int = 0
    shares: tuple[str, ...] = ()
    trace: str = ""

    @property
    def is_claim(self) -> bool:
        return self.state is not None

    @property
    def is_slice(self) -> bool:
        """Whether this is the host's slice of an address pool; an agent's report leaves it alone."""
        return not self.is_claim and self.key.startswith(SLICE_PREFIX)

    @property
    def writeset(self) -> str:
        """Id of the write set that tagged this record; empty if it is settled."""
        return self.tag[1:]


class Duty(Struct, frozen=True, omit_defaults=True):
    """The operator's word on a host: ``by`` whom, ``why`` and since when."""

    state: HostDuty = HostDuty.ENABLED
    by: str = ""
    why: str = ""
    since_ms: int = 0


class Health(Struct, frozen=True, omit_defaults=True):
    """What is remembered of a host beside its resources: why it has its status, and failed builds.

    ``failures`` are builds that failed since the last good one, the last at ``failed_ms``.
    """

    reason: str = ""
    failures: int = 0
    failed_ms: int = 0
    duty: Duty = Duty()


class HostRow(Struct, frozen=True):
    """A row as the store has it: a tree of providers with all its records at revision ``rev``.

    ``rev`` only grows (it starts at the time in microseconds) and every write increments it.
    """

    host: str
    name: str
    rev: int
    status: HostStatus
    records: tuple[Record, ...]
    kind: RowKind = RowKind.HOST
    health: Health = Health()

    @property
    def duty(self) -> Duty:
        return self.health.duty

    @property
    def not_chosen(self) -> str:
        """Why nothing new may be put on it; empty if something may."""
        if self.status is not HostStatus.UP:
            return f"host_{self.status}"
        return "" if self.duty.state is HostDuty.ENABLED else f"host_{self.duty.state}"

    @property
    def claims(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.is_claim)

    def find(self, record_id: str) -> Record | None:
        return next((record for record in self.records if record.id == record_id), None)


def slot(key: str, resource_class: str) -> str:
    """Where the provider called ``key`` keeps ``resource_class``; the root's key is empty."""
    return f"{key}/{resource_class}" if key else resource_class


def class_of(slot_name: str) -> str:
    """The resource class of a slot."""
    return slot_name.rpartition("/")[2]


def key_of(slot_name: str) -> str:
    """The provider's key of a slot."""
    return slot_name.rpartition("/")[0]


def available(records: Iterable[Record]) -> dict[str, int]:
    """Free amount of each slot: the plain sum over settled records, less what is being decided."""
    free: dict[str, int] = {}
    tagged: dict[tuple[str, str], list[int]] = {}
    for record in records:
        for name, amount in record.amounts.items():
            if record.tag:
                sums = tagged.setdefault((record.writeset, name), [0, 0])
                sums[record.tag[0] == "-"] -= amount
            else:
                free[name] = free.get(name, 0) + amount
    for (_, name), sums in tagged.items():
        free[name] = free.get(name, 0) - max(sums)
    return free


def inventories(records: Iterable[Record]) -> dict[str, Inventory]:
    """All inventories of a tree by slot."""
    return {name: inv for record in records for name, inv in record.inventories.items()}


def units_taken(records: Iterable[Record]) -> dict[str, dict[str, int]]:
    """Amount taken from each device, by the same rule as ``available``: {slot: {device: amount}}."""
    taken: dict[str, dict[str, int]] = {}
    tagged: dict[tuple[str, str, str], list[int]] = {}
    for record in records:
        for name, devices in record.units.items():
            per_slot = taken.setdefault(name, {})
            for device, amount in devices.items():
                if record.tag:
                    sums = tagged.setdefault((record.writeset, name, device), [0, 0])
                    sums[record.tag[0] == "-"] += amount
                else:
                    per_slot[device] = per_slot.get(device, 0) + amount
    for (_, name, device), sums in tagged.items():
        taken[name][device] = taken[name].get(device, 0) + max(sums)
    return taken


def provider_traits(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Traits of each provider of the tree by its key."""
    return {record.key: record.traits for record in records if not record.is_claim}


def aggregates(records: Iterable[Record]) -> frozenset[str]:
    """Aggregates of the root provider; those below it are in the same."""
    return frozenset(a for r in records if not r.is_claim and not r.key for a in r.aggregates)


def inventory_record(
    provider: str,
    offered: dict[str, Inventory],
    traits: tuple[str, ...] = (),
    *,
    key: str = "",
    parent: str = "",
    in_aggregates: tuple[str, ...] = (),
) -> Record:
    """The record of what ``provider`` offers ({class: inventory}); its amounts are the capacities."""
    return Record(
        id=provider,
        provider=provider,
        amounts={slot(key, name): inventory.capacity for name, inventory in offered.items()},
        key=key,
        parent=parent,
        inventories={slot(key, name): inventory for name, inventory in offered.items()},
        traits=tuple(sorted(traits)),
        aggregates=tuple(sorted(in_aggregates)),
    )
