"""The record: one format for what a host offers and for what has been promised away.

The idea is the negative claim record: a host's row holds *inventory records* with positive amounts
and *claim records* with negative ones, side by side and in one format, so that

    available = sum of the amounts of all records

and a claim is made by adding a record to the row by one lightweight transaction.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct

#: Largest integer of Placement's API (a signed 32 bit number); amounts are 1..MAX_INT.
MAX_INT = 2_147_483_647


class ClaimState(enum.StrEnum):
    """Life of a claim: claimed (leased) -> building (adopted) -> built -> deleting -> gone."""

    CLAIMED = "claimed"
    BUILDING = "building"
    BUILT = "built"
    DELETING = "deleting"


class HostStatus(enum.StrEnum):
    """Whether a host may be chosen. A host that is not ``up`` keeps what it has."""

    UP = "up"
    DOWN = "down"
    DISABLED = "disabled"


class Inventory(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a provider has of one resource class; field names and meaning are Placement's.

    ``units`` are the identities of discrete units or devices (serials, PCI addresses); empty for
    divisible classes.
    """

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MAX_INT
    step_size: int = 1
    allocation_ratio: float = 1.0
    units: tuple[str, ...] = ()

    @property
    def capacity(self) -> int:
        """Amount that may be promised: (total - reserved) x ratio, rounded down."""
        return int((self.total - self.reserved) * self.allocation_ratio)


class Record(Struct, frozen=True, omit_defaults=True):
    """One entry of a host's row.

    An inventory record has ``inventories`` and positive ``amounts`` (each the capacity of its
    inventory). A claim record has a ``consumer``, a ``state`` and negative ``amounts``; ``units``
    says which device gave how much: {class: {device: amount}}.
    """

    id: str
    provider: str
    amounts: dict[str, int]
    inventories: dict[str, Inventory] = {}
    traits: tuple[str, ...] = ()
    consumer: str = ""
    request: str = ""
    project: str = ""
    state: ClaimState | None = None
    created_ms: int = 0
    lease_until_ms: int = 0
    units: dict[str, dict[str, int]] = {}

    @property
    def is_claim(self) -> bool:
        return self.state is not None


class HostRow(Struct, frozen=True):
    """A host as the store has it: the root provider with all its records at revision ``rev``.

    ``rev`` only grows (it starts at the time in microseconds) and every write increments it.
    """

    host: str
    name: str
    rev: int
    status: HostStatus
    records: tuple[Record, ...]

    @property
    def claims(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.is_claim)

    def find(self, record_id: str) -> Record | None:
        return next((record for record in self.records if record.id == record_id), None)


def available(records: Iterable[Record]) -> dict[str, int]:
    """Free amount of each class: the plain sum over inventory and claim records."""
    free: dict[str, int] = {}
    for record in records:
        for name, amount in record.amounts.items():
            free[name] = free.get(name, 0) + amount
    return free


def inventories(records: Iterable[Record]) -> dict[str, Inventory]:
    """All inventories of a host by class."""
    return {name: inv for record in records for name, inv in record.inventories.items()}


def units_taken(records: Iterable[Record]) -> dict[str, dict[str, int]]:
    """Amount taken from each device: {class: {device: amount}}."""
    taken: dict[str, dict[str, int]] = {}
    for record in records:
        for name, devices in record.units.items():
            per_class = taken.setdefault(name, {})
            for device, amount in devices.items():
                per_class[device] = per_class.get(device, 0) + amount
    return taken


def traits(records: Iterable[Record]) -> frozenset[str]:
    return frozenset(trait for record in records for trait in record.traits)


def inventory_record(
    provider: str, offered: dict[str, Inventory], provider_traits: tuple[str, ...] = ()
) -> Record:
    """The record of what ``provider`` offers; its amounts are the capacities."""
    return Record(
        id=provider,
        provider=provider,
        amounts={name: inventory.capacity for name, inventory in offered.items()},
        inventories=offered,
        traits=tuple(sorted(provider_traits)),
    )
