"""The agent's end of its one connection to a scheduler.

Questions carry a ``seq`` and are answered in any order; Orders come unasked. When the connection
breaks every open question ends with LinkLost, which says nothing about what the scheduler did.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import InvalidMessage, WebSocketException

from placer.errors import PlacerError
from placer.model.messages import (
    AGENT_PATH,
    HEARTBEAT_S,
    MESSAGE_BYTES_MAX,
    ClaimOrder,
    Command,
    CommandDone,
    Diagnose,
    Diagnosed,
    FromAgent,
    Hello,
    HostReport,
    Orders,
    Refused,
    Report,
    Reported,
    States,
    Step,
    StepDone,
    StepKind,
    ToAgent,
    Welcome,
)
from placer.model.protocol import VERSIONS, Versions
from placer.settings import Agent

_CLOSE_TIMEOUT_S: Final = 2.0
#: So late an answer to a heartbeat means a broken connection; a loaded machine must not look like one.
_SILENT_S: Final = 15.0

#: So many fruitless rounds of all schedulers mean the longest wait.
LONG_WAIT: Final = 16

_decode: Final = msgspec.json.Decoder(ToAgent).decode
_encode: Final = msgspec.json.Encoder().encode

#: Takes orders, pushed or listed after a report.
OnOrders = Callable[[tuple[ClaimOrder, ...]], None]


class Listing(Struct, frozen=True):
    """Answer to a report: the uuids by name of the hosts whose rows hold it, and their claims."""

    hosts: dict[str, str]
    claims: frozenset[str]


class LinkLost(PlacerError):
    """The connection broke, could not be made, or went silent."""

    code = "agent.link_lost"


class LinkRefused(LinkLost):
    """The scheduler will not talk to this agent as it is configured."""

    code = "agent.link_refused"


class Socket(Protocol):
    """What is used of a websocket."""

    async def recv(self) -> str | bytes: ...

    async def send(self, message: str) -> None: ...


#: Opens a connection to a URL within so many seconds; raises LinkLost.
Connect = Callable[[str, float], AbstractAsyncContextManager[Socket]]


def agent_url(scheduler: str) -> str:
    """Where agents connect to the scheduler with the URL ``scheduler`` for agents."""
    return scheduler.rstrip("/") + AGENT_PATH


def reconnect_delay_s(settings: Agent, schedulers: int, failures: int, rng: random.Random) -> float:
    """How long to wait after ``failures`` in a row: not at all while some scheduler has not been
    tried, else jittered and doubled from round to round, so that many agents do not come at once.

    After a connection that was in use the wait is spread evenly over twice ``reconnect_s``: whoever
    takes a dead scheduler's agents has them come over two seconds, half of the grace.
    """
    if not failures:
        return 2.0 * settings.reconnect_s * rng.uniform(0.05, 1.0)
    if failures % schedulers:
        return 0.0
    rounds = min(max(failures // schedulers - 1, 0), LONG_WAIT)
    return min(settings.reconnect_s * 2.0**rounds, settings.reconnect_max_s) * rng.uniform(0.5, 1.0)


def connect_timeout_s(settings: Agent, schedulers: int, failures: int) -> float:
    """How long a try may take after ``failures`` in a row: doubled with each fruitless round.

    A scheduler that does not answer is away, or thousands come to it at once: if all of those gave up
    early it would begin their handshakes again and again, and end none.
    """
    rounds = min(failures // schedulers, LONG_WAIT)
    return min(settings.connect_timeout_s * 2.0**rounds, settings.connect_timeout_max_s)


def connector(tls: ssl.SSLContext, settings: Agent) -> Connect:
    """Opens real connections; ``tls`` shows the agent's certificate and knows who may answer."""

    @asynccontextmanager
    async def connect(url: str, timeout_s: float) -> AsyncIterator[Socket]:
        try:
            socket = await websocket_connect(
                url,
                ssl=tls,
                proxy=None,
                compression=None,
                open_timeout=timeout_s,
                ping_interval=HEARTBEAT_S,
                ping_timeout=_SILENT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=MESSAGE_BYTES_MAX,
            )
        except InvalidMessage as error:
            # In TLS 1.3 an agent's handshake is over before its certificate was looked at.
            raise LinkLost(
                f"Cannot connect to {url}: it was closed without an answer.",
                remedy="Is the certificate an agent's, and of the authority that this deployment has now?",
            ) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            raise LinkLost(f"Cannot connect to {url}: {error}.") from error
        try:
            yield _Text(socket)
        finally:
            await socket.close()

    return connect


class _Text:
    """A websockets connection that sends text."""

    def __init__(self, socket: Socket) -> None:
        self.recv = socket.recv
        self._send = socket.send

    async def send(self, message: str) -> None:
        await self._send(message)


class Link:
    """One open connection. ``read`` must run for the others to be answered."""

    def __init__(
        self,
        socket: Socket,
        on_orders: OnOrders,
        on_command: Callable[[Link, Command], CommandDone | None],
        diagnosis: Callable[[], str],
        *,
        answer_timeout_s: float,
        versions: Versions = VERSIONS,
    ) -> None:
        """``on_command`` may return the answer of a command that it will not queue; ``diagnosis``
        is what this agent says of itself (JSON)."""
        self._versions = versions
        self._socket = socket
        self._on_orders = on_orders
        self._on_command = on_command
        self._diagnosis = diagnosis
        self._answer_timeout_s = answer_timeout_s
        self._seq = itertools.count(1)
        self._open: dict[int, asyncio.Future[Listing | StepDone]] = {}
        self._reported: Reported | None = None
        self._lost = asyncio.Event()
        self._why = LinkLost("The connection broke.")
        #: Base URLs of the cell's schedulers, as the one that was greeted knows them.
        self.schedulers: tuple[str, ...] = ()

    async def greet(self, agent: str, cell: str) -> str:
        """Say hello; returns the scheduler's name. To be called once, before ``read``."""
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                await self._send(Hello(agent, cell, self._versions.least, self._versions.newest))
                answer = await self._receive()
        except TimeoutError as error:
            raise LinkLost("The scheduler did not answer Hello.") from error
        if isinstance(answer, Refused):
            raise LinkRefused(answer.message)
        if (
            not isinstance(answer, Welcome)
            or self._versions.agree(Versions(answer.protocol, answer.protocol)) is None
        ):
            raise LinkRefused(
                f"The scheduler answered Hello with {answer!r}.",
                remedy=f"This agent speaks protocol {self._versions}.",
            )
        self.schedulers = answer.schedulers
        return answer.scheduler

    async def read(self) -> None:
        """Take what the scheduler sends until the connection breaks, and raise what broke it."""
        try:
            while True:
                message = await self._receive()
                if isinstance(message, Command):
                    refused = self._on_command(self, message)
                    if refused is not None:
                        await self.say(refused)
                elif isinstance(message, Diagnose):
                    await self.say(Diagnosed(message.seq, self._diagnosis()))
                else:
                    self._take(message)
        except LinkLost as error:
            self._why = error
            raise
        finally:
            self._lost.set()
            for future in self._open.values():
                if not future.done():
                    future.set_exception(self._why)

    @property
    def open(self) -> int:
        """Questions that wait for an answer."""
        return len(self._open)

    async def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the connection lasts: then raises what broke it."""
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            return
        raise self._why

    async def report(self, hosts: tuple[HostReport, ...], timeout_s: float) -> Listing:
        """Report hosts; the claims of those whose rows hold it now also go to ``on_orders``."""
        answer = await self._ask(Report(seq=next(self._seq), hosts=hosts), timeout_s)
        if not isinstance(answer, Listing):
            raise LinkLost(f"A Report was answered with {answer!r}.")
        return answer

    async def step(self, host: str, claim: str, kind: StepKind, why: str = "") -> StepDone:
        """Ask for a step. Safe to repeat, also when LinkLost left its outcome open."""
        step = Step(seq=next(self._seq), host=host, claim=claim, kind=kind, why=why)
        answer = await self._ask(step, self._answer_timeout_s)
        if not isinstance(answer, StepDone):
            raise LinkLost(f"A Step was answered with {answer!r}.")
        return answer

    async def say(self, message: States | CommandDone | Diagnosed) -> None:
        """Send what is not answered. Raises LinkLost."""
        if self._lost.is_set():
            raise self._why
        await self._send(message)

    async def _ask(self, message: Report | Step, timeout_s: float) -> Listing | StepDone:
        if self._lost.is_set():
            raise self._why
        future: asyncio.Future[Listing | StepDone] = asyncio.get_running_loop().create_future()
        self._open[message.seq] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(message)
                return await future
        except TimeoutError as error:
            raise LinkLost(f"No answer for {timeout_s:g} s.") from error
        finally:
            del self._open[message.seq]

    def _take(self, message: Welcome | Reported | StepDone | Orders | Refused) -> None:
        match message:
            case Reported():
                # The next Orders are all claims of these hosts: the two are sent together.
                self._reported = message
            case StepDone():
                self._answer(message.seq, message)
            case Orders():
                self._on_orders(message.claims)
                if self._reported is not None:
                    claims = frozenset(order.claim for order in message.claims)
                    self._answer(self._reported.seq, Listing(self._reported.hosts, claims))
                    self._reported = None
            case Refused():
                raise LinkRefused(message.message)
            case Welcome():
                raise LinkLost("The scheduler sent a second Welcome.")

    def _answer(self, seq: int, answer: Listing | StepDone) -> None:
        future = self._open.get(seq)
        if future is not None and not future.done():
            future.set_result(answer)

    async def _send(self, message: FromAgent) -> None:
        try:
            await self._socket.send(_encode(message).decode())
        except (OSError, WebSocketException) as error:
            raise LinkLost(f"The connection broke: {error}.") from error

    async def _receive(self) -> ToAgent:
        try:
            message: ToAgent = _decode(await self._socket.recv())
        except (OSError, WebSocketException) as error:
            raise LinkLost(f"The connection broke: {error}.") from error
        except msgspec.DecodeError as error:
            raise LinkLost(f"The scheduler sent something unreadable: {error}.") from error
        return message
