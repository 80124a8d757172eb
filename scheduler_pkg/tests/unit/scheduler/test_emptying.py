"""Hosts that operators take out of service: disabled, drained, evacuated, enabled again."""

from __future__ import annotations

import asyncio
import random

import pytest

from placer.claims.duties import SetDuty
from placer.errors import Conflict, NotFound
from placer.model.host_detail import HostOrder
from placer.model.records import ClaimState, Duty, HostDuty, HostRow, HostStatus
from placer.model.request import Stage
from placer.scheduler.actions import Actions
from placer.scheduler.emptying import Emptying, task_name
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
