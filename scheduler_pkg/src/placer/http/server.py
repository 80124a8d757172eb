"""Running an ASGI application until somebody stops the process."""

from __future__ import annotations

import socket
from typing import Any, Final

from placer.errors import PlacerError

#: Connections that wait to be accepted: thousands come at once when another process dies, and one that
#: finds no place is tried again by its kernel after one second, then three. The system's own bound
#: (net.core.somaxconn) may be lower.
_BACKLOG: Final = 4096
_WS_PING_S: Final = 2.0
_WS_PONG_S: Final = 4.0
#: After so long a silence a connection is taken for broken; it then ends with this code.
WS_SILENT_S: Final = _WS_PING_S + _WS_PONG_S
WS_SILENT: Final = 1011


def serve(app: Any, *, host: str, port: int, grace_s: int = 10) -> None:
    """Serve until SIGINT or SIGTERM, then let requests in flight end within ``grace_s``.

    Raises PlacerError when the address cannot be used.
    """
    import uvicorn  # slow to import: tests and the OpenAPI document do without
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class TellingSilence(WebSocketsSansIOProtocol):
        """Tells the application that a connection ends because the other side went silent."""

        def keepalive_timeout(self) -> None:
            if not (self.close_sent or self.transport.is_closing()):
                self.queue.put_nowait({"type": "websocket.disconnect", "code": WS_SILENT})
            super().keepalive_timeout()

    try:
        listener = socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise PlacerError(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            remedy="Free the port, or choose another in the settings.",
        ) from error
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws=TellingSilence,
        # A host that loses power closes nothing: only a missing pong tells.
        ws_ping_interval=_WS_PING_S,
        ws_ping_timeout=_WS_PONG_S,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=grace_s,
    )
    server = uvicorn.Server(config)
    with listener:
        server.run(sockets=[listener])
    if not server.started:
        raise PlacerError("The process could not start; its log says why.")
