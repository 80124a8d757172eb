"""Looking for hosts in a cell: what a decision needs beside the request, put together.

Per cell: reads that decisions share, and the hints of its buckets. Sharing pools are read only when
no host has what is asked for by itself, so the common request pays nothing for them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
from msgspec import Struct

from placer.model import ids
from placer.model.host_view import summarize
from placer.model.request import RequestSpec
from placer.scheduler import candidates, pools
from placer.scheduler.groups import GroupFacts
from placer.scheduler.hints import Hints
from placer.scheduler.select import Selection, check, select
from placer.scheduler.shared_reads import SharedReads
from placer.scheduler.wanted import Wanted
from placer.scheduler.worklog import clock_ms
from placer.settings import Settings
from placer.store.base import CellStores

#: End of the reason of a host that has nothing of a class.
_NOT_OFFERED = ":not_offered"


class Found(Struct, frozen=True):
    """A selection and what it was made for."""

    wanted: Wanted
    selection: Selection


class Searching:
    """One per process."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        *,
        rng: random.Random,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        """Raises InvalidInput for a filter or weigher in the settings that nobody has."""
        check(settings.scheduler)
        self._settings = settings
        self._stores = stores
        self._rng = rng
        self._now_ms = now_ms
        self._reads: dict[str, SharedReads] = {}
        self._hints: dict[str, Hints] = {}

    async def search(
        self,
        cell: str,
        spec: RequestSpec,
        facts: GroupFacts | None = None,
        *,
        hosts: int,
        excluded: frozenset[str] = frozenset(),
    ) -> Found:
        """Up to ``hosts`` hosts of ``cell``, the best pick first. Raises StoreError, InvalidInput."""
        wanted = self._wanted(spec, facts, excluded)
        found = await self._look(cell, wanted, hosts)
        rejected = found.selection.rejected
        if not found.selection.ranked and any(r.endswith(_NOT_OFFERED) for r in rejected):
            shared = tuple(await pools.sharing(await self._stores.cell(cell)))
            if shared:
                found = await self._look(cell, msgspec.structs.replace(wanted, pools=shared), hosts)
        return found

    async def named(self, cell: str, spec: RequestSpec, facts: GroupFacts | None = None) -> Found:
        """The one host of ``cell`` that ``spec`` names, judged by its row. Raises as ``search``."""
        store = await self._stores.cell(cell)
        row = await store.read_row(ids.host_uuid(cell, spec.host))
        views = [summarize(row, cell=cell, region=store.region)] if row else []
        wanted = self._wanted(spec, facts, frozenset())
        return Found(wanted, select(wanted, views, rng=self._rng))

    def _wanted(
        self, spec: RequestSpec, facts: GroupFacts | None, excluded: frozenset[str]
    ) -> Wanted:
        return Wanted(
            spec=spec,
            # An address comes from the host's slice, which can be refilled when it is empty.
            demand=msgspec.structs.replace(spec, network="").demand,
            settings=self._settings.scheduler,
            group=facts,
            tried=excluded,
            now_ms=self._now_ms(),
        )

    async def _look(self, cell: str, wanted: Wanted, hosts: int) -> Found:
        if cell not in self._reads:
            store = await self._stores.cell(cell)
            self._reads[cell] = SharedReads(store)
            self._hints[cell] = Hints(store, self._settings.scheduler.sweep_every_s)
        selection = await candidates.search(
            self._reads[cell],
            self._hints[cell],
            wanted,
            buckets=self._settings.cluster.cell(cell).host_buckets,
            hosts=hosts,
            rng=self._rng,
        )
        return Found(wanted, selection)
