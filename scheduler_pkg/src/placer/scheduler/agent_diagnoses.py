"""Agents asked what they say of themselves, over the connection that they hold.

An agent has no address: whoever wants to know asks the scheduler that it is connected to. Each question
is sent once; its answer comes with the same ``seq``, or the connection breaks, or the time is up.
Questions under way are bounded, and so is what an agent answers (``placer.diagnosis``).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from placer.diagnosis import Diagnosis
from placer.errors import AgentSilent, Overloaded
from placer.model.messages import Diagnose, Diagnosed
from placer.model.protocol import DIAGNOSE
from placer.scheduler.agent_connection import Connection

#: Questions of one process that wait for an answer.
_OPEN_MAX: Final = 64
_TIMEOUT_S: Final = 5.0
#: Agents that a process names.
_NAMED_MAX: Final = 1000

_decode: Final = msgspec.json.Decoder(Diagnosis).decode


class AgentSeen(Struct, frozen=True):
    """An agent as the scheduler that it is connected to sees it."""

    name: str
    hosts: int
    protocol: int


class AgentDiagnoses:
    """All such questions of one process."""

    def __init__(self) -> None:
        self._seq = itertools.count(1)
        self._open: dict[int, tuple[Connection, asyncio.Future[str]]] = {}

    async def ask(self, connection: Connection) -> Diagnosis:
        """What the agent says. Raises Overloaded when nothing was sent, AgentSilent without an answer."""
        name = connection.agent
        if connection.protocol < DIAGNOSE:
            raise AgentSilent(
                f"Agent {name} speaks protocol {connection.protocol}, which has no such question.",
                remedy="Upgrade it; on its machine SIGUSR1 writes its stacks to its log.",
            )
        if len(self._open) >= _OPEN_MAX:
            raise Overloaded(f"{_OPEN_MAX} agents are asked already.", remedy="Ask again.")
        seq = next(self._seq)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open[seq] = (connection, future)
        try:
            if not connection.offer(Diagnose(seq)):
                raise Overloaded(f"Agent {name} has too much to read already.", remedy="Ask again.")
            async with asyncio.timeout(_TIMEOUT_S):
                return _decode(await future)
        except (TimeoutError, msgspec.DecodeError) as error:
            raise AgentSilent(
                f"Agent {name} said nothing of itself within {_TIMEOUT_S:g} s "
                f"({type(error).__name__}).",
                remedy="On its machine SIGUSR1 writes its stacks to its log.",
            ) from error
        finally:
            del self._open[seq]

    def answered(self, connection: Connection, answer: Diagnosed) -> None:
        """An answer came; one that nobody waits for any more is dropped."""
        asked, future = self._open.get(answer.seq, (None, None))
        if asked is connection and future is not None and not future.done():
            future.set_result(answer.text)

    def lost(self, connection: Connection) -> None:
        """The connection is over: what was asked over it is answered by nobody."""
        for asked, future in self._open.values():
            if asked is connection and not future.done():
                future.set_exception(
                    AgentSilent(f"The connection of agent {connection.agent} broke.")
                )


def seen(connections: Iterable[Connection]) -> list[AgentSeen]:
    """Those of ``connections`` by name; of very many only some."""
    known = [AgentSeen(one.agent, len(one.hosts), one.protocol) for one in connections]
    return sorted(known, key=lambda one: one.name)[:_NAMED_MAX]
