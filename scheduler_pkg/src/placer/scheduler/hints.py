"""Hints of buckets in use: written by the sweeper as it passes, kept for a while by every scheduler.

A hint may be as old as a sweep and what is kept of it twice that. It never says no to a request:
buckets that it speaks against are only read later than the others, and fewer of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from placer.errors import StoreError
from placer.model.hint import BucketHint, hint_of
from placer.model.host_view import HostView
from placer.scheduler.single_flight import SingleFlight
from placer.store.hints import HintStore


class HintWriter:
    """The sweeper's part: writes a bucket's hint when it differs from the one written last."""

    def __init__(self, store: HintStore) -> None:
        self._store = store
        self._written: dict[int, BucketHint] = {}

    async def passed(self, bucket: int, views: Sequence[HostView], at_us: int) -> bool:
        """Write the hint of ``views``, all of ``bucket``, if it is news to this process.

        ``at_us`` orders the writes of several sweepers. Safe to repeat; raises StoreError. Says
        whether it wrote.
        """
        hint = hint_of(bucket, views)
        if self._written.get(bucket) == hint:
            return False
        await self._store.write_hint(hint, at_us)
        self._written[bucket] = hint
        return True


class Hints:
    """One cell's hints by bucket, read again at most once in ``keep_s``.

    Decisions that come while they are being read share the read. A cell whose hints cannot be read
    is decided on without: they save reads, nothing else.
    """

    def __init__(
        self, store: HintStore, keep_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._keep_s = keep_s
        self._clock = clock
        self._known: dict[int, BucketHint] = {}
        self._until = float("-inf")
        self._reads: SingleFlight[str, None] = SingleFlight()

    @property
    def known(self) -> dict[int, BucketHint]:
        """What was read last, however old; empty before the first read."""
        return self._known

    async def fresh(self) -> dict[int, BucketHint]:
        """Hints not older than ``keep_s``, or the last ones where the store does not answer."""
        if self._clock() >= self._until:
            await self._reads.join("hints", self._read)
        return self._known

    async def _read(self) -> None:
        try:
            self._known = {hint.bucket: hint for hint in await self._store.read_hints()}
        except StoreError:
            pass  # tried again once keep_s is over, like any other stale hint
        finally:
            self._until = self._clock() + self._keep_s
