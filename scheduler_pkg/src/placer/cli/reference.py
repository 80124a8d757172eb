"""``placer reference``: the pages of docs/reference that are made from the code itself."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Page(enum.StrEnum):
    """Which page; ``contract`` is the frozen structure that the contract tests compare with."""

    HTTP_API = "http-api"
    ERRORS = "errors"
    CLI = "cli"
    CONTRACT = "contract"


def command(page: Annotated[Page, typer.Argument(help="Which page.")]) -> None:
    """Print a page of docs/reference (Markdown), or the API's frozen structure (JSON)."""
    typer.echo(render(page), nl=False)


def render(page: Page) -> str:
    """The whole page; tests keep the files in docs equal to it."""
    # Each is imported when it is printed: the API's modules are slow to import.
    match page:
        case Page.HTTP_API:
            from placer.cli.reference_http import page as http_page

            return http_page()
        case Page.ERRORS:
            return errors_page()
        case Page.CLI:
            from placer.cli.reference_cli import page as cli_page

            return cli_page()
        case Page.CONTRACT:
            from placer.api.native.document import frozen

            return frozen()


def errors_page() -> str:
    """Every code, from the errors themselves."""
    from placer import errors

    lines = [
        "# Errors",
        "",
        "An error of the HTTP API is a body of one form, whoever refuses:",
        "",
        "```json",
        '{"errors": [{"code": "placer.invalid_input", "status": 400, "title": "Bad Request",',
        '  "detail": "resources.VCPU: \\"two\\" is not a whole number.",',
        '  "remedy": "Send a whole number, such as 2.",',
        '  "request_id": "req-…", "field": "resources.VCPU"}]}',
        "```",
        "",
        "`code` never changes and is what a program branches on. `detail` and `remedy` are for people.",
        "`field`, where there is one, names the part of the input. The server's log has more under",
        "`request_id`, which is also in the header `x-request-id`.",
        "",
        "This page is printed by `placer reference errors`.",
        "",
        "| code | status | meaning |",
        "|---|---|---|",
    ]
    for kind in errors.table():
        meaning = " ".join((kind.__doc__ or "").replace("``", "`").split())
        lines.append(f"| `{kind.code}` | {kind.status} | {meaning} |")
    return "\n".join(lines) + "\n"
