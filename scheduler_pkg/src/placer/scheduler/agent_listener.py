"""Where agents connect: a port of its own, by mutual TLS, one websocket for each agent.

Apart from the scheduler's HTTP service: who may speak here needs none of the secrets of the API servers
and schedulers, and can do nothing there.
"""

from __future__ import annotations

import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from placer.errors import InvalidInput, PlacerError
from placer.identity import Identity, agent_of, server_context
from placer.model.messages import AGENT_PATH, MESSAGE_BYTES_MAX
from placer.scheduler.agent_connection import CLOSE_S, PING_S, PONG_S, Closed, Transport
from placer.settings import Settings

log = structlog.get_logger(__name__)

#: Connections that wait to be accepted: thousands come at once when another process dies, and one that
#: finds no place is tried again by its kernel after one second, then three. The system's own bound
#: (net.core.somaxconn) may be lower.
_BACKLOG: Final = 4096
_HANDSHAKE_S: Final = 10.0

#: Talks to one agent until its connection breaks (``AgentHub.serve``).
Take = Callable[[Transport, Identity], Awaitable[None]]


class _Transport:
    """A connection as the hub wants it."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive_text(self) -> str:
        try:
            return await self._connection.recv(decode=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def send_text(self, data: str) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        await self._connection.close()


def _closed(error: ConnectionClosed) -> Closed:
    """Whether this end gave up waiting for a pong: it closes with that code for nothing else."""
    sent = error.sent
    silent = error.rcvd is None and sent is not None and sent.code == CloseCode.INTERNAL_ERROR
    return Closed(silent=silent)


def _identity(connection: ServerConnection) -> Identity:
    """What the agent's certificate says of it. Raises InvalidInput."""
    tls = connection.transport.get_extra_info("ssl_object")
    return agent_of(tls.getpeercert() or {})


def _admit(connection: ServerConnection, request: Request) -> Response | None:
    """Refuse what is not an agent before it is a websocket."""
    if request.path != AGENT_PATH:
        return connection.respond(http.HTTPStatus.NOT_FOUND, f"Agents connect to {AGENT_PATH}.\n")
    try:
        _identity(connection)
    except InvalidInput as error:
        log.error("agent_refused", peer=str(connection.remote_address), why=error.message)
        return connection.respond(http.HTTPStatus.FORBIDDEN, f"{error}\n")
    return None


@asynccontextmanager
async def listening(settings: Settings, take: Take) -> AsyncIterator[int]:
    """Have ``take`` talk to each agent that comes while the context lasts; gives the port.

    Raises PlacerError.
    """
    host, port = settings.scheduler.listen, settings.scheduler.agents_port

    async def talk(connection: ServerConnection) -> None:
        await take(_Transport(connection), _identity(connection))

    try:
        server = await serve_websockets(
            talk,
            host,
            port,
            ssl=server_context(settings.tls),
            ssl_handshake_timeout=_HANDSHAKE_S,
            backlog=_BACKLOG,
            process_request=_admit,
            compression=None,
            open_timeout=_HANDSHAKE_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            close_timeout=CLOSE_S,
            max_size=MESSAGE_BYTES_MAX,
            server_header=None,
        )
    except OSError as error:
        raise PlacerError(
            f"Cannot listen for agents on {host}:{port}: {error.strerror}.",
            remedy="Free the port, or choose another scheduler.agents_port in the settings.",
        ) from error
    async with server:
        yield int(next(iter(server.sockets)).getsockname()[1])
