"""One agent's open connection: what it serves, and what waits to be sent to it."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec

from placer.identity import Identity
from placer.model.messages import HEARTBEAT_S, FromAgent, HostReport, Refused, ToAgent

#: Messages of one agent handled at once.
_INFLIGHT_MAX: Final = 256
#: Messages that wait for a slow agent; beyond it orders are dropped until its next report.
_OUTBOX_MAX: Final = 1024
_SEND_TIMEOUT_S: Final = 10.0
#: After so long a silence a connection is taken for broken: two heartbeats are missing, the third is due.
#: A host that loses power closes nothing: only silence tells.
SILENT_S: Final = 3 * HEARTBEAT_S

_decode: Final = msgspec.json.Decoder(FromAgent).decode
_encode: Final = msgspec.json.Encoder().encode


class Transport(Protocol):
    """An accepted websocket. Raises Closed when the connection is."""

    async def receive_text(self) -> str: ...

    async def send_text(self, data: str) -> None: ...

    async def close(self) -> None: ...


class Closed(Exception):
    """The connection is over; ``silent``: because nothing was heard for ``SILENT_S``."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__("silent" if silent else "closed")
        self.silent = silent


class RefuseAgent(Exception):
    """The agent must hear why, and the connection ends; ``host``: uuid of what it may not serve."""

    def __init__(self, why: str, *, host: str = "") -> None:
        super().__init__(why)
        self.host = host


class Connection:
    """One agent's open connection, what it serves, and what waits to be sent to it."""

    def __init__(self, identity: Identity, transport: Transport, protocol: int) -> None:
        """``protocol``: the version that both ends speak."""
        self.identity = identity
        self.protocol = protocol
        #: It broke because nothing was heard any more, not because somebody closed it.
        self.silent = False
        self.hosts: dict[str, HostReport] = {}
        #: Hosts known to be served by no other agent.
        self.settled: set[str] = set()
        #: By claim, the version of the instance's state that others were told of.
        self.told: dict[str, int] = {}
        self.slots = asyncio.Semaphore(_INFLIGHT_MAX)
        self._transport = transport
        # Messages of one item are sent together, with nothing between them.
        self._outbox: asyncio.Queue[tuple[ToAgent, ...]] = asyncio.Queue(_OUTBOX_MAX)

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self.identity.agent

    async def say(self, *messages: ToAgent) -> None:
        """Send ``messages`` in their turn; waits while the outbox is full."""
        await self._outbox.put(messages)

    def offer(self, message: ToAgent) -> bool:
        """Send ``message`` if there is room for it."""
        try:
            self._outbox.put_nowait((message,))
        except asyncio.QueueFull:
            return False
        return True

    def refuse(self, why: str) -> None:
        """End the connection once the agent was told ``why``; what else waits is dropped."""
        while not self._outbox.empty():
            self._outbox.get_nowait()
        self._outbox.put_nowait((Refused(message=why),))

    async def send_forever(self) -> None:
        while True:
            for message in await self._outbox.get():
                await _send(self._transport, message)
                if isinstance(message, Refused):
                    raise Closed

    async def receive(self) -> FromAgent:
        return await receive_from(self._transport)


async def _send(transport: Transport, message: ToAgent) -> None:
    try:
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await transport.send_text(_encode(message).decode())
    except TimeoutError as error:
        raise Closed from error


async def receive_from(transport: Transport) -> FromAgent:
    try:
        message: FromAgent = _decode(await transport.receive_text())
    except msgspec.DecodeError as error:
        raise RefuseAgent(f"Unreadable message: {error}.") from error
    return message


async def part(transport: Transport, why: str) -> None:
    """Say why, if anything, and close; the other end may be gone already."""
    try:
        if why:
            await _send(transport, Refused(message=why))
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await transport.close()
    except (Closed, TimeoutError):
        return
