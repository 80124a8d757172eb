"""Which buckets a decision reads, with and without hints, and that it is bounded."""

from __future__ import annotations

import random

import pytest

from placer.errors import StoreUnavailable
from placer.model.hint import BucketHint, hint_of, may_fit
from placer.model.host_view import HostView
from placer.model.records import HostStatus, Inventory
from placer.model.request import RequestSpec
from placer.scheduler import explain
from placer.scheduler.candidates import search
from placer.scheduler.hints import Hints, HintWriter
from placer.settings import Scheduler

from ..factories import spec, view, wanted

METAL = Inventory(total=1, units=("serial-7",))


class Store:
    """Buckets of views and their hints; remembers what was read. A fake, for these tests."""

    def __init__(self, buckets: list[list[HostView]]) -> None:
        self.buckets = buckets
        self.reads: list[int] = []
        self.hints: dict[int, BucketHint] = {}
        self.hint_reads = 0
        self.down = False

    async def read_views(self, bucket: int) -> list[HostView]:
        self.reads.append(bucket)
        return self.buckets[bucket]

    async def read_hints(self) -> list[BucketHint]:
        self.hint_reads += 1
        if self.down:
            raise StoreUnavailable("down")
        return list(self.hints.values())

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        self.hints[hint.bucket] = hint

    def swept(self) -> Store:
        self.hints = {n: hint_of(n, views) for n, views in enumerate(self.buckets)}
        return self


def fleet(buckets: int, rare: int | None = None) -> Store:
    """Two small hosts a bucket; bucket ``rare`` has a bare-metal host too."""
    made = [[view(f"h{n}a"), view(f"h{n}b")] for n in range(buckets)]
    if rare is not None:
        made[rare].append(view("metal", CUSTOM_BAREMETAL=METAL))
    return Store(made)


RARE = RequestSpec(resources={"CUSTOM_BAREMETAL": 1})


async def test_common_request_reads_one_bucket() -> None:
    """What fits anywhere costs one partition, however many there are, and no read of hints."""
    store = fleet(100).swept()
    found = await search(
        store, Hints(store, 15), wanted(spec()), buckets=100, hosts=2, rng=random.Random(1)
    )
    assert len(found.ranked) == 2
    assert len(store.reads) == 1
    assert store.hint_reads == 0


async def test_rare_request_is_found_by_its_hint() -> None:
    """After one miss the hints name the only bucket that has it; the next decision goes there."""
    store = fleet(200, rare=137).swept()
    hints = Hints(store, 15)
    rng = random.Random(1)
    found = await search(store, hints, wanted(RARE), buckets=200, hosts=1, rng=rng)
    assert [host.host for host in found.ranked] == ["metal"]
    assert 137 in store.reads[:3]
    store.reads.clear()
    await search(store, hints, wanted(RARE), buckets=200, hosts=1, rng=rng)
    assert store.reads == [137]
    assert store.hint_reads == 1


async def test_impossible_request_is_bounded_and_explained() -> None:
    """Buckets that the hints speak against are read last, a few of them, and the rest is counted."""
    store = fleet(200).swept()
    asked = wanted(spec(1000), settings=Scheduler(doubted_buckets_max=5))
    found = await search(store, Hints(store, 15), asked, buckets=200, hosts=1, rng=random.Random(1))
    assert len(store.reads) == len(set(store.reads)) == 6
    assert found.hosts_seen == 12
    assert found.hosts_unread == 2 * (200 - 6)
    assert "388 more" in explain.refusal(asked, [found]).message


async def test_without_hints_it_widens_up_to_its_bound() -> None:
    """No hints, no fit: buckets_max partitions are read, none of them twice."""
    store = fleet(200)
    asked = wanted(RARE, settings=Scheduler(buckets_max=20))
    found = await search(store, None, asked, buckets=200, hosts=1, rng=random.Random(1))
    assert found.ranked == ()
    assert len(store.reads) == len(set(store.reads)) == 20


async def test_stale_hint_delays_but_does_not_refuse() -> None:
    """A host that was freed since the sweep is found all the same."""
    store = fleet(10, rare=4)
    store.hints = {n: BucketHint(n, 2, {"VCPU": 8}) for n in range(10)}
    found = await search(
        store, Hints(store, 15), wanted(RARE), buckets=10, hosts=1, rng=random.Random(3)
    )
    assert [host.host for host in found.ranked] == ["metal"]


async def test_hints_that_cannot_be_read_are_done_without() -> None:
    """A store that does not give its hints still gives its views."""
    store = fleet(10, rare=4)
    store.down = True
    found = await search(
        store, Hints(store, 15), wanted(RARE), buckets=10, hosts=1, rng=random.Random(3)
    )
    assert [host.host for host in found.ranked] == ["metal"]


async def test_hints_are_read_again_after_a_while() -> None:
    """Kept for keep_s, then read anew."""
    now = 0.0
    store = fleet(1).swept()
    hints = Hints(store, 15, clock=lambda: now)
    await hints.fresh()
    await hints.fresh()
    assert store.hint_reads == 1
    now = 15.0
    await hints.fresh()
    assert store.hint_reads == 2


async def test_sweeper_writes_a_hint_when_it_changes() -> None:
    """An unchanged bucket costs no write."""
    store = fleet(1)
    writer = HintWriter(store)
    assert await writer.passed(0, store.buckets[0], 1)
    assert not await writer.passed(0, store.buckets[0], 2)
    assert await writer.passed(0, [view("h0a", vcpu=2)], 3)
    assert store.hints[0].largest["VCPU"] == 2


def test_hint_is_the_best_of_the_hosts_that_are_up() -> None:
    """Largest amounts, traits with their counts, aggregates; a host that is down counts for nothing."""
    views = [
        view("a", vcpu=4, traits=("CUSTOM_A",)),
        view("b", vcpu=6, traits=("CUSTOM_A", "CUSTOM_B")),
        view("c", vcpu=99, status=HostStatus.DOWN),
    ]
    assert hint_of(7, views) == BucketHint(
        bucket=7,
        hosts=2,
        largest={"MEMORY_MB": 1024, "VCPU": 6},
        traits={"CUSTOM_A": 2, "CUSTOM_B": 1},
    )


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        pytest.param(spec(6), True, id="as much as the largest"),
        pytest.param(spec(7), False, id="more than any host has left"),
        pytest.param(RARE, False, id="class that nobody offers"),
        pytest.param(spec(required_traits=("CUSTOM_A",)), True, id="trait that somebody has"),
        pytest.param(spec(required_traits=("CUSTOM_C",)), False, id="trait that nobody has"),
        pytest.param(spec(any_traits=(("CUSTOM_A", "CUSTOM_C"),)), True, id="one of two traits"),
        pytest.param(spec(aggregates=("az1",)), True, id="aggregate that somebody is in"),
        pytest.param(spec(aggregates=("az2",)), False, id="aggregate that nobody is in"),
    ],
)
def test_may_fit(asked: RequestSpec, fits: bool) -> None:
    """Whether a bucket is worth reading."""
    hint = BucketHint(0, 2, {"VCPU": 6}, {"CUSTOM_A": 1}, ("az1",))
    assert may_fit(hint, asked.demand, asked.aggregates) is fits


def test_pools_may_give_what_no_host_of_the_bucket_offers() -> None:
    """With pools in the cell only classes that hosts offer speak against a bucket."""
    hint = BucketHint(0, 2, {"VCPU": 6})
    disk = RequestSpec(resources={"VCPU": 1, "DISK_GB": 5})
    assert may_fit(hint, disk.demand, pools=True)
    assert not may_fit(hint, disk.demand)
