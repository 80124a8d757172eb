"""``placer instance stop|start|reboot|delete|resize|move|logs``."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import typer

from placer.cli import output, spec
from placer.cli.connection import Connection, Token, Url, connect, segment
from placer.cli.exits import Ended, Exit
from placer.cli.output import AsJson
from placer.cli.who import whoami

#: Between two looks at an instance that moves.
_LOOK_S: Final = 0.5

Id = Annotated[str, typer.Argument(help="The instance's id; placer instance list shows it.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for its history.")]
By = Annotated[str, typer.Option("--by", help="Who asks.", default_factory=whoami)]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait until it is done.")]


def stop(
    instance: Id, by: By, why: Why = "", as_json: AsJson = False, url: Url = "", token: Token = ""
) -> None:
    """Stop an instance; what it has claimed stays its own."""
    _act(connect(url, token), instance, as_json, action="stop", by=by, why=why)


def start(
    instance: Id, by: By, why: Why = "", as_json: AsJson = False, url: Url = "", token: Token = ""
) -> None:
    """Start a stopped instance."""
    _act(connect(url, token), instance, as_json, action="start", by=by, why=why)


def reboot(
    instance: Id, by: By, why: Why = "", as_json: AsJson = False, url: Url = "", token: Token = ""
) -> None:
    """Stop an instance and start it again."""
    _act(connect(url, token), instance, as_json, action="reboot", by=by, why=why)


def delete(
    instance: Id,
    by: By,
    why: Why = "",
    wait: Wait = 0.0,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Destroy an instance; other instances of its request stay."""
    api = connect(url, token)
    _act(api, instance, as_json, wait, action="delete", by=by, why=why)


def resize(
    instance: Id,
    resource: Annotated[
        list[str], typer.Option("--resource", "-r", help="CLASS=AMOUNT that it is to have; repeat.")
    ],
    by: By,
    why: Why = "",
    wait: Wait = 0.0,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Give an instance more or less: where it is if there is room, else by a move."""
    body = {"action": "resize", "resources": spec.resources(resource), "by": by, "why": why}
    _act(connect(url, token), instance, as_json, wait, **body)


def move(
    instance: Id,
    by: By,
    host: Annotated[str, typer.Option(help="To this host; without it, to the best one.")] = "",
    cell: Annotated[str, typer.Option(help="To this cell; without it, its own first.")] = "",
    why: Why = "",
    wait: Wait = 0.0,
    as_json: AsJson = False,
    url: Url = "",
    token: Token = "",
) -> None:
    """Build an instance on another host, then destroy it where it was."""
    body = {"action": "move", "host": host, "cell": cell, "by": by, "why": why}
    _act(connect(url, token), instance, as_json, wait, **body)


def logs(
    instance: Id,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last.")] = 100,
    url: Url = "",
    token: Token = "",
) -> None:
    """Print what an instance wrote last."""
    path = f"/v1/instances/{segment(instance)}/log"
    sys.stdout.write(connect(url, token, _ACTION_S).get(path, lines=lines)["log"])


#: An agent may take this long to answer.
_ACTION_S: Final = 40.0


def register(app: typer.Typer) -> None:
    """Add these commands to ``placer instance``."""
    for command in (stop, start, reboot, delete, resize, move, logs):
        app.command(command.__name__)(command)


def _act(api: Connection, instance: str, as_json: bool, wait_s: float = 0.0, **action: Any) -> None:
    """Ask for it; wait until its request has no more to do with it; print what became of it."""
    body = {key: value for key, value in action.items() if value}
    path = f"/v1/instances/{segment(instance)}/actions"
    done = api.call("POST", path, body=body, wait_s=_ACTION_S).body
    request = done.get("request")
    end = time.monotonic() + wait_s
    while request and _under_way(request, instance) and time.monotonic() < end:
        time.sleep(_LOOK_S)
        request = done["request"] = api.get(f"/v1/requests/{segment(request['id'])}")
    if as_json:
        output.print_json(done)
    elif request:
        print(_said(request, instance) or f"{done['action']} of {instance} is under way")
    else:
        print(f"{done['action']} of {instance} is done")
    if wait_s and request:
        _judge(request, instance, wait_s)


def _under_way(request: dict[str, Any], instance: str) -> bool:
    moving = any(move["instance"] == instance for move in request.get("moves", []))
    return moving or request["stage"] == "cancelling"


def _judge(request: dict[str, Any], instance: str, wait_s: float) -> None:
    """Raise Ended for what was waited for and is not done."""
    if _under_way(request, instance):
        raise Ended(
            Exit.TIME_UP,
            f"It is not over after {wait_s:g} s.",
            remedy=f"It goes on; placer request show {request['id']} says how far it is.",
        )
    if ": given up: " in _said(request, instance):
        raise Ended(
            Exit.FAILED, _said(request, instance), remedy="The instance is as it was before."
        )


def _said(request: dict[str, Any], instance: str) -> str:
    """What the request's history says of the instance last."""
    changes = request.get("changes", [])
    return next((c["why"] for c in reversed(changes) if instance in c.get("why", "")), "")
