"""``placer quota``: how much of each resource class a project may hold."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from placer.cli import output, pages
from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson
from placer.errors import InvalidInput

app = typer.Typer(
    no_args_is_help=True, help="Quotas: how much of each resource class a project may hold."
)

Project = Annotated[str, typer.Argument(help="Whose quota.", show_default=False)]


@app.command("list")
def list_(
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print all quotas."""
    found = pages.items(connect(url, token), "/v1/quotas", "quotas", limit)
    output.show_table(
        found,
        ("project", "limits"),
        [(one["project"], output.amounts(one["limits"])) for one in found],
        as_json=as_json,
    )


@app.command()
def show(project: Project, as_json: AsJson = False, url: Url = "", token: Token = "") -> None:
    """Print a project's quota, and what is used of it in each cell."""
    _print(connect(url, token).get(f"/v1/quotas/{segment(project)}"), as_json=as_json)


@app.command("set")
def set_(
    project: Project,
    limit: Annotated[list[str], typer.Option(help="CLASS=AMOUNT over all cells; repeat.")],
    weight: Annotated[
        list[str] | None,
        typer.Option(help="CELL=NUMBER: divide by weights, not equally; repeat."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="CELL:CLASS=AMOUNT: what the cell's part is; repeat."),
    ] = None,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Give a project a quota, or change it. Safe to repeat."""
    cells: dict[str, Any] = {}
    for text in weight or []:
        cell, number = _number(text, "weight", "nyc1=2")
        cells[cell] = number
    for text in part or []:
        where, number = _number(text, "part", "nyc1:VCPU=400")
        cell, colon, name = where.partition(":")
        if not colon or not isinstance(cells.setdefault(cell, {}), dict):
            raise InvalidInput(
                f"{text!r} is no part of a cell.",
                remedy="Write it as nyc1:VCPU=400, and give weights or parts, not both.",
                field="part",
            )
        cells[cell][name] = number
    body: dict[str, Any] = {"limits": dict(_number(text, "limit", "VCPU=1000") for text in limit)}
    if cells:
        body["cells"] = cells
    path = f"/v1/quotas/{segment(project)}"
    _print(connect(url, token).call("PUT", path, body=body).body, as_json=as_json)


@app.command()
def delete(project: Project, url: Url = "", token: Token = "") -> None:
    """Take a project's quota away; its instances stay."""
    connect(url, token).call("DELETE", f"/v1/quotas/{segment(project)}")


def _number(text: str, field: str, example: str) -> tuple[str, int]:
    name, equals, amount = text.partition("=")
    if not name or not equals or not (amount.isascii() and amount.isdigit()):
        raise InvalidInput(
            f"{text!r} cannot be understood.", remedy=f"Write it as {example}.", field=field
        )
    return name, int(amount)


def _print(quota: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(quota)
        return
    output.print_table(
        ("CELL", "CLASS", "LIMIT", "USED", "LEFT"),
        [
            (
                part["cell"],
                name,
                limit,
                *(
                    (part["used"].get(name, 0), part["left"].get(name, 0))
                    if part["reachable"]
                    else ("?", "?")
                ),
            )
            for part in quota["slices"]
            for name, limit in part["limits"].items()
        ],
    )
    for note in quota["notes"]:
        print(note, file=sys.stderr)
