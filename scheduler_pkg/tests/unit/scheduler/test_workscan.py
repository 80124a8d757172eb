"""The scan: which rows it reads, which requests it takes, which rows it drops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from placer.errors import StoreUnavailable
from placer.model.request import RequestSpec, Stage
from placer.model.work import SLOT_S, Work

from ...simulation.clock import run_simulated
from ...simulation.conducting import Process, World, now_ms, work_of

ASK: dict[str, Any] = {"resources": {"VCPU": 1}, "deadline_s": 600.0}


class Scene:
    """One process whose own scan loop does not run: the test scans."""

    def __init__(self) -> None:
        self.world = World(1)
        self.world.carry = lambda *_, **__: None  # type: ignore[method-assign]
        self.process: Process = self.world.start("c1", 0)
        for task in list(self.process._tasks):
            task.cancel()
        self.store = self.world.stores["c1"]
        self.elsewhere: set[str] = set()
        self.process.scan._worked_on = self._worked_on
        self.reads: list[tuple[int, int]] = []
        read_work = self.store.read_work

        async def counted(shard: int, slot: int) -> list[Work]:
            self.reads.append((shard, slot))
            return await read_work(shard, slot)

        self.store.read_work = counted  # type: ignore[method-assign]

    async def _worked_on(self, requests: list[str]) -> set[str]:
        return self.elsewhere & set(requests)

    async def orphan(self) -> Any:
        """A request that was logged, and that nobody was told of."""
        return await self.world.intake.accept(RequestSpec(**ASK))


def play(scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def everything() -> None:
        scene = Scene()
        await scenario(scene)
        scene.process.die()
        await asyncio.sleep(0)

    run_simulated(everything())


def test_a_request_that_nobody_works_on_is_taken_once_it_is_stale() -> None:
    """Not before: its owner may just be about to."""

    async def scenario(scene: Scene) -> None:
        await scene.world.host("h1")
        request = await scene.orphan()
        assert await scene.process.scan.scan() == 0
        await asyncio.sleep(4)
        assert await scene.process.scan.scan() == 1
        await asyncio.sleep(1)
        done = scene.world.stored(request)
        assert (done.stage, done.owner) == (Stage.PLACED, scene.process.name)
        assert "resumed" in [change.why for change in done.changes]
        assert not scene.store.work

    play(scenario)


def test_a_request_that_a_peer_works_on_is_left_to_it() -> None:
    """However long it takes."""

    async def scenario(scene: Scene) -> None:
        request = await scene.orphan()
        scene.elsewhere = {request.id}
        await asyncio.sleep(60)
        assert await scene.process.scan.scan() == 0
        assert scene.world.stored(request) == request

    play(scenario)


@pytest.mark.parametrize(
    ("age_s", "left"),
    [
        pytest.param(30, True, id="its change may be under way"),
        pytest.param(90, False, id="it never comes"),
    ],
)
def test_a_row_whose_change_is_not_there(age_s: float, left: bool) -> None:
    """The work row is written before the change that it announces."""

    async def scenario(scene: Scene) -> None:
        await scene.store.add_work(Work("c1.none", 7, now_ms()))
        await asyncio.sleep(age_s)
        await scene.process.scan.scan()
        assert bool(scene.store.work) is left

    play(scenario)


def test_the_row_of_a_final_request_is_dropped() -> None:
    """Its worker died after the last step."""

    async def scenario(scene: Scene) -> None:
        request = await scene.orphan()
        final = msgspec.structs.replace(request, stage=Stage.REFUSED, rev=request.rev + 1)
        scene.store.requests[request.id] = final
        await asyncio.sleep(4)
        await scene.process.scan.scan()
        assert not scene.store.work
        assert scene.world.stored(request) == final

    play(scenario)


def behind_it(scene: Scene, horizon_s: float = 0.0) -> None:
    """Nothing of the past is left to be read: the horizon is where the scan begins, or so long ago."""
    scan = scene.process.scan
    own = msgspec.structs.replace(scan._settings.scheduler, horizon_s=horizon_s)
    scan._settings = msgspec.structs.replace(scan._settings, scheduler=own)


def test_the_last_hour_is_found_soon_after_a_start() -> None:
    """So long without any scheduler: the request is found within a few passes."""

    async def scenario(scene: Scene) -> None:
        await scene.world.host("h1")
        request = await scene.orphan()
        await asyncio.sleep(3600)
        for _ in range(6):
            await scene.process.scan.scan()
        await asyncio.sleep(1)
        assert scene.world.stored(request).stage is Stage.PLACED

    play(scenario)


def test_what_is_older_is_found_slowly() -> None:
    """A scheduler that has just started has claims to make: a few reads a pass."""

    async def scenario(scene: Scene) -> None:
        await scene.world.host("h1")
        request = await scene.orphan()
        await asyncio.sleep(3 * 3600)
        passes = 0
        while scene.world.stored(request).stage is not Stage.PLACED:
            passes += 1
            assert passes < 1000
            scene.reads.clear()
            await scene.process.scan.scan()
            await asyncio.sleep(0.1)
            # Two shards; an hour in its first passes, then two slots; and the newest.
            assert len(scene.reads) <= 2 * (64 if passes <= 5 else 5)
        assert passes > 100

    play(scenario)


def test_once_the_horizon_is_reached_only_the_newest_slots_are_read() -> None:
    """However long a process runs."""

    async def scenario(scene: Scene) -> None:
        behind_it(scene)
        for _ in range(100):
            scene.reads.clear()
            await scene.process.scan.scan()
            assert len(scene.reads) <= 2 * 3
            await asyncio.sleep(2)

    play(scenario)


@pytest.mark.parametrize("away_s", [120, 3000])
def test_what_came_while_the_log_did_not_answer_is_found_afterwards(away_s: float) -> None:
    """The slots that no pass could read are read by the next that can, however late that is."""

    async def scenario(scene: Scene) -> None:
        behind_it(scene)
        await scene.world.host("h1")
        await scene.process.scan.scan()
        request = await scene.orphan()
        read_work = scene.store.read_work

        async def silent(shard: int, slot: int) -> list[Work]:
            raise StoreUnavailable("cut off")

        scene.store.read_work = silent  # type: ignore[method-assign]
        for _ in range(4):
            await asyncio.sleep(away_s / 4)
            with pytest.raises(StoreUnavailable):
                await scene.process.scan.scan()
        scene.store.read_work = read_work  # type: ignore[method-assign]
        behind_it(scene, horizon_s=86400.0)
        for _ in range(8):
            await scene.process.scan.scan()
        await asyncio.sleep(1)
        assert scene.world.stored(request).stage is Stage.PLACED

    play(scenario)


def test_processes_of_a_cell_share_the_looking() -> None:
    """Together they look as often as one would: each waits as many times as long as there are."""

    async def passes_in_a_minute(sharing: int) -> int:
        scene = Scene()
        behind_it(scene)
        scene.process.scan._sharing = lambda: sharing
        passes = 0
        scan = scene.process.scan.scan

        async def counted() -> int:
            nonlocal passes
            passes += 1
            return await scan()

        scene.process.scan.scan = counted  # type: ignore[method-assign]
        task = asyncio.create_task(scene.process.scan.run())
        await asyncio.sleep(60)
        task.cancel()
        scene.process.die()
        return passes

    async def scenario() -> None:
        assert 30 <= await passes_in_a_minute(1) <= 60
        assert 7 <= await passes_in_a_minute(4) <= 15

    run_simulated(scenario())


def test_a_slot_is_read_only_while_something_may_come_into_it() -> None:
    """A minute later nobody reads it any more."""

    async def scenario(scene: Scene) -> None:
        behind_it(scene)
        await scene.process.scan.scan()
        slot = now_ms() // (SLOT_S * 1000)
        assert slot in {read for _, read in scene.reads}
        for _ in range(60):
            await asyncio.sleep(1)
            scene.reads.clear()
            await scene.process.scan.scan()
        assert slot not in {read for _, read in scene.reads}

    play(scenario)


def test_one_of_two_finders_takes_it() -> None:
    """The LWT picks; the request is placed once."""

    async def scenario(scene: Scene) -> None:
        world = scene.world
        other = world.start("c1", 1)
        host = await world.host("h1")
        request = await scene.orphan()
        await asyncio.sleep(4)
        other.silent = True
        await asyncio.gather(scene.process.scan.scan(), other.scan.scan())
        await asyncio.sleep(2)
        assert world.stored(request).stage is Stage.PLACED
        assert len(scene.store.rows[host].claims) == 1
        other.die()

    play(scenario)


def test_a_request_in_work_is_not_taken_from_oneself() -> None:
    """It waits here for room, for minutes."""

    async def scenario(scene: Scene) -> None:
        request = await scene.orphan()
        scene.process.conductor.submit(request, work_of(request))
        await asyncio.sleep(60)
        assert await scene.process.scan.scan() == 0

    play(scenario)
