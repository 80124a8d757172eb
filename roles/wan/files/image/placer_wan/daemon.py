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
from pathlib import Path as FilePath
from typing import Any

from placer_wan.backend import Backend
from placer_wan.errors import WanError
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


def answer(wan: Wan, backend: Backend, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out a control request; all are safe to repeat.

    {"do": "status"} | {"do": "cut" | "heal" | "set", "from"?, "to"?, "one_way"?, "changes"? for set}
    """
    action = request.get("do")
    if action in ("cut", "heal", "set"):
        pairs = wan.select(request.get("from"), request.get("to"), bool(request.get("one_way")))
        wan.change(
            pairs, **(request.get("changes", {}) if action == "set" else {"cut": action == "cut"})
        )
    elif action != "status":
        raise WanError(f"unknown request {action}", "choose status, cut, heal or set")
    paths = [
        {
            "from": path.source,
            "to": path.destination,
            "delay_ms": path.delay_ms,
            "jitter_ms": path.jitter_ms,
            "loss_percent": path.loss_percent,
            "cut": path.cut,
        }
        for path in wan.paths.values()
    ]
    return {"backend": backend.name, "paths": paths, "figures": backend.figures()}


def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT, then leave no rule, qdisc or held packet behind."""
    wan = Wan.of(config)
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
            backend.start()
            print(f"delay between {', '.join(config.regions)} by {backend.name}", flush=True)
            watched: list[Any] = [stopped, control]
            if (descriptor := backend.fileno()) is not None:
                watched.append(descriptor)
            while True:
                readable, _, _ = select.select(watched, [], [], backend.turn())
                if stopped in readable:
                    return
                if control in readable:
                    _converse(control, wan, backend)
        finally:
            signal.set_wakeup_fd(-1)
            backend.stop()
            SOCKET.unlink(missing_ok=True)


def _converse(control: socket.socket, wan: Wan, backend: Backend) -> None:
    """Answer one client. A slow or broken one is dropped: packets must not wait for it for long."""
    client, _ = control.accept()
    with client, contextlib.suppress(OSError):
        client.settimeout(REQUEST_TIMEOUT_S)
        reply: dict[str, Any]
        try:
            request = json.loads(client.makefile("rb").readline(REQUEST_BYTES_MAX))
            reply = answer(wan, backend, request)
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
