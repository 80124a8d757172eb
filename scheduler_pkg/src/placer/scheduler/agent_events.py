"""What the hub of agents asks of the rest of the scheduler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from placer.claims.operations import Operation, Refusal
from placer.model.messages import CommandDone, GuestState
from placer.model.records import HostRow, Record
from placer.scheduler.guest_commands import GuestCommand


class Writer(Protocol):
    """What is used of the claims' HostWriter."""

    async def submit(
        self, host: str, operation: Operation, *, deadline_s: float
    ) -> HostRow | Refusal: ...


class Events(Protocol):
    """Who is told of claims' rows and records (``lifecycle.py``).

    Each is awaited before the agent hears of it, at least once, perhaps again after a crash. What
    raises PlacerError is asked for again by the agent.
    """

    async def confirmed(self, record: Record) -> bool:
        """Whether the claim's request names it: whoever asked was or will be told of it."""

    def adopted(self, row: HostRow, record: Record) -> None:
        """The build begins; for lists only."""

    async def built(self, row: HostRow, record: Record) -> None:
        """BUILT is on the row."""

    def marked(self, row: HostRow, record: Record) -> None:
        """A report found the claim marked as moving; for lists only."""

    async def failed(self, row: HostRow, record: Record, why: str) -> None:
        """The build failed; the claim is ``deleting``."""

    async def lapsed(self, row: HostRow, record: Record) -> None:
        """The lease ended; nobody can adopt the claim any more, and it is about to leave the row."""

    async def gone(self, row: HostRow, record: Record) -> None:
        """The instance is destroyed; the claim is about to leave the row."""

    async def host(self, row: HostRow) -> None:
        """The host came back, or is down; for lists only: what fails is not told again."""

    async def refused(self, row: HostRow, agent: str, why: str) -> None:
        """``agent`` wanted to serve the host and may not; for readers of events only."""

    async def turned_away(self, who: str, why: str) -> None:
        """``who`` wanted to be an agent of the cell and may not; for readers of events only."""

    async def guest(self, row: HostRow, state: GuestState) -> None:
        """How the instance of a claim on the row is now: it stopped, runs again, or was lost.

        Of two states of one instance the one with the higher ``version`` is the newer.
        """


#: The agents by which other processes of the cell serve some of these hosts (uuids), told which
#: agent asks. Raises PlacerError when a peer is silent.
ServedElsewhere = Callable[[set[str], str], Awaitable[dict[str, str]]]

#: Has another process of the cell give a command to an instance of a host that it serves; None if
#: none does. Raises AgentSilent, Overloaded.
CommandElsewhere = Callable[[GuestCommand], Awaitable[CommandDone | None]]

#: A row as a quorum of its cell has it: every acknowledged write is in it. Raises StoreError.
ReadRow = Callable[[str], Awaitable[HostRow | None]]
