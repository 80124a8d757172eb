"""Commands to instances that wait for their agents' answers.

A command is given once, over the connection that serves the host, and is never sent again from here:
its answer comes with the same ``seq``, or the connection breaks, or the time is up. In the last two
cases nobody can say whether it was carried out; since every command may be repeated, whoever gave it
asks again.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

from msgspec import Struct

from placer.errors import AgentSilent, Overloaded
from placer.model.messages import Command, CommandDone, CommandKind
from placer.scheduler.agent_connection import Connection

#: Commands of one process that wait for an answer.
_OPEN_MAX: Final = 1024


class GuestCommand(Struct, frozen=True, omit_defaults=True):
    """A command to the instance of ``claim`` on ``host`` (uuid), to be answered within ``timeout_s``.

    ``lines``: with LOGS, how many of the last are wanted. ``by`` whom and ``why``: for its history.
    """

    host: str
    claim: str
    kind: CommandKind
    timeout_s: float
    lines: int = 100
    by: str = ""
    why: str = ""


class OpenCommands:
    """All commands of one process that are not answered yet."""

    def __init__(self) -> None:
        self._seq = itertools.count(1)
        self._open: dict[int, tuple[Connection, asyncio.Future[CommandDone]]] = {}

    async def give(self, connection: Connection, command: GuestCommand) -> CommandDone:
        """The agent's answer. Raises Overloaded when nothing was sent, AgentSilent without one."""
        if len(self._open) >= _OPEN_MAX:
            raise Overloaded(f"{_OPEN_MAX} commands wait for agents already.", remedy="Ask again.")
        seq = next(self._seq)
        future: asyncio.Future[CommandDone] = asyncio.get_running_loop().create_future()
        self._open[seq] = (connection, future)
        try:
            sent = connection.offer(
                Command(
                    seq,
                    command.host,
                    command.claim,
                    command.kind,
                    command.lines,
                    command.by,
                    command.why,
                )
            )
            if not sent:
                raise Overloaded(
                    f"Agent {connection.agent} has too much to read already.", remedy="Ask again."
                )
            async with asyncio.timeout(command.timeout_s):
                return await future
        except TimeoutError:
            raise AgentSilent(
                f"Agent {connection.agent} did not answer {command.kind} within "
                f"{command.timeout_s:g} s.",
                remedy="Look at the instance's state; the command may be repeated.",
            ) from None
        finally:
            del self._open[seq]

    def answered(self, connection: Connection, done: CommandDone) -> None:
        """An answer came; one that nobody waits for any more is dropped."""
        asked, future = self._open.get(done.seq, (None, None))
        if asked is connection and future is not None and not future.done():
            future.set_result(done)

    def lost(self, connection: Connection) -> None:
        """The connection is over: what was asked over it is answered by nobody."""
        for asked, future in self._open.values():
            if asked is connection and not future.done():
                future.set_exception(
                    AgentSilent(
                        f"The connection of agent {connection.agent} broke before its answer.",
                        remedy="Look at the instance's state; the command may be repeated.",
                    )
                )
