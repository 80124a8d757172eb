"""``placer network``: the addresses that a cell gives to instances."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson, show_table
from placer.cli.pages import LIMIT_DEFAULT, Limit, items

app = typer.Typer(no_args_is_help=True, help=__doc__)

Cell = Annotated[str, typer.Option(help="The cell; without it, that of the API.")]


@app.command("list")
def list_networks(
    cell: Cell = "",
    limit: Limit = LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Networks of a cell; FREE are addresses that no host holds for its instances."""
    found = items(connect(url, token), "/v1/networks", "networks", limit, cell=cell)
    _show(found, as_json)


@app.command("put")
def put_network(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, hyphens.")],
    cidr: Annotated[str, typer.Option(help="Its addresses, as 10.1.2.0/24; at most a /20.")],
    gateway: Annotated[str, typer.Option(help="An address that is never given out.")] = "",
    reserve: Annotated[
        list[str] | None, typer.Option(help="A further address never given out; repeat.")
    ] = None,
    cell: Cell = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Make a network's addresses in a cell, or change them. Safe to repeat."""
    body = {"cell": cell, "cidr": cidr, "gateway": gateway, "reserved": reserve or []}
    path = f"/v1/networks/{segment(name)}"
    made: dict[str, Any] = connect(url, token).call("PUT", path, body=body).body
    _show([made], as_json)


def _show(networks: list[dict[str, Any]], as_json: bool) -> None:
    show_table(
        networks,
        ("NETWORK", "CELL", "TOTAL", "FREE", "TRAIT"),
        ((n["name"], n["cell"], n["total"], n["free"], n["trait"]) for n in networks),
        as_json=as_json,
    )
