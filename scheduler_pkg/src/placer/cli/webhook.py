"""``placer webhook``: addresses that are called for events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placer.cli import output, pages
from placer.cli.connection import Token, Url, connect, segment
from placer.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="Webhooks: addresses that are called for events.")

WebhookId = Annotated[str, typer.Argument(help="The webhook's id.", show_default=False)]


@app.command("list")
def list_(
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print all webhooks."""
    found = pages.items(connect(url, token), "/v1/webhooks", "webhooks", limit)
    output.show_table(
        found,
        ("id", "address", "types", "project", "created"),
        [
            (
                one["id"],
                one["url"],
                " ".join(one.get("types", ())),
                one.get("project", ""),
                output.at(one["created_ms"]),
            )
            for one in found
        ],
        as_json=as_json,
    )


@app.command()
def show(webhook_id: WebhookId, as_json: AsJson = False, url: Url = "", token: Token = "") -> None:
    """Print one webhook; its secret was shown when it was made."""
    _print(connect(url, token).get(f"/v1/webhooks/{segment(webhook_id)}"), as_json=as_json)


@app.command()
def create(
    address: Annotated[str, typer.Argument(help="What to call.", show_default=False)],
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this type or kind; may be repeated."),
    ] = None,
    project: Annotated[str, typer.Option(help="Only of this project's instances.")] = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Have an address called for each event; prints the secret that signs the calls, this once."""
    body = {"url": address, "types": types or [], "project": project}
    answer = connect(url, token).call("POST", "/v1/webhooks", body=body)
    _print(answer.body, as_json=as_json)


@app.command()
def delete(webhook_id: WebhookId, url: Url = "", token: Token = "") -> None:
    """Call the address no more."""
    connect(url, token).call("DELETE", f"/v1/webhooks/{segment(webhook_id)}")


@app.command("dead-letters")
def dead_letters(
    webhook_id: WebhookId,
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print the events that the address did not take, and why."""
    path = f"/v1/webhooks/{segment(webhook_id)}/dead-letters"
    found = pages.items(connect(url, token), path, "dead_letters", limit)
    output.show_table(
        found,
        ("given up", "tries", "why", "event", "type", "instance"),
        [
            (
                output.at(one["at_ms"]),
                one["tries"],
                one["why"],
                one["event"]["id"],
                one["event"]["type"],
                one["event"].get("instance", ""),
            )
            for one in found
        ],
        as_json=as_json,
    )


def _print(webhook: dict[str, Any], *, as_json: bool) -> None:
    output.show_pairs(
        webhook,
        [
            ("id", webhook["id"]),
            ("address", webhook["url"]),
            ("types", " ".join(webhook.get("types", ()))),
            ("project", webhook.get("project", "")),
            ("created", output.at(webhook["created_ms"])),
            ("secret", webhook.get("secret", "")),
        ],
        as_json=as_json,
    )
