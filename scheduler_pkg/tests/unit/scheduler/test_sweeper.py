"""The sweeper: lapsed leases end, lost views come back."""

from __future__ import annotations

import asyncio
import random

from placer.claims.operations import AddClaim, ReportInventory
from placer.claims.protocol import HostWriter
from placer.errors import StoreUnknown
from placer.history import HistoryWriter
from placer.model.host_view import HostView
from placer.model.records import HostRow, Inventory
from placer.scheduler.sweeper import sweep_bucket
from placer.settings import Scheduler

from ...simulation.clock import run_simulated
from ...simulation.store import SimStore

NOW_MS = 1_000_000


def new_writer(store: SimStore) -> HostWriter:
    return HostWriter(store, Scheduler(), HistoryWriter(None, "test"), rng=random.Random(1))


async def prepared(store: SimStore, lease_until_ms: int) -> HostWriter:
    """A host with one claim that waits for its agent."""
    writer = new_writer(store)
    report = ReportInventory("h1", "h1", {"VCPU": Inventory(total=4)})
    await writer.submit("h1", report, deadline_s=5)
    claim = AddClaim("k1", "i1", "q1", "p", {"VCPU": 1}, lease_until_ms)
    assert isinstance(await writer.submit("h1", claim, deadline_s=5), HostRow)
    await asyncio.sleep(2)
    return writer


def test_claim_whose_lease_ended_is_removed() -> None:
    """Nobody adopted it in time: its amounts are free again."""

    async def scenario() -> None:
        store = SimStore(random.Random(1))
        writer = await prepared(store, lease_until_ms=NOW_MS - 1)
        await sweep_bucket(store, writer, 0, 1, NOW_MS, 5)
        assert store.rows["h1"].claims == ()

    run_simulated(scenario())


def test_claim_within_its_lease_stays() -> None:
    """The sweeper does not hurry an agent."""

    async def scenario() -> None:
        store = SimStore(random.Random(1))
        writer = await prepared(store, lease_until_ms=2**52)
        assert await sweep_bucket(store, writer, 0, 1, NOW_MS, 5) == 0
        assert len(store.rows["h1"].claims) == 1

    run_simulated(scenario())


def test_view_that_was_lost_is_written_again() -> None:
    """A host that this process knows and whose view is missing comes back into choice."""

    async def scenario() -> None:
        store = SimStore(random.Random(1))
        writer = await prepared(store, lease_until_ms=2**52)
        del store.views["h1"]
        assert await sweep_bucket(store, writer, 0, 1, NOW_MS, 5) == 1
        await asyncio.sleep(2)
        assert store.views["h1"].rev == store.rows["h1"].rev

    run_simulated(scenario())


def test_view_is_written_after_an_unknown_outcome_was_settled() -> None:
    """A host whose first write lost its answer is not left without a view."""

    class LosesOneAnswer(SimStore):
        lost = False

        async def insert_row(self, row: HostRow) -> bool:
            applied = await super().insert_row(row)
            if not self.lost:
                self.lost = True
                raise StoreUnknown("answer lost")
            return applied

    async def scenario() -> None:
        store = LosesOneAnswer(random.Random(1))
        report = ReportInventory("h1", "h1", {"VCPU": Inventory(total=4)})
        await new_writer(store).submit("h1", report, deadline_s=5)
        await asyncio.sleep(2)
        view: HostView = store.views["h1"]
        assert view.rev == store.rows["h1"].rev

    run_simulated(scenario())
