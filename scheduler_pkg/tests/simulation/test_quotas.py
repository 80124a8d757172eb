"""Many claimers and one quota: it is never exceeded, whoever dies, and what is left can be had.

The world is that of the conductor's simulation; its projects have quotas.
"""

from __future__ import annotations

import asyncio

import pytest

from placer import failpoints
from placer.model import quotas, records
from placer.model.quotas import QuotaSpec
from placer.model.records import RowKind
from placer.model.request import MoveKind, Request, Stage

from .conducting import CELLS, World
from .moving_world import MovingWorld
from .test_conductor_sim import simulate

SEEDS = range(20)
ENDED = (Stage.BUILT, Stage.REFUSED, Stage.FAILED, Stage.CANCELLED)


class QuotaWorld(World):
    """A world whose agents see to hosts only, and which watches every quota row."""

    def carry(self, cell: str, host: str, claim: str, *, confirmed: bool) -> None:
        if self.stores[cell].rows[host].kind is RowKind.HOST:
            super().carry(cell, host, claim, confirmed=confirmed)

    async def put(self, **spec: object) -> None:
        """Put the quota of project "default"; every process has heard of it."""
        made = quotas.new_quota("default", QuotaSpec(**spec), CELLS)  # type: ignore[arg-type]
        await self.quotas.put("default", made)
        for process in self.processes.values():
            await process.quota_list.refresh()

    def used(self, cell: str = "c1", name: str = "VCPU") -> int:
        """What is taken of the slice, the undecided included."""
        row = self.stores[cell].rows[quotas.row_id(cell, "default")]
        slice_ = records.inventories(row.records)[name]
        return slice_.total - records.available(row.records)[name]

    async def watch(self, cell: str = "c1", name: str = "VCPU") -> None:
        """The slice is never exceeded, looked at all the time."""
        key = quotas.row_id(cell, "default")
        while True:
            row = self.stores[cell].rows.get(key)
            if row is not None and records.available(row.records)[name] < 0:
                self.wrong.append(f"quota exceeded at revision {row.rev}")
                return
            await asyncio.sleep(0.001)

    async def all_ended(self, asked: list[Request], within_s: float = 60) -> list[Request]:
        await self.until(
            lambda: all(self.stored(one).stage in ENDED for one in asked),
            within_s,
            "every request is at its end",
        )
        return [self.stored(one) for one in asked]

    async def all_asked(self, number: int, **spec: object) -> list[Request]:
        """``number`` equal requests at the same moment, as they ended."""
        asked = await asyncio.gather(*(self.ask(0.0, **spec) for _ in range(number)))
        return await self.all_ended(list(asked))


def built(done: list[Request]) -> list[Request]:
    return [one for one in done if one.stage is Stage.BUILT]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_many_claimers_share_one_quota(seed: int) -> None:
    """Room for 12 by the hosts, for 5 by the quota: of 12 requests at once exactly 5 are built."""
    world = QuotaWorld(seed)

    async def scenario() -> None:
        world.start_all()
        for name in ("a", "b", "c"):
            await world.host(name, vcpu=8)
        await world.put(limits={"VCPU": 10}, cells={"c1": 1})
        watching = asyncio.create_task(world.watch())
        done = await world.all_asked(12, resources={"VCPU": 2})
        assert len(built(done)) == 5, [(one.stage, one.reason) for one in done]
        for one in done:
            if one.stage is not Stage.BUILT:
                assert one.reason is not None
                assert one.reason.code == "quota_exceeded"
                assert one.reason.quota is not None
                assert one.reason.quota.left < 2
                assert one.reason.remedy
        await world.until(lambda: world.used() == 10, 10, "the quota is used up")
        watching.cancel()
        assert not world.unsettled()

    simulate(world, scenario())


@pytest.mark.parametrize(
    "point", ["claim.after_lwt", "writeset.prepared", "request.claimed", "cancel.released"]
)
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_no_share_is_lost_with_a_process(seed: int, point: str) -> None:
    """Processes die on the way; after cancels all of the quota can be had again."""
    world = QuotaWorld(seed)

    async def scenario() -> None:
        world.start_all()
        for name in ("a", "b"):
            await world.host(name, vcpu=8)
        await world.put(limits={"VCPU": 4}, cells={"c1": 1})
        watching = asyncio.create_task(world.watch())
        failpoints.on_reach = world.dies_twice_at(point)
        first = built(await world.all_asked(6, deadline_s=30.0))
        assert len(first) == 4
        for one in first:
            await world.intake.cancel(one.id)
        await world.all_ended(first)
        failpoints.on_reach = None
        again = await world.all_asked(4, deadline_s=40.0)
        assert len(built(again)) == 4, [(one.stage, one.reason) for one in again]
        watching.cancel()
        await asyncio.sleep(10)
        assert not world.unsettled()

    simulate(world, scenario())


class ResizingWorld(QuotaWorld, MovingWorld):
    """A world with quotas whose instances are resized."""

    async def resized(self, asked: Request, vcpu: int) -> int:
        """Have the request's instance resized; what it is then."""
        (here,) = self.stored(asked).placements
        await self.ask_move(
            self.stored(asked), here.instance, MoveKind.RESIZE, resources={"VCPU": vcpu}
        )
        await self.until(lambda: not self.stored(asked).moves, 60, "the resize is over")
        return self.size(asked)

    def size(self, asked: Request) -> int:
        """What the request's instance has on its host."""
        (here,) = self.stored(asked).placements
        record = self.stores[here.cell].rows[here.host].find(here.claim)
        assert record is not None
        return -sum(record.amounts.values())


@pytest.mark.parametrize("point", ["", "move.grown", "move.resized", "claim.after_lwt"])
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_a_resize_in_place_asks_the_quota(seed: int, point: str) -> None:
    """Grows by what is left and no further, says why, and gives back what it shrinks by; also if the
    process that does it dies on the way."""
    world = ResizingWorld(seed)

    async def scenario() -> None:
        world.start_all()
        await world.host("a", vcpu=16)
        await world.put(limits={"VCPU": 6}, cells={"c1": 1})
        watching = asyncio.create_task(world.watch())
        one, other = built(await world.all_asked(2, resources={"VCPU": 2}, deadline_s=30.0))
        failpoints.on_reach = world.dies_twice_at(point) if point else None
        assert await world.resized(one, 4) == 4
        await world.until(lambda: world.used() == 6, 5, "the slice is used up")
        assert await world.resized(other, 3) == 2
        assert "Project default has 2 of 6 VCPU left in cell c1, 3 are asked for" in str(
            [change.why for change in world.stored(other).changes]
        )
        assert await world.resized(one, 1) == 1
        await world.until(lambda: world.used() == 3, 5, "what it shrank by is there again")
        assert await world.resized(other, 5) == 5
        await world.until(lambda: world.used() == 6, 5, "and can be had")
        failpoints.on_reach = None
        for asked in (one, other):
            await world.intake.cancel(asked.id)
        await world.until(lambda: world.used() == 0, 40, "all of it comes back")
        watching.cancel()
        await world.until(lambda: not world.unsettled(), 40, "everything is settled")

    simulate(world, scenario())


def test_what_the_host_refuses_is_given_back() -> None:
    """The quota has room for the new size and the host has not: nothing stays taken."""
    world = ResizingWorld(1)

    async def scenario() -> None:
        world.start_all()
        await world.host("a", vcpu=4)
        await world.put(limits={"VCPU": 20}, cells={"c1": 1})
        (one,) = built(await world.all_asked(1, resources={"VCPU": 2}))
        assert await world.resized(one, 8) == 2
        await world.until(lambda: world.used() == 2, 5, "it is what it was")

    simulate(world, scenario())


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_a_cell_that_is_added_has_its_slice(seed: int) -> None:
    """A quota that is divided equally was put before there was the cell; nobody puts it again."""
    world = QuotaWorld(seed)

    async def scenario() -> None:
        world.start_all()
        for process in world.processes.values():
            process.quota_list._cells = CELLS[:1]  # a deployment of one cell
        for cell in CELLS[:2]:
            await world.host(f"{cell}-h", 32, cell)
        spec = QuotaSpec(limits={"VCPU": 4 * len(CELLS)})
        whole = quotas.new_quota("default", spec, CELLS[:1])
        await world.quotas.put("default", quotas.stored(whole, spec))
        for process in world.processes.values():
            await process.quota_list.refresh()
        first = await world.all_asked(5, resources={"VCPU": 2}, cell=CELLS[0])
        assert len(built(first)) == min(5, 2 * len(CELLS))
        for process in list(world.processes.values()):
            process.die()
        world.start_all()
        await world.until(lambda: slice_of(world, CELLS[0]) == 4, 10, "the old cell takes it in")
        done = await world.all_asked(4, resources={"VCPU": 2}, cell=CELLS[1])
        assert len(built(done)) == 2, [(one.stage, one.reason) for one in done]
        assert slice_of(world, CELLS[1]) == 4

    simulate(world, scenario())


def slice_of(world: QuotaWorld, cell: str) -> int:
    """The cell's slice as its row has it; 0 without a row."""
    row = world.stores[cell].rows.get(quotas.row_id(cell, "default"))
    return records.inventories(row.records)["VCPU"].total if row is not None else 0
