"""``placer request``: ask for resources, look at what became of it, wait, cancel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from placer.cli import output, pages, words
from placer.cli import spec as specs
from placer.cli.connection import Connection, Token, Url, connect, segment
from placer.cli.exits import Ended, Exit
from placer.cli.output import AsJson, OnlyId
from placer.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Ask for resources; see what became of it.")

#: Stages from which nothing follows by itself.
_LOST: Final = frozenset({"refused", "failed", "cancelled"})
_ENDS: Final = {"placed": _LOST | {"placed", "built"}, "built": _LOST | {"built"}}
_POLL_S: Final = 0.5

RequestId = Annotated[str, typer.Argument(help="The request's id.", show_default=False)]
Until = Annotated[str, typer.Option(help="What to wait for: placed or built.")]
Project = Annotated[str, typer.Option(help="Whose.")]
Resource = Annotated[
    list[str], typer.Option("--resource", "-r", help="CLASS=AMOUNT, as VCPU=2; repeat.")
]
Trait = Annotated[list[str], typer.Option("--trait", help="A trait the host must have; repeat.")]
Forbid = Annotated[list[str], typer.Option("--forbid", help="A trait it must not have; repeat.")]
Flavor = Annotated[str, typer.Option(help="A flavor's name.")]
Image = Annotated[str, typer.Option(help="An image's name.")]
Network = Annotated[str, typer.Option(help="Take an address of this network.")]
Region = Annotated[str, typer.Option(help="A region's name.")]
Cell = Annotated[str, typer.Option(help="A cell's name.")]
Host = Annotated[str, typer.Option(help="A host's name in the cell.")]
Group = Annotated[str, typer.Option(help="A server group's id.")]
Count = Annotated[int, typer.Option(min=1, help="How many instances, all or none.")]
Partial = Annotated[bool, typer.Option("--partial", help="As many of them as there is room for.")]
Strategy = Annotated[str, typer.Option(help="spread or pack.")]
Alternates = Annotated[int, typer.Option(min=0, help="Further hosts to name, not claimed.")]
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="The request as a JSON object; - for standard input."),
]
Key = Annotated[
    str,
    typer.Option(
        "--idempotency-key", help="Makes the command safe to repeat: one key, one request."
    ),
]


@app.command()
def create(
    resource: Resource = [],  # noqa: B006  # typer copies it
    trait: Trait = [],  # noqa: B006
    forbid: Forbid = [],  # noqa: B006
    flavor: Flavor = "",
    image: Image = "",
    network: Network = "",
    project: Project = "",
    name: Annotated[str, typer.Option(help="What you call it.")] = "",
    region: Region = "",
    cell: Cell = "",
    host: Host = "",
    server_group: Group = "",
    count: Count = 1,
    partial: Partial = False,
    strategy: Strategy = "",
    alternates: Alternates = 0,
    deadline: Annotated[float, typer.Option(help="Seconds to go on trying.")] = 0.0,
    priority: Annotated[int, typer.Option(help="0 to 100; higher is decided first.")] = 0,
    file: File = None,
    idempotency_key: Key = "",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a decision.")] = 10.0,
    until: Until = "placed",
    as_json: AsJson = False,
    only_id: OnlyId = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Ask for resources, and wait for the decision.

    Ends with 4 if there is no place, and says why; with 6 if it is not decided within --wait.
    """
    _check_until(until)
    body = specs.filled(
        specs.from_file(file),
        resources=specs.resources(resource),
        required_traits=trait,
        forbidden_traits=forbid,
        flavor=flavor,
        image=image,
        network=network,
        project=project,
        name=name,
        region=region,
        cell=cell,
        host=host,
        server_group=server_group,
        count=count if count > 1 else 0,
        partial=partial,
        strategy=strategy,
        alternates=alternates,
        deadline_s=deadline,
        priority=priority,
    )
    api = connect(url, token)
    answer = api.call(
        "POST",
        "/v1/requests",
        query={"wait": f"{wait:g}s", "until": until},
        body=body,
        headers={"Idempotency-Key": idempotency_key} if idempotency_key else None,
        wait_s=wait,
    )
    if only_id:
        print(answer.body["id"])
    else:
        _show(answer.body, as_json=as_json)
    _end(answer.body, until, wait)


@app.command()
def show(
    request_id: RequestId,
    why: Annotated[bool, typer.Option("--why", help="Explain it in words.")] = False,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print a request; with --why, how it got where it is and what to change."""
    request = _get(connect(url, token), request_id)
    if why and not as_json:
        for line in words.why(request):
            print(line)
    else:
        _show(request, as_json=as_json)


@app.command("list")
def list_(
    project: Project = "default",
    stage: Annotated[str, typer.Option(help="Only those in this stage.")] = "",
    cell: Annotated[str, typer.Option(help="Sent to this cell; without it, the API's own.")] = "",
    limit: pages.Limit = pages.LIMIT_DEFAULT,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print a project's requests, newest first."""
    found = pages.items(
        connect(url, token),
        "/v1/requests",
        "requests",
        limit,
        project=project,
        stage=stage,
        cell=cell,
    )
    output.show_table(
        found,
        ("id", "stage", "asks for", "placed on", "created"),
        [
            (
                one["id"],
                one["stage"],
                words.wanted(one["spec"]),
                _where(one),
                output.at(one["created_ms"]),
            )
            for one in found
        ],
        as_json=as_json,
    )


@app.command()
def watch(
    request_id: RequestId,
    until: Until = "built",
    timeout: Annotated[float, typer.Option(min=0, help="Seconds until giving up.")] = 300.0,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print each stage that a request enters, until it is placed or built or never will be.

    Ends with 4 if it never will be, and says why; with 6 when the time is over.
    """
    _check_until(until)
    api = connect(url, token)
    deadline = time.monotonic() + timeout
    told: set[tuple[int, str, str]] = set()
    while True:
        request = _get(api, request_id)
        _tell(request, told)
        if request["stage"] in _ENDS[until] or time.monotonic() >= deadline:
            break
        time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))
    _end(request, until, timeout)


@app.command()
def cancel(
    request_id: RequestId,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until all is freed.")] = 10.0,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Cancel a request: free what it holds, destroy what was built. Safe to repeat."""
    api = connect(url, token)
    deadline = time.monotonic() + wait
    request = api.call("DELETE", f"/v1/requests/{segment(request_id)}").body
    while request["stage"] == "cancelling" and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        request = _get(api, request_id)
    _show(request, as_json=as_json)
    if request["stage"] == "cancelling":
        raise Ended(
            Exit.TIME_UP,
            f"Not everything is freed after {wait:g} s.",
            remedy=f"It goes on; look again with: placer request show {request_id}",
        )


def _get(api: Connection, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/requests/{segment(request_id)}")
    return found


def _tell(request: dict[str, Any], told: set[tuple[int, str, str]]) -> None:
    """Print the changes that are not in ``told``, and add them. Of many the API keeps the newest."""
    for change in request.get("changes", []):
        key = (change["at_ms"], change["stage"], change.get("why", ""))
        if key not in told:
            told.add(key)
            print("  ".join((output.at(key[0]), *key[1:])).rstrip(), flush=True)


def _show(request: dict[str, Any], *, as_json: bool) -> None:
    output.show_pairs(
        request,
        [
            ("id", request["id"]),
            ("stage", request["stage"]),
            ("project", request["spec"].get("project", "default")),
            ("name", request["spec"].get("name", "")),
            ("asks for", words.wanted(request["spec"])),
            ("placed on", _where(request)),
            ("alternates", ", ".join(a["host_name"] for a in request.get("alternates", []))),
            ("created", output.at(request["created_ms"])),
            ("updated", output.at(request["updated_ms"])),
            ("reason", (request.get("reason") or {}).get("message", "")),
        ],
        as_json=as_json,
    )


def _where(request: dict[str, Any]) -> str:
    places = request.get("placements", [])
    return ", ".join(f"{place['cell']}/{place['host_name']}" for place in places)


def _check_until(until: str) -> None:
    if until not in _ENDS:
        raise InvalidInput(f"--until {until!r} cannot be used.", remedy="Use placed or built.")


def _end(request: dict[str, Any], until: str, waited_s: float) -> None:
    """Raise what tells a script how ``request`` ended, if it is not as asked."""
    stage = request["stage"]
    if stage in _LOST:
        reason = request.get("reason") or {}
        more = f"More with: placer request show --why {request['id']}"
        raise Ended(
            Exit.REFUSED,
            f"Request {request['id']} is {stage}: {reason.get('message', 'it holds nothing.')}",
            remedy=f"{reason.get('remedy', '')} {more}".strip(),
        )
    if waited_s and stage not in _ENDS[until]:
        raise Ended(
            Exit.TIME_UP,
            f"Request {request['id']} is {stage} after {waited_s:g} s.",
            remedy=f"It goes on; follow it with: placer request watch {request['id']}",
        )
