"""``placer host``: what hosts offer and have left."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import output, pages
from placer.cli.connection import Token, Url, connect
from placer.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at hosts.")


@app.callback()
def host() -> None:
    """Look at hosts."""


@app.command("list")
def list_(
    cell: Annotated[str, typer.Option(help="A cell's name; without it, the API's own.")] = "",
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print hosts of a cell with what they have left of what they offer."""
    found = pages.items(connect(url, token), "/v1/hosts", "hosts", limit, cell=cell)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("name", "cell", "status", "claims", "free of offered", "id"),
        [
            (one["name"], one["cell"], one["status"], one.get("claims", 0), _left(one), one["host"])
            for one in found
        ],
    )


def _left(view: dict[str, Any]) -> str:
    """Free and offered amount by slot, as ``VCPU=2/8``."""
    free = view["free"]
    return " ".join(
        f"{slot}={free.get(slot, 0)}/{_capacity(i)}" for slot, i in view["offered"].items()
    )


def _capacity(inventory: dict[str, Any]) -> int:
    usable = inventory["total"] - inventory.get("reserved", 0)
    return int(usable * inventory.get("allocation_ratio", 1.0))
