"""The sweeper: lapsed leases end, lost views come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from placer.claims.operations import AddClaim, ReportInventory
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.errors import StoreUnknown
from placer.history import HistoryWriter
from placer.model.fitting import demand_of
from placer.model.host_view import HostView
from placer.model.records import HostRow, Inventory, Record
from placer.scheduler.sweeper import Sweeper
from placer.settings import Scheduler

from ...simulation.clock import run_simulated
from ...simulation.conducting import CellSim, settings
from ...simulation.store import SimStore, SimStores

NOW_MS = 1_000_000


class Scene:
    """A cell with a sweeper; ``told`` are the claims whose requests heard that they lapse."""

    def __init__(self, store: SimStore | None = None) -> None:
        self.store = store or CellSim(random.Random(1))
        self.writer = HostWriter(
            self.store, Scheduler(), HistoryWriter(None, "test"), rng=random.Random(1)
        )
        self.told: list[str] = []
        self.may_lapse = True
        recovery = Recovery(
            SimStores(self.store),
            self._writer,
            settings().cluster,
            HistoryWriter(None, "test"),
            clock_ms=lambda: NOW_MS,
        )
        self.sweeper = Sweeper(
            settings(), self.store, self.writer, recovery, self._tell, rng=random.Random(1)
        )

    async def _writer(self, cell: str) -> HostWriter:
        return self.writer

    async def _tell(self, row: HostRow, ended: Iterable[Record], now_ms: int) -> bool:
        self.told += [record.id for record in ended]
        return self.may_lapse

    async def claimed(self, lease_until_ms: int) -> None:
        """A host with one claim that waits for its agent."""
        report = ReportInventory("h1", "h1", {"VCPU": Inventory(total=4)})
        await self.writer.submit("h1", report, deadline_s=5)
        claim = AddClaim("k1", "i1", "q1", "p", demand_of({"VCPU": 1}), lease_until_ms)
        assert isinstance(await self.writer.submit("h1", claim, deadline_s=5), HostRow)
        await asyncio.sleep(2)

    async def sweep(self) -> int:
        return await self.sweeper.sweep_bucket(0, NOW_MS)


def test_claim_whose_lease_ended_is_removed() -> None:
    """Nobody adopted it in time: who asked for it is told, then its amounts are free again."""

    async def scenario() -> None:
        scene = Scene()
        await scene.claimed(lease_until_ms=NOW_MS - 1)
        await scene.sweep()
        assert scene.store.rows["h1"].claims == ()
        assert scene.told == ["k1"]

    run_simulated(scenario())


def test_claim_stays_while_its_request_cannot_be_told() -> None:
    """The request would name a claim that is on no row."""

    async def scenario() -> None:
        scene = Scene()
        scene.may_lapse = False
        await scene.claimed(lease_until_ms=NOW_MS - 1)
        await scene.sweep()
        assert len(scene.store.rows["h1"].claims) == 1

    run_simulated(scenario())


def test_claim_within_its_lease_stays() -> None:
    """The sweeper does not hurry an agent."""

    async def scenario() -> None:
        scene = Scene()
        await scene.claimed(lease_until_ms=2**52)
        assert await scene.sweep() == 0
        assert len(scene.store.rows["h1"].claims) == 1
        assert scene.told == []

    run_simulated(scenario())


def test_view_that_was_lost_is_written_again() -> None:
    """A host that this process knows and whose view is missing comes back into choice."""

    async def scenario() -> None:
        scene = Scene()
        await scene.claimed(lease_until_ms=2**52)
        del scene.store.views["h1"]
        assert await scene.sweep() == 1
        await asyncio.sleep(2)
        assert scene.store.views["h1"].rev == scene.store.rows["h1"].rev

    run_simulated(scenario())


def test_view_is_written_after_an_unknown_outcome_was_settled() -> None:
    """A host whose first write lost its answer is not left without a view."""

    class LosesOneAnswer(CellSim):
        lost = False

        async def insert_row(self, row: HostRow) -> bool:
            applied = await super().insert_row(row)
            if not self.lost:
                self.lost = True
                raise StoreUnknown("answer lost")
            return applied

    async def scenario() -> None:
        scene = Scene(LosesOneAnswer(random.Random(1)))
        report = ReportInventory("h1", "h1", {"VCPU": Inventory(total=4)})
        await scene.writer.submit("h1", report, deadline_s=5)
        await asyncio.sleep(2)
        view: HostView = scene.store.views["h1"]
        assert view.rev == scene.store.rows["h1"].rev

    run_simulated(scenario())
