"""Running an ASGI application until somebody stops the process."""

from __future__ import annotations

import socket
from typing import Any

from placer.errors import PlacerError


def serve(app: Any, *, host: str, port: int, grace_s: int = 10) -> None:
    """Serve until SIGINT or SIGTERM, then let requests in flight end within ``grace_s``.

    Raises PlacerError when the address cannot be used.
    """
    import uvicorn  # slow to import: tests and the OpenAPI document do without

    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise PlacerError(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            remedy="Free the port, or choose another in the settings.",
        ) from error
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
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
