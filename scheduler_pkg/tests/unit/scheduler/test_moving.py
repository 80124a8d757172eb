"""Moves of single instances on a simulated cell: to other hosts, to other sizes, away from dead hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from placer.errors import Conflict, InvalidInput, NotFound
from placer.model.groups import Policy, Scope, ServerGroupSpec, new_group
from placer.model.instance import InstanceState
from placer.model.records import ClaimState
from placer.model.request import MoveKind, Placement, Request, Stage

from ...simulation.clock import run_simulated
from ...simulation.moving_world import MovingWorld

Scenario = Callable[[MovingWorld], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    """Run ``scenario`` in a calm world with one scheduler in each cell, agents and a hub."""

    async def everything() -> None:
        world = MovingWorld(1)
        world.start("c1", 0)
        world.start("c2", 0)
        loops = [
            asyncio.create_task(loop) for loop in (world.agents(), world.sweeps(), world.hub())
        ]
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


async def built(world: MovingWorld, **spec: object) -> Request:
    """A request that is built."""
    asked = await world.ask(0.0, **spec)
    await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 20, "built")
    return world.stored(asked)


async def settled(world: MovingWorld) -> None:
    try:
        await world.until(lambda: not world.unsettled(), 60, "settled")
    except AssertionError as error:
        raise AssertionError("\n".join(world.unsettled())) from error


def whys(request: Request) -> str:
    return "\n".join(change.why for change in request.changes)


@pytest.mark.parametrize(
    ("where", "lands"),
    [
        pytest.param({}, "h2", id="to the best other host"),
        pytest.param({"host": "h3"}, "h3", id="to a host by name"),
        pytest.param({"cell": "c2"}, "o1", id="to another cell"),
    ],
)
def test_a_move_keeps_the_instance_and_its_request(where: dict[str, str], lands: str) -> None:
    """The same instance at the next epoch; the old claim is gone once the new one is built."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1", 4)
        before = await built(world)
        await world.host("h2", 4)
        if where:
            await world.host("h3", 4)
        await world.host("o1", 4, "c2")
        world.build_s = lambda: 3.0
        here = only(before)
        more = {**where, "by": "ops", "why": "it is loud"}
        asked = await world.ask_move(before, here.instance, MoveKind.MOVE, **more)
        assert asked.stage is Stage.MOVING
        await asyncio.sleep(2)
        row = world.stores["c1"].rows[here.host]
        record = row.find(here.claim)
        assert record is not None
        assert record.state is ClaimState.BUILT, "it runs where it was until the new one is built"
        await settled(world)
        after = world.stored(before)
        assert (only(after).instance, only(after).epoch) == (here.instance, 1)
        assert only(after).host_name == lands
        assert not world.stores["c1"].rows[here.host].claims
        assert "asked by ops" in whys(after)
        assert "it is loud" in whys(after)

    play(scenario)


def listed(
    world: MovingWorld, instance: str
) -> tuple[InstanceState, str, list[tuple[str, str, str]]]:
    """State and host of an instance in lists, and its history: what, by whom, why; once each."""
    place = world.instances[instance]
    told = {event.id: event for _, event in sorted(world.lists.histories[instance].items())}
    history = sorted(told.values(), key=lambda event: event.at_ms)
    return place.state, place.host_name, [(e.type, e.by, e.why) for e in history]


@pytest.mark.parametrize("cell", ["c1", "c2"])
def test_lists_show_an_instance_that_moves(cell: str) -> None:
    """``moving`` where it is until the new one is built, then ``running`` there; by whom and why."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        instance = only(before := await built(world)).instance
        await world.host("h2", cell=cell)
        world.build_s = lambda: 3.0
        asked = {"cell": cell, "by": "ops", "why": "it is loud"}
        await world.ask_move(before, instance, MoveKind.MOVE, **asked)
        await asyncio.sleep(2)
        assert listed(world, instance)[:2] == (InstanceState.MOVING, "h1")
        await settled(world)
        state, host, history = listed(world, instance)
        assert (state, host) == (InstanceState.RUNNING, "h2")
        assert [what for what, _, _ in history] == [
            "instance.running",
            "instance.moving",
            "instance.running",
            *(["instance.left"] if cell == "c2" else []),
        ]
        assert [(by, why) for _, by, why in history[1:3]] == [("ops", "it is loud")] * 2

    play(scenario)


def test_lists_show_that_an_instance_stays_after_all() -> None:
    """``running`` again where it was, with the reason; a second move is told of as the first was."""

    async def scenario(world: MovingWorld) -> None:
        h1 = await world.host("h1")
        instance = only(before := await built(world)).instance
        await world.host("h2")
        world.failing = lambda host: host != h1
        for _ in range(2):
            await world.ask_move(before, instance, MoveKind.MOVE, by="ops")
            await settled(world)
        state, host, history = listed(world, instance)
        assert (state, host) == (InstanceState.RUNNING, "h1")
        assert [(what, by) for what, by, _ in history[1:]] == [
            ("instance.moving", "ops"),
            ("instance.running", "ops"),
        ] * 2
        assert "given up" in history[2][2]

    play(scenario)


@pytest.mark.parametrize(
    ("policy", "cell"),
    [
        pytest.param(Policy.ANTI_AFFINITY, "c1", id="apart by cells, within its cell"),
        pytest.param(Policy.AFFINITY, "c2", id="together in a cell, and the only one"),
    ],
)
def test_a_member_of_a_group_counts_where_it_is_now(policy: Policy, cell: str) -> None:
    """Where it was does not stand in its way, and is forgotten once it has left."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        h2 = await world.host("h2", cell=cell)
        group = new_group("c1", ServerGroupSpec("g", policy, Scope.CELL), 1)
        world.groups[group.id] = group
        before = await built(world, server_group=group.id, host="h1", cell="c1")
        asked = {"cell": cell, "host": "h2"}
        await world.ask_move(before, only(before).instance, MoveKind.MOVE, **asked)
        await settled(world)
        assert only(world.stored(before)).host == h2, whys(world.stored(before))
        members = world.stores["c1"].rows[group.id].claims
        assert [member.data["host"] for member in members] == [h2]

    play(scenario)


def test_lists_show_the_end_of_what_was_fenced_and_found_no_place() -> None:
    """Its host is down, no other has room until the deadline: it failed, and the list says why."""

    async def scenario(world: MovingWorld) -> None:
        h1 = await world.host("h1")
        instance = only(before := await built(world)).instance
        h2 = await world.host("h2")
        world.failing = lambda host: host == h2
        world.agents_away = {h1}
        await asyncio.sleep(4)
        order = {"deadline_s": 10.0, "by": "ops"}
        await world.ask_move(before, instance, MoveKind.EVACUATE, **order)
        await world.until(lambda: not world.stored(before).placements, 120, "given up")
        state, _, history = listed(world, instance)
        assert state is InstanceState.FAILED
        what, by, why = history[-1]
        assert (what, by) == ("instance.failed", "ops")
        assert "no other place was found in time" in why or "none of" in why.lower()

    play(scenario)


def test_a_failed_build_leaves_the_instance_where_it_was() -> None:
    """Other hosts are tried; when none builds it the request's history says why."""

    async def scenario(world: MovingWorld) -> None:
        h1 = await world.host("h1")
        before = await built(world)
        await world.host("h2")
        await world.host("h3")
        world.failing = lambda host: host != h1
        await world.ask_move(before, only(before).instance, MoveKind.MOVE)
        await settled(world)
        after = world.stored(before)
        assert after.placements == before.placements
        assert "build failed on h2" in whys(after)
        assert "build failed on h3" in whys(after)
        assert "given up" in whys(after)
        assert not world.run_twice()

    play(scenario)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({}, "none of 2 hosts", id="no other host has room"),
        pytest.param({"host": "full"}, "no_capacity", id="the named host is full"),
        pytest.param({"host": "none"}, "no host called", id="an unknown host"),
    ],
)
def test_a_move_without_a_place_is_given_up_at_once(more: dict[str, str], said: str) -> None:
    """The instance stays, and the history says what was missing."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world, resources={"VCPU": 2})
        await world.host("full", 1)
        await world.ask_move(before, only(before).instance, MoveKind.MOVE, **more)
        await world.until(lambda: world.stored(before).stage is Stage.BUILT, 5, "over")
        after = world.stored(before)
        assert after.placements == before.placements
        assert said in whys(after).lower()
        await settled(world)

    play(scenario)


def test_a_move_that_takes_too_long_is_given_up() -> None:
    """An agent that is away keeps nobody waiting beyond the deadline."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world)
        slow = await world.host("h2")
        world.build_s = lambda: 300.0
        await world.ask_move(before, only(before).instance, MoveKind.MOVE, deadline_s=5.0)
        await world.until(lambda: world.stored(before).stage is Stage.BUILT, 20, "given up")
        assert world.stored(before).placements == before.placements
        assert "did not build it in time" in whys(world.stored(before))
        await asyncio.sleep(400)
        assert not world.stores["c1"].rows[slow].claims
        assert not world.unsettled()

    play(scenario)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.1, 1.0, 2.5, 3.5])
def test_a_moving_request_can_be_cancelled(after_s: float) -> None:
    """Whatever it holds at that moment is freed."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world)
        await world.host("h2")
        world.build_s = lambda: 3.0
        await world.ask_move(before, only(before).instance, MoveKind.MOVE)
        await asyncio.sleep(after_s)
        await world.intake.cancel(before.id)
        await world.until(lambda: world.stored(before).stage is Stage.CANCELLED, 30, "cancelled")
        await settled(world)
        assert not any(row.claims for row in world.stores["c1"].rows.values())
        assert not world.running

    play(scenario)


def test_one_instance_of_several_is_deleted_and_not_replaced() -> None:
    """The others stay; what is gone is not made again."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world, count=3)
        gone = before.placements[0].instance
        await world.ask_move(before, gone, MoveKind.DELETE, by="ops")
        await settled(world)
        after = world.stored(before)
        assert (len(after.placements), after.ended, after.missing) == (2, 1, 0)
        assert gone not in {p.instance for p in after.placements}
        for placement in after.placements:
            more = {"by": "ops", "why": "not needed"}
            await world.ask_move(after, placement.instance, MoveKind.DELETE, **more)
        await world.until(lambda: world.stored(before).stage is Stage.CANCELLED, 20, "all are gone")
        await settled(world)
        for placement in after.placements:
            assert listed(world, placement.instance)[2][-1] == (
                "instance.deleted",
                "ops",
                "not needed",
            )

    play(scenario)


@pytest.mark.parametrize(
    ("room", "lands"),
    [
        pytest.param(4, "h1", id="in one step where it is"),
        pytest.param(2, "h2", id="by a move where there is no room"),
    ],
)
def test_resize(room: int, lands: str) -> None:
    """The instance keeps its id; the row and the request say the new size."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1", room)
        before = await built(world, resources={"VCPU": 1})
        await world.host("h2", 8)
        instance = only(before).instance
        await world.ask_move(before, instance, MoveKind.RESIZE, resources={"VCPU": 4})
        await settled(world)
        after = only(world.stored(before))
        assert (after.instance, after.host_name) == (instance, lands)
        assert after.resources == {"VCPU": 4}
        record = world.stores["c1"].rows[after.host].find(after.claim)
        assert record is not None
        assert record.amounts == {"VCPU": -4}
        # Its size stays with it when it is moved.
        await world.host("h3", 8)
        await world.ask_move(world.stored(before), instance, MoveKind.MOVE, host="h3")
        await settled(world)
        moved = only(world.stored(before))
        row = world.stores["c1"].rows[moved.host]
        assert moved.host_name == "h3"
        assert row.claims[0].amounts == {"VCPU": -4}

    play(scenario)


def test_evacuation_fences_before_it_builds() -> None:
    """The new claim is made first; its agent builds once the old one is deleting; the host that is
    back destroys what ran there."""

    async def scenario(world: MovingWorld) -> None:
        dead = await world.host("h1")
        before = await built(world)
        await world.host("h2")
        world.agents_away = {dead}
        await asyncio.sleep(5)
        here = only(before)
        await world.ask_move(before, here.instance, MoveKind.EVACUATE, by="ops", why="it burns")
        await world.until(lambda: world.stored(before).stage is Stage.BUILT, 20, "evacuated")
        after = only(world.stored(before))
        assert (after.host_name, after.instance, after.epoch) == ("h2", here.instance, 1)
        left = world.stores["c1"].rows[dead].find(here.claim)
        assert left is not None
        assert left.state is ClaimState.DELETING, "it is booked until the host destroyed it"
        assert here.claim in world.running, "nobody can reach it"
        world.agents_away = set()
        await settled(world)
        assert world.running == {after.claim}
        assert not world.run_twice()

    play(scenario)


def test_a_host_that_is_back_is_not_evacuated() -> None:
    """The claim elsewhere is given back; the instance stays."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world)
        await world.host("h2")
        await world.ask_move(before, only(before).instance, MoveKind.EVACUATE)
        await settled(world)
        after = world.stored(before)
        assert after.placements == before.placements
        assert "h1 is not down" in whys(after)

    play(scenario)


def test_without_room_elsewhere_nothing_is_fenced() -> None:
    """The instance may come back with its host."""

    async def scenario(world: MovingWorld) -> None:
        dead = await world.host("h1")
        before = await built(world)
        world.agents_away = {dead}
        await asyncio.sleep(5)
        await world.ask_move(before, only(before).instance, MoveKind.EVACUATE)
        await world.until(lambda: world.stored(before).stage is Stage.BUILT, 20, "given up")
        world.agents_away = set()
        await settled(world)
        assert world.stored(before).placements == before.placements

    play(scenario)


def test_what_is_fenced_and_cannot_be_built_is_lost_and_says_so() -> None:
    """It is tried on every host until its deadline; then the request does not name it any more."""

    async def scenario(world: MovingWorld) -> None:
        dead = await world.host("h1")
        before = await built(world, count=2, host="h1")
        await world.host("h2")
        world.agents_away = {dead}
        world.failing = lambda host: True
        await asyncio.sleep(5)
        first = before.placements[0].instance
        await world.ask_move(before, first, MoveKind.EVACUATE, deadline_s=10.0)
        await world.until(lambda: world.stored(before).stage is Stage.BUILT, 60, "lost")
        after = world.stored(before)
        assert [p.instance for p in after.placements] == [before.placements[1].instance]
        assert after.ended == 1
        world.agents_away = set()
        await settled(world)

    play(scenario)


def test_evacuated_while_it_was_being_built() -> None:
    """A request whose instance never ran has it built elsewhere."""

    async def scenario(world: MovingWorld) -> None:
        dead = await world.host("h1")
        world.build_s = lambda: 3.0
        asked = await world.ask(2.0)
        await asyncio.sleep(1)
        world.agents_away = {dead}
        await world.host("h2")
        for process in world.processes.values():
            world.busy.clear()
            process.die()
        world.start_all()
        await asyncio.sleep(5)
        instance = only(world.stored(asked)).instance
        await world.ask_move(world.stored(asked), instance, MoveKind.EVACUATE)
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 30, "built")
        assert only(world.stored(asked)).host_name == "h2"
        world.agents_away = set()
        await settled(world)

    play(scenario)


@pytest.mark.parametrize(
    ("kind", "more", "error"),
    [
        pytest.param(MoveKind.MOVE, {"host": "h1"}, InvalidInput, id="it is there already"),
        pytest.param(MoveKind.RESIZE, {"resources": {"DISK_GB": 1}}, InvalidInput, id="no class"),
        pytest.param(MoveKind.MOVE, {"instance": "none"}, NotFound, id="no such instance"),
    ],
)
def test_what_cannot_be_asked(kind: MoveKind, more: dict[str, Any], error: type[Exception]) -> None:
    """Said at once; nothing is begun."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world)
        instance = more.pop("instance", only(before).instance)
        with pytest.raises(error):
            await world.ask_move(before, instance, kind, **more)
        assert world.stored(before) == before

    play(scenario)


def test_one_move_at_a_time() -> None:
    """The same again is the same move; another one has to wait."""

    async def scenario(world: MovingWorld) -> None:
        await world.host("h1")
        before = await built(world)
        await world.host("h2")
        world.build_s = lambda: 3.0
        instance = only(before).instance
        first = await world.ask_move(before, instance, MoveKind.MOVE)
        again = await world.ask_move(before, instance, MoveKind.MOVE)
        assert again.moves[0].asked_ms == first.moves[0].asked_ms
        await asyncio.sleep(1)
        with pytest.raises(Conflict):
            await world.ask_move(before, instance, MoveKind.RESIZE, resources={"VCPU": 2})
        await settled(world)

    play(scenario)
