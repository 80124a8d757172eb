"""``placer image``: what images need of a host."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import output, pages
from placer.cli import spec as specs
from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson
from placer.cli.request import File
from placer.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Images: what their properties need of a host.")

Name = Annotated[str, typer.Argument(help="The image's name.", show_default=False)]


@app.command("list")
def list_(
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print all images."""
    found = pages.items(connect(url, token), "/v1/images", "images", limit)
    output.show_table(
        found,
        ("name", "disk", "memory", "traits", "description"),
        [
            (
                one["name"],
                f"{one.get('min_disk_gb', 0)} GB",
                f"{one.get('min_ram_mb', 0)} MB",
                _traits(one),
                one.get("description", ""),
            )
            for one in found
        ],
        as_json=as_json,
    )


@app.command()
def show(name: Name, as_json: AsJson = False, url: Url = "", token: Token = "") -> None:
    """Print one image."""
    _print(connect(url, token).get(f"/v1/images/{segment(name)}"), as_json=as_json)


@app.command()
def create(
    name: Name,
    prop: Annotated[
        list[str],
        typer.Option("--property", help="NAME=VALUE, as hw_architecture=aarch64; repeat."),
    ] = [],  # noqa: B006  # typer copies it
    min_disk: Annotated[int, typer.Option(min=0, help="Least disk in GB.")] = 0,
    min_ram: Annotated[int, typer.Option(min=0, help="Least memory in MB.")] = 0,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    file: File = None,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Make an image, or change what it needs in requests to come."""
    body = specs.filled(
        specs.from_file(file),
        properties=_properties(prop),
        min_disk_gb=min_disk,
        min_ram_mb=min_ram,
        description=description,
    )
    answer = connect(url, token).call("PUT", f"/v1/images/{segment(name)}", body=body)
    _print(answer.body, as_json=as_json)


@app.command()
def delete(name: Name, url: Url = "", token: Token = "") -> None:
    """Take an image away; requests that named it keep what it needed."""
    connect(url, token).call("DELETE", f"/v1/images/{segment(name)}")


def _properties(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InvalidInput(
                f"--property {pair!r} is not NAME=VALUE.", remedy="Write it as hw_disk_bus=virtio."
            )
        found[name] = value
    return found


def _print(image: dict[str, Any], *, as_json: bool) -> None:
    output.show_pairs(
        image,
        [
            ("name", image["name"]),
            ("least disk", f"{image['min_disk_gb']} GB" if "min_disk_gb" in image else ""),
            ("least memory", f"{image['min_ram_mb']} MB" if "min_ram_mb" in image else ""),
            ("properties", " ".join(f"{k}={v}" for k, v in image.get("properties", {}).items())),
            ("traits", _traits(image)),
            ("description", image.get("description", "")),
        ],
        as_json=as_json,
    )


def _traits(image: dict[str, Any]) -> str:
    forbidden = (f"not:{trait}" for trait in image.get("forbidden_traits", []))
    return " ".join([*image.get("required_traits", []), *forbidden])
