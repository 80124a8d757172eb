"""Which views a decision reads: a few random buckets, then those that may have the rare fit, then more.

The cost of a decision does not grow with the fleet: ``sample_buckets`` partitions are read however
many there are, and at most ``buckets_max`` before the answer is no. The hints of the buckets
(largest free amount a class, traits, aggregates) say where it is worth looking; buckets that they
speak against are read last, ``doubted_buckets_max`` of them, because a hint may be stale.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, Protocol

import msgspec

from placer.model import hint as hints_of
from placer.model.hint import BucketHint
from placer.model.host_view import HostView
from placer.scheduler.hints import Hints
from placer.scheduler.select import Selection, Sieve
from placer.scheduler.wanted import Wanted

#: Random buckets looked at by their hints for each one to be read, before all hints are.
_LOOKS: Final = 4


class Views(Protocol):
    """Where views are read: a cell's store, or a batch's shared reads of it."""

    async def read_views(self, bucket: int) -> list[HostView]:
        """All views of ``bucket``; raises StoreError."""


async def search(
    views: Views,
    hints: Hints | None,
    wanted: Wanted,
    *,
    buckets: int,
    hosts: int,
    rng: random.Random,
) -> Selection:
    """Up to ``hosts`` hosts of one cell with ``buckets`` buckets; none: ``explain`` says why.

    Reads in parallel within a step, and twice as many buckets in each further step. Raises
    StoreError, and InvalidInput for an unknown weigher. Changes nothing; safe to repeat.
    """
    sieve = Sieve(wanted, rng)
    first = _sample(wanted, hints.known if hints else {}, buckets, rng)
    await _read(views, sieve, first)
    if sieve.found >= hosts or len(first) == buckets:
        return sieve.selection(hosts)
    known = await hints.fresh() if hints else {}
    rest = _widening(wanted, known, buckets, first, rng)
    unread = {bucket: hint.hosts for bucket, hint in known.items() if bucket not in first}
    size = 2 * wanted.settings.sample_buckets
    while rest and sieve.found < hosts:
        batch, rest = rest[:size], rest[size:]
        await _read(views, sieve, batch)
        size *= 2
        for bucket in batch:
            unread.pop(bucket, None)
    return msgspec.structs.replace(sieve.selection(hosts), hosts_unread=sum(unread.values()))


async def _read(views: Views, sieve: Sieve, batch: list[int]) -> None:
    found = await asyncio.gather(*(views.read_views(bucket) for bucket in batch))
    sieve.add([view for bucket in found for view in bucket])


def _fits(wanted: Wanted, hint: BucketHint | None) -> bool:
    """Whether the bucket is worth reading; one without a hint is."""
    return hint is None or hints_of.may_fit(
        hint, wanted.demand, wanted.spec.aggregates, pools=bool(wanted.pools)
    )


def _sample(
    wanted: Wanted, known: dict[int, BucketHint], buckets: int, rng: random.Random
) -> list[int]:
    """``sample_buckets`` random ones, of those that may fit as far as a few looks tell."""
    size = min(wanted.settings.sample_buckets, buckets)
    drawn = rng.sample(range(buckets), min(buckets, _LOOKS * size if known else size))
    good = [bucket for bucket in drawn if _fits(wanted, known.get(bucket))] if known else drawn
    if known and not good:
        # A rare fit: worth looking through all hints, which takes no read.
        good = [bucket for bucket in range(buckets) if _fits(wanted, known.get(bucket))]
        rng.shuffle(good)
    return (good or drawn)[:size]


def _widening(
    wanted: Wanted, known: dict[int, BucketHint], buckets: int, read: list[int], rng: random.Random
) -> list[int]:
    """Buckets to read next, in order: those that may fit, then a few that should not."""
    settings = wanted.settings
    order = [bucket for bucket in range(buckets) if bucket not in read]
    rng.shuffle(order)
    good = [bucket for bucket in order if _fits(wanted, known.get(bucket))]
    doubted = [bucket for bucket in order if not _fits(wanted, known.get(bucket))]
    allowed = max(0, settings.buckets_max - len(read))
    return [*good, *doubted[: settings.doubted_buckets_max]][:allowed]
