"""Changes of pool rows, and of the slices of address pools that hosts hold.

The pool's claims say which host holds which addresses; the slice on the host follows them. What must
never happen is one address on two hosts: a claim may leave the pool only when no slice has its
addresses and none can get them any more. The naive way, "take them out of the slice, then out of the
pool", fails when somebody who read the pool earlier writes the slice in between: the address is
back on the host and free in the pool. Hence:

1. A slice remembers the pool's revision that it follows. A revision stands for one content of the
   pool, so ``SetSlice`` of an older revision changes nothing (a late writer is harmless).
2. A return marks the pool's claim first (``built`` -> ``deleting``), at revision m. A slice that
   follows m or later takes no address of that claim in again; it keeps those that instances have.
3. Only a host row that follows m or later says which of the claim's addresses are still there. The
   claim is then replaced by one of a new id for just these, or by none. What the row said can only
   shrink meanwhile, because of 2.

A crash between any two of these leaves work for the next refill of the same host and nothing else:
it brings the slice to what the pool says, and ends the returns that were begun.
"""

from __future__ import annotations

import msgspec

from placer.claims.operations import Change, Refusal, swap, with_records, without
from placer.model import networks, records
from placer.model.records import ClaimState, HostRow, HostStatus, Record
from placer.model.resource_classes import ADDRESS

#: The host's claims on the pool are not those that the caller decided by; read again.
SLICE_MOVED = "slice_moved"
NO_ADDRESS = f"{ADDRESS}:no_capacity"


def claims_of(pool: HostRow, host: str) -> tuple[Record, ...]:
    """The pool's claims for the slice of ``host``."""
    return tuple(record for record in pool.claims if record.consumer == host)


def addresses(claims: tuple[Record, ...], *states: ClaimState) -> tuple[str, ...]:
    """Addresses of those claims that are in one of ``states``."""
    return tuple(
        sorted(a for claim in claims if claim.state in states for a in claim.units[ADDRESS])
    )


class TakeAddresses(Change, frozen=True):
    """On the pool: give up to ``count`` free addresses to the slice of ``host``.

    Refused when the host's claims are not ``seen``: two refillers of one host take once.
    """

    claim: str
    host: str
    count: int
    seen: frozenset[str]

    @property
    def retry_after_unknown(self) -> bool:
        return False

    def done(self, row: HostRow) -> bool:
        return row.find(self.claim) is not None

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        if row.status is not HostStatus.UP:
            return Refusal(f"pool_{row.status}")
        if {claim.id for claim in claims_of(row, self.host)} != self.seen:
            return Refusal(SLICE_MOVED)
        offered = records.inventories(row.records)[ADDRESS].units
        taken = records.units_taken(row.records).get(ADDRESS, {})
        given = [unit for unit in offered if not taken.get(unit)][: self.count]
        if not given:
            return Refusal(NO_ADDRESS)
        record = _claim(self.claim, row, self.host, tuple(given), now_ms)
        return with_records(row, (*row.records, record))


class SetSlice(Change, frozen=True):
    """On the host: have its slice follow the pool as of ``pool_rev``.

    ``addresses`` are the pool's ``built`` claims for this host at that revision. Addresses that
    instances have stay in the slice in any case.
    """

    host: str
    network: str
    pool: str
    pool_rev: int
    addresses: tuple[str, ...]

    def done(self, row: HostRow) -> bool:
        held = networks.slice_of(row, self.network)
        return held is not None and networks.slice_rev(held) >= self.pool_rev

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        held = networks.slice_of(row, self.network)
        wanted = set(self.addresses) | networks.in_use(row, self.network)
        record = networks.slice_record(
            self.host, self.network, self.pool, self.pool_rev, tuple(sorted(wanted))
        )
        if held is None:
            return with_records(row, (*row.records, record))
        return swap(row, record)


class MarkReturning(Change, frozen=True):
    """On the pool: these claims are about to be given back, as far as no instance needs them."""

    claims: frozenset[str]

    def _open(self, row: HostRow) -> bool:
        return any(r.id in self.claims and r.state is ClaimState.BUILT for r in row.claims)

    def done(self, row: HostRow) -> bool:
        return not self._open(row)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        marked = tuple(
            msgspec.structs.replace(r, state=ClaimState.DELETING) if r.id in self.claims else r
            for r in row.records
        )
        return with_records(row, marked)


class FinishReturn(Change, frozen=True):
    """On the pool: replace a marked claim by one for the addresses that stay, if any do.

    ``kept`` must come from a host row whose slice follows the mark (the module's third rule). Once
    this is applied the claim is absent for ever, and with it the reason to apply it again.
    """

    claim: str
    successor: str
    kept: tuple[str, ...]

    def done(self, row: HostRow) -> bool:
        return row.find(self.claim) is None

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        claim = row.find(self.claim)
        if claim is None:
            return row
        if claim.state is not ClaimState.DELETING:
            return Refusal(f"claim_{claim.state}")
        rest = without(row, self.claim)
        if not self.kept:
            return rest
        stays = _claim(self.successor, row, claim.consumer, self.kept, now_ms)
        return with_records(rest, (*rest.records, stays))


def _claim(claim: str, pool: HostRow, host: str, given: tuple[str, ...], now_ms: int) -> Record:
    """A claim on the pool for the slice of ``host``. It has no lease: its host never dies for good."""
    return Record(
        id=claim,
        provider=pool.host,
        amounts={ADDRESS: -len(given)},
        consumer=host,
        state=ClaimState.BUILT,
        created_ms=now_ms,
        units={ADDRESS: dict.fromkeys(given, 1)},
    )
