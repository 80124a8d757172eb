"""The sweeper: lapsed leases end, lost views come back."""

from __future__ import annotations

import asyncio
import random

import msgspec

from placer.claims.operations import AddClaim, AgentStep, Refusal, ReportInventory
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.errors import StoreUnavailable, StoreUnknown
from placer.history import HistoryWriter, now_us
from placer.model import records
from placer.model.fitting import demand_of
from placer.model.host_view import HostView
from placer.model.messages import StepKind
from placer.model.records import ClaimState, HostRow, Inventory, Record
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
        self.told: list[str] = []
        self.may_lapse = True
        self.named = True
        self.now_ms = NOW_MS
        self.forget()

    def forget(self) -> None:
        """From here on another process, which has seen no row yet."""
        self.writer = HostWriter(
            self.store, Scheduler(), HistoryWriter(None, "test"), rng=random.Random(1)
        )
        recovery = Recovery(
            SimStores(self.store),
            self._writer,
            settings().cluster,
            HistoryWriter(None, "test"),
            tell=self._tell,
            named=self._is_named,
            clock_ms=lambda: self.now_ms,
        )
        self.sweeper = Sweeper(settings(), self.store, self.writer, recovery, rng=random.Random(1))

    async def _writer(self, cell: str) -> HostWriter:
        return self.writer

    async def _tell(self, row: HostRow, record: Record) -> None:
        assert record.state is ClaimState.DELETING, "told before nobody can adopt it"
        self.told.append(record.id)
        if not self.may_lapse:
            raise StoreUnavailable("its home cell is cut off")

    async def _is_named(self, record: Record) -> bool:
        return self.named

    async def claimed(self, lease_until_ms: int) -> None:
        """A host with one claim that waits for its agent."""
        report = ReportInventory("h1", "h1", {"VCPU": Inventory(total=4)})
        await self.writer.submit("h1", report, deadline_s=5)
        claim = AddClaim("k1", "i1", "q1", "p", demand_of({"VCPU": 1}), lease_until_ms)
        assert isinstance(await self.writer.submit("h1", claim, deadline_s=5), HostRow)
        await asyncio.sleep(2)

    async def sweep(self) -> int:
        return await self.sweeper.sweep_bucket(0, self.now_ms)


def test_claim_whose_lease_ended_is_removed() -> None:
    """Nobody adopted it in time: who asked for it is told, then its amounts are free again."""

    async def scenario() -> None:
        scene = Scene()
        await scene.claimed(lease_until_ms=NOW_MS - 1)
        await scene.sweep()
        assert not scene.store.rows["h1"].claims
        assert scene.told == ["k1"]

    run_simulated(scenario())


def test_lapsed_claim_of_a_cut_off_cell_waits_without_its_amounts() -> None:
    """Its request names it still, so it stays; but what it held is free, and nobody can adopt it.
    Once the cell is back its request is told and it goes."""

    async def scenario() -> None:
        scene = Scene()
        scene.may_lapse = False
        await scene.claimed(lease_until_ms=NOW_MS - 1)
        for _ in range(3):
            await scene.sweep()
        row = scene.store.rows["h1"]
        assert [claim.id for claim in row.claims] == ["k1"]
        assert records.available(row.records) == {"VCPU": 4}
        assert scene.told == ["k1"], "a silent cell is not asked again at once"
        adopt = AgentStep("k1", StepKind.ADOPT)
        assert isinstance(await scene.writer.submit("h1", adopt, deadline_s=5), Refusal)
        scene.may_lapse = True
        await asyncio.sleep(3 * settings().cluster.claim_deadline_s)
        await scene.sweep()
        assert scene.store.rows["h1"].claims == ()

    run_simulated(scenario())


def test_claim_that_nobody_waits_for_goes_before_its_lease_ends() -> None:
    """Its claimer died before the request named it; one that is named, or just made, stays."""

    async def scenario() -> None:
        scene = Scene()
        scene.named = False
        lease_ms = int(settings().cluster.claim_lease_s * 1000)
        await scene.claimed(lease_until_ms=now_us() // 1000 + lease_ms)
        made_ms = scene.store.rows["h1"].claims[0].created_ms
        deadline_ms = int(settings().cluster.claim_deadline_s * 1000)
        scene.now_ms = made_ms + deadline_ms
        await scene.sweep()
        assert len(scene.store.rows["h1"].claims) == 1
        scene.now_ms = made_ms + deadline_ms + 1
        scene.named = True
        await scene.sweep()
        assert len(scene.store.rows["h1"].claims) == 1
        assert scene.told == []
        scene.named = False
        await scene.sweep()
        assert not scene.store.rows["h1"].claims
        assert scene.told == ["k1"]

    run_simulated(scenario())


def test_claim_of_the_dead_goes_though_its_view_was_lost() -> None:
    """Its claimer died before it wrote the view, so the view shows no claim; the row's revision does."""

    async def scenario() -> None:
        scene = Scene()
        scene.named = False
        await scene.claimed(lease_until_ms=2**52)
        made_ms = scene.store.rows["h1"].claims[0].created_ms
        view = scene.store.views["h1"]
        lost = msgspec.structs.replace(view, rev=view.rev - 1, lease_until_ms=0, free={"VCPU": 4})
        scene.store.views["h1"] = lost
        scene.forget()
        scene.now_ms = made_ms + int(settings().cluster.claim_deadline_s * 1000) + 1
        await scene.sweep()
        assert scene.store.rows["h1"].claims, "nothing shows it yet"
        await scene.sweeper.look()
        await scene.sweep()
        assert not scene.store.rows["h1"].claims
        await asyncio.sleep(2)
        assert scene.store.views["h1"].rev == scene.store.rows["h1"].rev

    run_simulated(scenario())


def test_view_that_was_lost_with_another_process_is_written_again() -> None:
    """Nobody is left who knows the row; what it holds is nobody's to end, and counts in choice again."""

    async def scenario() -> None:
        scene = Scene()
        await scene.claimed(lease_until_ms=2**52)
        view = scene.store.views["h1"]
        scene.store.views["h1"] = msgspec.structs.replace(view, rev=view.rev - 1)
        scene.forget()
        await scene.sweeper.look()
        assert await scene.sweep() == 1
        await asyncio.sleep(2)
        assert scene.store.views["h1"] == view
        assert scene.store.rows["h1"].claims
        assert await scene.sweep() == 0

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
