"""``placer replay``: post a workload to the APIs of all regions at once and measure."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from placer.errors import InvalidInput, PlacerError
from placer.history import ClientHistory
from placer.replay import plan, traces
from placer.replay.client import connect
from placer.replay.outcome import Result, tally
from placer.replay.runner import BURST, CONTENDERS_PER_REGION, Progress, Run, Workload
from placer.replay.traces import OnBadLine
from placer.settings import read_secret

CONCURRENCY_MAX: Final = 1024

#: Seconds between two lines of progress where there is no terminal.
_LINE_EVERY_S: Final = 5.0


def command(
    target: Annotated[
        list[str], typer.Option(help="CELL=URL of a cell's API; once for each cell.")
    ],
    token_file: Annotated[Path, typer.Option(help="File that holds the API's token.")],
    out: Annotated[Path, typer.Option(help="Where to write the result as JSON.")],
    requests: Annotated[
        int | None,
        typer.Option(help="Requests to post (default: 3,000, or all of a trace).", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same requests.")] = 1,
    concurrency: Annotated[
        int, typer.Option(help="Clients in all.", min=1, max=CONCURRENCY_MAX)
    ] = 8,
    trace: Annotated[
        str, typer.Option(help="openb (HOSTS.csv PODS.csv) or azure (VMS.csv), files after it.")
    ] = "",
    files: Annotated[
        list[Path] | None, typer.Argument(help="The trace's files.", show_default=False)
    ] = None,
    on_bad_line: Annotated[
        OnBadLine, typer.Option(help="Stop before anything is posted, or skip such lines.")
    ] = OnBadLine.STOP,
    special: Annotated[
        bool, typer.Option(help="Also run the burst on one host and the race for a last unit.")
    ] = True,
    hosts_min: Annotated[int, typer.Option(help="Wait until this many hosts are up.", min=1)] = 1,
    deadline_s: Annotated[
        float, typer.Option(help="Give up after this many seconds.", min=1.0)
    ] = 900.0,
    history: Annotated[
        Path | None,
        typer.Option(help="Directory for what was asked and answered, for placer check."),
    ] = None,
) -> None:
    """Post requests to all regions at once, in a closed loop, and write what became of them.

    The built-in workload is drawn from published shapes of a production GPU cluster. A few requests
    come first as a warm-up and are reported apart.
    """
    targets = _targets(target)
    workload = _workload(
        sorted(targets), requests, seed, concurrency, trace, files or [], on_bad_line
    )
    workload = msgspec.structs.replace(workload, special=special, hosts_min=hosts_min)
    token = read_secret(token_file)
    _writable(out)
    progress = Progress()
    connections = concurrency + max(BURST, CONTENDERS_PER_REGION * len(targets))
    recorded = _history(history)
    apis = [connect(cell, url, token, connections, recorded) for cell, url in targets.items()]
    run = Run(apis, workload, progress)
    try:
        result = asyncio.run(_shown(run, progress, deadline_s))
    except KeyboardInterrupt:
        _say(f"Interrupted. {_summary(run)} Nothing was written to {out}.")
        raise typer.Exit(130) from None
    except TimeoutError:
        raise PlacerError(
            f"The replay was not done after {deadline_s:g} s. {_summary(run)}",
            remedy="Allow more with --deadline-s, or ask for fewer --requests.",
        ) from None
    finally:
        recorded.close()
    _write(out, result)
    _say(_closing(result))
    if result.race and result.race.winners > 1:
        raise PlacerError(
            f"{result.race.winners} requests won the last unit of {result.race.host}.",
            remedy="This is a double booking: keep the histories and run placer check.",
        )


def _history(directory: Path | None) -> ClientHistory:
    """The history of this process, under a name that no other has; none without a directory."""
    try:
        return ClientHistory(directory, f"replay-{secrets.token_hex(4)}")
    except OSError as error:
        raise InvalidInput(
            f"No history can be written in {directory}: {error.strerror}.",
            remedy="Name another directory with --history.",
        ) from error


def _targets(options: list[str]) -> dict[str, str]:
    """URL by cell; raises InvalidInput."""
    targets: dict[str, str] = {}
    for option in options:
        cell, equals, url = option.partition("=")
        if not (cell and equals and url.startswith(("http://", "https://"))):
            raise InvalidInput(
                f"The target {option!r} cannot be used.",
                remedy="Give it as --target CELL=http://HOST:PORT.",
            )
        if cell in targets:
            raise InvalidInput(f"Cell {cell} is given two targets.", remedy="Give one a cell.")
        targets[cell] = url
    return targets


def _workload(
    cells: list[str],
    requests: int | None,
    seed: int,
    concurrency: int,
    trace: str,
    files: list[Path],
    on_bad_line: OnBadLine,
) -> Workload:
    """The requests to post. A trace is read to its end before anything is posted."""
    if not trace:
        if files:
            raise InvalidInput(
                f"{files[0]} is given without a trace.", remedy="Name it: --trace openb or azure."
            )
        planned = plan.requests(cells, requests or plan.REQUESTS_DEFAULT, seed)
        return Workload(name="built-in", seed=seed, concurrency=concurrency, requests=planned)
    parsed = traces.read(trace, files, on_bad_line)
    for line in parsed.told:
        _say(f"skipped: {line}")
    if parsed.skipped:
        _say(f"{parsed.skipped} lines were skipped.")
    planned = plan.requests(
        cells,
        requests or len(parsed.requests),
        seed,
        shapes=parsed.requests,
        **({"hosts": parsed.hosts} if parsed.hosts else {}),
    )
    return Workload(
        name=trace,
        seed=seed,
        concurrency=concurrency,
        requests=planned,
        lines_skipped=parsed.skipped,
    )


async def _shown(run: Run, progress: Progress, deadline_s: float) -> Result:
    """The run, with its progress on stderr: a bar on a terminal, else a line now and then."""
    async with asyncio.timeout(deadline_s):
        showing = asyncio.create_task(_bar(progress) if sys.stderr.isatty() else _lines(progress))
        try:
            return await run.run()
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


async def _lines(progress: Progress) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        _say(f"{time.monotonic() - started:4.0f} s  {_where(progress)}")


async def _bar(progress: Progress) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(progress.phase, total=None)
        try:
            while True:
                bar.update(
                    task,
                    description=f"{progress.phase}: {progress.placed} placed, "
                    f"{progress.refused} refused, {progress.errors} errors",
                    completed=progress.done,
                    total=progress.total or None,
                )
                await asyncio.sleep(0.2)
        finally:
            bar.update(task, completed=progress.done, total=progress.total or None)


def _where(progress: Progress) -> str:
    return (
        f"{progress.phase}: {progress.done}/{progress.total}; so far {progress.placed} placed, "
        f"{progress.refused} refused, {progress.errors} errors"
    )


def _summary(run: Run) -> str:
    total = tally(run.outcomes)
    return (
        f"{total.requests} requests had ended: {total.placed} placed, {total.refused} refused, "
        f"{total.errors} errors."
    )


def _closing(result: Result) -> str:
    race = f", race winners {result.race.winners}" if result.race else ""
    return (
        f"{result.placed} placed, {sum(result.refused.values())} refused, {result.errors} errors; "
        f"{result.claims_per_second:g} claims/s in {result.seconds:.1f} s{race}"
    )


def _writable(out: Path) -> None:
    """Refuse now, not after the run."""
    if not out.parent.is_dir():
        raise InvalidInput(f"There is no directory {out.parent}.", remedy="Make it first.")


def _write(out: Path, result: Result) -> None:
    """Whole or not at all: a reader never sees half a file."""
    part = out.with_name(out.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    part.replace(out)


def _say(text: str) -> None:
    typer.echo(text, err=True)
