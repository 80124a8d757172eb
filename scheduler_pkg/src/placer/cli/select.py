"""``placer select``: where a request would go, without asking for it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import output, words
from placer.cli import spec as specs
from placer.cli.connection import Token, Url, connect
from placer.cli.exits import Ended, Exit
from placer.cli.output import AsJson
from placer.cli.request import (
    Alternates,
    Cell,
    Count,
    File,
    Flavor,
    Forbid,
    Group,
    Host,
    Image,
    Network,
    Project,
    Region,
    Resource,
    Strategy,
    Trait,
)


def command(
    resource: Resource = [],  # noqa: B006  # typer copies it
    trait: Trait = [],  # noqa: B006
    forbid: Forbid = [],  # noqa: B006
    flavor: Flavor = "",
    image: Image = "",
    network: Network = "",
    project: Project = "",
    region: Region = "",
    cell: Cell = "",
    host: Host = "",
    server_group: Group = "",
    count: Count = 1,
    strategy: Strategy = "",
    alternates: Alternates = 0,
    file: File = None,
    claim: Annotated[
        bool, typer.Option("--claim", help="Store and claim it like any other request.")
    ] = False,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print hosts for a request, and alternates; claim nothing unless --claim is given.

    Ends with 4 if there is no host, and says why.
    """
    body = specs.filled(
        specs.from_file(file),
        resources=specs.resources(resource),
        required_traits=trait,
        forbidden_traits=forbid,
        flavor=flavor,
        image=image,
        network=network,
        project=project,
        region=region,
        cell=cell,
        host=host,
        server_group=server_group,
        count=count if count > 1 else 0,
        strategy=strategy,
        alternates=alternates,
        claim=claim,
    )
    answer: dict[str, Any] = (
        connect(url, token).call("POST", "/v1/select-destinations", body=body).body
    )
    reason = answer.get("reason")
    if as_json:
        output.print_json(answer)
    elif reason:
        for line in words.explained(reason):
            print(line)
    else:
        output.print_table(
            ("use", "cell", "host", "claim", "id"),
            [
                *(_row("destination", one) for one in answer.get("destinations", [])),
                *(_row("alternate", one) for one in answer.get("alternates", [])),
            ],
        )
    if reason:
        raise Ended(Exit.REFUSED, reason["message"], remedy=reason.get("remedy", ""))
    if not answer.get("destinations"):
        raise Ended(
            Exit.TIME_UP,
            f"Request {answer.get('request', '')} is not decided yet.",
            remedy=f"It goes on; follow it with: placer request watch {answer.get('request', '')}",
        )


def _row(use: str, one: dict[str, Any]) -> tuple[str, ...]:
    return use, one["cell"], one["host_name"], one.get("claim", ""), one["host"]
