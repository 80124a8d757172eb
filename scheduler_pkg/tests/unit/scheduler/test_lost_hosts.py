"""Hosts without a connection: the grace, the peers, the roll call; on simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator, Sequence

import pytest

from placer.claims.operations import Operation, SetStatus
from placer.errors import StoreUnavailable, StoreUnknown
from placer.model.host_view import HostView, summarize
from placer.model.messages import Report
from placer.model.records import ClaimState, HostStatus
from placer.scheduler.agent_connection import SILENT_S
from placer.scheduler.lost_hosts import LostHosts
from placer.scheduler.roll_call import RollCall

from ..agents.fakes import CELL, claim, report, uuid_of
from .hub_scene import GRACE_S, Scene, simulated

BUILT = ClaimState.BUILT
#: The bar of the issue.
NOTICED_S = 10.0


def test_lost_hosts_are_down_after_the_grace() -> None:
    """Not before it; their claims stay."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("c1", BUILT))
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report(report("h1"), report("h2"))
            await asyncio.sleep(GRACE_S - 0.1)
            assert scene.status() is HostStatus.UP
            await asyncio.sleep(0.2)
            assert (scene.status("h1"), scene.status("h2")) == (HostStatus.DOWN, HostStatus.DOWN)
            assert scene.world.state("c1") is BUILT
            async with scene.agent() as agent:
                await agent.report()
                assert scene.status() is HostStatus.UP

    simulated(story())


def test_a_host_that_is_back_within_the_grace_stays_up() -> None:
    """A short interruption writes nothing."""

    async def story() -> None:
        scene = Scene()
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report()
            writes = scene.writer.writes
            async with scene.agent() as agent:
                await agent.report()
                await asyncio.sleep(2 * GRACE_S)
                assert scene.writer.writes == writes

    simulated(story())


def test_a_host_served_by_another_process_stays_up() -> None:
    """An agent that went to a peer is not lost."""

    async def story() -> None:
        scene = Scene()
        scene.elsewhere = {uuid_of("h1")}
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report(report("h1"), report("h2"))
            await asyncio.sleep(2 * GRACE_S)
            assert (scene.status("h1"), scene.status("h2")) == (HostStatus.UP, HostStatus.DOWN)

    simulated(story())


def test_a_host_whose_first_report_was_cut_short_is_not_asked_about_for_ever() -> None:
    """It has no row that could say down. Thousands of them would keep the cell busy with nothing."""

    async def story() -> None:
        scene = Scene()
        scene.writer.delay_s = lambda: 5.0
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.say(Report(seq=1, hosts=(report("h1"), report("h2"))))
                await asyncio.sleep(0.5)
            scene.writer.delay_s = lambda: 0.0
            scene.world.rows.clear()
            await asyncio.sleep(2 * GRACE_S)
            asked = scene.peers_asked
            await asyncio.sleep(3600)
            assert scene.peers_asked == asked

    simulated(story())


def test_silent_peers_are_asked_again_but_not_for_ever() -> None:
    """Three times; a host that is served all the same is up again with its next report."""

    async def story() -> None:
        scene = Scene()
        scene.peer_errors = [OSError("no route") for _ in range(5)]
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report()
            await asyncio.sleep(GRACE_S + 1.9)  # asked at 5 s, 6 s and 7 s
            assert scene.status() is HostStatus.UP
            await asyncio.sleep(0.2)
            assert scene.status() is HostStatus.DOWN
            assert scene.peers_asked == 1 + 3  # once as the host came

    simulated(story())


def test_a_host_that_returns_while_it_is_marked_down_is_up_in_the_end() -> None:
    """The write and the return cross: the report is written once more."""

    async def story() -> None:
        scene = Scene()
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report()
            scene.world.gates.shut("before SetStatus")
            await asyncio.sleep(GRACE_S + 0.1)
            async with scene.agent() as agent:
                await agent.report()
                scene.world.gates.open("before SetStatus")
                await asyncio.sleep(0.1)
                assert scene.status() is HostStatus.UP

    simulated(story())


def test_lists_hear_of_a_host_that_goes_and_comes_back() -> None:
    """Once each: a report that says nothing new is not told."""

    async def story() -> None:
        scene = Scene()
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report()
                await agent.report()
            await asyncio.sleep(GRACE_S + 0.1)
            async with scene.agent() as agent:
                await agent.report()
        assert scene.hosts == [("h1", "up"), ("h1", "down"), ("h1", "up")]

    simulated(story())


def test_marking_down_is_tried_again_when_the_store_fails() -> None:
    """A host must not stay up because one write failed."""

    async def story() -> None:
        scene = Scene()
        failures = [StoreUnavailable("down"), StoreUnknown("lost")]

        def fails(host: str, operation: Operation) -> Exception | None:
            return failures.pop() if failures and isinstance(operation, SetStatus) else None

        scene.writer.fails = fails
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report()
            await asyncio.sleep(3 * GRACE_S + 0.1)
            assert scene.status() is HostStatus.DOWN

    simulated(story())


@pytest.mark.parametrize(
    ("back_after_s", "status"),
    [
        pytest.param(GRACE_S + 3, HostStatus.UP, id="back within the time, after the grace"),
        pytest.param(None, HostStatus.DOWN, id="never back"),
    ],
)
def test_while_hosts_come_back_the_grace_goes_on(
    back_after_s: float | None, status: HostStatus
) -> None:
    """A host comes every half second: the last is not given up before the others are all there,
    nor waited for any longer than a loss may take to be noticed."""

    async def story() -> None:
        scene = Scene()
        names = [f"h{number}" for number in range(40)]
        async with scene.judging():
            async with scene.agent() as agent:
                await agent.report(*map(report, names))
            downs: dict[float, set[str]] = {}
            lost_at = asyncio.get_running_loop().time()
            async with scene.agent() as agent:
                for number in range(1, 39):
                    await asyncio.sleep(0.5)
                    passed = asyncio.get_running_loop().time() - lost_at
                    if passed >= SILENT_S + GRACE_S:
                        break
                    back = [report(names[number])]
                    if back_after_s is not None and passed >= back_after_s:
                        back += map(report, names)
                    await agent.report(*back)
                    downs[passed] = {n for n in names if scene.status(n) is HostStatus.DOWN}
                assert downs[GRACE_S + 2] == set()
                assert scene.status("h0") is status

    simulated(story())


def test_what_went_silent_has_less_time_left() -> None:
    """Six of the ten seconds are over when its pongs are missed."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1")
        lost = LostHosts(
            lambda hosts: set(),
            scene._served_elsewhere,
            scene.hub._mark_down,
            grace_s=4.0,
            deadline_s=1.0,
        )
        task = asyncio.create_task(lost.run())
        for silent_s, down_after_s in ((SILENT_S, 2.5), (3.0, 4.0), (0.0, 4.0)):
            scene.world.put("h1")
            lost.suspect([uuid_of("h1")], silent_s)
            await asyncio.sleep(down_after_s - 0.1)
            assert scene.status() is HostStatus.UP
            await asyncio.sleep(0.2)
            assert scene.status() is HostStatus.DOWN
        task.cancel()

    simulated(story())


class Roll:
    """A roll call over the rows of ``scene``, with peers that answer as the test says."""

    def __init__(self, scene: Scene, *peers: str) -> None:
        self.ring = peers
        self.peers = set(peers)
        self.reads = 0
        self.errors: list[Exception] = []
        self._scene = scene
        self._call = RollCall(
            lambda: self.ring,
            self._answering,
            self._views,
            scene.hub.serves,
            scene.hub.suspect,
            rng=random.Random(1),
        )

    async def run(self) -> None:
        await self._call.run()

    async def _answering(self, urls: Sequence[str]) -> set[str]:
        return self.peers & set(urls)

    def _views(self) -> Iterator[Awaitable[list[HostView]]]:
        yield self._read()

    async def _read(self) -> list[HostView]:
        self.reads += 1
        if self.errors:
            raise self.errors.pop(0)
        rows = self._scene.world.rows.values()
        return [summarize(row, cell=CELL, region="r1") for row in rows]


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([], id="the views can be read"),
        pytest.param([StoreUnavailable("down")], id="at the second try"),
    ],
)
def test_hosts_of_a_dead_scheduler_are_marked_down_by_the_others(errors: list[Exception]) -> None:
    """Those that came back stay up; the others are down within the bar, though nobody here ever
    had their connection."""

    async def story() -> None:
        scene = Scene()
        for name in ("mine", "back", "lost"):
            scene.world.put(name)
        roll = Roll(scene, "http://s2", "http://s3")
        async with scene.judging(), scene.agent("a1") as agent:
            task = asyncio.create_task(roll.run())
            await agent.report(report("mine"))
            await asyncio.sleep(60)
            scene.elsewhere = {uuid_of("back")}
            for name in ("mine", "back", "lost"):
                scene.world.put(name)
            roll.errors = list(errors)
            roll.peers.discard("http://s2")
            await asyncio.sleep(NOTICED_S)
            states = [scene.status(name) for name in ("mine", "back", "lost")]
            assert states == [HostStatus.UP, HostStatus.UP, HostStatus.DOWN]
            task.cancel()

    simulated(story())


def test_the_roll_is_called_once_while_nobody_dies() -> None:
    """After the start, for hosts that were lost while nobody was there; later nothing is read."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1")
        roll = Roll(scene, "http://s2")
        async with scene.judging():
            task = asyncio.create_task(roll.run())
            await asyncio.sleep(15)
            assert (roll.reads, scene.status()) == (0, HostStatus.UP)
            await asyncio.sleep(3600)
            assert (roll.reads, scene.status()) == (1, HostStatus.DOWN)
            task.cancel()

    simulated(story())
