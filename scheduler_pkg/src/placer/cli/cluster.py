"""``placer cluster``: the state of the Cassandra nodes as every one of them sees it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from placer.errors import InvalidInput
from placer.settings import read_secret

if TYPE_CHECKING:
    from placer.store.cluster_views import Node

app = typer.Typer(no_args_is_help=True, help="Look at the Cassandra cluster from every node.")


@app.command()
def wait(
    node: Annotated[
        list[str],
        typer.Option(
            help="NAME=CONTACT,ADDRESS: where to ask the node and how others know it; repeat."
        ),
    ],
    username: Annotated[str, typer.Option(help="Administrator's role.")],
    password_file: Annotated[Path, typer.Option(help="File with its password.")],
    fresh: Annotated[
        bool, typer.Option(help="Also try the login of a cluster that was just made.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds until giving up.")] = 180.0,
) -> None:
    """Wait until every node sees every node up with one schema version; print the views as JSON.

    Exits 1 with what each node sees when the time is over.
    """
    from placer.store import cluster_views  # the driver is slow to import: only when needed

    nodes = [_node(text) for text in node]
    credentials = [(username, read_secret(password_file))]
    if fresh:
        credentials.append(("cassandra", "cassandra"))
    deadline = time.monotonic() + timeout
    while True:
        state = cluster_views.look(nodes, credentials)
        if not state.problems or time.monotonic() > deadline:
            break
        print(f"waiting: {state.problems[0]}", file=sys.stderr)
        time.sleep(1.0)
    sys.stdout.write(msgspec.json.encode(state).decode() + "\n")
    for problem in state.problems:
        print(f"placer: {problem}", file=sys.stderr)
    raise typer.Exit(1 if state.problems else 0)


def _node(text: str) -> Node:
    from placer.store.cluster_views import Node

    name, _, addresses = text.partition("=")
    contact, _, address = addresses.partition(",")
    if not (name and contact and address):
        raise InvalidInput(
            f"--node {text!r} is not NAME=CONTACT,ADDRESS.",
            remedy="Write it as nyc1-r1=10.90.1.11,10.91.1.11.",
        )
    return Node(name=name, contact=contact, address=address)
