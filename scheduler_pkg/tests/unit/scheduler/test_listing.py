"""Who writes the list: what belongs together rides together, and the newest always stays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from placer.errors import Overloaded, StoreUnavailable
from placer.model.instance import HostSeen, InstanceState, merge
from placer.model.messages import GuestState
from placer.model.records import ClaimState, HostRow, Record
from placer.model.request import Placement, Request, RequestSpec, Stage
from placer.scheduler.background import Background
from placer.scheduler.listing import Listing
from placer.store.instances import Change, batches

from ...simulation.clock import run_simulated
from ...simulation.conducting import now_ms, settings
from .. import factories
from ..lists import MemoryLists


class SlowLists(MemoryLists):
    """Each round of writes takes a while; ``rounds`` is how many changes each had."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[int] = []
        self.down = False

    async def write_changes(self, changes: Sequence[Change]) -> None:
        self.rounds.append(len(changes))
        await asyncio.sleep(0.01)
        if self.down:
            raise StoreUnavailable("It is down.", remedy="Bring it up.")
        await super().write_changes(changes)


def listing(lists: MemoryLists, **scheduler: Any) -> Listing:
    return Listing(settings(**scheduler), lists, Background(10), now_ms=now_ms)


def claim(number: int = 1, *, epoch: int = 0) -> Record:
    return Record(
        id=f"c1.h.{number}.{epoch}",
        provider="h",
        amounts={"VCPU": -1},
        consumer=f"i{number}",
        request="c1.r",
        project="red",
        state=ClaimState.BUILT,
        created_ms=5,
        epoch=epoch,
    )


def row(rev: int, *records: Record) -> HostRow:
    return msgspec.structs.replace(factories.row(), rev=rev, records=records)


def request(*held: Record) -> Request:
    placements = tuple(Placement("c1", "h", "h", one.id, one.consumer) for one in held)
    spec = RequestSpec({"VCPU": 1}, name="web", project="red", tags=("blue",))
    return Request("c1.r", 1, "c1", spec, Stage.BUILT, 1, 1, placements=placements)


def shown(lists: MemoryLists, name: str = "i1") -> Any:
    found = asyncio.run(lists.get_instance(name))
    assert found is not None
    return merge(found[0])


def test_many_changes_at_once_share_messages() -> None:
    """The first goes at once; what comes meanwhile goes together."""

    async def scenario() -> list[int]:
        lists = SlowLists()
        writer = listing(lists, list_writers=1)
        await asyncio.gather(
            *(
                writer.place(row(1), claim(n), InstanceState.RUNNING, request=None)
                for n in range(50)
            )
        )
        return lists.rounds

    assert run_simulated(scenario()) == [50]


def test_messages_are_one_for_one_change_and_few_for_many() -> None:
    """Alone: everything in one. Together: the instance's own, and one for each shared partition."""
    one = [factories.placed(factories.instance(1))]
    many = [factories.placed(factories.instance(n)) for n in range(10)]
    keep = settings().cluster.keep
    assert [len(batch) for batch in batches(one, keep)] == [5]
    assert sorted(len(batch) for batch in batches(many, keep)) == [2] * 10 + [10, 10, 10]


@pytest.mark.parametrize("sequence", list(itertools.permutations(range(4))))
def test_the_newest_stays_in_whatever_order_it_is_written(sequence: tuple[int, ...]) -> None:
    """Running, then moved (another row, with a lower revision), then stopped there."""
    lists = MemoryLists()
    writer = listing(lists)
    moved = claim(1, epoch=1)
    stopped = GuestState("h", moved.id, "stopped", version=3)
    old = GuestState("h", claim().id, "lost", version=9)

    async def scenario() -> None:
        steps = [
            lambda: writer.place(row(100), claim(), InstanceState.RUNNING, request=request()),
            lambda: writer.place(row(7), moved, InstanceState.RUNNING, request=request()),
            lambda: writer.guest(row(7), moved, stopped),
            lambda: writer.guest(row(100), claim(), old),
        ]
        for index in sequence:
            await steps[index]()

    run_simulated(scenario())
    view = shown(lists)
    assert (view.state, view.claim, view.name) == (InstanceState.STOPPED, moved.id, "web")
    assert view.tags == ("blue",)


def test_a_claim_that_was_left_does_not_end_its_instance() -> None:
    """The instance has another one: the end of the first is an event, and nothing else."""
    lists = MemoryLists()
    writer = listing(lists)
    moved = claim(1, epoch=1)

    async def scenario() -> None:
        await writer.place(row(7), moved, InstanceState.RUNNING, request=request(moved))
        await writer.place(row(100), claim(), InstanceState.DELETED, request=request(moved))

    run_simulated(scenario())
    assert shown(lists).state is InstanceState.RUNNING
    assert {event.type for event in lists.events.values()} == {"instance.running", "instance.left"}


def test_the_end_wins_over_what_the_same_row_said() -> None:
    """It is told while the claim is on the row still, at the same revision."""
    lists = MemoryLists()
    writer = listing(lists)

    async def scenario() -> None:
        await writer.place(row(9), claim(), InstanceState.DELETED, request=None)
        await writer.place(row(9), claim(), InstanceState.RUNNING, request=None)

    run_simulated(scenario())
    assert shown(lists).state is InstanceState.DELETED


def test_a_repeat_is_the_same_event() -> None:
    """Also when other things changed the row meanwhile."""
    lists = MemoryLists()
    writer = listing(lists)

    async def scenario() -> None:
        for rev in (9, 12):
            await writer.place(row(rev), claim(), InstanceState.RUNNING, request=None)

    run_simulated(scenario())
    assert len({event.id for event in lists.events.values()}) == 1
    found = asyncio.run(lists.get_instance("i1"))
    assert found is not None
    assert len(found[1]) == 1


def test_a_host_that_is_down_marks_what_is_on_it() -> None:
    """One event for the host; each of its instances says so, until it is back."""
    lists = MemoryLists()
    writer = listing(lists)

    async def scenario() -> None:
        for number in (1, 2):
            await writer.place(row(1), claim(number), InstanceState.RUNNING, request=None)
        await writer.host(row(2, claim(1), claim(2)), HostSeen.DOWN, why="no connection")

    run_simulated(scenario())
    assert [shown(lists, name).host_status for name in ("i1", "i2")] == [HostSeen.DOWN] * 2
    assert [event.type for event in lists.events.values()].count("host.down") == 1
    asyncio.run(listing(lists).host(row(3, claim(1)), HostSeen.UP))
    assert shown(lists).host_status is HostSeen.UP


def test_who_is_no_agent_is_an_event_of_the_cell() -> None:
    """It belongs to no host and no project; each time is an event of its own."""
    lists = MemoryLists()
    writer = listing(lists)

    async def scenario() -> None:
        await writer.turned_away("10.0.0.7", "It is a stranger's.")
        await asyncio.sleep(1)
        await writer.turned_away("10.0.0.7", "It is a stranger's.")

    run_simulated(scenario())
    told = list(lists.events.values())
    assert [(one.type, one.by, one.why) for one in told] == [
        ("agent.refused", "10.0.0.7", "It is a stranger's.")
    ] * 2
    assert {(one.host, one.project, one.instance) for one in told} == {("", "", "")}


def test_who_hears_nothing_comes_again() -> None:
    """A store that is down and a full queue are told to whoever wanted to write."""

    async def scenario() -> None:
        lists = SlowLists()
        lists.down = True
        writer = listing(lists)
        with pytest.raises(StoreUnavailable):
            await writer.place(row(1), claim(), InstanceState.RUNNING, request=None)
        full = listing(lists, list_writers=1, list_queue_max=1)
        outcomes = await asyncio.gather(
            *(full.place(row(1), claim(n), InstanceState.RUNNING, request=None) for n in range(3)),
            return_exceptions=True,
        )
        assert any(isinstance(outcome, Overloaded) for outcome in outcomes)

    run_simulated(scenario())


@pytest.mark.parametrize(
    ("build_s", "expected"),
    [
        pytest.param(0.5, ["instance.running"], id="a quick build is not listed before it is done"),
        pytest.param(5.0, ["instance.building", "instance.running"], id="a slow one is"),
    ],
)
def test_builds(build_s: float, expected: list[str]) -> None:
    """A state more for those who would wonder, and no write more for all others."""
    lists = MemoryLists()
    writer = listing(lists)

    async def found() -> Request | None:
        return request()

    async def scenario() -> None:
        writer.building(row(1), claim(), found)
        await asyncio.sleep(build_s)
        await writer.place(row(2), claim(), InstanceState.RUNNING, request=request())
        await asyncio.sleep(5)

    run_simulated(scenario())
    told = sorted(lists.events.values(), key=lambda event: event.at_ms)
    assert [event.type for event in told] == expected
