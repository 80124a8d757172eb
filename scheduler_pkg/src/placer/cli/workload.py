"""``placer workload``: what the simulated hosts are, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from placer.errors import InvalidInput
from placer.replay import fleet, traces
from placer.replay.traces import OnBadLine, Parsed

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.callback()
def workload() -> None:
    """Files that describe a workload."""


@app.command()
def hosts(
    cell: Annotated[str, typer.Option(help="The cell whose hosts are written.")],
    cells: Annotated[str, typer.Option(help="All cells of the deployment, with commas.")],
    out: Annotated[Path, typer.Option(help="Where to write the JSON list of hosts.")],
    count: Annotated[
        int, typer.Option("--hosts", help="Hosts of all cells together.")
    ] = fleet.HOSTS_DEFAULT,
    seed: Annotated[int, typer.Option(help="The same seed gives the same hosts.")] = 1,
    trace: Annotated[
        str, typer.Option(help="openb: take the hosts from the file given, not the profile.")
    ] = "",
    file: Annotated[
        Path | None, typer.Argument(help="The trace's file of hosts.", show_default=False)
    ] = None,
    on_bad_line: Annotated[
        OnBadLine, typer.Option(help="What to do about a line that cannot be read.")
    ] = OnBadLine.STOP,
) -> None:
    """Write the hosts that a cell's sim agent plays."""
    names = [name.strip() for name in cells.split(",") if name.strip()]
    if not trace and file is None:
        everything = fleet.built_in(names, count, seed)
    elif trace == "openb" and file is not None:
        parsed = Parsed()
        shapes = traces.openb_hosts(file, on_bad_line, parsed)
        for line in parsed.told:
            typer.echo(f"skipped: {line}", err=True)
        everything = fleet.from_shapes(names, shapes, seed)
    else:
        raise InvalidInput(
            f"Hosts cannot be taken from the trace {trace!r} and the file {file}.",
            remedy="Use --trace openb HOSTS.csv, or neither.",
        )
    mine = fleet.of_cell(everything, cell)
    try:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(mine), indent=1) + b"\n")
    except OSError as error:
        raise InvalidInput(
            f"Cannot write {out}: {error.strerror}.",
            remedy="Name another file with --out, in a folder that is there and may be written to.",
        ) from error
    typer.echo(f"{len(mine)} hosts of {cell} written to {out}", err=True)
