"""Moves, resizes, deletions and evacuations among deaths at every step, lost answers, dead hosts.

In the end every instance has one claim, which its request names and its host runs; none is lost that
nobody gave up; and what was evacuated never ran on two hosts that can be reached. A failure names its
seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from placer import failpoints
from placer.errors import PlacerError
from placer.model.records import HostStatus
from placer.model.request import MoveKind, Request, Stage

from .conducting import CELLS, REFUSALS, running
from .moving_world import MovingWorld
from .test_conductor_sim import RESUMED_S, calm, disturb, simulate

SEEDS = range(3000, 3024)

#: Where the process dies that carries a move, and what kind of move gets there.
POINTS = {
    "move.claimed": MoveKind.MOVE,
    "move.named": MoveKind.MOVE,
    "move.swapped": MoveKind.MOVE,
    "move.left": MoveKind.MOVE,
    "move.grown": MoveKind.RESIZE,
    "move.resized": MoveKind.RESIZE,
    "move.fenced": MoveKind.EVACUATE,
}


def play(world: MovingWorld, scenario: Coroutine[Any, Any, None]) -> None:
    """Run ``scenario`` with agents, sweepers and a hub at work."""

    async def everything() -> None:
        hub = asyncio.create_task(world.hub())
        try:
            await scenario
        finally:
            hub.cancel()

    simulate(world, everything())


async def client(world: MovingWorld) -> None:
    """Ask for something, have its instances moved about; believe nothing."""
    rng = world.rng
    await asyncio.sleep(rng.uniform(0, 5))
    spec: dict[str, Any] = rng.choice([{}, {}, {"count": 2}, {"resources": {"VCPU": 2}}])
    try:
        asked = await world.ask(wait_s=1.0, deadline_s=10.0, **spec)
    except REFUSALS:
        return
    for _ in range(rng.randrange(1, 5)):
        await asyncio.sleep(rng.uniform(0.1, 4.0))
        await move_one(world, world.stored(asked))


async def move_one(world: MovingWorld, request: Request) -> None:
    """Ask for whatever suits one of its instances."""
    rng = world.rng
    if not request.placements:
        return
    here = rng.choice(request.placements)
    row = world.stores[here.cell].rows[here.host]
    more: dict[str, Any] = {}
    if row.status is HostStatus.DOWN:
        kind = MoveKind.EVACUATE
    else:
        kind = rng.choice([MoveKind.MOVE, MoveKind.MOVE, MoveKind.RESIZE, MoveKind.DELETE])
        if kind is MoveKind.RESIZE:
            more = {"resources": {"VCPU": rng.choice((1, 2, 3))}}
        elif kind is MoveKind.MOVE:
            more = rng.choice([{}, {}, {"cell": rng.choice(CELLS)}])
    try:
        await world.ask_move(request, here.instance, kind, **more)
    except (PlacerError, asyncio.CancelledError):
        return


async def hosts_fail(world: MovingWorld) -> None:
    """One host at a time is away, for a while; until it is cancelled."""
    rng = world.rng
    while True:
        await asyncio.sleep(rng.uniform(1.0, 4.0))
        hosts = sorted(host for store in world.stores.values() for host in store.rows)
        world.agents_away = set(rng.sample(hosts, rng.choice((0, 1, 1, 2))))


async def chaos(world: MovingWorld, *, evacuations_only: bool = False) -> None:
    world.start_all()
    for cell in CELLS:
        for number in range(3):
            await world.host(f"{cell}-h{number}", 8, cell)
    world.failing = lambda host: world.rng.random() < 0.15
    world.build_s = lambda: world.rng.choice((0.05, 0.2, 2.0))
    troubles = [asyncio.create_task(disturb(world)), asyncio.create_task(hosts_fail(world))]
    for store in world.stores.values():
        store.unknown, store.read_loss, store.serial_read_loss = 0.05, 0.02, 0.02
    if evacuations_only:
        await evacuations(world)
    else:
        await asyncio.gather(*(client(world) for _ in range(10)))
    await asyncio.sleep(5)
    for trouble in troubles:
        trouble.cancel()
    await calm(world)
    world.failing = lambda host: False
    try:
        await world.until(lambda: not world.unsettled(), 200, "everything is settled")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(world.unsettled())) from error
    assert not [*world.run_twice(), *world.lost(), *world.epochs()]


async def evacuations(world: MovingWorld) -> None:
    """Whatever is on a host that is down is evacuated, and nothing else happens to it."""
    requests: list[Request] = []
    for _ in range(6):
        try:
            requests.append(await world.ask(wait_s=1.0, deadline_s=10.0))
        except REFUSALS:
            continue
    for _ in range(40):
        await asyncio.sleep(world.rng.uniform(0.1, 1.0))
        stored = world.stored(world.rng.choice(requests))
        for here in stored.placements:
            if world.stores[here.cell].rows[here.host].status is HostStatus.DOWN:
                try:
                    await world.ask_move(stored, here.instance, MoveKind.EVACUATE)
                except (PlacerError, asyncio.CancelledError):
                    continue


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_every_instance_ends_on_one_claim(seed: int) -> None:
    """Deaths, silence, lost answers, failing builds and hosts; in the end log, rows and hosts agree."""
    world = MovingWorld(seed)
    play(world, chaos(world))
    assert world.moved or world.evacuated


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_what_is_evacuated_never_runs_twice(seed: int) -> None:
    """Hosts come and go at any moment of it."""
    world = MovingWorld(seed)
    play(world, chaos(world, evacuations_only=True))


@pytest.mark.parametrize("point", POINTS)
def test_a_move_of_a_dead_process_is_resumed(point: str) -> None:
    """The process dies at the fail point; another one brings the move to its end in time."""
    world = MovingWorld(7)
    died: list[float] = []

    def reach(name: str) -> None:
        process = running.get()
        if name == point and process is not None and not died:
            died.append(asyncio.get_running_loop().time())
            process.die()

    async def scenario() -> None:
        world.start_all()
        h1 = await world.host("h1")
        asked = await world.ask(deadline_s=30.0)
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 20, "built")
        await world.host("h2")
        if POINTS[point] is MoveKind.EVACUATE:
            world.agents_away = {h1}
            await asyncio.sleep(5)
        failpoints.on_reach = reach
        more = {"resources": {"VCPU": 3}} if POINTS[point] is MoveKind.RESIZE else {}
        (here,) = world.stored(asked).placements
        await world.ask_move(world.stored(asked), here.instance, POINTS[point], **more)
        await world.until(lambda: bool(died), 30, f"{point} is reached")
        left_s = died[0] + 2 * RESUMED_S - asyncio.get_running_loop().time()
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, left_s, "resumed")
        (there,) = world.stored(asked).placements
        assert there.instance == here.instance
        assert (there.claim == here.claim) is (POINTS[point] is MoveKind.RESIZE)
        world.agents_away = set()
        await world.until(lambda: not world.unsettled(), 60, "settled")
        assert not world.run_twice()

    play(world, scenario())
