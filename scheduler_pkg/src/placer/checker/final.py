"""What the store says in the end: every row of every cell, and the processes that the name service knows.

The histories' sizes are taken first: whatever is in them by then was done before the reading began, and
what they tell later is younger, whatever any clock says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from placer import settings as config
from placer.checker import files
from placer.checker.core import FinalRow
from placer.history import now_us
from placer.model.records import ClaimState, HostRow
from placer.model.service import Service

SETTLE_EVERY_S: Final = 1.0

#: Rows that are read serially at once.
SERIAL_AT_ONCE: Final = 16

#: After this long no node goes on with a transaction that it was sent: more than any of its timeouts.
IN_FLIGHT_S: Final = 10.0

_UNFINISHED: Final = frozenset({ClaimState.CLAIMED, ClaimState.BUILDING})


class Seen(Struct):
    """What was read, and when: the histories had these ``sizes`` before.

    ``settled`` are {host: revision} of rows that were read serially after that.
    """

    began_us: int
    sizes: dict[Path, int]
    rows: list[FinalRow]
    services: list[Service]
    settled: dict[str, int] = {}


async def read(configured: config.Settings, directories: Sequence[Path], settle_s: float) -> Seen:
    """Read all; again, for at most ``settle_s``, while claims are on their way to being built, or
    write sets to being decided. Raises StoreError."""
    from placer.store import open_cells  # the driver is slow to import: only when needed

    settled_by = time.monotonic() + settle_s
    stores = await open_cells(configured)
    try:
        services = await stores.services.all()
        while True:
            began_us, sizes = now_us(), files.sizes(files.find(directories))
            rows = [
                FinalRow(cell=cell.name, row=row)
                for cell in configured.cluster.cells
                async for row in (await stores.cell(cell.name)).scan_rows()
            ]
            if time.monotonic() >= settled_by or not any(map(_on_the_way, rows)):
                return Seen(began_us, sizes, rows, services)
            await asyncio.sleep(SETTLE_EVERY_S)
    finally:
        await stores.close()


async def settle(configured: config.Settings, seen: Seen, open_: Mapping[str, int]) -> None:
    """Learn what became of writes that found their rows' last revision and never had an answer.

    ``open_``: when the last of them was sent, by host, in microseconds. No node goes on with them by
    then; a serial read finishes what a replica had accepted, or has it refused from there on. Then the
    row shows the write, or the write is dead: unless its process was stopped before it sent it, and
    goes on when this is over. Rows are replaced in ``seen``. Raises StoreError.
    """
    from placer.store import open_cells

    wait_s = max(open_.values()) / 1e6 + IN_FLIGHT_S - now_us() / 1e6
    await asyncio.sleep(min(max(wait_s, 0.0), IN_FLIGHT_S))
    stores = await open_cells(configured)
    turns = asyncio.Semaphore(SERIAL_AT_ONCE)

    async def serially(final: FinalRow) -> HostRow | None:
        async with turns:
            store = await stores.cell(final.cell)
            return await store.read_row(final.row.host, serial=True)

    try:
        chosen = [n for n, final in enumerate(seen.rows) if final.row.host in open_]
        found = await asyncio.gather(*(serially(seen.rows[n]) for n in chosen))
    finally:
        await stores.close()
    for number, row in zip(chosen, found, strict=True):
        if row is not None:
            seen.rows[number] = FinalRow(seen.rows[number].cell, row)
            seen.settled[row.host] = row.rev


def _on_the_way(final: FinalRow) -> bool:
    """Whether somebody still has work with a claim of this host."""
    return any(claim.tag or claim.state in _UNFINISHED for claim in final.row.claims)
