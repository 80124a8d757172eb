"""``placer check``: prove the invariants from the histories of all processes and the store."""

from __future__ import annotations

import asyncio
import gc
import itertools
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from placer import settings as config
from placer.checker import files, final, jepsen
from placer.checker.core import check, open_outcomes
from placer.checker.verdict import Passed, Verdict
from placer.cli.exits import Ended, Exit
from placer.errors import InvalidInput
from placer.history import Event

#: Exit codes beside 0 (proved) and 2 (bad input).
EXIT_VIOLATED: Final = 1
EXIT_INCOMPLETE: Final = 3

_JEPSEN: Final = "jepsen"

#: Times of ``writeset_timeout_s`` after which recovery must have decided a write set.
_SETS_DECIDED_WITHIN: Final = 4


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
    expect: Annotated[
        list[str] | None,
        typer.Option(help="A process that must have left a history; once for each."),
    ] = None,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            help="Also write what clients did for other checkers: jepsen FILE.",
            metavar="jepsen FILE",
        ),
    ] = None,
) -> None:
    """Check every host's history, revision by revision, against its row in the store.

    Exits 0 if all is proved, 1 if a guarantee was broken, 3 if not all could be proved: a history
    has a hole, is damaged or is missing, or an outcome is open.
    """
    configured = config.load(settings)
    own = [configured.history.dir] if configured.history.dir else []
    directories = history or own
    if export is not None and export[0] != _JEPSEN:
        raise InvalidInput(
            f"Histories cannot be exported as {export[0]!r}.", remedy=f"Use {_JEPSEN}."
        )
    files.find(directories)
    # Millions of small values that form no cycles: the collector would only walk them over and over.
    gc.disable()
    try:
        seen, loaded = asyncio.run(_read(configured, directories, settle_s, deadline_s))
    except TimeoutError:
        raise Ended(
            Exit.UNAVAILABLE,
            f"The rows of all cells were not read in {deadline_s:g} s.",
            remedy="See whether every cell answers, or allow more with --deadline-s.",
        ) from None
    cells = {cell.name: cell.region for cell in configured.cluster.cells}
    absent = files.missing(loaded.opened, seen.services, list(cells), expect or [])
    loaded.counts.missing = len(absent)
    if export is not None:
        _export(export[1], loaded.events, loaded.later)
    verdict = check(
        loaded.events,
        seen.rows,
        regions=cells,
        rows_read_us=seen.began_us,
        clock_error_us=int(clock_error_ms * 1000),
        later=loaded.later,
        damage=[*loaded.damage, *absent],
        files=loaded.counts,
        settled=seen.settled,
        open_set_us=int(configured.cluster.writeset_timeout_s * _SETS_DECIDED_WITHIN * 1e6),
    )
    _write(out, verdict)
    _tell(verdict)
    if verdict.verdict is not Passed.PASSED:
        violated = verdict.verdict is Passed.VIOLATED
        raise typer.Exit(EXIT_VIOLATED if violated else EXIT_INCOMPLETE)


async def _read(
    configured: config.Settings, directories: list[Path], settle_s: float, deadline_s: float
) -> tuple[final.Seen, files.Loaded]:
    """The rows in the end, and the histories; read anew where rows had to be settled in between."""
    async with asyncio.timeout(deadline_s):
        seen = await final.read(configured, directories, settle_s)
        loaded = files.load(files.find(directories), seen.sizes)
        if open_ := open_outcomes(loaded.events, loaded.later, seen.rows):
            await final.settle(configured, seen, open_)
            loaded = files.load(files.find(directories), seen.sizes)
        return seen, loaded


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


def _export(path: Path, events: list[Event], later: list[Event]) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            jepsen.write(file, itertools.chain(events, later))
    except OSError as error:
        raise InvalidInput(
            f"Cannot write {path}: {error.strerror}.",
            remedy="Name another file with --export, in a folder that may be written to.",
        ) from error


def _tell(verdict: Verdict) -> None:
    """The counts, and the shortest story of each sort: the one to read first."""
    claims, clients, histories = verdict.claims, verdict.clients, verdict.files
    typer.echo(
        f"{verdict.verdict}: {verdict.double_bookings} double bookings, "
        f"{verdict.violations_total} violations, {verdict.incomplete_total} incomplete "
        f"({verdict.hosts_incomplete} hosts); "
        f"{verdict.revisions_checked} revisions of {verdict.hosts_checked} hosts; "
        f"{claims.acknowledged} claims acknowledged: {claims.built} built, {claims.pending} "
        f"pending, {claims.released} released, {claims.expired} expired, {claims.lost} lost",
        err=True,
    )
    typer.echo(
        f"{clients.operations} operations of clients: {clients.ok} ok, {clients.refused} refused, "
        f"{clients.unknown} unknown (claims among them: {clients.happened} happened, "
        f"{clients.nothing} did not, {clients.unresolved + clients.undecided} open); "
        f"{histories.files} files with {histories.lines} lines: {histories.closed} closed, "
        f"{histories.torn} torn, {histories.damaged} damaged, {histories.missing} missing; "
        f"{verdict.seconds:g} s",
        err=True,
    )
    if verdict.violations:
        typer.echo(min((v.story for v in verdict.violations), key=len), err=True)
    if verdict.incomplete:
        typer.echo(min((i.story for i in verdict.incomplete), key=len), err=True)
