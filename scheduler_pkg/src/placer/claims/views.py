"""Writing host views: after the answer, newest only, by a few tasks at a time.

A view is a summary for those who choose; nobody's claim waits for it and a lost one is written again
by the host's next change, its report or the sweeper. What changes a choice is written at once; the
steps of agents leave the free amounts as they are, and one write a second carries them.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog

from placer import metrics
from placer.errors import StoreError
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, RowKind
from placer.settings import Scheduler
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

_TRIES: Final = 3
_BACKOFF_S: Final = 0.05
#: How long a view whose free amounts did not change may wait for the next change of its host.
_LAZY_S: Final = 1.0


class ViewWriter:
    """The views that a ``HostWriter`` owes; its tasks are started by ``spawn``."""

    def __init__(
        self,
        store: CellStore,
        settings: Scheduler,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._settings = settings
        self._spawn = spawn
        self._rng = rng
        self._waiting: OrderedDict[str, HostView] = OrderedDict()
        self._lazy: dict[str, HostView] = {}
        self._lazy_running = False
        self._writers = 0
        self.closing = False

    def queue(self, old: HostRow | None, row: HostRow) -> None:
        """Have the view of ``row`` written: at once if it changes what may be chosen, else soon.

        An agent's steps leave the free amounts as they are; one write a second carries them.
        """
        if row.kind in (RowKind.GROUP, RowKind.QUOTA):
            return
        view = summarize(row, cell=self._store.cell, region=self._store.region)
        urgent = old is None or _differs(
            summarize(old, cell=self._store.cell, region=self._store.region), view
        )
        if urgent or row.host in self._waiting:
            self._lazy.pop(row.host, None)
            self._waiting[row.host] = view
        else:
            self._lazy[row.host] = view
            if not self._lazy_running:
                self._lazy_running = True
                self._spawn(self._flush_lazy())
        self._write_more()

    async def _flush_lazy(self) -> None:
        """Move the waiting views to the writers once a second until none waits."""
        try:
            while self._lazy:
                await asyncio.sleep(0 if self.closing else _LAZY_S)
                for host, view in self._lazy.items():
                    self._waiting.setdefault(host, view)
                self._lazy.clear()
                self._write_more()
        finally:
            self._lazy_running = False

    def _write_more(self) -> None:
        while len(self._waiting) > self._settings.background_writes_max:
            # The bound: the oldest view is dropped; the host's next change or report writes it.
            self._waiting.popitem(last=False)
            metrics.views_dropped.labels(self._store.cell).inc()
        if self._writers < self._settings.view_writers:
            self._writers += 1
            self._spawn(self._write_views())

    async def _write_views(self) -> None:
        try:
            while self._waiting:
                _, view = self._waiting.popitem(last=False)
                await self._write_view(view)
        finally:
            self._writers -= 1

    async def _write_view(self, view: HostView) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                await self._store.write_view(view)
                return
            except StoreError as error:
                log.warning("view_not_written", host=view.host, attempt=attempt, error=str(error))
                await asyncio.sleep(self._rng.uniform(0, _BACKOFF_S * attempt))


def _differs(before: HostView, after: HostView) -> bool:
    """Whether a choice could depend on it: everything but what only a sweeper reads."""
    same = msgspec.structs.replace(
        before,
        rev=after.rev,
        lease_until_ms=after.lease_until_ms,
        claims=after.claims,
        writesets=after.writesets,
    )
    return same != after
