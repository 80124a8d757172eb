"""``placer service``: which API servers and schedulers run, and where."""

from __future__ import annotations

from typing import Annotated

import typer

from placer.cli import output
from placer.cli.connection import Token, Url, connect
from placer.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="Which processes run, and where.")


@app.callback()
def service() -> None:
    """Keep ``list`` a command of its own."""


@app.command("list")
def list_(
    region: Annotated[str, typer.Option(help="In this region.")] = "",
    cell: Annotated[str, typer.Option(help="In this cell.")] = "",
    kind: Annotated[str, typer.Option(help="Of this kind: api or scheduler.")] = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print the API servers and schedulers of all regions."""
    answer = connect(url, token).get("/v1/services", region=region, cell=cell, kind=kind)
    found = answer["services"]
    output.show_table(
        found,
        ("name", "kind", "state", "region", "cell", "address", "version", "speaks", "heard"),
        [
            (
                one["name"],
                one["kind"],
                one["state"],
                one["region"],
                one["cell"],
                one["address"],
                one["version"],
                _speaks(one["protocol_min"], one["protocol_max"])
                or _speaks(one["api_min"], one["api_max"]),
                output.at(one["heard_ms"]),
            )
            for one in found
        ],
        as_json=as_json,
    )


def _speaks(least: object, newest: object) -> str:
    """A range of versions in words; empty for none."""
    if not newest:
        return ""
    return str(newest) if least == newest else f"{least} to {newest}"
