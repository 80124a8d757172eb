"""From a request to its outcome, on the simulated store: named hosts, races, stale views, faults."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from placer.claims.operations import ReportInventory
from placer.claims.protocol import HostWriter
from placer.errors import StoreUnavailable
from placer.history import HistoryWriter
from placer.model import ids
from placer.model.records import HostRow, Inventory, Record
from placer.model.request import Request, RequestSpec, Stage
from placer.scheduler.conductor import Conductor
from placer.settings import Cell, Cluster, Scheduler, Settings
from placer.store.base import CellStore

from ...simulation.clock import run_simulated
from ...simulation.store import SimStore

CELL = Cell(name="c1", region="r1", datacenter="c1", contact_points=("127.0.0.1",), host_buckets=1)
SETTINGS = Settings(
    process="test",
    cell="c1",
    cluster=Cluster(deployment="test", cells=(CELL, msgspec.structs.replace(CELL, name="c2"))),
    service_token_file=Path("unused"),
)


class World:
    """One cell, one scheduler, and what was notified."""

    def __init__(self, *, unknown: float = 0.0) -> None:
        rng = random.Random(1)
        self.store = SimStore(rng, unknown=unknown)
        self.told: list[str] = []
        history = HistoryWriter(None, "test")
        self.writer = HostWriter(self.store, Scheduler(), history, rng=rng)
        self.conductor = Conductor(
            SETTINGS, self, self._writer, history, self._notify, rng=random.Random(2)
        )

    async def cell(self, name: str) -> CellStore:
        if name == "c2":
            raise StoreUnavailable("No node of cell c2 can be reached.")
        return self.store

    async def _writer(self, cell: str) -> HostWriter:
        return self.writer

    def _notify(self, cell: str, row: HostRow, record: Record) -> None:
        self.told.append(record.id)

    async def host(self, name: str, vcpu: int = 4, traits: tuple[str, ...] = ()) -> str:
        host = ids.host_uuid("c1", name)
        report = ReportInventory(host, name, {"VCPU": Inventory(total=vcpu)}, traits)
        await self.writer.submit(host, report, deadline_s=5)
        await asyncio.sleep(1)  # the view is written after the answer
        return host

    async def ask(self, vcpu: int = 1, **more: object) -> Request:
        spec = RequestSpec(resources={"VCPU": vcpu}, **more)  # type: ignore[arg-type]
        request = Request(
            id=ids.new_request_id("c1"),
            rev=1,
            home_cell="c1",
            spec=spec,
            stage=Stage.ACCEPTED,
            created_ms=1,
            updated_ms=1,
        )
        return await self.conductor.schedule(request)


def test_request_that_fits_is_placed_stored_and_notified() -> None:
    """The outcome names host and claim, is in the log, and the agent is told."""

    async def scenario() -> None:
        world = World()
        await world.host("h1")
        done = await world.ask(2)
        assert done.stage is Stage.PLACED
        assert done.choice is not None
        assert done.choice.host_name == "h1"
        assert await world.store.get_request(done.id) == done
        assert world.told == [done.choice.claim]

    run_simulated(scenario())


def test_request_that_fits_nowhere_is_refused_with_counts() -> None:
    """The reason says how many hosts were seen and what removed them."""

    async def scenario() -> None:
        world = World()
        await world.host("h1", vcpu=2)
        await world.host("h2", vcpu=2)
        done = await world.ask(3)
        assert done.stage is Stage.REFUSED
        assert done.reason is not None
        assert (done.reason.code, done.reason.rejected) == (
            "no_valid_host",
            {"VCPU:no_capacity": 2},
        )

    run_simulated(scenario())


def test_stale_view_costs_a_conflict_and_the_next_host_is_tried() -> None:
    """A view that promises too much is refused by the row; the claim lands elsewhere."""

    async def scenario() -> None:
        world = World()
        full = await world.host("full", vcpu=4)
        await world.ask(4, host="full")
        await asyncio.sleep(1)
        await world.host("other", vcpu=4)
        stale = world.store.views[full]
        world.store.views[full] = msgspec.structs.replace(stale, free={"VCPU": 400})
        outcomes = [await world.ask(1) for _ in range(4)]
        assert [done.choice.host_name for done in outcomes if done.choice] == ["other"] * 4
        assert sum(done.conflicts for done in outcomes) >= 1

    run_simulated(scenario())


def test_last_unit_goes_to_exactly_one_of_many() -> None:
    """However many ask at once for a host's last unit, one is placed, the others hear why not."""

    async def scenario() -> None:
        world = World()
        await world.host("h1", vcpu=1)
        outcomes = await asyncio.gather(*(world.ask(1, host="h1") for _ in range(9)))
        assert [done.stage for done in outcomes].count(Stage.PLACED) == 1
        reasons = {done.reason.code for done in outcomes if done.reason}
        assert reasons == {"no_valid_host"}

    run_simulated(scenario())


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param({"host": "nosuch"}, "host_unknown", id="unknown host"),
        pytest.param(
            {"host": "h1", "required_traits": ("CUSTOM_X",)}, "no_valid_host", id="named, no trait"
        ),
    ],
)
def test_named_host_that_cannot_take_it(more: dict[str, object], code: str) -> None:
    """A host that was named is the only one tried."""

    async def scenario() -> None:
        world = World()
        await world.host("h1")
        await world.host("h2", traits=("CUSTOM_X",))
        done = await world.ask(1, **more)
        assert done.reason is not None
        assert done.reason.code == code

    run_simulated(scenario())


def test_cell_that_is_cut_off_is_named() -> None:
    """An unreachable cell is a refusal with its own code, written to the home cell's log."""

    async def scenario() -> None:
        world = World()
        done = await world.ask(1, cell="c2")
        assert done.reason is not None
        assert done.reason.code == "cell_unreachable"
        assert await world.store.get_request(done.id) == done

    run_simulated(scenario())


def test_outcome_that_stays_unknown_is_said_to_be_unknown() -> None:
    """When no answer comes by the deadline, the refusal does not claim that nothing happened."""

    async def scenario() -> None:
        world = World()
        await world.host("h1")
        world.store.unknown = 1.0
        world.store.serial_read_loss = 1.0
        done = await world.ask(1, host="h1")
        assert done.reason is not None
        assert done.reason.code == "claim_unknown"

    run_simulated(scenario())
