"""``placer instance``: what was built, in all regions, and what can be done to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import instance_actions, output, pages
from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at instances; act on them.")

InstanceId = Annotated[str, typer.Argument(help="The instance's id.", show_default=False)]


@app.callback()
def instance() -> None:
    """Look at instances; act on them."""


instance_actions.register(app)


@app.command("list")
def list_(
    project: Annotated[str, typer.Option(help="Whose.")] = "default",
    all_projects: Annotated[
        bool, typer.Option("--all-projects", help="Of all projects; for operators.")
    ] = False,
    state: Annotated[str, typer.Option(help="In this state, or in several with commas.")] = "",
    region: Annotated[str, typer.Option(help="In this region.")] = "",
    cell: Annotated[str, typer.Option(help="In this cell.")] = "",
    host: Annotated[str, typer.Option(help="On this host: its name or its id.")] = "",
    name: Annotated[str, typer.Option(help="How its name begins.")] = "",
    tag: Annotated[str, typer.Option(help="With this tag.")] = "",
    changed_since: Annotated[
        str, typer.Option(help="Changed since then, as 2026-01-31T12:00:00Z.")
    ] = "",
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print instances in all regions, newest first."""
    found = pages.items(
        connect(url, token),
        "/v1/instances",
        "instances",
        limit,
        project="" if all_projects else project,
        all_projects="true" if all_projects else "",
        state=state,
        region=region,
        cell=cell,
        host=host,
        name=name,
        tag=tag,
        changed_since=changed_since,
    )
    if as_json:
        output.print_json(found)
        return
    owner = ("project",) if all_projects else ()
    output.print_table(
        ("id", "name", *owner, "state", "cell", "host", "resources", "created"),
        [
            (
                one["id"],
                one.get("name", ""),
                *(one[column] for column in owner),
                _state(one),
                one["cell"],
                one["host_name"],
                output.amounts(one["resources"]),
                output.at(one["created_ms"]),
            )
            for one in found
        ],
    )


@app.command()
def show(
    instance_id: InstanceId, as_json: AsJson = False, url: Url = "", token: Token = ""
) -> None:
    """Print an instance and what became of it, by whom and why."""
    found = connect(url, token).get(f"/v1/instances/{segment(instance_id)}")
    if as_json:
        output.print_json(found)
        return
    one = found["instance"]
    output.print_pairs(
        [
            ("id", one["id"]),
            ("name", one.get("name", "")),
            ("project", one["project"]),
            ("state", _state(one)),
            ("why", one.get("why", "")),
            ("cell", one["cell"]),
            ("host", f"{one['host_name']} ({one['host_status']})"),
            ("resources", output.amounts(one["resources"])),
            ("flavor", one.get("flavor", "")),
            ("image", one.get("image", "")),
            ("tags", " ".join(one.get("tags", ()))),
            ("request", one["request"]),
            ("created", output.at(one["created_ms"])),
            ("changed", output.at(one["updated_ms"])),
        ]
    )
    print()
    output.print_table(
        ("at", "what", "host", "by", "why"),
        [
            (output.at(e["at_ms"]), e["type"], e.get("host_name", ""), e["by"], e.get("why", ""))
            for e in found["history"]
        ],
    )


def _state(one: dict[str, Any]) -> str:
    """The state, with its age where nothing newer is known."""
    as_of_ms = one.get("as_of_ms", 0)
    if not as_of_ms:
        return str(one["state"])
    why = "cell cut off" if one["host_status"] == "cut_off" else f"host {one['host_status']}"
    return f"{one['state']} ({why}; known {output.at(as_of_ms)})"
