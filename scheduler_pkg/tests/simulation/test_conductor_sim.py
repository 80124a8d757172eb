"""The conductor among deaths at every step, lost answers, slow processes that are taken for dead.

Whatever happens, every request comes to its end, names exactly what it holds, and nothing runs that
no request names. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any

import pytest

from placer import failpoints
from placer.model.request import Request, RequestSpec, Stage
from placer.scheduler.worklog import Changed

from .clock import run_simulated
from .conducting import CELLS, REFUSALS, World, running

SEEDS = range(60)
#: A dead process's work is resumed within this.
RESUMED_S = 10.0

POINTS = (
    "request.claimed",
    "request.placed",
    "request.reopening",
    "request.reopened",
    "request.built",
    "request.left",
    "cancel.released",
    "recovery.before_take",
    "recovery.taken",
    "claim.before_lwt",
    "claim.after_lwt",
)


def simulate(world: World, scenario: Coroutine[Any, Any, None]) -> None:
    """Run ``scenario`` with the world's agents and sweepers at work and its uuids from its seed."""

    async def everything() -> None:
        loops = [asyncio.create_task(world.agents()), asyncio.create_task(world.sweeps())]
        try:
            await scenario
        finally:
            for task in loops:
                task.cancel()
            for process in world.processes.values():
                process.die()
            await asyncio.sleep(0)

    uuid4 = uuid.uuid4
    uuid.uuid4 = lambda: uuid.UUID(int=world.rng.getrandbits(128), version=4)
    try:
        run_simulated(everything())
    finally:
        uuid.uuid4 = uuid4
        failpoints.on_reach = None


async def client(world: World, number: int) -> None:
    """Ask for something, perhaps cancel it; believe nothing."""
    rng = world.rng
    await asyncio.sleep(rng.uniform(0, 8))
    spec: dict[str, Any] = rng.choice(
        [
            {},
            {},
            {"alternates": 2},
            {"deadline_s": 5.0},
            {"count": 3},
            {"count": 3, "partial": True},
            {"cells": ("c2", "c1"), "priority": 5},
            {"resources": {"VCPU": 3}, "alternates": 1, "deadline_s": 3.0},
        ]
    )
    try:
        request = await world.ask(wait_s=rng.choice((0.0, 2.0)), **spec)
        if rng.random() < 0.4:
            await asyncio.sleep(rng.choice((0.0, 0.01, 0.1, 1.0, 4.0)))
            await world.intake.cancel(request.id)
    except REFUSALS:
        return


async def disturb(world: World) -> None:
    """Kill, start again, silence, take agents away; until it is cancelled."""
    rng = world.rng
    while True:
        await asyncio.sleep(rng.uniform(0.05, 1.0))
        url, process = rng.choice(list(world.processes.items()))
        number = int(url[-1])
        if process.dead:
            world.start(process.cell, number)
        elif rng.random() < 0.4:
            process.die()
        else:
            process.silent = not process.silent
        if rng.random() < 0.1:
            # Often for longer than a lease.
            hosts = sorted(host for store in world.stores.values() for host in store.rows)
            world.agents_away = set(rng.sample(hosts, rng.choice((0, 1, 2))))


async def calm(world: World) -> None:
    """No more faults: every process lives and answers."""
    for store in world.stores.values():
        store.unknown = store.read_loss = store.serial_read_loss = 0.0
    world.agents_away = set()
    for url, process in list(world.processes.items()):
        process.silent = False
        if process.dead:
            world.start(process.cell, int(url[-1]))


async def chaos(world: World) -> None:
    world.start_all()
    for cell in CELLS:
        for number in range(3):
            await world.host(f"{cell}-h{number}", 5, cell)
    world.failing = lambda host: world.rng.random() < 0.2
    world.build_s = lambda: world.rng.choice((0.05, 0.2, 2.0))
    trouble = asyncio.create_task(disturb(world))
    for store in world.stores.values():
        store.unknown, store.read_loss, store.serial_read_loss = 0.05, 0.02, 0.02
    await asyncio.gather(*(client(world, number) for number in range(12)))
    await asyncio.sleep(5)
    trouble.cancel()
    await calm(world)
    world.failing = lambda host: False
    try:
        await world.until(lambda: not world.unsettled(), 120, "everything is settled")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(world.unsettled())) from error


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_every_request_ends_and_names_what_it_holds(seed: int) -> None:
    """Deaths, silence, lost answers and failing builds; in the end log, rows and agents agree."""
    world = World(seed)
    simulate(world, chaos(world))
    assert world.stores["c1"].requests


@pytest.mark.parametrize("point", POINTS)
def test_work_of_a_dead_process_is_resumed(point: str) -> None:
    """The process dies at the fail point; another one brings the request to its end in time."""
    world = World(7)
    died: list[float] = []
    #: The first host that builds anything fails every time.
    bad: dict[str, str] = {}

    def reach(name: str) -> None:
        process = running.get()
        if name == point and process is not None and not died and process.cell == "c1":
            died.append(asyncio.get_running_loop().time())
            process.die()

    async def scenario() -> None:
        world.start_all()
        await world.host("h1")
        await world.host("h2")
        world.failing = lambda host: bad.setdefault("host", host) == host
        if point.startswith("recovery"):
            world.processes["http://c1-0"].silent = True
            world.build_s = lambda: 0.5
        failpoints.on_reach = reach
        first = await world.ask(alternates=1, deadline_s=30.0)
        second = await world.ask(deadline_s=30.0)
        await asyncio.sleep(1.0)
        if point == "cancel.released":
            await world.intake.cancel(second.id)
        if point.startswith("recovery"):
            await orphan(world)

        def ended(request: Request) -> bool:
            return world.stored(request).stage in (Stage.BUILT, Stage.CANCELLED)

        await world.until(lambda: bool(died), 30, f"{point} is reached")
        left_s = died[0] + RESUMED_S - asyncio.get_running_loop().time()
        await world.until(lambda: ended(first) and ended(second), left_s, "resumed")
        await world.until(lambda: not world.unsettled(), 30, "settled")

    simulate(world, scenario())


async def orphan(world: World) -> None:
    """A request that was logged and handed to nobody."""
    await world.intake.accept(RequestSpec(resources={"VCPU": 1}, deadline_s=30.0))


def test_a_zombie_gives_back_what_it_claimed() -> None:
    """Taken for dead between claim and outcome: its claim goes, the successor's stands."""
    world = World(3)
    slow: list[str] = []

    async def scenario() -> None:
        world.start_all()
        await world.host("h1")
        zombie = world.processes["http://c1-0"]
        change = zombie.requests.put

        async def late(old: Request, new: Request) -> Changed:
            if new.stage is Stage.PLACED and not slow:
                slow.append(new.placements[0].claim)
                zombie.silent = True
                await asyncio.sleep(12)
            return await change(old, new)

        zombie.requests.put = late  # type: ignore[method-assign]
        requests = [await world.ask() for _ in range(2)]
        await world.until(lambda: bool(slow), 5, "one of them waits")
        await world.until(
            lambda: all(world.stored(r).stage is Stage.BUILT for r in requests), 10, "both built"
        )
        await asyncio.sleep(15)
        named = {p.claim for r in requests for p in world.stored(r).placements}
        assert slow[0] not in named
        assert not world.unsettled()

    simulate(world, scenario())
