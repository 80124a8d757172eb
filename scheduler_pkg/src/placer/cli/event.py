"""``placer event``: what happened to instances and hosts, in all regions."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from placer.cli import output
from placer.cli.connection import Connection, Token, Url, connect
from placer.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="What happened, in all regions.")

Since = Annotated[
    str, typer.Option(help="A marker, of a list or of the events before; without it, from now.")
]
Types = Annotated[
    str, typer.Option("--type", help="Of this type or kind, or of several with commas.")
]
Project = Annotated[str, typer.Option(help="Of this project's instances.")]
#: Events of one call.
_PAGE: Final = 500
#: Calls that one look takes at most: a week of a busy cell.
_PAGES_MAX: Final = 10_000
_LOOK_EVERY_S: Final = 1.0
#: Ids remembered to tell repeats by: more than a marker's window holds.
_REMEMBERED_MAX: Final = 20_000


@app.command("list")
def list_(
    since: Since = "",
    types: Types = "",
    project: Project = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print the events there are after a marker, and the marker to go on from."""
    reader = _Reader(connect(url, token), since, types, project)
    found = reader.read()
    if as_json:
        output.print_json({"events": found, "marker": reader.marker})
        return
    for event in found:
        print(_line(event))
    print(f"marker  {reader.marker}")


@app.command()
def follow(
    since: Since = "",
    types: Types = "",
    project: Project = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print events as they come, until it is stopped; with --json one a line."""
    reader = _Reader(connect(url, token), since, types, project)
    while True:
        for event in reader.read():
            print(output.json_line(event) if as_json else _line(event), flush=True)
        time.sleep(_LOOK_EVERY_S)


class _Reader:
    """Events after the last marker, each once."""

    def __init__(self, api: Connection, since: str, types: str, project: str) -> None:
        self._api = api
        self._types = types
        self._project = project
        self._known: dict[str, None] = {}
        self.marker = since

    def read(self) -> list[dict[str, Any]]:
        """All there are now."""
        found: list[dict[str, Any]] = []
        for _ in range(_PAGES_MAX):
            page = self._api.get(
                "/v1/events",
                since=self.marker,
                types=self._types,
                project=self._project,
                limit=_PAGE,
            )
            self.marker = page["marker"]
            found += [event for event in page["events"] if event["id"] not in self._known]
            self._known |= dict.fromkeys(event["id"] for event in page["events"])
            if not page["more"]:
                break
        for name in list(self._known)[:-_REMEMBERED_MAX]:
            del self._known[name]
        return found


def _line(event: dict[str, Any]) -> str:
    subject = event.get("instance") or event.get("host_name", "")
    parts = [
        output.at(event["at_ms"]),
        event["type"],
        subject,
        f"in {event['cell']}",
        f"by {event['by']}" if event.get("by") else "",
        f"({event['why']})" if event.get("why") else "",
    ]
    return "  ".join(part for part in parts if part)
