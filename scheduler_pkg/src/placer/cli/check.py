"""``placer check``: prove the invariants from the histories of all processes and the store."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from placer import settings as config
from placer.checker import files
from placer.checker.core import FinalRow, check
from placer.checker.verdict import Passed, Verdict
from placer.errors import InvalidInput, PlacerError
from placer.history import Event, now_us
from placer.model.records import ClaimState

#: Exit codes beside 0 (proved) and 2 (bad input).
EXIT_VIOLATED: Final = 1
EXIT_INCOMPLETE: Final = 3

_SETTLE_EVERY_S: Final = 1.0
_UNFINISHED: Final = frozenset({ClaimState.CLAIMED, ClaimState.BUILDING})


def command(
    settings: Annotated[Path, typer.Option(help="Settings file of this process.")],
    out: Annotated[Path, typer.Option(help="Where to write the verdict as JSON.")],
    history: Annotated[
        list[Path] | None,
        typer.Option(help="Directory of histories; once for each (default: history.dir)."),
    ] = None,
    clock_error_ms: Annotated[
        float, typer.Option(help="How far two processes' clocks may differ.", min=0.0)
    ] = 10.0,
    settle_s: Annotated[
        float, typer.Option(help="Wait this long for claims that are still being built.", min=0.0)
    ] = 30.0,
    deadline_s: Annotated[
        float, typer.Option(help="Give up reading the store after this long.", min=1.0)
    ] = 300.0,
) -> None:
    """Check every host's history, revision by revision, against its row in the store.

    Exits 0 if all is proved, 1 if a guarantee was broken, 3 if histories have holes.
    """
    configured = config.load(settings)
    own = [configured.history.dir] if configured.history.dir else []
    paths = files.find(history or own)
    try:
        rows_read_us, rows = asyncio.run(_rows(configured, settle_s, deadline_s))
    except TimeoutError:
        raise PlacerError(
            f"The rows of all cells were not read in {deadline_s:g} s.",
            remedy="See whether every cell answers, or allow more with --deadline-s.",
        ) from None
    # Millions of small values that form no cycles: the collector would only walk them over and over.
    gc.disable()
    events, torn = _events(paths)
    verdict = check(
        events,
        rows,
        regions={cell.name: cell.region for cell in configured.cluster.cells},
        rows_read_us=rows_read_us,
        clock_error_us=int(clock_error_ms * 1000),
        torn_lines=torn,
    )
    _write(out, verdict)
    _tell(verdict)
    if verdict.verdict is not Passed.PASSED:
        violated = verdict.verdict is Passed.VIOLATED
        raise typer.Exit(EXIT_VIOLATED if violated else EXIT_INCOMPLETE)


async def _rows(
    configured: config.Settings, settle_s: float, deadline_s: float
) -> tuple[int, list[FinalRow]]:
    """When the last reading began, and all host rows of all cells.

    Read before the histories: what those tell later is younger. Read again, for at most
    ``settle_s``, while claims are on their way to being built.
    """
    from placer.store import open_cells  # the driver is slow to import: only when needed

    settled_by = time.monotonic() + settle_s
    async with asyncio.timeout(deadline_s):
        stores = await open_cells(configured)
        try:
            while True:
                began_us = now_us()
                rows = [
                    FinalRow(cell=cell.name, row=row)
                    for cell in configured.cluster.cells
                    async for row in (await stores.cell(cell.name)).scan_rows()
                ]
                if time.monotonic() >= settled_by or not any(map(_on_the_way, rows)):
                    return began_us, rows
                await asyncio.sleep(_SETTLE_EVERY_S)
        finally:
            await stores.close()


def _on_the_way(final: FinalRow) -> bool:
    """Whether an agent still has work with a claim of this host."""
    return any(claim.state in _UNFINISHED for claim in final.row.claims)


def _events(paths: list[Path]) -> tuple[list[Event], int]:
    events: list[Event] = []
    torn = 0
    for path in paths:
        found, broken = files.read(path)
        events.extend(found)
        torn += broken
    return events, torn


def _write(out: Path, verdict: Verdict) -> None:
    part = out.with_name(out.name + ".part")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(verdict), indent=1) + b"\n")
        part.replace(out)
    except OSError as error:
        raise InvalidInput(
            f"Cannot write {out}: {error.strerror}.",
            remedy="Name another file with --out, in a folder that is there and may be written to.",
        ) from error


def _tell(verdict: Verdict) -> None:
    """A line, and the shortest story of each sort: the one to read first."""
    claims = verdict.claims
    typer.echo(
        f"{verdict.verdict}: {verdict.double_bookings} double bookings, "
        f"{verdict.violations_total} violations, {verdict.hosts_incomplete} hosts incomplete; "
        f"{verdict.revisions_checked} revisions of {verdict.hosts_checked} hosts; "
        f"{claims.acknowledged} claims acknowledged: {claims.built} built, {claims.pending} "
        f"pending, {claims.released} released, {claims.expired} expired",
        err=True,
    )
    if verdict.violations:
        typer.echo(min((v.story for v in verdict.violations), key=len), err=True)
    if verdict.incomplete:
        typer.echo(min((i.story for i in verdict.incomplete), key=len), err=True)
