"""Requests for what several hosts share, from their POST to their end: groups, pools, addresses.

The world is that of the conductor's simulation; here its hosts are in aggregates, its cells have
pools and networks, and the processes die while they divide them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from placer import failpoints
from placer.claims.operations import AgentStep, ReportInventory
from placer.claims.tags import member_id
from placer.errors import Conflict, ServerGroupInUse, StoreUnavailable
from placer.model import ids, records
from placer.model.commit_record import CommitRecord, Decision, RowKey
from placer.model.groups import Place, Policy, Scope, ServerGroup
from placer.model.messages import StepKind
from placer.model.networks import NetworkSpec, PoolSpec
from placer.model.records import ClaimState, HostRow, Inventory, Record, RowKind
from placer.model.request import Request, Stage
from placer.model.resource_classes import ADDRESS
from placer.scheduler.closing import Closing
from placer.scheduler.operator import Operator

from .conducting import Process, World, now_ms, settings
from .store import SimStores
from .test_conductor_sim import simulate

SEEDS = range(20)
ENDED = (Stage.BUILT, Stage.REFUSED, Stage.FAILED, Stage.CANCELLED)


class SharedWorld(World):
    """A world with operators, whose agents see to hosts only."""

    def carry(self, cell: str, host: str, claim: str, *, confirmed: bool) -> None:
        if self.stores[cell].rows[host].kind is RowKind.HOST:
            super().carry(cell, host, claim, confirmed=confirmed)

    async def near(self, name: str, aggregate: str, cell: str = "c1") -> str:
        """A host of four cores in an aggregate."""
        process = self.alive(cell)
        assert process is not None
        host = ids.host_uuid(cell, name)
        report = ReportInventory(host, name, {"VCPU": Inventory(total=4)}, aggregates=(aggregate,))
        await (await process.writer(cell)).submit(host, report, deadline_s=5)
        await asyncio.sleep(1)
        return host

    def leave(self, key: str, record: Record) -> None:
        """Have an entry on a row of c1 that its writer did not live to see to."""
        row = self.stores["c1"].rows[key]
        self.stores["c1"].rows[key] = msgspec.structs.replace(
            row, rev=row.rev + 1, records=(*row.records, record)
        )

    async def destroy(self, cell: str, host: str, claim: str) -> None:
        """The instance is gone behind everybody's back, and its agent says so."""
        process = self.alive(cell)
        assert process is not None
        writer = await process.writer(cell)
        await writer.submit(host, AgentStep(claim, StepKind.DELETING), deadline_s=5)
        self.carry(cell, host, claim, confirmed=True)

    def operator(self) -> Operator:
        process = self.alive("c1")
        assert process is not None
        return Operator(settings(), process.writer)

    def closing(self) -> Closing:
        process = self.alive("c1")
        assert process is not None
        stores = SimStores(*self.stores.values())
        return Closing(settings(), stores, process.writer, process.recovery.sweep_row)

    async def group(self, policy: str, scope: str) -> str:
        made = ServerGroup(f"c1.{policy}", policy, Policy(policy), Scope(scope), "default")
        await self.operator().create_group(made)
        self.groups[made.id] = made
        return made.id

    async def all_asked(self, number: int, **spec: object) -> list[Request]:
        """``number`` equal requests at the same moment, as they ended."""
        asked = await asyncio.gather(*(self.ask(0.0, **spec) for _ in range(number)))
        await self.ended(asked)
        return [self.stored(one) for one in asked]

    async def ended(self, asked: Sequence[Request], within_s: float = 60) -> None:
        await self.until(
            lambda: all(self.stored(one).stage in ENDED for one in asked),
            within_s,
            "every request is at its end",
        )

    def addresses(self, done: Sequence[Request]) -> list[str]:
        return [
            address
            for one in done
            for placement in one.placements
            for slot, devices in placement.units.items()
            if records.class_of(slot) == ADDRESS
            for address in devices
        ]


def placed(done: Sequence[Request]) -> list[Request]:
    return [one for one in done if one.stage is Stage.BUILT]


# -- addresses


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_each_instance_gets_an_address_of_its_own(seed: int) -> None:
    """Six addresses, eight requests at once from two hosts: six are built, each address once."""
    world = SharedWorld(seed)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        await world.host("b")
        await world.operator().put_network("blue", NetworkSpec("10.0.0.0/29"))
        done = await world.all_asked(8, network="blue", deadline_s=20.0)
        assert len(placed(done)) == 6, [(one.stage, one.reason) for one in done]
        assert sorted(world.addresses(done)) == [f"10.0.0.{n}" for n in range(1, 7)]

    simulate(world, scenario())


@pytest.mark.parametrize("point", ["network.taken", "network.returning", "claim.after_lwt"])
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_no_address_is_lost_with_a_process(seed: int, point: str) -> None:
    """A process dies in the middle of a refill; all addresses are given out all the same, once."""
    world = SharedWorld(seed)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        await world.host("b")
        await world.operator().put_network("blue", NetworkSpec("10.0.0.0/29"))
        failpoints.on_reach = world.dies_twice_at(point)
        done = await world.all_asked(6, network="blue", deadline_s=40.0)
        failpoints.on_reach = None
        assert len(placed(done)) == 6, [(one.stage, one.reason) for one in done]
        assert sorted(world.addresses(done)) == [f"10.0.0.{n}" for n in range(1, 7)]

    simulate(world, scenario())


@pytest.mark.parametrize(
    ("spec", "instances"),
    [
        pytest.param({"count": 12}, 12, id="more on one host than a slice has"),
        pytest.param({"count": 3, "partial": True}, 3, id="as many as there is room for"),
        pytest.param({"server_group": "c1.affinity", "count": 2}, 2, id="in a group with a row"),
        pytest.param({"host": "big"}, 1, id="on a named host"),
    ],
)
def test_addresses_for_every_kind_of_request(spec: dict[str, Any], instances: int) -> None:
    """Whichever way the claims are made, each instance has its address."""
    world = SharedWorld(9)

    async def scenario() -> None:
        world.start_all()
        await world.host("big", vcpu=16)
        await world.group("affinity", "host")
        await world.operator().put_network("blue", NetworkSpec("10.0.0.0/28"))
        done = await world.all_asked(1, network="blue", **spec)
        assert len(placed(done)) == 1, [(one.stage, one.reason) for one in done]
        assert len(set(world.addresses(done))) == instances

    simulate(world, scenario())


def test_network_that_no_cell_has_is_named() -> None:
    """Nothing is claimed for an address that cannot be had; the reason says how to make a network."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        host = await world.host("a")
        for more in ({}, {"count": 2}):
            (refused,) = await world.all_asked(1, network="nowhere", **more)
            assert refused.stage is Stage.REFUSED
            assert refused.reason is not None
            assert "nowhere" in refused.reason.message
            assert refused.reason.remedy
        assert not world.stores["c1"].rows[host].claims

    simulate(world, scenario())


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="one instance"),
        pytest.param({"count": 2}, id="several"),
        pytest.param({"count": 2, "partial": True}, id="as many as there is room for"),
        pytest.param({"host": "a"}, id="on a named host"),
        pytest.param({"server_group": "c1.affinity"}, id="in a group with a row"),
        pytest.param({"cells": ("c1",)}, id="in a named cell"),
    ],
)
def test_network_without_addresses_is_the_reason(spec: dict[str, Any]) -> None:
    """Hosts have room, the network has none: its own reason, and what to do. Freed, it serves again."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        await world.host("a", vcpu=16)
        await world.host("b", vcpu=16)
        await world.group("affinity", "cell")
        await world.operator().put_network("blue", NetworkSpec("10.0.0.0/30"))
        first = [(await world.all_asked(1, network="blue"))[0] for _ in range(2)]
        assert [one.stage for one in first] == [Stage.BUILT] * 2
        (refused,) = await world.all_asked(1, network="blue", **spec)
        assert (refused.stage, refused.placements) == (Stage.REFUSED, ())
        assert refused.reason is not None
        assert refused.reason.code == "network_full", refused.reason
        assert "blue" in refused.reason.message
        assert "PUT /v1/networks/blue" in refused.reason.remedy
        for one in first:
            await world.intake.cancel(one.id)
        await world.ended(first)
        (done,) = await world.all_asked(1, network="blue", deadline_s=30.0, **spec)
        assert done.stage is Stage.BUILT, done.reason

    simulate(world, scenario())


# -- pools


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="found by a search"),
        pytest.param({"host": "near"}, id="on a named host"),
        pytest.param({"network": "blue"}, id="with an address"),
        pytest.param({"network": "blue", "host": "near"}, id="with an address on a named host"),
        pytest.param({"count": 2}, id="for two instances"),
        pytest.param({"server_group": "c1.affinity", "count": 2}, id="in a group with a row"),
    ],
)
def test_pool_serves_every_kind_of_request(spec: dict[str, Any]) -> None:
    """Whichever way the claims are made, the disk comes from the pool of the host's aggregate."""
    world = SharedWorld(4)

    async def scenario() -> None:
        world.start_all()
        near = await world.near("near", "rack1")
        await world.group("affinity", "host")
        await world.operator().put_network("blue", NetworkSpec("10.0.0.0/28"))
        pool = PoolSpec(("rack1",), {"DISK_GB": Inventory(total=100)})
        made = await world.operator().put_pool("fast", pool)
        await asyncio.sleep(1)
        done = await world.all_asked(1, resources={"VCPU": 1, "DISK_GB": 40}, **spec)
        assert len(placed(done)) == 1, [(one.stage, one.reason) for one in done]
        assert {p.host for p in done[0].placements} == {near}
        count = len(done[0].placements)
        row = world.stores["c1"].rows[made.id]
        assert records.available(row.records)["DISK_GB"] == 100 - 40 * count
        assert len(world.addresses(done)) == ("network" in spec)

    simulate(world, scenario())


def test_disk_of_the_aggregate_is_taken_and_given_back() -> None:
    """Host and pool are one change; the pool is whole again after a cancel; far hosts get none."""
    world = SharedWorld(3)

    async def scenario() -> None:
        world.start_all()
        near = await world.near("near", "rack1")
        await world.near("far", "rack2")
        spec = PoolSpec(("rack1",), {"DISK_GB": Inventory(total=100)})
        pool = (await world.operator().put_pool("fast", spec)).id

        def left() -> int:
            return records.available(world.stores["c1"].rows[pool].records)["DISK_GB"]

        done = await world.all_asked(4, resources={"VCPU": 1, "DISK_GB": 40})
        built = placed(done)
        assert len(built) == 2, [(one.stage, one.reason) for one in done]
        assert {one.placements[0].host for one in built} == {near}
        await world.until(lambda: left() == 20, 10, "80 GB are taken")
        for one in built:
            await world.intake.cancel(one.id)
        await world.ended(built)
        await world.until(lambda: left() == 100, 30, "the pool is whole again")

    simulate(world, scenario())


# -- shares are given back with their claim, whatever ended it


class DirectWorld(SharedWorld):
    """Nobody sweeps the rows of pools and groups: what is given back there, its claim's end did."""

    async def _sweep(self, process: Process, cell: str, row: HostRow) -> None:
        if row.kind is RowKind.HOST:
            await super()._sweep(process, cell, row)


@pytest.mark.parametrize("end", ["cancelled", "expired", "failed", "instance gone"])
@pytest.mark.parametrize("unknown", [0.0, 0.1], ids=["calm", "answers are lost"])
@pytest.mark.parametrize("seed", range(4), ids=lambda seed: f"share-seed-{seed}")
def test_shares_go_with_their_claim(seed: int, unknown: float, end: str) -> None:
    """A disk of a pool and a place in a group are free again once the claim has left its host."""
    world = DirectWorld(seed)

    async def scenario() -> None:
        world.start_all()
        near = await world.near("near", "rack1")
        group = await world.group("affinity", "cell")
        pool = PoolSpec(("rack1",), {"DISK_GB": Inventory(total=100)})
        row = (await world.operator().put_pool("fast", pool)).id
        await asyncio.sleep(1)
        store = world.stores["c1"]
        world.failing = lambda host: end == "failed"
        world.agents_away = {near} if end == "expired" else set()
        store.unknown = unknown
        wants = {"resources": {"VCPU": 1, "DISK_GB": 40}, "server_group": group}
        asked = [await world.ask(2.0, **wants) for _ in range(2)]
        if end in ("cancelled", "instance gone"):
            await world.ended(asked)
        if end == "cancelled":
            for one in asked:
                await world.intake.cancel(one.id)
        if end == "instance gone":
            for one in asked:
                for placement in world.stored(one).placements:
                    await world.destroy("c1", near, placement.claim)

        def free() -> bool:
            left = records.available(store.rows[row].records)["DISK_GB"] == 100
            return left and not store.rows[group].claims and not store.rows[near].claims

        await world.until(free, 40, f"{end}: pool and group are as they were")

    simulate(world, scenario())


@pytest.mark.parametrize("seed", range(4), ids=lambda seed: f"share-seed-{seed}")
def test_share_that_a_dead_process_owed_is_swept(seed: int) -> None:
    """It died between the claim's end and the give-back."""
    world = SharedWorld(seed)

    async def scenario() -> None:
        world.start_all()
        near = await world.near("near", "rack1")
        pool = PoolSpec(("rack1",), {"DISK_GB": Inventory(total=100)})
        row = (await world.operator().put_pool("fast", pool)).id
        await asyncio.sleep(1)
        (done,) = await world.all_asked(1, resources={"VCPU": 1, "DISK_GB": 40})
        store = world.stores["c1"]
        for process in world.processes.values():
            process.shares._give_back = forget  # type: ignore[method-assign]
        await world.intake.cancel(done.id)
        await world.ended([done])
        assert not store.rows[near].claims
        await world.until(
            lambda: records.available(store.rows[row].records)["DISK_GB"] == 100, 10, "swept"
        )

    async def forget(record: Record, names: tuple[str, ...]) -> None: ...

    simulate(world, scenario())


# -- server groups


@pytest.mark.parametrize(
    ("policy", "scope", "asked", "built", "places"),
    [
        pytest.param("anti-affinity", "cell", 5, 2, 2, id="one in each cell"),
        pytest.param("anti-affinity", "region", 5, 2, 2, id="one in each region"),
        pytest.param("anti-affinity", "host", 5, 4, 4, id="one on each host"),
        pytest.param("affinity", "cell", 5, 5, 1, id="all in one cell"),
        pytest.param("affinity", "host", 4, 4, 1, id="all on one host"),
    ],
)
@pytest.mark.parametrize("seed", range(5), ids=lambda seed: f"seed-{seed}")
def test_rule_holds_for_members_that_come_at_once(
    seed: int, policy: str, scope: str, asked: int, built: int, places: int
) -> None:
    """Two hosts in each of two cells, all members asked for at the same moment."""
    world = SharedWorld(seed)

    async def scenario() -> None:
        world.start_all()
        for cell in ("c1", "c2"):
            for name in ("a", "b"):
                await world.host(f"{cell}-{name}", cell=cell)
        group = await world.group(policy, scope)
        done = await world.all_asked(asked, server_group=group, cells=("c1", "c2"), deadline_s=15.0)
        assert len(placed(done)) == built, [(one.stage, one.reason) for one in done]
        where = {p.host if scope == "host" else p.cell for one in done for p in one.placements}
        assert len(where) == places

    simulate(world, scenario())


def test_place_of_a_member_that_is_gone_is_free() -> None:
    """After the cancel of the only member another may come to its cell."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        group = await world.group("anti-affinity", "cell")
        (first,) = await world.all_asked(1, server_group=group)
        (second,) = await world.all_asked(1, server_group=group)
        assert (first.stage, second.stage) == (Stage.BUILT, Stage.REFUSED), second
        await world.intake.cancel(first.id)
        await world.ended([first])
        (third,) = await world.all_asked(1, server_group=group, deadline_s=30.0)
        assert third.stage is Stage.BUILT, third

    simulate(world, scenario())


@pytest.mark.parametrize("place", ["far", "near"])
def test_member_whose_claim_is_gone_does_not_refuse_another(place: str) -> None:
    """Its entry was left behind by a crash: the row is swept before a refusal is believed.

    ``far``: an affinity to a cell with nothing in it; ``near``: an anti-affinity of this one.
    """
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        host = await world.host("a")
        group = await world.group("affinity" if place == "far" else "anti-affinity", "cell")
        cell = "c2" if place == "far" else "c1"
        left = entry_of(group, f"c1.{host}.0123456789abcdef", Place(f"r-{cell}", cell, host))
        world.leave(group, left)
        (done,) = await world.all_asked(1, server_group=group, cells=("c1",))
        assert done.stage is Stage.BUILT, done.reason
        assert left.id not in {r.id for r in world.stores["c1"].rows[group].records}

    simulate(world, scenario())


def test_member_that_nobody_decided_is_waited_out() -> None:
    """Its coordinator died before the decision: the write set is aborted when it is old enough, and
    the next member takes the place, though its request named no deadline."""
    world = SharedWorld(6)

    async def scenario() -> None:
        world.start_all()
        host = await world.host("a")
        group = await world.group("anti-affinity", "cell")
        store = world.stores["c1"]
        writeset = ids.new_writeset_id("c1", now_ms())
        rows = (RowKey("c1", group),)
        store.records[writeset] = CommitRecord(writeset, Decision.PREPARING, rows, now_ms())
        left = entry_of(group, f"c1.{host}.0123456789abcdef", Place("r-c1", "c1", host))
        world.leave(group, msgspec.structs.replace(left, tag=f"+{writeset}"))
        (done,) = await world.all_asked(1, server_group=group)
        assert done.stage is Stage.BUILT, done.reason

    simulate(world, scenario())


def test_a_true_refusal_is_swept_once() -> None:
    """A member that is there keeps its place: the row is looked at again, then the refusal stands."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        group = await world.group("anti-affinity", "cell")
        (first,) = await world.all_asked(1, server_group=group)
        before = len(world.stores["c1"].applied)
        (second,) = await world.all_asked(1, server_group=group)
        assert (first.stage, second.stage) == (Stage.BUILT, Stage.REFUSED), second
        assert second.reason is not None
        assert "group_anti_affinity" in second.reason.rejected
        assert len(world.stores["c1"].applied) == before

    simulate(world, scenario())


def entry_of(group: str, claim: str, place: Place) -> Record:
    """What a group row keeps of a member."""
    data = {**place.data, "anchor": claim}
    return Record(member_id(claim), group, {}, state=ClaimState.BUILT, group=group, data=data)


def test_unknown_group_is_refused_by_name() -> None:
    """The reason says that there is no such group and how to make one."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        (refused,) = await world.all_asked(1, server_group="c1.nothing")
        assert refused.stage is Stage.REFUSED
        assert refused.reason is not None
        assert "c1.nothing" in refused.reason.message
        assert refused.reason.remedy

    simulate(world, scenario())


# -- a group is taken away


@pytest.mark.parametrize("scope", ["cell", "host"])
def test_group_with_members_stays(scope: str) -> None:
    """409 while it has a member, whatever keeps its rule; once the member is gone it can go."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        group = await world.group("anti-affinity", scope)
        (first,) = await world.all_asked(1, server_group=group)
        await asyncio.sleep(1)
        with pytest.raises(ServerGroupInUse) as refused:
            await world.closing().close(world.groups[group])
        assert "1 members" in refused.value.message
        assert refused.value.remedy
        await world.intake.cancel(first.id)
        await world.ended([first])
        await asyncio.sleep(2)
        for _ in range(2):
            await world.closing().close(world.groups[group])

    simulate(world, scenario())


def test_group_whose_cell_is_cut_off_stays() -> None:
    """It may have members on the hosts there: nobody can say."""
    world = SharedWorld(5)

    async def scenario() -> None:
        world.start_all()
        group = await world.group("anti-affinity", "host")
        world.stores["c2"].cut = True
        with pytest.raises(StoreUnavailable):
            await world.closing().close(world.groups[group])

    simulate(world, scenario())


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_nobody_joins_a_group_that_is_deleted(seed: int) -> None:
    """Deleted while members join: either it is in use and stays, or every join is refused by name."""
    world = SharedWorld(seed)

    async def scenario() -> None:
        world.start_all()
        await world.host("a")
        group = await world.group("affinity", "cell")
        await asyncio.sleep(1)
        asked = [await world.ask(0.0, server_group=group) for _ in range(3)]
        await asyncio.sleep(world.rng.random() * 0.02)
        try:
            await world.closing().close(world.groups[group])
            closed = True
        except (ServerGroupInUse, StoreUnavailable, Conflict):
            closed = False
        await world.ended(asked)
        done = [world.stored(one) for one in asked]
        if closed:
            assert not world.stores["c1"].rows[group].claims
            assert {one.reason.code for one in done if one.reason} == {"server_group_unknown"}
        else:
            assert placed(done)

    simulate(world, scenario())
