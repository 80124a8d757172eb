"""Who serves these hosts elsewhere: many questions to the other processes of the cell, asked as one.

The naive way asks all peers for each report. When the thousands of a dead process come back at once,
or one agent reports its first thousand hosts in pieces, that is so many calls that a process is late
with everything, and takes its peers for dead. So one question is under way at a time, and what comes
up meanwhile goes together as the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from placer.scheduler.single_flight import hear

#: Hosts of one question.
_HOSTS_MAX: Final = 4096

#: The agents by which other processes serve some of these hosts; to each the agent that reports it
#: here, or "". Raises PlacerError when a peer is silent.
Ask = Callable[[Mapping[str, str]], Awaitable[dict[str, str]]]


class _Question:
    """One question in the making: ``hosts`` with their agents, and the ``answer`` on its way."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        self.answer: asyncio.Task[dict[str, str]]


class Elsewhere:
    """Puts questions together; ``ask_peers`` carries one to all peers, in bounded time."""

    def __init__(self, ask_peers: Ask) -> None:
        self._ask_peers = ask_peers
        self._next: _Question | None = None
        self._turn = asyncio.Lock()

    async def ask(self, hosts: Collection[str], agent: str) -> dict[str, str]:
        """The agents by which other processes serve some of ``hosts``, which ``agent`` (or nobody: "")
        reports here. Raises PlacerError when a peer is silent."""
        question = self._next
        if question is None or len(question.hosts) + len(hosts) > _HOSTS_MAX:
            question = self._next = _Question()
            question.answer = asyncio.create_task(self._put(question))
            question.answer.add_done_callback(hear)
        for host in hosts:
            question.hosts[host] = agent or question.hosts.get(host, "")
        # Whoever gives up waiting leaves the answer to the others.
        answer = await asyncio.shield(question.answer)
        return {host: answer[host] for host in hosts if host in answer}

    async def _put(self, question: _Question) -> dict[str, str]:
        async with self._turn:
            if self._next is question:
                self._next = None
            return await self._ask_peers(question.hosts)
