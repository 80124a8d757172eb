"""Selection against brute force on small fleets: nobody who fits is missed, nobody else is chosen."""

from __future__ import annotations

import asyncio
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from placer.model import fitting
from placer.model.hint import BucketHint, hint_of
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.request import RequestSpec, Strategy
from placer.scheduler.candidates import search
from placer.scheduler.hints import Hints
from placer.scheduler.select import score, select
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler

TRAITS = ("CUSTOM_A", "CUSTOM_B")
SOME_TRAITS = st.sets(st.sampled_from(TRAITS)).map(lambda held: tuple(sorted(held)))


@st.composite
def hosts(draw: st.DrawFn, name: str) -> HostView:
    offered = {"VCPU": Inventory(total=draw(st.integers(min_value=1, max_value=4)))}
    if draw(st.booleans()):
        offered["MEMORY_MB"] = Inventory(total=draw(st.integers(min_value=1, max_value=4)))
    record = inventory_record(name, offered, draw(SOME_TRAITS))
    status = draw(st.sampled_from([HostStatus.UP, HostStatus.UP, *HostStatus]))
    row = HostRow(name, name, 1, status, (record,))
    cell, zone = draw(st.sampled_from(["c1", "c2"])), draw(st.sampled_from(["", "az1"]))
    view = summarize(row, cell=cell, region="r1")
    return msgspec.structs.replace(view, aggregates=(zone,) if zone else ())


@st.composite
def fleets(draw: st.DrawFn) -> list[HostView]:
    return [draw(hosts(f"h{n}")) for n in range(draw(st.integers(min_value=0, max_value=8)))]


SPECS = st.builds(
    RequestSpec,
    resources=st.dictionaries(
        st.sampled_from(["VCPU", "MEMORY_MB"]), st.integers(min_value=1, max_value=4), min_size=1
    ),
    required_traits=st.one_of(st.just(()), SOME_TRAITS),
    forbidden_traits=st.one_of(st.just(()), st.just(()), SOME_TRAITS),
    aggregates=st.sampled_from([(), (), ("az1",)]),
    avoid_hosts=st.sampled_from([(), ("h0",), ("h1", "h2")]),
    avoid_cells=st.sampled_from([(), (), ("c2",)]),
    strategy=st.sampled_from([None, *Strategy]),
)


def fits(spec: RequestSpec, host: HostView) -> bool:
    """What the request says, word by word, without any filter."""
    return (
        host.status is HostStatus.UP
        and host.name not in spec.avoid_hosts
        and host.cell not in spec.avoid_cells
        and (not spec.aggregates or bool(set(spec.aggregates) & set(host.aggregates)))
        and host.traits.issuperset(spec.required_traits)
        and host.traits.isdisjoint(spec.forbidden_traits)
        and all(host.free.get(name, 0) >= amount for name, amount in spec.resources.items())
    )


def wanted(spec: RequestSpec, **settings: int) -> Wanted:
    return Wanted(spec=spec, demand=spec.demand, settings=Scheduler(**settings))  # type: ignore[arg-type]


@given(fleets(), SPECS, st.integers(min_value=0, max_value=99))
def test_ranked_are_those_that_fit(fleet: list[HostView], spec: RequestSpec, seed: int) -> None:
    """All of them when all are asked for, each once; and the counts add up to what was seen."""
    found = select(wanted(spec), fleet, rng=random.Random(seed), hosts=len(fleet) or 1)
    expected = {host.host for host in fleet if fits(spec, host)}
    assert len(found.ranked) == len(expected)
    assert {host.host for host in found.ranked} == expected
    assert found.hosts_seen == len(fleet) == len(expected) + sum(found.rejected.values())
    assert found.left["capacity"] == sum(found.cells.values()) == len(expected)


@given(fleets(), SPECS, st.integers(min_value=0, max_value=99))
def test_pick_is_one_of_the_best(fleet: list[HostView], spec: RequestSpec, seed: int) -> None:
    """With pick_from 2 the pick is one of the two best scores of all that fit."""
    asked = wanted(spec, pick_from=2)
    found = select(asked, fleet, rng=random.Random(seed))
    scores = sorted((score(asked, host) for host in fleet if fits(spec, host)), reverse=True)
    assert bool(found.ranked) is bool(scores)
    if found.ranked:
        assert score(asked, found.ranked[0]) >= scores[:2][-1]


class Buckets:
    """Views in buckets, and hints that may be wrong."""

    def __init__(self, fleet: list[HostView], buckets: int, wrong: set[int]) -> None:
        self.buckets = [fleet[n::buckets] for n in range(buckets)]
        self._hints = [
            BucketHint(n) if n in wrong else hint_of(n, held) for n, held in enumerate(self.buckets)
        ]

    async def read_views(self, bucket: int) -> list[HostView]:
        return self.buckets[bucket]

    async def read_hints(self) -> list[BucketHint]:
        return self._hints

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        raise AssertionError("a decision writes no hints")


@given(
    fleets(),
    SPECS,
    st.integers(min_value=1, max_value=5),
    st.sets(st.integers(min_value=0, max_value=4)),
    st.integers(min_value=0, max_value=99),
)
def test_search_finds_a_host_if_there_is_one(
    fleet: list[HostView], spec: RequestSpec, buckets: int, wrong: set[int], seed: int
) -> None:
    """Whatever the hints say, right or wrong, known beforehand or not."""

    async def looked() -> list[HostView]:
        store = Buckets(fleet, buckets, wrong)
        hints, rng = Hints(store, 60), random.Random(seed)
        if seed % 2:
            await hints.fresh()
        asked = wanted(spec)
        found = await search(store, hints, asked, buckets=buckets, hosts=1, rng=rng)
        return list(found.ranked)

    chosen = asyncio.run(looked())
    assert bool(chosen) is any(fits(spec, host) for host in fleet)
    for host in chosen:
        assert isinstance(fitting.arrange(spec.demand, host.tree), fitting.Arrangement)
