"""Where agents connect: a port of its own, by mutual TLS, one websocket for each agent.

Apart from the scheduler's HTTP service: who may speak here needs none of the secrets of the API servers
and schedulers, and can do nothing there.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from placer.errors import InvalidInput, PlacerError
from placer.identity import Identity, agent_of, server_context
from placer.model.messages import AGENT_PATH, MESSAGE_BYTES_MAX
from placer.scheduler.agent_connection import SILENT_S, Closed, Transport
from placer.settings import Settings

log = structlog.get_logger(__name__)

#: Connections that wait to be accepted: thousands come at once when another process dies, and one that
#: finds no place is tried again by its kernel after one second, then three. The system's own bound
#: (net.core.somaxconn) may be lower.
_BACKLOG: Final = 4096
#: As long as an agent waits at most: thousands come at once, and one that is sent away comes again.
_HANDSHAKE_S: Final = 30.0
_CLOSE_S: Final = 0.5
#: How often it is looked at who was heard.
_LOOK_S: Final = 0.5

#: Talks to one agent until its connection breaks (``AgentHub.serve``).
Take = Callable[[Transport, Identity], Awaitable[None]]


class _Connection(ServerConnection):
    """One that knows when it last heard from the other end, if only a heartbeat."""

    def __init__(self, protocol: ServerProtocol, server: Server, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self.heard_s = self.loop.time()
        self.silent = False

    def data_received(self, data: bytes) -> None:
        self.heard_s = self.loop.time()
        super().data_received(data)

    def give_up(self) -> None:
        """Nobody answers a close: end it at once."""
        self.silent = True
        self.transport.abort()


class _Transport:
    """A connection as the hub wants it."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def receive_text(self) -> str:
        try:
            return await self._connection.recv(decode=True)
        except ConnectionClosed as error:
            raise Closed(silent=self._connection.silent) from error

    async def send_text(self, data: str) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed as error:
            raise Closed(silent=self._connection.silent) from error

    async def close(self) -> None:
        await self._connection.close()


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
        assert isinstance(connection, _Connection)
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
            # Agents send the heartbeats: a task for each connection would cost memory and half of the time.
            ping_interval=None,
            close_timeout=_CLOSE_S,
            create_connection=_Connection,
            max_size=MESSAGE_BYTES_MAX,
            server_header=None,
        )
    except OSError as error:
        raise PlacerError(
            f"Cannot listen for agents on {host}:{port}: {error.strerror}.",
            remedy="Free the port, or choose another scheduler.agents_port in the settings.",
        ) from error
    async with server:
        watch = asyncio.create_task(_end_the_silent(server))
        try:
            yield int(next(iter(server.sockets)).getsockname()[1])
        finally:
            watch.cancel()
            await asyncio.wait({watch})


async def _end_the_silent(server: Server) -> None:
    """End connections that were not heard for ``SILENT_S``, at the latest.

    Silence is counted while this process is awake: what came while it was held up, or while the whole
    machine was, is not read yet.
    """
    loop = asyncio.get_running_loop()
    looked_s = loop.time()
    while True:
        await asyncio.sleep(_LOOK_S)
        now_s = loop.time()
        asleep_s = max(0.0, now_s - looked_s - 2 * _LOOK_S)
        looked_s = now_s
        for connection in server.connections:
            assert isinstance(connection, _Connection)
            connection.heard_s += asleep_s
            if now_s - connection.heard_s > SILENT_S - _LOOK_S:
                connection.give_up()
