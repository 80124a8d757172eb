"""``placer host``: what hosts offer and have left; taking them out of service and back."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from placer.cli import output, pages
from placer.cli.connection import Connection, Token, Url, connect, segment
from placer.cli.exits import Ended, Exit
from placer.cli.output import AsJson
from placer.cli.who import whoami

#: Between two looks at a host that is waited for.
_LOOK_S: Final = 1.0
_EMPTIED: Final = ("draining", "evacuating")

app = typer.Typer(no_args_is_help=True, help="Look at hosts; take them out of service and back.")


@app.callback()
def host() -> None:
    """Look at hosts; take them out of service and back."""


@app.command("list")
def list_(
    cell: Annotated[str, typer.Option(help="A cell's name; without it, the API's own.")] = "",
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print hosts of a cell with what they have left of what they offer."""
    found = pages.items(connect(url, token), "/v1/hosts", "hosts", limit, cell=cell)
    output.show_table(
        found,
        ("name", "cell", "status", "duty", "claims", "free of offered", "id"),
        [
            (
                one["name"],
                one["cell"],
                one["status"],
                one.get("duty", {}).get("state", ""),
                one.get("claims", 0),
                _left(one),
                one["host"],
            )
            for one in found
        ],
        as_json=as_json,
    )


Cell = Annotated[str, typer.Argument(help="The host's cell.")]
Name = Annotated[str, typer.Argument(help="The host's name.")]
Why = Annotated[str, typer.Option("--why", help="The reason; kept with the host.")]
By = Annotated[str, typer.Option("--by", help="Who asks.", default_factory=whoami)]


@app.command("show")
def show(cell: Cell, name: Name, as_json: AsJson = False, url: Url = "", token: Token = "") -> None:
    """Print a host and what is on it; of one that is drained, how far that is."""
    _print(connect(url, token).get(_path(cell, name)), as_json)


@app.command("disable")
def disable(
    cell: Cell,
    name: Name,
    by: By,
    why: Why = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Choose a host no more; what it has stays. Safe to repeat."""
    _order(connect(url, token), cell, name, "disable", by, why, as_json)


@app.command("enable")
def enable(
    cell: Cell,
    name: Name,
    by: By,
    why: Why = "",
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Choose a host again. Safe to repeat; ends a drain or an evacuation."""
    _order(connect(url, token), cell, name, "enable", by, why, as_json)


@app.command("drain")
def drain(
    cell: Cell,
    name: Name,
    by: By,
    why: Why = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait until the host is empty.")] = 0.0,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Choose a host no more, and move its instances away. Safe to repeat."""
    api = connect(url, token)
    _order(api, cell, name, "drain", by, why, as_json, wait)


@app.command("evacuate")
def evacuate(
    cell: Cell,
    name: Name,
    by: By,
    why: Why = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait until all is elsewhere.")] = 0.0,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Build the instances of a host that is down elsewhere; should it come back, it destroys them."""
    api = connect(url, token)
    _order(api, cell, name, "evacuate", by, why, as_json, wait)


def _path(cell: str, name: str) -> str:
    return f"/v1/hosts/{segment(cell)}/{segment(name)}"


def _order(
    api: Connection,
    cell: str,
    name: str,
    operation: str,
    by: str,
    why: str,
    as_json: bool,
    wait_s: float = 0.0,
) -> None:
    """Have it done, wait until nothing is left to go, print the host."""
    path = _path(cell, name)
    detail = api.call("POST", f"{path}/{operation}", body={"by": by, "why": why}).body
    end = time.monotonic() + wait_s
    while detail["left"] and time.monotonic() < end:
        time.sleep(_LOOK_S)
        detail = api.get(path)
    _print(detail, as_json)
    if wait_s and detail["left"]:
        raise Ended(
            Exit.TIME_UP,
            f"{detail['left']} instances are still on host {name} after {wait_s:g} s.",
            remedy=f"It goes on; placer host show {cell} {name} says what each waits for.",
        )
    if wait_s and detail.get("staying"):
        raise Ended(
            Exit.FAILED,
            f"{detail['staying']} claims without a request stay on host {name}.",
            remedy=f"Who made them must give them up; placer host show {cell} {name} names them.",
        )


def _print(detail: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(detail)
        return
    view = detail["host"]
    duty = view.get("duty", {})
    output.print_pairs(
        [
            ("name", view["name"]),
            ("cell", view["cell"]),
            ("id", view["host"]),
            ("status", view["status"]),
            ("duty", duty.get("state", "enabled")),
            ("by", duty.get("by", "")),
            ("why", duty.get("why", "")),
            ("since", output.at(duty.get("since_ms", 0))),
            ("free of offered", _left(view)),
            ("left to go", detail["left"] if duty.get("state") in _EMPTIED else ""),
            ("to be destroyed", detail["leaving"] or ""),
            ("without a request", detail.get("staying") or ""),
        ]
    )
    if detail["claims"]:
        output.print_table(
            ("instance", "state", "goes to", "said last"),
            [
                (
                    one["instance"],
                    one["state"],
                    one.get("to") or one.get("moving", ""),
                    one.get("stays") or one.get("said", ""),
                )
                for one in detail["claims"]
            ],
        )


def _left(view: dict[str, Any]) -> str:
    """Free and offered amount by slot, as ``VCPU=2/8``."""
    free = view["free"]
    return " ".join(
        f"{slot}={free.get(slot, 0)}/{_capacity(i)}" for slot, i in view["offered"].items()
    )


def _capacity(inventory: dict[str, Any]) -> int:
    usable = inventory["total"] - inventory.get("reserved", 0)
    return int(usable * inventory.get("allocation_ratio", 1.0))
