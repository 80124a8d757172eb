"""The intake on a simulated cell: idempotency keys, cancellation, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from placer.errors import IdempotencyConflict, NoScheduler, NotFound, StoreUnknown
from placer.model.request import Request, RequestSpec, Stage

from ...simulation.clock import run_simulated
from ...simulation.conducting import World, urls

SPEC = RequestSpec(resources={"VCPU": 1}, project="p")
PLACED = frozenset({Stage.PLACED})


def play(scenario: Callable[[World], Coroutine[Any, Any, None]], *, schedulers: int = 1) -> None:
    """Run ``scenario``; ``schedulers`` processes of c1 live."""

    async def everything() -> None:
        world = World(1)
        for number in range(schedulers):
            world.start("c1", number)
        if schedulers:
            await world.host("h1", 16)
        await scenario(world)
        for process in world.processes.values():
            process.die()
        await asyncio.sleep(0)

    run_simulated(everything())


async def asked(world: World, key: str, spec: RequestSpec = SPEC, wait_s: float = 5.0) -> Request:
    return await world.intake.settle(await world.intake.accept(spec, key), wait_s, PLACED)


def test_the_same_call_with_one_key_is_one_request() -> None:
    """Also when many are sent at once: one claim, one answer."""

    async def scenario(world: World) -> None:
        answers = await asyncio.gather(*(asked(world, "k") for _ in range(5)))
        assert {answer.id for answer in answers} == {answers[0].id}
        assert all(answer.stage is Stage.PLACED for answer in answers)
        assert len(world.stores["c1"].requests) == 1
        (row,) = world.stores["c1"].rows.values()
        assert len(row.claims) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("spec", "key", "same"),
    [
        pytest.param(SPEC, "k", True, id="the same body, the same key"),
        pytest.param(SPEC, "other", False, id="another key"),
        pytest.param(
            msgspec.structs.replace(SPEC, project="q"), "k", False, id="another project's key"
        ),
    ],
)
def test_a_key_stands_for_one_request_of_one_project(
    spec: RequestSpec, key: str, same: bool
) -> None:
    """The id follows from project and key."""

    async def scenario(world: World) -> None:
        first, second = await asked(world, "k"), await asked(world, key, spec)
        assert (first.id == second.id) is same

    play(scenario)


def test_another_body_with_a_used_key_is_refused() -> None:
    """Nothing is stored for it, and the first request is as it was."""

    async def scenario(world: World) -> None:
        first = await asked(world, "k")
        with pytest.raises(IdempotencyConflict) as caught:
            await asked(world, "k", msgspec.structs.replace(SPEC, resources={"VCPU": 2}))
        assert caught.value.fields["request"] == first.id
        assert world.stored(first) == first

    play(scenario)


def test_a_region_in_a_keyed_call_does_not_change_with_the_turn() -> None:
    """What is compared is what was asked for, not the cells that it means today."""

    async def scenario(world: World) -> None:
        spec = msgspec.structs.replace(SPEC, region="r-c2", deadline_s=60.0)
        first = await asked(world, "k", spec, 0.0)
        assert (await asked(world, "k", spec, 0.0)).id == first.id

    play(scenario)


def test_a_lost_answer_to_the_logging_is_settled() -> None:
    """The LWT applied and its answer was lost: the request is there and is worked on."""

    async def scenario(world: World) -> None:
        store = world.stores["c1"]
        add = store.add_request_once

        async def lost(request: Request) -> bool:
            await add(request)
            raise StoreUnknown("answer lost")

        store.add_request_once = lost  # type: ignore[method-assign]
        assert (await asked(world, "k")).stage is Stage.PLACED

    play(scenario)


@pytest.mark.parametrize(("lost", "placed"), [(1, True), (2, True), (3, False)])
def test_a_logging_that_never_came_is_repeated(lost: int, placed: bool) -> None:
    """The LWT was lost on its way: the caller hears nothing of it, unless that goes on."""

    async def scenario(world: World) -> None:
        store = world.stores["c1"]
        add, left = store.add_request_once, [None] * lost

        async def sometimes(request: Request) -> bool:
            if left:
                left.pop()
                raise StoreUnknown("lost")
            return await add(request)

        store.add_request_once = sometimes  # type: ignore[method-assign]
        if placed:
            assert (await asked(world, "k")).stage is Stage.PLACED
        else:
            with pytest.raises(StoreUnknown, match="logging"):
                await asked(world, "k")

    play(scenario)


def test_a_scheduler_that_began_a_moment_ago_is_found() -> None:
    """Before a request is refused for want of one, the name service is read again."""

    async def scenario(world: World) -> None:
        world.whereabouts.unseen = set(urls("c1"))
        assert (await asked(world, "")).stage is Stage.PLACED

    play(scenario)


def test_nobody_to_take_it_is_refused_in_the_log_too() -> None:
    """503 for the caller, and no scan comes back to it."""

    async def scenario(world: World) -> None:
        accepted = await world.intake.accept(SPEC)
        with pytest.raises(NoScheduler):
            await world.intake.settle(accepted, 5.0, PLACED)
        assert world.stored(accepted).stage is Stage.REFUSED
        assert not world.stores["c1"].work

    play(scenario, schedulers=0)


@pytest.mark.parametrize(("after_s", "placed"), [(5.0, True), (15.0, False)])
def test_a_request_with_a_deadline_waits_for_a_scheduler(after_s: float, placed: bool) -> None:
    """It is offered again until then, and refused for want of a scheduler only after it."""

    async def scenario(world: World) -> None:
        async def begin() -> None:
            await asyncio.sleep(after_s)
            world.start("c1", 0)
            await world.host("h1", 16)

        beginning = asyncio.create_task(begin())
        spec = msgspec.structs.replace(SPEC, deadline_s=10.0)
        if placed:
            assert (await asked(world, "", spec, 30.0)).stage is Stage.PLACED
        else:
            with pytest.raises(NoScheduler):
                await asked(world, "", spec, 30.0)
        await beginning

    play(scenario, schedulers=0)


def test_waiting_goes_on_in_the_log() -> None:
    """The scheduler's answer is lost: whoever takes the request over is seen by the waiting caller."""

    async def scenario(world: World) -> None:
        accepted = await world.intake.accept(SPEC)
        world.intake._fresh.clear()  # as if another API server had logged it and died
        settled = await world.intake.settle(accepted, 20.0, {Stage.PLACED, Stage.BUILT})
        # Between two looks it may have been built.
        assert settled.stage in (Stage.PLACED, Stage.BUILT)

    play(scenario, schedulers=2)


def test_cancelling_what_is_not_there() -> None:
    """404."""

    async def scenario(world: World) -> None:
        with pytest.raises(NotFound):
            await world.intake.cancel("c1.none")

    play(scenario)


def test_a_cancelled_request_without_a_scheduler_is_ended_later() -> None:
    """``cancelling`` at once; the next scheduler finds it and frees what it held."""

    async def scenario(world: World) -> None:
        placed = await asked(world, "")
        for process in world.processes.values():
            process.die()
        cancelled = await world.intake.cancel(placed.id)
        assert cancelled.stage is Stage.CANCELLING
        world.start("c1", 0)
        await world.until(lambda: world.stored(placed).stage is Stage.CANCELLED, 10, "it ends")
        (row,) = world.stores["c1"].rows.values()
        assert row.claims == ()

    play(scenario)
