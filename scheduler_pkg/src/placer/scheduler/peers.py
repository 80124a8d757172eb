"""Calls between scheduler processes: "your agent has a claim", "do you serve these hosts?".

Both are hints. A lost call costs time, never a claim: an agent hears of every claim of its hosts
again whenever it reports, and a host that is marked down by mistake is marked up by its next report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import httpx
import msgspec
import structlog
from msgspec import Struct

from placer.errors import PlacerError
from placer.model.records import Record
from placer.settings import Cluster

log = structlog.get_logger(__name__)

_TIMEOUT_S: Final = 3.0


class Notification(Struct, frozen=True):
    """A claim was made on ``host``; ``record`` is what its row holds."""

    cell: str
    host: str
    record: Record


class HostList(Struct, frozen=True):
    """Provider uuids of hosts."""

    hosts: tuple[str, ...]


class Peers:
    """The scheduler processes of all cells, as the settings name them; ``own`` is this one's URL."""

    def __init__(self, cluster: Cluster, own: str, service_token: str) -> None:
        self._cluster = cluster
        self._own = own
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {service_token}"}, timeout=_TIMEOUT_S
        )

    def of(self, cell: str) -> Sequence[str]:
        """Base URLs of the other scheduler processes of ``cell``."""
        return [url for url in self._cluster.cell(cell).schedulers if url != self._own]

    async def notify(self, notification: Notification) -> None:
        """Tell the host's cell of a claim; one of its processes holds the agent's connection."""
        body = msgspec.json.encode(notification)
        await asyncio.gather(
            *(self._post(url, "notify", body) for url in self.of(notification.cell))
        )

    async def serve(self, cell: str, hosts: Iterable[str]) -> set[str]:
        """Those of ``hosts`` that some other process of ``cell`` holds a connection for.

        Raises PlacerError when a process is silent: its hosts cannot be told from lost ones.
        """
        body = msgspec.json.encode(HostList(tuple(hosts)))
        others = self.of(cell)
        answers = await asyncio.gather(*(self._post(url, "serves", body) for url in others))
        silent = [url for url, answer in zip(others, answers, strict=True) if answer is None]
        if silent:
            raise PlacerError(f"No answer from {', '.join(silent)}.", remedy="Ask again.")
        return {
            host
            for answer in answers
            if answer is not None
            for host in msgspec.json.decode(answer, type=HostList).hosts
        }

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, url: str, what: str, body: bytes) -> bytes | None:
        try:
            response = await self._client.post(
                f"{url}/internal/v1/{what}",
                content=body,
                headers={"Content-Type": "application/json"},
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            log.info("peer_not_reached", peer=url, call=what, error=type(error).__name__)
            return None
        return response.content
