"""``placer pool``: what several hosts share, by way of aggregates."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson, show_table
from placer.cli.pages import LIMIT_DEFAULT, Limit, items
from placer.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help=__doc__)

Cell = Annotated[str, typer.Option(help="The cell; without it, that of the API.")]


@app.command("list")
def list_pools(
    cell: Cell = "",
    limit: Limit = LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Pools of a cell, what they have and what is left."""
    found = items(connect(url, token), "/v1/pools", "pools", limit, cell=cell)
    _show(found, as_json)


@app.command("put")
def put_pool(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, hyphens.")],
    have: Annotated[list[str], typer.Option(help="CLASS=AMOUNT that it has; repeat.")],
    aggregate: Annotated[list[str], typer.Option(help="Aggregate whose hosts may use it; repeat.")],
    trait: Annotated[list[str] | None, typer.Option(help="A trait of it; repeat.")] = None,
    cell: Cell = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Make a pool, or change it. Safe to repeat; refused if instances use what it would lose."""
    body = {
        "cell": cell,
        "aggregates": aggregate,
        "inventories": dict(_amount(text) for text in have),
        "traits": trait or [],
    }
    path = f"/v1/pools/{segment(name)}"
    made: dict[str, Any] = connect(url, token).call("PUT", path, body=body).body
    _show([made], as_json)


def _amount(text: str) -> tuple[str, dict[str, int]]:
    name, equals, amount = text.partition("=")
    if not equals or not (amount.isascii() and amount.isdigit()):
        raise InvalidInput(
            f"{text!r} is no amount of a class.", remedy="Write it as DISK_GB=1000.", field="have"
        )
    return name, {"total": int(amount)}


def _show(pools: list[dict[str, Any]], as_json: bool) -> None:
    show_table(
        pools,
        ("POOL", "CELL", "CLASS", "TOTAL", "FREE", "AGGREGATES"),
        (
            (
                pool["name"],
                pool["cell"],
                name,
                inventory["total"],
                pool["free"].get(name, 0),
                " ".join(pool["aggregates"]),
            )
            for pool in pools
            for name, inventory in pool["inventories"].items()
        ),
        as_json=as_json,
    )
