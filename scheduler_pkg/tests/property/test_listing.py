"""The list of instances: whatever is filtered, in pages of any size, it is the brute-force list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from placer.api.native.instance_pages import Filters, Key, Pages
from placer.model.instance import (
    SLOT_MS,
    Guest,
    Instance,
    InstanceState,
    InstanceView,
    Known,
    merge,
    order,
)
from placer.store.instances import Change

from ..unit import factories
from ..unit.lists import MemoryLists

NOW_MS = 1_800_000_000_000
CELLS = {"c1": "r1", "c2": "r1", "c3": "r2"}
CUT_OFF = {"c3": NOW_MS - 60_000}

#: Ages that crowd in one slot, lie at its edge, and leave slots out; some instances are of one moment.
ages = st.one_of(
    st.integers(0, 20),
    st.integers(-1, 1).map(lambda by: SLOT_MS * 3 + by),
    st.integers(0, 400 * SLOT_MS),
)
instances = st.builds(
    lambda number, age, cell, **more: factories.instance(
        number,
        id=f"i{number:03}",
        created_ms=NOW_MS - age,
        updated_ms=NOW_MS - age,
        cell=cell,
        region=CELLS[cell],
        rev=9,
        **more,
    ),
    number=st.integers(0, 999),
    age=ages,
    cell=st.sampled_from(sorted(CELLS)),
    project=st.sampled_from(["red", "blue"]),
    state=st.sampled_from([InstanceState.RUNNING, InstanceState.BUILDING, InstanceState.DELETED]),
    host_name=st.sampled_from(["h1", "h2"]),
    name=st.sampled_from(["", "web", "web-1", "db"]),
    tags=st.sampled_from([(), ("a",), ("a", "b")]),
)
fleets = st.lists(instances, max_size=60, unique_by=lambda one: one.id)
filters = st.builds(
    Filters,
    project=st.sampled_from(["", "red"]),
    states=st.sampled_from(
        [frozenset(), frozenset({InstanceState.RUNNING}), frozenset({InstanceState.STOPPED})]
    ),
    cells=st.sampled_from([(), ("c1",), ("c1", "c2")]),
    host=st.sampled_from(["", "h1"]),
    name=st.sampled_from(["", "web"]),
    tag=st.sampled_from(["", "b"]),
    changed_since_ms=st.sampled_from([0, NOW_MS - SLOT_MS]),
)


def cut_off() -> Mapping[str, int]:
    return CUT_OFF


async def paged(lists: MemoryLists, wanted: Filters, limit: int) -> list[InstanceView]:
    """All pages, one after the other."""
    pages = Pages(lists, sorted(CELLS), cut_off, lambda: NOW_MS)
    found: list[InstanceView] = []
    after: Key | None = None
    for _ in range(1000):
        page = await pages.page(wanted, limit=limit, after=after)
        assert len(page.found) <= limit
        found += page.found
        if page.rest is None:
            return found
        assert after is None or page.rest < after, "each page goes on"
        after = page.rest
    raise AssertionError("the list does not end")


def stopped(one: Instance) -> Change:
    """The agent says that its guest was stopped."""
    guest = Guest(InstanceState.STOPPED, NOW_MS, 0, 1)
    placed = factories.placed(one)
    return Change(
        order(0, 1), placed.event, one.id, one.project, one.cell, one.created_ms, guest=guest
    )


@given(fleet=fleets, wanted=filters, limit=st.integers(1, 70), stop=st.sets(st.integers(0, 59)))
def test_pages_are_the_whole_list(
    fleet: list[Instance], wanted: Filters, limit: int, stop: set[int]
) -> None:
    """Every instance that the filter lets through, once, newest first; and nothing else."""
    lists = MemoryLists()
    quiet = [one for number, one in enumerate(fleet) if number in stop]
    changes = [*map(factories.placed, fleet), *map(stopped, quiet)]
    asyncio.run(lists.write_changes(changes))
    expected = []
    for one in sorted(fleet, key=lambda i: (i.created_ms, i.id), reverse=True):
        said = Guest(InstanceState.STOPPED, NOW_MS, 0, 1) if one in quiet else None
        # What is final keeps nothing that an agent said before.
        known = Known(one, None if one.state.is_final else said)
        view = merge(known, CUT_OFF.get(one.cell, 0))
        if wanted.keep(view):
            expected.append(view)
    assert asyncio.run(paged(lists, wanted, limit)) == expected
