"""Where agents connect: a port of its own, by mutual TLS, one websocket for each agent.

Apart from the scheduler's HTTP service: who may speak here needs none of the secrets of the API servers
and schedulers, and can do nothing there.
"""

from __future__ import annotations

import asyncio
import http
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

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

#: Hears who (an address) is no agent and why, and whether that showed at the ``handshake`` or in the
#: ``certificate`` (``AgentHub.turned_away``, in the background).
TurnAway = Callable[[str, str, str], None]


class _Entrance:
    """Makes each connection that is accepted a TLS connection, or knows who could not be one.

    A listener that is given the TLS context does so by itself, and says nothing of a handshake that
    fails, not even to the protocol that it has made for it. Beginning TLS on the transport that it
    accepted (``start_tls``) is no way either: uvloop reads from that before TLS is there. So what was
    accepted is taken over from its transport before anything was read.
    """

    def __init__(self, context: ssl.SSLContext, turn_away: TurnAway) -> None:
        self._context = context
        self._turn_away = turn_away
        self._under_way: set[asyncio.Task[None]] = set()

    def secure(self, transport: asyncio.BaseTransport, connection: _Connection) -> None:
        """Have ``connection`` begin once it is secure."""
        accepted = transport.get_extra_info("socket")
        try:
            taken_over = socket.socket(fileno=os.dup(accepted.fileno()))
        finally:
            cast(asyncio.Transport, transport).abort()
        task = asyncio.get_running_loop().create_task(self._shake_hands(taken_over, connection))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _shake_hands(self, accepted: socket.socket, connection: _Connection) -> None:
        peer = ""
        try:
            peer = accepted.getpeername()[0]
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )
        except OSError as error:  # ssl.SSLError is one
            accepted.close()
            self._turn_away(peer, _why(error), "handshake")

    def close(self) -> None:
        """Leave the handshakes that are under way."""
        for task in self._under_way:
            task.cancel()


class _Connection(ServerConnection):
    """One that knows when it last heard from the other end, if only a heartbeat."""

    def __init__(
        self, protocol: ServerProtocol, server: Server, *, entrance: _Entrance, **options: Any
    ) -> None:
        super().__init__(protocol, server, **options)
        self.heard_s = self.loop.time()
        self.silent = False
        self._entrance = entrance
        self._secure = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._secure = transport.get_extra_info("ssl_object") is not None
        if self._secure:
            self.heard_s = self.loop.time()
            super().connection_made(transport)
        else:
            self._entrance.secure(transport, self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._secure:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._secure:
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


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate is not good here: {error.verify_message}."
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"No TLS connection: {error.reason.lower().replace('_', ' ')}."
    if isinstance(error, ConnectionAbortedError):
        return f"The TLS connection was not there after {_HANDSHAKE_S:g} s."
    return "It left before the TLS connection was there: it may not take this certificate for good."


def _admission(
    turn_away: TurnAway,
) -> Callable[[ServerConnection, Request], Response | None]:
    """Refuses what is not an agent before it is a websocket."""

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        if request.path != AGENT_PATH:
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, f"Agents connect to {AGENT_PATH}.\n"
            )
        try:
            _identity(connection)
        except InvalidInput as error:
            turn_away(connection.remote_address[0], error.message, "certificate")
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"{error}\n")
        return None

    return admit


@asynccontextmanager
async def listening(settings: Settings, take: Take, turn_away: TurnAway) -> AsyncIterator[int]:
    """Have ``take`` talk to each agent that comes while the context lasts; gives the port.

    ``turn_away`` hears of those that come and are none.

    Raises PlacerError.
    """
    host, port = settings.scheduler.listen, settings.scheduler.agents_port

    async def talk(connection: ServerConnection) -> None:
        assert isinstance(connection, _Connection)
        await take(_Transport(connection), _identity(connection))

    entrance = _Entrance(server_context(settings.tls), turn_away)
    try:
        server = await serve_websockets(
            talk,
            host,
            port,
            backlog=_BACKLOG,
            process_request=_admission(turn_away),
            compression=None,
            open_timeout=_HANDSHAKE_S,
            # Agents send the heartbeats: a task for each connection would cost memory and half of the time.
            ping_interval=None,
            close_timeout=_CLOSE_S,
            # It asks for a class; what it does is call it.
            create_connection=partial(_Connection, entrance=entrance),  # type: ignore[arg-type]
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
            entrance.close()
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
