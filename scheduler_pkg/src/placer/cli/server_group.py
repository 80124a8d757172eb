"""``placer server-group``: instances that belong together, or must be kept apart."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import output, pages
from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson, OnlyId

app = typer.Typer(no_args_is_help=True, help="Server groups: instances together, or apart.")

GroupId = Annotated[str, typer.Argument(help="The group's id.", show_default=False)]
Project = Annotated[str, typer.Option(help="Whose.")]
_COLUMNS = ("id", "name", "policy", "scope", "project")


@app.command("list")
def list_(
    project: Project = "default",
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print a project's server groups."""
    found = pages.items(
        connect(url, token), "/v1/server-groups", "server_groups", limit, project=project
    )
    output.show_table(
        found, _COLUMNS, [[one[column] for column in _COLUMNS] for one in found], as_json=as_json
    )


@app.command()
def show(group_id: GroupId, as_json: AsJson = False, url: Url = "", token: Token = "") -> None:
    """Print one server group."""
    _print(connect(url, token).get(f"/v1/server-groups/{segment(group_id)}"), as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What you call it.", show_default=False)],
    policy: Annotated[str, typer.Option(help="affinity or anti-affinity.", show_default=False)],
    scope: Annotated[str, typer.Option(help="host, cell or region.")] = "host",
    project: Project = "default",
    as_json: AsJson = False,
    only_id: OnlyId = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Make a server group; name its id in requests."""
    body = {"name": name, "policy": policy, "scope": scope, "project": project}
    answer = connect(url, token).call("POST", "/v1/server-groups", body=body)
    if only_id:
        print(answer.body["id"])
    else:
        _print(answer.body, as_json=as_json)


@app.command()
def delete(group_id: GroupId, url: Url = "", token: Token = "") -> None:
    """Take a server group away that has no members."""
    connect(url, token).call("DELETE", f"/v1/server-groups/{segment(group_id)}")


def _print(group: dict[str, Any], *, as_json: bool) -> None:
    output.show_pairs(group, [(column, group[column]) for column in _COLUMNS], as_json=as_json)
