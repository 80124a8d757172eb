"""Calls between scheduler processes: "your agent has a claim", "do you serve these hosts?", "have your
agent do this", "do you work on these requests?", "here is one for you".

All but commands are hints. A lost call costs time, never a claim: an agent hears of every claim of its hosts again
whenever it reports, a host that is marked down by mistake is marked up by its next report, and which
worker of a request stands the log alone decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import httpx
import msgspec
import structlog
from msgspec import Struct

from placer import tracing
from placer.errors import AgentSilent, Overloaded, PlacerError
from placer.model.messages import CommandDone
from placer.model.records import Record
from placer.model.work import Work
from placer.scheduler.guest_commands import GuestCommand
from placer.scheduler.listing import LostInstance

log = structlog.get_logger(__name__)

_TIMEOUT_S: Final = 3.0
#: A process that does not say within this what it works on is taken for dead.
_WORKING_TIMEOUT_S: Final = 1.0
#: A process that does not say within this what it serves is taken for silent.
_SERVES_TIMEOUT_S: Final = 1.0
#: Longer than a look at the name service counts as fresh (placer.directory).
_NEWS_S: Final = 1.5
#: What the way to another process and back may take of a command's time.
_WAY_S: Final = 2.0


class Notification(Struct, frozen=True):
    """A claim was made on ``host``; ``record`` is what its row holds."""

    cell: str
    host: str
    record: Record


class Marked(Struct, frozen=True):
    """A claim on ``host`` (uuid) that was marked as moving, or whose move is over."""

    host: str
    claim: str


class Told(Struct, frozen=True):
    """Whether the agent of a claim's host is connected to the process that was notified."""

    told: bool


class HostList(Struct, frozen=True):
    """Provider uuids of hosts, each with the agent that reports it to the process that asks, if any."""

    hosts: dict[str, str]


class Served(Struct, frozen=True):
    """Agents by the host (uuid) that they serve."""

    agents: dict[str, str]


class RequestList(Struct, frozen=True):
    """Ids of requests."""

    requests: tuple[str, ...]


class Whereabouts(Protocol):
    """Where schedulers are: placer.directory."""

    def schedulers(self, cell: str) -> Sequence[str]: ...

    async def look(self) -> None: ...


class Peers:
    """The scheduler processes of all cells, as the name service knows them; ``own`` is this one's URL."""

    def __init__(
        self,
        directory: Whereabouts,
        own: str,
        service_token: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._directory = directory
        self._own = own
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {service_token}"},
            timeout=_TIMEOUT_S,
            event_hooks={"request": [tracing.hand_on]},
            transport=transport,
        )

    def of(self, cell: str) -> Sequence[str]:
        """Base URLs of the other scheduler processes of ``cell``."""
        return [url for url in self._directory.schedulers(cell) if url != self._own]

    async def notify(self, notification: Notification) -> None:
        """Tell the host's cell of a claim; one of its processes holds the agent's connection.

        If none does, the agent may be with a process that started since the name service was read: it
        heard of the claim only if it reported after that was made. So whoever is new is told as well.
        """
        known = self.of(notification.cell)
        if await self._tell(known, notification):
            return
        await asyncio.sleep(_NEWS_S)
        await self._tell(await self._newcomers(notification.cell, known), notification)

    async def _tell(self, urls: Sequence[str], notification: Notification) -> bool:
        answers = await self._ask(urls, "notify", notification)
        return any(answer and msgspec.json.decode(answer, type=Told).told for answer in answers)

    async def _newcomers(self, cell: str, known: Sequence[str]) -> list[str]:
        """Processes of ``cell`` that the name service shows now and are not ``known``."""
        await self._directory.look()
        return [url for url in self.of(cell) if url not in known]

    async def show_move(self, cell: str, mark: Marked) -> None:
        """Have some process of ``cell`` list how far a move is; the first that answers does."""
        body = msgspec.json.encode(mark)
        for url in self.of(cell):
            if await self._post(url, "show-move", body) is not None:
                return

    async def show_lost(self, cell: str, lost: LostInstance) -> bool:
        """Have some process of ``cell`` list that an instance is lost; whether one did."""
        body = msgspec.json.encode(lost)
        for url in self.of(cell):
            if await self._post(url, "show-lost", body) is not None:
                return True
        return False

    async def served(self, cell: str, hosts: Mapping[str, str]) -> dict[str, str]:
        """The agents by which other processes of ``cell`` serve some of ``hosts``.

        To each host the agent that reports it here, whose connection is given up if one is left over
        elsewhere; "" if none does. Raises PlacerError when a process is silent: its hosts cannot be
        told from lost ones.
        """
        # A process says where it is before it takes agents, so this look shows all that may serve one.
        await self._directory.look()
        others = self.of(cell)
        answers = await self._serves(others, HostList(dict(hosts)))
        silent = [url for url, answer in zip(others, answers, strict=True) if answer is None]
        if silent:
            raise PlacerError(f"No answer from {', '.join(silent)}.", remedy="Ask again.")
        return {
            host: name
            for answer in answers
            if answer is not None
            for host, name in msgspec.json.decode(answer, type=Served).agents.items()
        }

    def ring(self, cell: str) -> list[str]:
        """Base URLs of the other scheduler processes of ``cell`` in order, from the next after this on."""
        return sorted(self.of(cell), key=lambda url: (url < self._own, url))

    async def answering(self, urls: Sequence[str]) -> set[str]:
        """Those of ``urls`` that answer."""
        answers = await self._serves(urls, HostList({}))
        return {url for url, answer in zip(urls, answers, strict=True) if answer is not None}

    async def command(self, cell: str, command: GuestCommand) -> CommandDone | None:
        """The answer to a command, by way of the process that serves the host; None if none does.

        Raises AgentSilent when it may have been carried out, Overloaded when it was not.
        """
        known = self.of(cell)
        url = await self._server_of(command.host, known)
        if url is None:
            url = await self._server_of(command.host, await self._newcomers(cell, known))
        return await self._command(url, command) if url is not None else None

    async def _server_of(self, host: str, urls: Sequence[str]) -> str | None:
        """Which of ``urls`` serves ``host``."""
        answers = await self._serves(urls, HostList({host: ""}))
        for url, answer in zip(urls, answers, strict=True):
            if answer is not None and msgspec.json.decode(answer, type=Served).agents:
                return url
        return None

    async def _command(self, url: str, command: GuestCommand) -> CommandDone | None:
        silent = AgentSilent(
            f"The answer to {command.kind} was lost on its way.",
            remedy="Look at the instance's state; the command may be repeated.",
        )
        try:
            response = await self._client.post(
                f"{url}/internal/v1/command",
                content=msgspec.json.encode(command),
                headers={"Content-Type": "application/json"},
                timeout=command.timeout_s + _WAY_S,
            )
        except httpx.ConnectError:
            return None
        except httpx.HTTPError as error:
            raise silent from error
        match response.status_code:
            case 200:
                return msgspec.json.decode(response.content, type=CommandDone)
            case 404:
                return None  # its agent went elsewhere since
            case Overloaded.status:
                raise Overloaded("Too many commands wait for agents.", remedy="Ask again.")
        raise silent

    async def _serves(self, urls: Iterable[str], question: HostList) -> list[bytes | None]:
        return await self._ask(urls, "serves", question, timeout_s=_SERVES_TIMEOUT_S)

    async def working(self, cell: str, requests: Iterable[str]) -> set[str]:
        """Those of ``requests`` that other processes of ``cell`` work on; a silent one works on none."""
        answers = await self._ask(
            self.of(cell), "working", RequestList(tuple(requests)), timeout_s=_WORKING_TIMEOUT_S
        )
        return {
            request
            for answer in answers
            if answer is not None
            for request in msgspec.json.decode(answer, type=RequestList).requests
        }

    async def wake(self, cell: str, work: Work) -> None:
        """Have some process of ``cell`` work on a request; the first that answers takes it."""
        body = msgspec.json.encode(work)
        for url in self.of(cell):
            if await self._post(url, "wake", body) is not None:
                return

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(
        self, urls: Iterable[str], what: str, question: Struct, *, timeout_s: float = _TIMEOUT_S
    ) -> list[bytes | None]:
        body = msgspec.json.encode(question)
        return await asyncio.gather(*(self._post(url, what, body, timeout_s) for url in urls))

    async def _post(
        self, url: str, what: str, body: bytes, timeout_s: float = _TIMEOUT_S
    ) -> bytes | None:
        try:
            response = await self._client.post(
                f"{url}/internal/v1/{what}",
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=timeout_s,
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            log.info("peer_not_reached", peer=url, call=what, error=type(error).__name__)
            return None
        return response.content
