"""Hosts that operators take out of service: disabled, drained, evacuated, enabled again."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from placer.claims.duties import SetDuty
from placer.claims.operations import AddClaim
from placer.errors import Conflict, NotFound
from placer.model.fitting import Demand, Group
from placer.model.host_detail import HostOrder
from placer.model.records import ClaimState, Duty, HostDuty, HostRow, HostStatus, Record
from placer.model.request import Move, MoveKind, Placement, Request, RequestSpec, Stage
from placer.scheduler.actions import Actions
from placer.scheduler.emptying import Emptying, task_name, why_it_stays
from placer.scheduler.hosts import Hosts

from ...simulation.conducting import Process
from ...simulation.moving_world import MovingWorld
from .test_moving import built, only, play, settled, whys


class Operator:
    """The calls about hosts of one process; ``told`` is what it said of them."""

    def __init__(self, world: MovingWorld, process: Process) -> None:
        settings = process.conductor._settings
        actions = Actions(settings, process.requests, process._wake)
        self.told: list[tuple[str, str, str]] = []
        self.elsewhere: set[str] = set()
        self.emptying = Emptying(
            settings,
            world.stores["c1"],
            process.requests,
            actions,
            self._worked_on,
            rng=random.Random(1),
        )
        self._world, self._process = world, process

    async def _worked_on(self, names: list[str]) -> set[str]:
        return self.elsewhere & set(names)

    async def _note(self, row: HostRow, by: str, why: str) -> None:
        self.told.append((row.name, by, why))

    async def hosts(self) -> Hosts:
        process = self._process
        return Hosts(
            process.conductor._settings,
            self._world.stores["c1"],
            await process.writer("c1"),
            process.requests,
            self.emptying,
            self._note,
        )


def operator(world: MovingWorld) -> Operator:
    process = world.alive("c1")
    assert process is not None
    return Operator(world, process)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        pytest.param("disable", "host_disabled", id="disabled"),
        pytest.param("drain", "host_draining", id="draining"),
    ],
)
def test_a_host_out_of_service_is_not_chosen(operation: str, code: str) -> None:
    """Not by a search, not by its name; enabled again it is."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        hosts = await operator(world).hosts()
        await hosts.order("h1", operation, HostOrder("new disks", "ops"))
        await asyncio.sleep(1)
        searched = await world.ask(10)
        named = await world.ask(10, host="h1")
        for refused in (searched, named):
            assert refused.stage is Stage.REFUSED
            assert refused.reason is not None
            assert refused.reason.rejected == {code: 1}
        await hosts.order("h1", "enable", HostOrder())
        await asyncio.sleep(1)
        await built(world)

    play(scenario)


def test_a_disabled_host_that_comes_back_stays_disabled() -> None:
    """Its agent's word and the operator's are two things."""

    async def scenario(world: MovingWorld) -> None:
        host = await world.host("h1")
        hosts = await operator(world).hosts()
        await hosts.order("h1", "disable", HostOrder("it is slow", "ops"))
        world.agents_away = {host}
        await asyncio.sleep(5)
        assert world.stores["c1"].rows[host].status is HostStatus.DOWN
        world.agents_away = set()
        await asyncio.sleep(5)
        row = world.stores["c1"].rows[host]
        assert row.status is HostStatus.UP
        assert (row.duty.state, row.duty.by, row.duty.why) == (
            HostDuty.DISABLED,
            "ops",
            "it is slow",
        )

    play(scenario)


def test_a_drain_moves_everything_a_few_at_a_time() -> None:
    """With progress; what was there runs elsewhere in the end, by whom and why in its history."""

    async def scenario(world: MovingWorld) -> None:
        host = await world.host("h1", 20)
        requests = [await built(world) for _ in range(10)]
        await world.host("h2", 20)
        world.build_s = lambda: 3.0
        calls = operator(world)
        hosts = await calls.hosts()
        begun = await hosts.order("h1", "drain", HostOrder("new disks", "ops"))
        assert (begun.left, begun.leaving) == (10, 0)
        assert calls.told == [("h1", "ops", "new disks")]
        most = 0
        while world.stores["c1"].rows[host].claims:
            most = max(most, sum(bool(world.stored(r).moves) for r in requests))
            await asyncio.sleep(0.2)
        assert most == 4
        await settled(world)
        for request in requests:
            after = world.stored(request)
            assert only(after).host_name == "h2"
            assert "asked by ops" in whys(after)
            assert "new disks" in whys(after)
        shown = await hosts.show("h1")
        assert (shown.left, shown.leaving, shown.claims) == (0, 0, ())

    play(scenario)


def test_what_has_no_other_place_stays_and_is_tried_again() -> None:
    """The host's page says what is missing; once there is room it goes."""

    async def scenario(world: MovingWorld) -> None:
        host = await world.host("h1")
        request = await built(world)
        hosts = await operator(world).hosts()
        await hosts.order("h1", "drain", HostOrder())
        await asyncio.sleep(5)
        (stuck,) = (await hosts.show("h1")).claims
        assert stuck.state is ClaimState.BUILT
        assert "given up" in stuck.said
        await world.host("h2")
        await world.until(lambda: not world.stores["c1"].rows[host].claims, 60, "it went")
        assert only(world.stored(request)).host_name == "h2"

    play(scenario)


def test_claims_without_a_request_stay_and_are_told_of() -> None:
    """Counted by themselves, each with the reason; what has a request goes all the same."""

    async def scenario(world: MovingWorld) -> None:
        host = await world.host("h1")
        await built(world)
        await world.host("h2")
        process = world.alive("c1")
        assert process is not None
        writer = await process.writer("c1")
        demand = Demand({"": Group({"VCPU": 1})})
        bare = AddClaim("c1.bare", "vm-1", "", "p", demand, lease_until_ms=2**50)
        await writer.submit(host, bare, deadline_s=5)
        hosts = await operator(world).hosts()
        assert (await hosts.show("h1")).claims[1].stays == ""
        await hosts.order("h1", "drain", HostOrder("new disks", "ops"))
        await world.until(lambda: len(world.stores["c1"].rows[host].claims) == 1, 60, "one went")
        shown = await hosts.show("h1")
        assert (shown.left, shown.leaving, shown.staying) == (0, 0, 1)
        (claim,) = shown.claims
        assert claim.claim == "c1.bare"
        assert "without a request" in claim.stays

    play(scenario)


CLAIM = Record("c1.h.a", "h", {"VCPU": -1}, consumer="i1", request="c1.r", state=ClaimState.BUILT)
PLACED = Placement("c1", "h", "h1", "c1.h.a", "i1", built=True)


def asked(*placements: Placement, **more: Any) -> Request:
    fields = {"stage": Stage.BUILT, **more}
    return Request(
        id="c1.r",
        rev=1,
        home_cell="c1",
        spec=RequestSpec({"VCPU": 1}),
        created_ms=1,
        updated_ms=1,
        placements=placements,
        **fields,
    )


@pytest.mark.parametrize(
    ("record", "request_", "why"),
    [
        pytest.param(CLAIM, asked(PLACED), "", id="what is built may go"),
        pytest.param(
            CLAIM,
            asked(PLACED, moves=(Move("i1", MoveKind.MOVE, 1, 2),)),
            "",
            id="what goes already is told of by its move",
        ),
        pytest.param(
            CLAIM,
            asked(msgspec.structs.replace(PLACED, built=False)),
            "being built",
            id="what is being built waits",
        ),
        pytest.param(
            CLAIM, asked(PLACED, stage=Stage.CANCELLING), "cancelling", id="what ends is not moved"
        ),
        pytest.param(CLAIM, asked(), "does not name it", id="what no request names"),
        pytest.param(CLAIM, None, "not in the log", id="what has lost its request"),
        pytest.param(
            msgspec.structs.replace(CLAIM, tag="+c1.w"),
            asked(),
            "being decided",
            id="what a write set has not decided",
        ),
        pytest.param(
            msgspec.structs.replace(CLAIM, state=ClaimState.DELETING),
            None,
            "",
            id="what is being destroyed leaves anyway",
        ),
        pytest.param(
            msgspec.structs.replace(CLAIM, request=""), None, "without a request", id="a bare claim"
        ),
    ],
)
def test_why_a_claim_stays(record: Record, request_: Request | None, why: str) -> None:
    """Every claim of a host that is emptied goes, or has a reason."""
    said = why_it_stays(record, request_)
    assert (why in said) if why else said == ""


def test_an_evacuation_is_resumed_by_another_process() -> None:
    """The duty is in the row: whoever sees it goes on, unless a peer does."""

    async def scenario(world: MovingWorld) -> None:
        host = await world.host("h1", 20)
        requests = [await built(world) for _ in range(6)]
        await world.host("h2", 20)
        world.agents_away = {host}
        await asyncio.sleep(5)
        process = world.alive("c1")
        assert process is not None
        writer = await process.writer("c1")
        duty = Duty(HostDuty.EVACUATING, "ops", "it burns", 1)
        await writer.submit(host, SetDuty(duty), deadline_s=5)
        await asyncio.sleep(1)
        calls = operator(world)
        calls.elsewhere = {task_name(host)}
        await calls.emptying.look()
        await asyncio.sleep(3)
        assert not any(world.stored(request).moves for request in requests)
        calls.elsewhere = set()
        await calls.emptying.look()
        assert calls.emptying.working({task_name(host), "c1.x"}) == {task_name(host)}

        def moved() -> bool:
            return all(only(world.stored(r)).host_name == "h2" for r in requests)

        await world.until(moved, 60, "all are elsewhere")
        states = {record.state for record in world.stores["c1"].rows[host].claims}
        assert states == {ClaimState.DELETING}
        world.agents_away = set()
        await settled(world)
        assert not world.run_twice()
        await asyncio.sleep(2)
        assert not calls.emptying.working({task_name(host)})

    play(scenario)


def test_only_what_is_down_is_evacuated() -> None:
    """Refused in so many words, and nothing is changed."""

    async def scenario(world: MovingWorld) -> None:
        host = await world.host("h1")
        hosts = await operator(world).hosts()
        with pytest.raises(Conflict, match="is up"):
            await hosts.order("h1", "evacuate", HostOrder())
        assert world.stores["c1"].rows[host].duty.state is HostDuty.ENABLED

    play(scenario)


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        pytest.param("none", "drain", id="an unknown host"),
        pytest.param("h1", "polish", id="an unknown operation"),
    ],
)
def test_what_is_not_there(name: str, operation: str) -> None:
    """The remedy says where to look."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        hosts = await operator(world).hosts()
        with pytest.raises(NotFound) as raised:
            await hosts.order(name, operation, HostOrder())
        assert raised.value.remedy

    play(scenario)
