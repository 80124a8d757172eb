"""Batching of reads: decisions that want one bucket at the same time share one read of it.

Reading and decoding a bucket is most of what a decision costs. A request that comes while a bucket
is being read would read the same rows a moment later; it takes part in the read that is under way
instead. Its views are then as old as that read: they may be stale in any case, the row decides.
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.single_flight import SingleFlight
from placer.store.base import CellStore


class SharedReads:
    """Reads of one cell's views; bounded by the number of its buckets."""

    def __init__(self, store: CellStore) -> None:
        self._store = store
        self._reads: SingleFlight[int, list[HostView]] = SingleFlight()

    @property
    def cell(self) -> str:
        return self._store.cell

    @property
    def region(self) -> str:
        return self._store.region

    async def read_views(self, bucket: int) -> list[HostView]:
        """All views of ``bucket``; not to be changed by the caller. Raises StoreError."""
        return await self._reads.join(bucket, lambda: self._store.read_views(bucket))
