"""Networks and their addresses; pools that several hosts share.

A network has a pool of addresses in each cell that serves it: a row of kind ``pool`` whose units are
the addresses. A host holds a *slice* of it, a provider ``net-<network>`` in its own row, so that an
instance and its address are promised by one transaction. The pool's claims say which host holds
which addresses (``claims/slices.py`` keeps the two in step).
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import Final

from msgspec import Struct

from placer.errors import InvalidInput
from placer.model import records, reports
from placer.model.host_view import HostView
from placer.model.records import SLICE_PREFIX, HostRow, Inventory, Record
from placer.model.request import network_trait
from placer.model.resource_classes import ADDRESS

#: Addresses of one network in one cell: they are one row of the store. 4096 are a /20.
ADDRESSES_MAX: Final = 4096
POOL_CLASSES_MAX: Final = 16
#: What a host's slice remembers of its pool: its row, and the revision it follows.
POOL: Final = "pool"
POOL_REV: Final = "pool_rev"

_IDS: Final = uuid.UUID("d2f3a6b1-53b0-4c9e-8a1e-6f3f6bb0a6c2")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NETWORK: Final = "network/"


class PoolSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A pool as an operator describes it: what it has, and which aggregates of hosts may use it."""

    aggregates: tuple[str, ...]
    inventories: dict[str, Inventory]
    cell: str = ""
    traits: tuple[str, ...] = ()


class NetworkSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A network's addresses in one cell. ``gateway`` and ``reserved`` are never given out."""

    cidr: str
    cell: str = ""
    gateway: str = ""
    reserved: tuple[str, ...] = ()


class PoolView(Struct, frozen=True, omit_defaults=True):
    """A pool and what is left of it: {class: (free, capacity)}."""

    name: str
    id: str
    cell: str
    aggregates: tuple[str, ...]
    inventories: dict[str, Inventory]
    traits: tuple[str, ...]
    free: dict[str, int]


class NetworkView(Struct, frozen=True, omit_defaults=True):
    """A network in a cell: addresses it has, and those that no host holds."""

    name: str
    id: str
    cell: str
    trait: str
    total: int
    free: int


def pool_id(cell: str, name: str) -> str:
    """The row of the pool called ``name``: the same for the same name in the same cell, for ever."""
    return str(uuid.uuid5(_IDS, f"{cell}/{name}"))


def network_id(cell: str, network: str) -> str:
    """The row of the addresses of ``network`` in ``cell``."""
    return pool_id(cell, _NETWORK + network)


def row_name(network: str) -> str:
    """The name that the pool row of ``network`` has."""
    return _NETWORK + network


def slice_key(network: str) -> str:
    """The key of the provider that holds a host's slice of ``network``."""
    return SLICE_PREFIX + network


def slice_slot(network: str) -> str:
    return records.slot(slice_key(network), ADDRESS)


def slice_record(
    host: str, network: str, pool: str, pool_rev: int, addresses: tuple[str, ...]
) -> Record:
    """The provider of a slice that follows its pool as of ``pool_rev``."""
    slot = slice_slot(network)
    return Record(
        id=str(uuid.uuid5(_IDS, f"{host}/{network}")),
        provider=host,
        amounts={slot: len(addresses)},
        key=slice_key(network),
        inventories={slot: Inventory(total=len(addresses), max_unit=1, units=addresses)},
        traits=(network_trait(network),),
        data={POOL: pool, POOL_REV: str(pool_rev)},
    )


def slice_of(row: HostRow, network: str) -> Record | None:
    """The host's slice of ``network``."""
    key = slice_key(network)
    return next((r for r in row.records if r.is_slice and r.key == key), None)


def slice_rev(record: Record) -> int:
    """The pool's revision that a slice follows."""
    return int(record.data.get(POOL_REV, "0"))


def addresses_of(row: HostRow, network: str) -> frozenset[str]:
    """All addresses of the host's slice."""
    held = slice_of(row, network)
    return frozenset(held.inventories[slice_slot(network)].units) if held else frozenset()


def in_use(row: HostRow, network: str) -> frozenset[str]:
    """Addresses of the slice that claims of the host have."""
    taken = records.units_taken(row.records).get(slice_slot(network), {})
    return frozenset(address for address, amount in taken.items() if amount)


def check_name(name: str, what: str) -> str:
    """``name`` itself if a pool or a network may be called so; raises InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be the name of a {what}.",
            remedy="Use lower-case letters, digits and hyphens, at most 40.",
            field="name",
        )
    return name


def pool_inventories(spec: PoolSpec) -> dict[str, Inventory]:
    """What the pool has, checked; raises InvalidInput."""
    if not 1 <= len(spec.inventories) <= POOL_CLASSES_MAX:
        raise InvalidInput(
            f"The pool has {len(spec.inventories)} resource classes.",
            remedy=f"Give 1 to {POOL_CLASSES_MAX}.",
            field="inventories",
        )
    if not 1 <= len(spec.aggregates) <= reports.AGGREGATES_MAX:
        raise InvalidInput(
            f"The pool is in {len(spec.aggregates)} aggregates.",
            remedy=f"Name 1 to {reports.AGGREGATES_MAX}: its hosts are those in one of them.",
            field="aggregates",
        )
    if text := reports.traits_problem(spec.traits):
        raise InvalidInput(f"The pool cannot be used: {text}.", field="traits")
    for name, inventory in spec.inventories.items():
        if text := reports.inventory_problem(name, inventory):
            raise InvalidInput(f"The pool cannot be used: {text}.", field=f"inventories.{name}")
    return dict(spec.inventories)


def network_inventory(spec: NetworkSpec) -> Inventory:
    """The addresses that can be given out, as units; raises InvalidInput."""
    try:
        network = ipaddress.IPv4Network(spec.cidr)
    except ValueError as error:
        raise InvalidInput(
            f"{spec.cidr!r} is no network: {error}.",
            remedy="Write it as 10.1.2.0/24.",
            field="cidr",
        ) from None
    if network.num_addresses > ADDRESSES_MAX:
        raise InvalidInput(
            f"{spec.cidr} has {network.num_addresses} addresses.",
            remedy=f"Use at most {ADDRESSES_MAX} (a /20); several networks may be defined.",
            field="cidr",
        )
    kept = {_address(spec.gateway, network, "gateway")} if spec.gateway else set()
    kept |= {_address(text, network, "reserved") for text in spec.reserved}
    units = tuple(str(a) for a in network.hosts() if a not in kept)
    if not units:
        raise InvalidInput(
            f"No address of {spec.cidr} is left to give out.",
            remedy="Use a larger network or reserve less.",
            field="cidr",
        )
    return Inventory(total=len(units), units=units)


def _address(text: str, network: ipaddress.IPv4Network, field: str) -> ipaddress.IPv4Address:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        address = None
    if address is None or address not in network:
        raise InvalidInput(
            f"{text!r} is no address of {network}.", remedy="Name one of its own.", field=field
        )
    return address


def network_view(view: HostView) -> NetworkView:
    name = view.name.removeprefix(_NETWORK)
    free, total = view.totals().get(ADDRESS, (0, 0))
    return NetworkView(name, view.host, view.cell, network_trait(name), total, free)


def pool_view(view: HostView) -> PoolView:
    return PoolView(
        name=view.name,
        id=view.host,
        cell=view.cell,
        aggregates=view.aggregates,
        inventories=view.offered,
        traits=tuple(sorted(view.traits)),
        free=view.free,
    )
