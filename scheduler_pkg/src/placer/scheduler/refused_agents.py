"""Agents that this process sends away: readers of events hear of each, once an hour.

One that is refused comes again every few seconds, for ever. Who it is, is what can be known of it: the
agent that its certificate names, or the address it came from where there was no certificate to believe.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from placer import metrics
from placer.errors import PlacerError
from placer.scheduler.agent_events import Events, ReadRow

log = structlog.get_logger(__name__)

_AGAIN_S: Final = 3600.0
#: Refusals that are remembered, hence events of a process in that time, whoever knocks.
_TOLD_MAX: Final = 256


class RefusedAgents:
    """A part of ``AgentHub``. ``deadline_s`` bounds the reading and the telling of one."""

    def __init__(self, *, cell: str, read_row: ReadRow, events: Events, deadline_s: float) -> None:
        self._cell = cell
        self._read_row = read_row
        self._events = events
        self._deadline_s = deadline_s
        # When readers were told last: of whom, and of which host or with what reason.
        self._told: dict[tuple[str, str], float] = {}

    async def tell(self, who: str, why: str, *, stage: str, host: str = "") -> None:
        """``who`` was sent away at ``stage`` of its connection; ``host``: uuid of what it wanted to serve.

        Never raises for what fails: that is told with the next try.
        """
        metrics.agents_refused.labels(self._cell, stage).inc()
        log.error("agent_refused", agent=who, stage=stage, why=why)
        key = who, host or why
        if not self._due(key):
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                row = await self._read_row(host) if host else None
                if row is not None:
                    await self._events.refused(row, who, why)
                else:
                    await self._events.turned_away(who, why)
        except (PlacerError, TimeoutError) as error:
            log.warning("refusal_not_told", agent=who, host=host, why=repr(error))
            self._told.pop(key, None)

    def _due(self, key: tuple[str, str]) -> bool:
        """Whether it is to be told; two that ask at once are told once."""
        now_s = asyncio.get_running_loop().time()
        if len(self._told) >= _TOLD_MAX:
            self._told = {k: at_s for k, at_s in self._told.items() if now_s - at_s < _AGAIN_S}
        at_s = self._told.get(key)
        due = len(self._told) < _TOLD_MAX if at_s is None else now_s - at_s >= _AGAIN_S
        if due:
            self._told[key] = now_s
        return due
