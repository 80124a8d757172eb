"""``placer flavor``: amounts and traits under a name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import output, pages
from placer.cli import spec as specs
from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson
from placer.cli.request import File, Forbid, Resource, Strategy, Trait

app = typer.Typer(no_args_is_help=True, help="Flavors: amounts and traits under a name.")

Name = Annotated[str, typer.Argument(help="The flavor's name.", show_default=False)]


@app.command("list")
def list_(
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print all flavors."""
    found = pages.items(connect(url, token), "/v1/flavors", "flavors", limit)
    output.show_table(
        found,
        ("name", "resources", "traits", "description"),
        [(one["name"], _resources(one), _traits(one), one.get("description", "")) for one in found],
        as_json=as_json,
    )


@app.command()
def show(name: Name, as_json: AsJson = False, url: Url = "", token: Token = "") -> None:
    """Print one flavor."""
    _print(connect(url, token).get(f"/v1/flavors/{segment(name)}"), as_json=as_json)


@app.command()
def create(
    name: Name,
    resource: Resource = [],  # noqa: B006  # typer copies it
    trait: Trait = [],  # noqa: B006
    forbid: Forbid = [],  # noqa: B006
    strategy: Strategy = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    file: File = None,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Make a flavor, or change it for requests to come."""
    body = specs.filled(
        specs.from_file(file),
        resources=specs.resources(resource),
        required_traits=trait,
        forbidden_traits=forbid,
        strategy=strategy,
        description=description,
    )
    answer = connect(url, token).call("PUT", f"/v1/flavors/{segment(name)}", body=body)
    _print(answer.body, as_json=as_json)


@app.command()
def delete(name: Name, url: Url = "", token: Token = "") -> None:
    """Take a flavor away; requests that named it keep what they got of it."""
    connect(url, token).call("DELETE", f"/v1/flavors/{segment(name)}")


def _print(flavor: dict[str, Any], *, as_json: bool) -> None:
    output.show_pairs(
        flavor,
        [
            ("name", flavor["name"]),
            ("resources", _resources(flavor)),
            ("traits", _traits(flavor)),
            ("strategy", flavor.get("strategy", "")),
            ("weights", output.amounts(flavor.get("weights", {}))),
            ("description", flavor.get("description", "")),
        ],
        as_json=as_json,
    )


def _resources(flavor: dict[str, Any]) -> str:
    groups = [
        f"{name}({output.amounts(group['resources'])})"
        for name, group in flavor.get("groups", {}).items()
    ]
    return " ".join([output.amounts(flavor.get("resources", {})), *groups]).strip()


def _traits(flavor: dict[str, Any]) -> str:
    return " ".join(
        [
            *flavor.get("required_traits", []),
            *(f"not:{trait}" for trait in flavor.get("forbidden_traits", [])),
            *("|".join(choice) for choice in flavor.get("any_traits", [])),
        ]
    )
