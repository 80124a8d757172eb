"""What an agent is told to do with instances that are built: start, stop, reboot, show their log.

A command changes no claim and is not in the journal: it is done or answered with why not, and whoever
gave it asks again. It keeps away from an instance that is being built or destroyed, but for the last
moment of that: everybody may know that an instance is built before its agent is done with it. One
that comes while an instance is about to be destroyed may be overtaken by that; the driver then says that there
is no such instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from placer.agents.drivers.base import Driver, DriverError, Life
from placer.agents.guests import Guests
from placer.agents.link import Link, LinkLost
from placer.agents.states import GuestStates
from placer.model.messages import Command, CommandDone, CommandKind, States

log = structlog.get_logger(__name__)

#: Commands under way at once, and those that wait.
WORKERS: Final = 4
_WAITING_MAX: Final = 256
_LINES_MAX: Final = 10_000
#: How long a command waits for the end of what is done to its instance, and between two looks.
_REST_S: Final = 2.0
_LOOK_S: Final = 0.02


class Commands:
    """The commands of one agent. ``busy`` says whether a claim is being worked on."""

    def __init__(
        self,
        driver: Driver,
        guests: Guests,
        states: GuestStates,
        busy: Callable[[str], bool],
        *,
        timeout_s: float,
    ) -> None:
        self._driver = driver
        self._states = states
        self._guests = guests
        self._busy = busy
        self._timeout_s = timeout_s
        self._queue: asyncio.Queue[tuple[Link, Command]] = asyncio.Queue(_WAITING_MAX)

    @property
    def waiting(self) -> int:
        """Commands that wait for a worker."""
        return self._queue.qsize()

    def take(self, link: Link, command: Command) -> CommandDone | None:
        """Queue a command that came over ``link``; its answer if it is refused at once."""
        try:
            self._queue.put_nowait((link, command))
        except asyncio.QueueFull:
            return CommandDone(command.seq, ok=False, text=f"{_WAITING_MAX} commands wait already.")
        return None

    async def work(self) -> None:
        """One worker: a command at a time, for ever."""
        while True:
            link, command = await self._queue.get()
            done = await self._answer(command)
            try:
                if done.ok and command.kind is not CommandKind.LOGS:
                    await self._tell(link, command)
                await link.say(done)
            except LinkLost as error:
                log.info("command_not_answered", claim=command.claim, why=str(error))

    async def _answer(self, command: Command) -> CommandDone:
        order = self._guests.order_of(command.claim)
        if order is None or order.host != command.host:
            return CommandDone(command.seq, ok=False, text="This host has no such instance.")
        if not await self._at_rest(command.claim):
            text = "The instance is being built or destroyed; try again."
            return CommandDone(command.seq, ok=False, text=text)
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await self._carry_out(command)
        except TimeoutError:
            return CommandDone(command.seq, ok=False, text=f"Not within {self._timeout_s:g} s.")
        except DriverError as error:
            return CommandDone(command.seq, ok=False, text=str(error))
        except Exception:
            # One instance's trouble must not stop the other commands.
            log.exception("command_failed", claim=command.claim, command=command.kind)
            return CommandDone(command.seq, ok=False, text="The agent's log says why.")
        if command.kind is not CommandKind.LOGS and self._guests.complete(command.claim):
            life = Life.STOPPED if command.kind is CommandKind.STOP else Life.RUNNING
            self._guests.found(order, life)
        return CommandDone(command.seq, ok=True, text=text)

    async def _at_rest(self, claim: str) -> bool:
        """Whether nothing works on the claim, now or within a moment."""
        for _ in range(round(_REST_S / _LOOK_S)):
            if not self._busy(claim):
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    async def _carry_out(self, command: Command) -> str:
        match command.kind:
            case CommandKind.START:
                await self._driver.start(command.claim)
            case CommandKind.STOP:
                await self._driver.stop(command.claim)
            case CommandKind.REBOOT:
                await self._driver.reboot(command.claim)
            case CommandKind.LOGS:
                lines = min(max(command.lines, 1), _LINES_MAX)
                return await self._driver.logs(command.claim, lines)
        return ""

    async def _tell(self, link: Link, command: Command) -> None:
        """Say the new state before the answer: whoever hears that may look at once."""
        order = self._guests.order_of(command.claim)
        if order is not None:
            state = Life.STOPPED if command.kind is CommandKind.STOP else Life.RUNNING
            why = f"asked to {command.kind}{f': {command.why}' if command.why else ''}"
            said = await self._states.changed(order, state.value, why, by=command.by)
            await link.say(States((said,)))
