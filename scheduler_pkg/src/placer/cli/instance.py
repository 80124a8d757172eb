"""``placer instance``: what was built, in all regions, and what can be done to it."""

from __future__ import annotations

from typing import Annotated

import typer

from placer.cli import instance_actions, output, pages
from placer.cli.connection import Token, Url, connect
from placer.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at instances; act on them.")


@app.callback()
def instance() -> None:
    """Look at instances; act on them."""


instance_actions.register(app)


@app.command("list")
def list_(
    project: Annotated[str, typer.Option(help="Whose.")] = "default",
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print a project's instances in all regions, newest first."""
    found = pages.items(connect(url, token), "/v1/instances", "instances", limit, project=project)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("id", "state", "cell", "host", "resources", "created"),
        [
            (
                one["id"],
                one["state"],
                one["cell"],
                one["host_name"],
                output.amounts(one["resources"]),
                output.at(one["created_ms"]),
            )
            for one in found
        ],
    )
