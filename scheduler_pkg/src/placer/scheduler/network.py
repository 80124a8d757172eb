"""Slices of address pools: refilled, levelled, given back, repaired. One object per cell.

A host whose slice has a free address is claimed with it by one transaction; the slice is brought
back to ``network_slice`` free addresses after the answer. The steps and why no address is ever on
two hosts: ``claims/slices.py``. Each call is safe to repeat and to lose at any step; the next one
for the same host ends what was begun, by this process or another.
"""

from __future__ import annotations

from typing import Final

import structlog

from placer import failpoints
from placer.claims import slices
from placer.claims.operations import Operation, Refusal
from placer.claims.protocol import HostWriter
from placer.errors import Conflict, PlacerError
from placer.model import ids, networks
from placer.model.records import ClaimState, HostRow
from placer.model.resource_classes import ADDRESS
from placer.scheduler.single_flight import SingleFlight
from placer.settings import Scheduler
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

NETWORK_UNKNOWN: Final = "network_unknown"
#: Rounds of one refill: each but the last lost to somebody else who moved the pool's row.
_ROUNDS_MAX: Final = 8
#: A slice with more than this many times its size free gives the surplus back.
_SURPLUS: Final = 2


class Slices:
    """The slices of one cell's hosts. ``deadline_s`` bounds one write."""

    def __init__(
        self, store: CellStore, writer: HostWriter, settings: Scheduler, deadline_s: float
    ) -> None:
        self._store = store
        self._writer = writer
        self._size = settings.network_slice
        self._donors_max = settings.network_donors_max
        self._deadline_s = deadline_s
        # One refill a host and network at a time in this process: the rest wait for the same.
        self._refills: SingleFlight[tuple[str, str, int], HostRow | Refusal] = SingleFlight()

    async def refill(self, host: str, network: str, wanted: int = 1) -> HostRow | Refusal:
        """The host's row with ``wanted`` free addresses in its slice of ``network``, if it can be.

        Repairs first what an interrupted refill left, and gives back what is too much. Where fewer
        can be had the row has these; where none, the answer says why. Raises Conflict or StoreError
        when it could not be done now: nothing is lost, call again.
        """
        return await self._refills.join(
            (host, network, wanted), lambda: self._refill(host, network, wanted)
        )

    async def _refill(self, host: str, network: str, wanted: int) -> HostRow | Refusal:
        """Take, then follow. Rounds end early: only a pool that others moved asks for another."""
        pool_row = networks.network_id(self._store.cell, network)
        target = max(self._size, wanted)
        asked_others = False
        for _ in range(_ROUNDS_MAX):
            pool = await self._store.read_row(pool_row)
            if pool is None:
                return Refusal(NETWORK_UNKNOWN)
            row = await self._store.read_row(host)
            if row is None:
                return Refusal("host_unknown")
            if not _in_step(pool, row, network):
                row = await self._settle(host, network, pool)
            free = len(_free(row, network))
            if free > _SURPLUS * target:
                return await self._give_back(host, network, keep=target)
            if free >= wanted and (2 * free > self._size or asked_others):
                return row
            taken = await self._take(host, pool, target - free)
            if isinstance(taken, HostRow):
                failpoints.reach("network.taken")
                row = await self._settle(host, network, taken)
                if len(_free(row, network)) >= wanted:
                    return row
            elif taken.reason == slices.NO_ADDRESS and free < wanted and not asked_others:
                asked_others = True
                await self._ask_others(host, network, pool, wanted - free)
            elif taken.reason != slices.SLICE_MOVED:
                return row if free else taken
        raise Conflict(f"The addresses of network {network} are contended.", remedy="Ask again.")

    async def _take(self, host: str, pool: HostRow, count: int) -> HostRow | Refusal:
        """Claim up to ``count`` addresses on the pool; an attempt of unknown fate is seen later."""
        operation = slices.TakeAddresses(
            claim=ids.new_claim_id(self._store.cell, pool.host),
            host=host,
            count=count,
            seen=frozenset(claim.id for claim in slices.claims_of(pool, host)),
        )
        try:
            return await self._submit(pool.host, operation, seed=pool)
        except Conflict:
            return Refusal(slices.SLICE_MOVED)

    async def _settle(self, host: str, network: str, pool: HostRow) -> HostRow:
        """Have the slice follow ``pool``, then end the returns that were begun for this host."""
        claims = slices.claims_of(pool, host)
        operation = slices.SetSlice(
            host=host,
            network=network,
            pool=pool.host,
            pool_rev=pool.rev,
            addresses=slices.addresses(claims, ClaimState.BUILT),
        )
        row = await self._write(host, operation)
        held = networks.addresses_of(row, network)
        for claim in claims:
            if claim.state is ClaimState.DELETING:
                kept = tuple(sorted(held.intersection(claim.units[ADDRESS])))
                successor = ids.new_claim_id(self._store.cell, pool.host)
                await self._write(pool.host, slices.FinishReturn(claim.id, successor, kept))
        return row

    async def _give_back(self, host: str, network: str, *, keep: int) -> HostRow:
        """Return claims whose addresses are free, but for ``keep`` addresses."""
        pool = await self._read(networks.network_id(self._store.cell, network))
        row = await self._read(host)
        free, marked = _free(row, network), set()
        left = len(free)
        for claim in slices.claims_of(pool, host):
            unused = free.intersection(claim.units[ADDRESS])
            if unused and left - len(unused) >= keep:
                marked.add(claim.id)
                left -= len(unused)
        if not marked:
            return row
        changed = await self._write(pool.host, slices.MarkReturning(frozenset(marked)))
        failpoints.reach("network.returning")
        return await self._settle(host, network, changed)

    async def _ask_others(self, host: str, network: str, pool: HostRow, needed: int) -> None:
        """The pool is empty: have hosts that hold many addresses return those they do not use.

        What a refill that died left to a donor is brought to its slice first, so none stays lost.
        """
        holds: dict[str, int] = {}
        for claim in pool.claims:
            if claim.consumer != host:
                holds[claim.consumer] = holds.get(claim.consumer, 0) + len(claim.units[ADDRESS])
        donors = sorted(holds, key=lambda donor: (-holds[donor], donor))
        for donor in donors[: self._donors_max]:
            row = await self._store.read_row(donor)
            if row is None:
                continue
            try:
                if not _in_step(pool, row, network):
                    row = await self._settle(donor, network, pool)
                needed -= len(_free(row, network))
                if _free(row, network):
                    await self._give_back(donor, network, keep=0)
            except PlacerError as error:
                # Its return is marked or not; whoever refills this donor ends it.
                log.info("slice_not_returned", host=donor, network=network, why=str(error))
            if needed <= 0:
                return

    async def _read(self, key: str) -> HostRow:
        row = await self._store.read_row(key)
        if row is None:
            raise Conflict(f"The row {key} is not there any more.", remedy="Ask again.")
        return row

    async def _submit(
        self, key: str, operation: Operation, *, seed: HostRow | None = None
    ) -> HostRow | Refusal:
        return await self._writer.submit(key, operation, deadline_s=self._deadline_s, seed=seed)

    async def _write(self, key: str, operation: Operation) -> HostRow:
        """Submit an operation that no row in its right state refuses."""
        result = await self._submit(key, operation)
        if isinstance(result, Refusal):
            raise Conflict(f"Row {key} refused {operation}: {result.reason}.")
        return result


def _free(row: HostRow, network: str) -> frozenset[str]:
    return networks.addresses_of(row, network) - networks.in_use(row, network)


def _in_step(pool: HostRow, row: HostRow, network: str) -> bool:
    """Whether nothing that was begun for this host is unfinished. Stale rows may say no: harmless."""
    claims = slices.claims_of(pool, row.host)
    if any(claim.state is not ClaimState.BUILT for claim in claims):
        return False
    return networks.addresses_of(row, network) == set(slices.addresses(claims, ClaimState.BUILT))
