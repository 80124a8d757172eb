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
from placer.model.request import Request, Stage

from .conducting import CELLS, World
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
