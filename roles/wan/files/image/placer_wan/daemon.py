"""The process that keeps the delay up, and the socket through which it is told to cut and heal.

One thread, one loop: the back end's turns and the control requests take place one after another, so a
change is never seen half made. A request is one line of JSON, its answer too.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import time
from pathlib import Path as FilePath
from typing import Any

from placer_wan import firewall
from placer_wan.backend import Backend
from placer_wan.disturbances import Disturbance, bound
from placer_wan.errors import WanError
from placer_wan.filters import Drop, Filters
from placer_wan.netem import Netem
from placer_wan.nfqueue import Nfqueue
from placer_wan.paths import Config, Wan

SOCKET = FilePath("/run/placer-wan.sock")
REQUEST_BYTES_MAX = 65_536
REQUEST_TIMEOUT_S = 2.0
BACKENDS: dict[str, type[Netem] | type[Nfqueue]] = {"netem": Netem, "nfqueue": Nfqueue}
"""In order of preference."""


def choose(config: Config, wan: Wan) -> Backend:
    """The first back end that works here, or the one asked for."""
    if config.backend not in ("auto", *BACKENDS):
        raise WanError(
            f"unknown back end {config.backend}", f"choose auto, {' or '.join(BACKENDS)}"
        )
    reasons = []
    for name, backend in BACKENDS.items():
        if config.backend in ("auto", name):
            reason = backend.works(config)
            if not reason:
                return backend(config, wan)
            reasons.append(f"{name}: {reason}")
    raise WanError(
        f"no WAN delay is possible here ({'; '.join(reasons)})",
        "use a kernel with one, or wan_enabled=false",
    )


def check(config: Config) -> Backend:
    """The back end that would carry the delay here, tried but not started."""
    backend = choose(config, Wan.of(config))
    backend.ready()
    return backend


def answer(
    wan: Wan, backend: Backend, filters: Filters, request: dict[str, Any], now: float
) -> dict[str, Any]:
    """Carry out a control request; all are safe to repeat.

    {"do": "status"}
    | {"do": "cut" | "set", "from"?, "to"?, "one_way"?, "name"?, "seconds"?, "down_s"?, "up_s"?, "changes"? for set}
    | {"do": "drop", "sources", "destinations", "one_way"?, "name"?, "seconds"?}
    | {"do": "heal", "from"?, "to"?, "one_way"?, "name"?}
    """
    match request.get("do"):
        case "cut" | "set":
            wan.disturb(_disturbance(wan, request, now))
        case "drop":
            filters.add(Drop.of(request, now))
        case "heal":
            _heal(wan, filters, request)
        case "status":
            pass
        case action:
            raise WanError(f"unknown request {action}", "choose status, cut, heal, set or drop")
    wan.apply(now)
    return _state(wan, backend, filters, now)


def _disturbance(wan: Wan, request: dict[str, Any], now: float) -> Disturbance:
    """What a cut or a change asks for. One without a name gets that of its paths: asking again is the same."""
    action, one_way = str(request["do"]), bool(request.get("one_way"))
    source, destination = request.get("from"), request.get("to")
    place = f"{source or 'all'}{'>' if one_way else '-'}{destination or 'all'}"
    changes: dict[str, Any] = {"cut": True} if action == "cut" else request.get("changes", {})
    return Disturbance(
        name=str(request.get("name") or f"{action} {place} {' '.join(sorted(changes))}"),
        pairs=frozenset(wan.select(source, destination, one_way)),
        changes=changes,
        since=now,
        until=bound(request, now),
        down_s=float(request.get("down_s") or 0),
        up_s=float(request.get("up_s") or 0),
    )


def _heal(wan: Wan, filters: Filters, request: dict[str, Any]) -> None:
    """Without a region: everything, or everything of one name. With one: of its paths only."""
    source, destination, name = (request.get(key) for key in ("from", "to", "name"))
    wan.heal(wan.select(source, destination, bool(request.get("one_way"))), name)
    if source is None and destination is None:
        filters.heal(name)


def _state(wan: Wan, backend: Backend, filters: Filters, now: float) -> dict[str, Any]:
    paths = [
        {
            "from": path.source,
            "to": path.destination,
            "delay_ms": path.delay_ms,
            "jitter_ms": path.jitter_ms,
            "loss_percent": path.loss_percent,
            "reorder_percent": path.reorder_percent,
            "duplicate_percent": path.duplicate_percent,
            "cut": path.cut,
        }
        for path in wan.paths.values()
    ]
    disturbances = [
        {
            "name": one.name,
            "paths": sorted(map(list, one.pairs)),
            "changes": dict(one.changes),
            "seconds_left": None if one.until is None else round(one.until - now, 1),
            "down_s": one.down_s,
            "up_s": one.up_s,
        }
        for one in wan.disturbances
    ]
    drops = [
        {
            "name": one.name,
            "sources": list(one.sources),
            "destinations": list(one.destinations),
            "one_way": one.one_way,
            "seconds_left": None if one.until is None else round(one.until - now, 1),
        }
        for one in filters.drops.values()
    ]
    return {
        "backend": backend.name,
        "paths": paths,
        "disturbances": disturbances,
        "drops": drops,
        "figures": backend.figures(),
    }


def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT, then leave no rule, qdisc or held packet behind."""
    wan = Wan.of(config)
    filters = Filters(firewall.comment(config.deployment))
    backend = choose(config, wan)
    stopped, stopping = socket.socketpair()
    stopping.setblocking(False)
    signal.set_wakeup_fd(stopping.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    SOCKET.unlink(missing_ok=True)
    with stopped, stopping, contextlib.closing(socket.socket(socket.AF_UNIX)) as control:
        control.bind(str(SOCKET))
        control.listen(8)
        try:
            filters.clear()
            backend.start()
            print(f"delay between {', '.join(config.regions)} by {backend.name}", flush=True)
            watched: list[Any] = [stopped, control]
            if (descriptor := backend.fileno()) is not None:
                watched.append(descriptor)
            while True:
                now = time.monotonic()
                pause = min(wan.apply(now), filters.expire(now), backend.turn())
                readable, _, _ = select.select(watched, [], [], max(pause, 0.0))
                if stopped in readable:
                    return
                if control in readable:
                    _converse(control, wan, backend, filters)
        finally:
            signal.set_wakeup_fd(-1)
            filters.clear()
            backend.stop()
            SOCKET.unlink(missing_ok=True)


def _converse(control: socket.socket, wan: Wan, backend: Backend, filters: Filters) -> None:
    """Answer one client. A slow or broken one is dropped: packets must not wait for it for long."""
    client, _ = control.accept()
    with client, contextlib.suppress(OSError):
        client.settimeout(REQUEST_TIMEOUT_S)
        reply: dict[str, Any]
        try:
            request = json.loads(client.makefile("rb").readline(REQUEST_BYTES_MAX))
            reply = answer(wan, backend, filters, request, time.monotonic())
        except (WanError, ValueError, TypeError, AttributeError) as wrong:
            reply = {"error": str(wrong)}
        # The back end carries the change out before the client hears of it.
        backend.turn()
        client.sendall(json.dumps(reply).encode() + b"\n")


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Send a control request to the running daemon and wait for its answer."""
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(5 * REQUEST_TIMEOUT_S)
            client.connect(str(SOCKET))
            client.sendall(json.dumps(request).encode() + b"\n")
            reply: dict[str, Any] = json.loads(client.makefile("rb").readline(REQUEST_BYTES_MAX))
    except (OSError, ValueError) as reason:
        raise WanError(
            f"the delay process does not answer: {reason}",
            "see its log: docker logs <deployment>-wan",
        ) from None
    if "error" in reply:
        raise WanError(reply["error"], "nothing was changed")
    return reply
