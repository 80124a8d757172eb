"""Operators' calls on rows: repeated they change nothing, and nothing promised is taken away."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from placer import settings as config
from placer.claims.operations import AddClaim
from placer.claims.protocol import HostWriter
from placer.errors import Conflict, UnknownCell
from placer.history import HistoryWriter
from placer.model import networks
from placer.model.fitting import demand_of
from placer.model.groups import Policy, Scope, ServerGroup
from placer.model.networks import NetworkSpec, PoolSpec
from placer.model.records import HostRow, Inventory, RowKind
from placer.scheduler.operator import Operator

from ...simulation.clock import run_simulated
from ...simulation.store import SimStore

CELLS = (config.Cell("c1", "r1", "c1", ("10.0.0.1",)),)
SETTINGS = config.Settings("p1", "c1", config.Cluster("test", CELLS), Path("unread"))
POOL = PoolSpec(aggregates=("a",), inventories={"DISK_GB": Inventory(total=100)})


def run(scenario: Callable[[SimStore, HostWriter, Operator], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = SimStore(random.Random(1))
        writer = HostWriter(store, SETTINGS.scheduler, HistoryWriter(None, "p1"))

        async def of_cell(_: str) -> HostWriter:
            return writer

        await scenario(store, writer, Operator(SETTINGS, of_cell))
        await writer.close(1.0)

    run_simulated(whole())


def test_put_twice_is_one_revision() -> None:
    """The same description again writes nothing; another one changes the same row."""

    async def scenario(store: SimStore, writer: HostWriter, operator: Operator) -> None:
        first = await operator.put_pool("fast", POOL)
        before = store.rows[first.id].rev
        assert await operator.put_pool("fast", POOL) == first
        assert store.rows[first.id].rev == before
        assert store.rows[first.id].kind is RowKind.POOL
        larger = PoolSpec(("a", "b"), {"DISK_GB": Inventory(total=200)})
        assert (await operator.put_pool("fast", larger)).free == {"DISK_GB": 200}

    run(scenario)


def test_what_is_promised_stays() -> None:
    """A pool cannot become smaller than its claims; the refusal says what to do."""

    async def scenario(store: SimStore, writer: HostWriter, operator: Operator) -> None:
        made = await operator.put_pool("fast", POOL)
        claim = AddClaim("k", "i", "q", "p", demand_of({"DISK_GB": 60}), 0, anchor="c1.h1.k")
        assert isinstance(await writer.submit(made.id, claim, deadline_s=1.0), HostRow)
        less = PoolSpec(("a",), {"DISK_GB": Inventory(total=50)})
        with pytest.raises(Conflict) as error:
            await operator.put_pool("fast", less)
        assert error.value.remedy
        enough = PoolSpec(("a",), {"DISK_GB": Inventory(total=60)})
        assert (await operator.put_pool("fast", enough)).free == {"DISK_GB": 0}

    run(scenario)


def test_network_is_a_pool_of_its_addresses() -> None:
    """Its units are what may be given out, its trait says which network they are of."""

    async def scenario(store: SimStore, writer: HostWriter, operator: Operator) -> None:
        made = await operator.put_network("blue", NetworkSpec("10.0.0.0/29", gateway="10.0.0.1"))
        assert (made.total, made.free, made.trait) == (5, 5, "CUSTOM_NETWORK_BLUE")
        assert made.id == networks.network_id("c1", "blue")

    run(scenario)


def test_group_has_its_row_before_its_first_member() -> None:
    """Made once; a group of anti-affinity of hosts has none, as the hosts' rows keep its rule."""

    async def scenario(store: SimStore, writer: HostWriter, operator: Operator) -> None:
        together = ServerGroup("c1.g1", "g1", Policy.AFFINITY, Scope.HOST, "p")
        await operator.create_group(together)
        await operator.create_group(together)
        assert store.rows["c1.g1"].kind is RowKind.GROUP
        await operator.create_group(
            ServerGroup("c1.g2", "g2", Policy.ANTI_AFFINITY, Scope.HOST, "p")
        )
        assert "c1.g2" not in store.rows
        assert "c1.g1" not in store.views, "a group is nothing to choose from"

    run(scenario)


def test_unknown_cell_is_named() -> None:
    """Nothing is written for a cell that is not there."""

    async def scenario(store: SimStore, writer: HostWriter, operator: Operator) -> None:
        with pytest.raises(UnknownCell):
            await operator.put_network("blue", NetworkSpec("10.0.0.0/29", cell="mars1"))
        assert not store.rows

    run(scenario)
