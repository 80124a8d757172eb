"""From a request to its end, on a simulated cell: choices, races, failed builds, cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from placer.errors import NotFound, Overloaded
from placer.model import ids
from placer.model.groups import Policy, Scope, ServerGroupSpec, new_group
from placer.model.request import Placement, Request, RequestSpec, Stage
from placer.scheduler.groups import create_group

from ...simulation.clock import run_simulated
from ...simulation.conducting import World, work_of

Scenario = Callable[[World], Coroutine[Any, Any, None]]


def play(scenario: Scenario, *, agents: bool = False) -> None:
    """Run ``scenario`` in a calm world with one scheduler in each cell."""

    async def everything() -> None:
        world = World(1)
        world.start("c1", 0)
        world.start("c2", 0)
        if not agents:
            world.carry = lambda *_, **__: None  # type: ignore[method-assign]
        loops = [asyncio.create_task(world.agents()), asyncio.create_task(world.sweeps())]
        try:
            await scenario(world)
        finally:
            for task in loops:
                task.cancel()
            for process in world.processes.values():
                process.die()
            await asyncio.sleep(0)

    run_simulated(everything())


def only(request: Request) -> Placement:
    (placement,) = request.placements
    return placement


def test_request_that_fits_is_placed_and_says_where() -> None:
    """The log names host and claim, the claim is on the row, the work row is gone."""

    async def scenario(world: World) -> None:
        host = await world.host("h1")
        done = await world.ask(5)
        assert done.stage is Stage.PLACED
        assert only(done).host_name == "h1"
        assert world.stored(done) == done
        assert world.stores["c1"].rows[host].find(only(done).claim)
        await asyncio.sleep(0.1)
        assert not world.stores["c1"].work

    play(scenario)


def test_work_row_stays_until_the_agent_was_told() -> None:
    """Should this process die before, whoever finds the row tells the agent; the caller does not wait."""

    async def scenario(world: World) -> None:
        await world.host("h1")
        told = asyncio.get_running_loop().create_future()
        process = world.alive("c1")
        assert process is not None
        process.conductor._notify = lambda *_: told
        done = await world.ask(5)
        assert done.stage is Stage.PLACED
        await asyncio.sleep(1)
        assert len(world.stores["c1"].work) == 1
        told.set_exception(NotFound("the other process is gone too"))
        await asyncio.sleep(0.1)
        assert not world.stores["c1"].work

    play(scenario)


def test_request_that_fits_nowhere_is_refused_with_counts() -> None:
    """The reason says how many hosts were seen and what removed them."""

    async def scenario(world: World) -> None:
        await world.host("h1", 2)
        await world.host("h2", 2)
        done = await world.ask(20, resources={"VCPU": 3})
        assert done.stage is Stage.REFUSED
        assert done.reason is not None
        assert done.reason.code == "no_valid_host"
        assert done.reason.rejected == {"VCPU:no_capacity": 2}

    play(scenario)


def test_request_waits_for_room_until_its_deadline() -> None:
    """Room that is there within the deadline is taken; till then the log says what is missing."""

    async def scenario(world: World) -> None:
        await world.host("h1", 2)
        asked = await world.ask(resources={"VCPU": 3}, deadline_s=20.0)
        await asyncio.sleep(3)
        waiting = world.stored(asked)
        assert (waiting.stage, waiting.reason and waiting.reason.code) == (
            Stage.ACCEPTED,
            "no_valid_host",
        )
        await world.host("h2", 3)
        await world.until(lambda: world.stored(asked).stage is Stage.PLACED, 12, "placed")
        assert world.stored(asked).reason is None

    play(scenario)


def test_request_whose_deadline_passes_is_refused() -> None:
    """Not much later than it asked for."""

    async def scenario(world: World) -> None:
        await world.host("h1", 2)
        asked = await world.ask(resources={"VCPU": 3}, deadline_s=5.0)
        await asyncio.sleep(6)
        assert world.stored(asked).stage is Stage.REFUSED

    play(scenario)


def test_stale_view_costs_a_conflict_and_the_next_host_is_tried() -> None:
    """A view that promises too much is refused by the row; the claim lands elsewhere."""

    async def scenario(world: World) -> None:
        full = await world.host("full", 4)
        await world.ask(5, resources={"VCPU": 4}, host="full")
        await asyncio.sleep(1)
        await world.host("other", 16)
        stale = world.stores["c1"].views[full]
        world.stores["c1"].views[full] = msgspec.structs.replace(stale, free={"VCPU": 400})
        outcomes = [await world.ask(5) for _ in range(12)]
        assert {only(done).host_name for done in outcomes} == {"other"}
        assert sum(done.conflicts for done in outcomes) >= 1

    play(scenario)


def test_last_unit_goes_to_exactly_one_of_many() -> None:
    """However many ask at once for a host's last unit, one is placed, the others hear why not."""

    async def scenario(world: World) -> None:
        await world.host("h1", 1)
        outcomes = await asyncio.gather(*(world.ask(20, host="h1") for _ in range(9)))
        assert [done.stage for done in outcomes].count(Stage.PLACED) == 1
        assert {done.reason.code for done in outcomes if done.reason} == {"no_valid_host"}

    play(scenario)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param({"host": "nosuch"}, "host_unknown", id="unknown host"),
        pytest.param(
            {"host": "h1", "required_traits": ("CUSTOM_X",)}, "no_valid_host", id="named, no trait"
        ),
        pytest.param({"server_group": "c1.none"}, "server_group_unknown", id="unknown group"),
        pytest.param({"avoid_regions": ("r-c1",)}, "no_valid_host", id="its only cell is avoided"),
    ],
)
def test_what_cannot_be_placed_says_why(more: dict[str, object], code: str) -> None:
    """The reason's code is stable."""

    async def scenario(world: World) -> None:
        await world.host("h1")
        done = await world.ask(20, **more)
        assert done.reason is not None
        assert done.reason.code == code

    play(scenario)


def test_cell_that_is_cut_off_is_named() -> None:
    """An unreachable cell is a refusal with its own code, written to the home cell's log."""

    async def scenario(world: World) -> None:
        world.stores["c2"].cut = True
        done = await world.ask(20, cell="c2")
        assert done.reason is not None
        assert done.reason.code == "cell_unreachable"

    play(scenario)


def test_cells_are_tried_in_their_order() -> None:
    """The second one takes what the first has no room for."""

    async def scenario(world: World) -> None:
        await world.host("small", 1, "c1")
        await world.host("big", 4, "c2")
        done = await world.ask(20, resources={"VCPU": 2}, cells=("c1", "c2"))
        assert only(done).cell == "c2"

    play(scenario)


@pytest.mark.parametrize(
    ("hosts", "partial", "placed"),
    [
        pytest.param((4,), False, 3, id="one host has room for all"),
        pytest.param((1, 1, 1), False, 3, id="three hosts, one write set"),
        pytest.param((1, 1), False, 0, id="no room for all: none"),
        pytest.param((1, 1), True, 2, id="partial: as many as there is room for"),
        pytest.param((), True, 0, id="partial, no room at all"),
    ],
)
def test_count_is_all_or_none_or_best_effort(
    hosts: tuple[int, ...], partial: bool, placed: int
) -> None:
    """Three instances of one VCPU each."""

    async def scenario(world: World) -> None:
        for number, vcpu in enumerate(hosts):
            await world.host(f"h{number}", vcpu)
        done = await world.ask(20, count=3, partial=partial)
        assert len(done.placements) == placed
        assert done.stage is (Stage.PLACED if placed else Stage.REFUSED)
        await asyncio.sleep(1)
        rows = world.stores["c1"].rows.values()
        assert sum(len(row.claims) for row in rows) == placed

    play(scenario)


@pytest.mark.parametrize(
    ("policy", "scope", "count", "apart"),
    [
        pytest.param(Policy.ANTI_AFFINITY, Scope.HOST, 2, "host", id="hosts apart"),
        pytest.param(Policy.ANTI_AFFINITY, Scope.CELL, 2, "cell", id="cells apart"),
        pytest.param(Policy.AFFINITY, Scope.HOST, 3, "", id="one host"),
    ],
)
def test_server_groups_hold_within_a_request_and_between(
    policy: Policy, scope: Scope, count: int, apart: str
) -> None:
    """Instances of one request and of a second one obey the group's rule."""

    async def scenario(world: World) -> None:
        for cell in ("c1", "c2"):
            for number in range(2):
                await world.host(f"{cell}-h{number}", 4, cell)
        group = new_group("c1", ServerGroupSpec("g", policy, scope), 1)
        world.groups[group.id] = group
        process = world.alive("c1")
        assert process is not None
        await create_group(await process.writer("c1"), group, 5.0)
        more = {"server_group": group.id, "cells": ("c1", "c2")}
        first = await world.ask(20, count=count, **more)
        assert first.stage is Stage.PLACED, first.reason
        await asyncio.sleep(2)
        second = await world.ask(20, **more)
        placements = [*first.placements, *second.placements]
        if apart:
            places = [getattr(p, apart) for p in placements]
            assert len(set(places)) == len(places)
        else:
            assert len(placements) == count + 1
            assert len({p.host for p in placements}) == 1

    play(scenario)


def test_a_failed_build_goes_to_an_alternate_of_the_same_cell() -> None:
    """Claimed before it is built there; the host that failed is left out."""

    async def scenario(world: World) -> None:
        for name in ("h1", "h2", "h3"):
            await world.host(name)
        bad: dict[str, str] = {}
        world.failing = lambda host: bad.setdefault("host", host) == host
        asked = await world.ask(5, alternates=1)
        (alternate,) = asked.alternates
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 10, "built")
        built = world.stored(asked)
        assert only(built).host == alternate.host
        assert built.tried == (bad["host"],)
        assert not world.unsettled()
        assert [change.stage for change in built.changes] == [
            Stage.ACCEPTED,
            Stage.PLACED,
            Stage.ACCEPTED,
            Stage.PLACED,
            Stage.BUILT,
        ]
        assert world.stores["c1"].rows[bad["host"]].health.failures == 1
        states = sorted(instance.state for instance in world.instances.values())
        assert states == ["failed", "running"]

    play(scenario, agents=True)


@pytest.mark.parametrize(
    ("deadline_s", "stage"),
    [
        pytest.param(0.0, Stage.FAILED, id="no alternates, the deadline is over: failed"),
        pytest.param(60.0, Stage.BUILT, id="the deadline allows a new selection"),
    ],
)
def test_after_the_last_alternate(deadline_s: float, stage: Stage) -> None:
    """The build takes longer than one decision may."""

    async def scenario(world: World) -> None:
        await world.host("h1")
        await world.host("h2")
        bad: dict[str, str] = {}
        world.failing = lambda host: bad.setdefault("host", host) == host
        world.build_s = lambda: 3.0
        asked = await world.ask(deadline_s=deadline_s)
        await asyncio.sleep(15)
        assert world.stored(asked).stage is stage
        assert not world.unsettled()

    play(scenario, agents=True)


def test_a_request_whose_only_host_fails_says_why() -> None:
    """Not that no other host fits: that is the smaller part of the trouble."""

    async def scenario(world: World) -> None:
        await world.host("h1")
        world.failing = lambda host: True
        asked = await world.ask()
        await asyncio.sleep(20)
        done = world.stored(asked)
        assert done.reason is not None
        assert (done.stage, done.reason.code) == (Stage.FAILED, "build_failed")
        assert done.reason.message.startswith("Build failed on h1: it did not boot. ")

    play(scenario, agents=True)


def test_no_further_host_is_chosen_when_alternates_and_deadline_are_used_up() -> None:
    """One alternate was asked for: the third host is not touched."""

    async def scenario(world: World) -> None:
        for name in ("h1", "h2", "h3"):
            await world.host(name)
        world.failing = lambda host: True
        world.build_s = lambda: 3.0
        asked = await world.ask(alternates=1)
        await asyncio.sleep(20)
        done = world.stored(asked)
        assert done.reason is not None
        assert (done.stage, done.reason.code) == (Stage.FAILED, "build_failed")
        assert done.reason.message.startswith("Build failed on h"), done.reason
        assert "No alternate is left after 2 hosts" in done.reason.message
        assert len(done.tried) == 2

    play(scenario, agents=True)


@pytest.mark.parametrize(
    ("more", "hosts", "code"),
    [
        pytest.param({}, 1, "", id="one instance"),
        pytest.param({"count": 3}, 3, "", id="three instances, spread"),
        pytest.param({"host": "h1"}, 1, "", id="a named host"),
        pytest.param({"host": "none"}, 0, "no_valid_host", id="an unknown host"),
        pytest.param({"resources": {"VCPU": 9}}, 0, "no_valid_host", id="too much"),
    ],
)
def test_destinations_are_told_without_a_claim(more: dict[str, Any], hosts: int, code: str) -> None:
    """The same choice as for a request; nothing is written."""

    async def scenario(world: World) -> None:
        for name in ("h1", "h2", "h3"):
            await world.host(name)
        process = world.alive("c1")
        assert process is not None
        spec = RequestSpec(**{"resources": {"VCPU": 2}, "alternates": 2, **more})
        found = await process.conductor._placing.destinations(spec)
        assert len(found.destinations) == hosts
        assert (found.reason.code if found.reason else "") == code
        assert not any(row.claims for row in world.stores["c1"].rows.values())

    play(scenario)


def test_all_or_none_fails_as_a_whole_when_one_cannot_be_replaced() -> None:
    """The instances that were built are destroyed."""

    async def scenario(world: World) -> None:
        bad = await world.host("h1", 1)
        await world.host("h2", 1)
        world.failing = lambda host: host == bad
        asked = await world.ask(count=2)
        await asyncio.sleep(20)
        done = world.stored(asked)
        assert (done.stage, done.placements) == (Stage.FAILED, ())
        assert not world.unsettled()

    play(scenario, agents=True)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 1.0, 10.0])
def test_cancel_frees_everything_at_every_stage(after_s: float) -> None:
    """Accepted, claimed, building or built: in the end nothing is held and nothing runs."""

    async def scenario(world: World) -> None:
        host = await world.host("h1")
        world.build_s = lambda: 3.0
        asked = await world.ask()
        await asyncio.sleep(after_s)
        await world.intake.cancel(asked.id)
        await world.until(lambda: world.stored(asked).stage is Stage.CANCELLED, 20, "cancelled")
        await asyncio.sleep(8)
        assert world.stores["c1"].rows[host].claims == ()
        assert not world.unsettled()
        again = await world.intake.cancel(asked.id)
        assert again.stage is Stage.CANCELLED

    play(scenario, agents=True)


def test_a_request_that_waits_can_be_cancelled() -> None:
    """At once: nobody has to wait for its next try."""

    async def scenario(world: World) -> None:
        asked = await world.ask(resources={"VCPU": 3}, deadline_s=300.0)
        await asyncio.sleep(30)
        assert (await world.intake.cancel(asked.id)).stage is Stage.CANCELLED

    play(scenario)


def test_a_claim_that_no_agent_took_is_made_elsewhere() -> None:
    """The lease ended because the host's agent is away."""

    async def scenario(world: World) -> None:
        away = await world.host("away")
        world.agents_away = {away}
        asked = await world.ask(5, deadline_s=60.0)
        await world.host("h2")
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 30, "built")
        assert only(world.stored(asked)).host_name == "h2"
        assert not world.unsettled()

    play(scenario, agents=True)


def test_more_than_the_queue_holds_is_refused_at_once() -> None:
    """With Overloaded, and nothing is done for it."""

    async def scenario(world: World) -> None:
        await world.host("h1")
        process = world.alive("c1")
        assert process is not None
        limit = process.conductor._settings.scheduler.queue_max
        template = await world.intake.accept((await world.ask(5)).spec)
        await asyncio.sleep(1)
        requests = [msgspec.structs.replace(template, id=f"c1.{n}") for n in range(limit + 1)]
        *fitting, last = requests
        for request in fitting:
            process.conductor.submit(request, work_of(request))
        with pytest.raises(Overloaded):
            process.conductor.submit(last, work_of(last))

    play(scenario)


def test_an_instance_of_no_request_is_destroyed() -> None:
    """A claim that its request does not name (any more) is given up once its agent says built."""

    async def scenario(world: World) -> None:
        host = await world.host("h1")
        asked = await world.ask()
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 10, "built")
        record = world.stores["c1"].rows[host].claims[0]
        world.stores["c1"].requests[asked.id] = msgspec.structs.replace(
            world.stored(asked), placements=(), stage=Stage.CANCELLED, rev=2**52
        )
        world.said.discard(record.id)
        await world.until(lambda: not world.unsettled(), 20, "it is gone")
        assert world.stores["c1"].rows[host].claims == ()

    play(scenario, agents=True)


def test_ids_of_keyed_requests_follow_from_project_and_key() -> None:
    """The same call again is the same request; the same key for something else is refused."""

    async def scenario(world: World) -> None:
        await world.host("h1")
        spec = (await world.ask(5)).spec
        first = await world.intake.accept(spec, "k")
        again = await world.intake.accept(spec, "k")
        assert again.id == first.id
        assert ids.cell_of(first.id) == "c1"
        other = await world.intake.accept(msgspec.structs.replace(spec, project="other"), "k")
        assert other.id != first.id

    play(scenario)
