"""Webhooks: every event is posted at least once, by one scheduler at a time, in simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec

from placer import settings as config
from placer.model.event import Event
from placer.model.webhook import Turn, Webhook, WebhookSpec, new_webhook, signature
from placer.scheduler.webhooks import TURN_S, Webhooks
from placer.store.feed import Feed
from placer.store.instances import Change

from ...simulation.clock import run_simulated
from ..lists import MemoryLists
from ..named import MemoryNamed

START_MS = 1_800_000_000_000
Answer = Callable[[Event], int | Exception]


class MemoryTurns:
    """A ``TurnStore``."""

    def __init__(self) -> None:
        self.turns: dict[str, Turn] = {}

    async def read_turn(self, webhook: str) -> Turn | None:
        return self.turns.get(webhook)

    async def add_turn(self, webhook: str, turn: Turn) -> bool:
        return self.turns.setdefault(webhook, turn) is turn

    async def change_turn(self, webhook: str, turn: Turn, *, if_rev: int) -> bool:
        await asyncio.sleep(0.002)
        if self.turns[webhook].rev != if_rev:
            return False
        self.turns[webhook] = turn
        return True


class Scene:
    """A cell with webhooks, schedulers that deliver them, and who is called."""

    def __init__(self) -> None:
        self.lists, self.turns = MemoryLists(), MemoryTurns()
        self.webhooks: MemoryNamed[Webhook] = MemoryNamed()
        self.calls: list[tuple[str, httpx.Request]] = []
        self.answer: Answer = lambda event: 204
        self.tasks: list[asyncio.Task[None]] = []
        cells = (config.Cell("c1", "r", "c1", ("x",)),)
        self.settings = config.Settings(
            process="p",
            cell="c1",
            cluster=config.Cluster("d", cells),
            service_token_file=Path("x"),
            store=config.Store("u", Path("x")),
            scheduler=config.Scheduler(webhook_tries_max=4),
        )
        self.feed = Feed(self.settings, self.lists, self.now_ms)

    @staticmethod
    def now_ms() -> int:
        return START_MS + int(asyncio.get_running_loop().time() * 1000)

    async def hook(self, **spec: Any) -> Webhook:
        begin = msgspec.json.encode(await self.feed.start()).decode()
        made = new_webhook(WebhookSpec("https://hooks/in", **spec), "c1", self.now_ms(), begin)
        await self.webhooks.put(made.id, made)
        return made

    def start(self, process: str) -> asyncio.Task[None]:
        """A scheduler; cancelling it is its death."""
        own = msgspec.structs.replace(self.settings, process=process)

        async def called(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.01)
            event = msgspec.json.decode(request.content, type=Event)
            self.calls.append((process, request))
            answer = self.answer(event)
            if isinstance(answer, Exception):
                raise answer
            return httpx.Response(answer)

        parts = Webhooks(
            own,
            self.webhooks,
            self.turns,
            self.lists,
            self.feed,
            httpx.AsyncClient(transport=httpx.MockTransport(called)),
            now_ms=self.now_ms,
            rng=random.Random(1),
        )
        task = asyncio.get_running_loop().create_task(parts.run())
        self.tasks.append(task)
        return task

    async def happen(self, *names: str, kind: str = "instance.running") -> None:
        for name in names:
            event = Event(name, kind, self.now_ms(), "r", "c1", project="red")
            await self.lists.write_changes([Change(order=1, event=event)])

    @property
    def told(self) -> list[str]:
        return [request.headers["Placer-Event-Id"] for _, request in self.calls]


def play(scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        scene = Scene()

        async def pulses() -> None:
            while True:
                await scene.lists.add_pulse("c1", scene.now_ms() // 5000 * 5000)
                await asyncio.sleep(5)

        pulse = asyncio.get_running_loop().create_task(pulses())
        await asyncio.sleep(0)
        await scenario(scene)
        for task in (pulse, *scene.tasks):
            task.cancel()
        await asyncio.gather(pulse, *scene.tasks, return_exceptions=True)

    run_simulated(whole())


def test_what_was_asked_for_is_posted_and_signed() -> None:
    """Once each, in order, with a signature that the secret proves."""

    async def scenario(scene: Scene) -> None:
        hook = await scene.hook(types=("instance",))
        scene.start("p1")
        await asyncio.sleep(10)
        await scene.happen("e1", "e2")
        await scene.happen("e3", kind="host.down")
        await asyncio.sleep(30)
        assert scene.told == ["e1", "e2"]
        _, call = scene.calls[0]
        at_s = int(call.headers["Placer-Timestamp"])
        expected = signature(hook.secret, at_s, call.content)
        assert call.headers["Placer-Signature"] == expected
        assert call.headers["Placer-Webhook-Id"] == hook.id

    play(scenario)


def test_two_schedulers_deliver_between_them() -> None:
    """One has the turn; nothing is posted twice while both live."""

    async def scenario(scene: Scene) -> None:
        await scene.hook()
        scene.start("p1")
        scene.start("p2")
        for number in range(60):
            await scene.happen(f"e{number}")
            await asyncio.sleep(2)
        await asyncio.sleep(5)
        assert scene.told == [f"e{number}" for number in range(60)]
        assert len({process for process, _ in scene.calls}) == 1

    play(scenario)


def test_another_goes_on_when_one_dies() -> None:
    """From the last stored place: nothing is lost, little is repeated."""

    async def scenario(scene: Scene) -> None:
        await scene.hook()
        first = scene.start("p1")
        await asyncio.sleep(10)
        scene.start("p2")
        for number in range(100):
            await scene.happen(f"e{number}")
            if number == 20:
                first.cancel()
            await asyncio.sleep(1)
        await asyncio.sleep(TURN_S + 20)
        assert set(scene.told) == {f"e{number}" for number in range(100)}
        assert len(scene.told) <= 100 + 40  # what the marker's window holds
        assert {process for process, _ in scene.calls} == {"p1", "p2"}

    play(scenario)


def test_an_event_that_is_not_taken_is_tried_again() -> None:
    """With growing pauses; those after it wait, and keep their order."""

    async def scenario(scene: Scene) -> None:
        await scene.hook()
        refusals: list[int | Exception] = [500, httpx.ConnectError("refused"), 302]
        scene.answer = lambda event: refusals.pop(0) if refusals else 200
        scene.start("p1")
        await asyncio.sleep(10)
        await scene.happen("e1", "e2")
        await asyncio.sleep(60)
        assert scene.told == ["e1", "e1", "e1", "e1", "e2"]
        assert scene.lists.dead == {}

    play(scenario)


def test_an_event_that_is_never_taken_is_a_dead_letter() -> None:
    """Kept with the reason; the next ones get two tries each until one is taken."""

    async def scenario(scene: Scene) -> None:
        hook = await scene.hook()
        scene.answer = lambda event: 200 if event.id == "e3" else 503
        scene.start("p1")
        await asyncio.sleep(10)
        await scene.happen("e1", "e2", "e3", "e4")
        await asyncio.sleep(120)
        assert [scene.told.count(name) for name in ("e1", "e2", "e3", "e4")] == [4, 2, 1, 4]
        letters = await scene.lists.dead_letters(hook.id, limit=10)
        assert sorted((one.event.id, one.tries, one.why) for one in letters) == [
            ("e1", 4, "answered 503"),
            ("e2", 2, "answered 503"),
            ("e4", 4, "answered 503"),
        ]

    play(scenario)


def test_a_turn_outlives_the_pauses() -> None:
    """While one tries again and again, nobody else begins."""

    async def scenario(scene: Scene) -> None:
        scene.settings = msgspec.structs.replace(
            scene.settings, scheduler=config.Scheduler(webhook_tries_max=8)
        )
        await scene.hook()
        scene.answer = lambda event: 500
        scene.start("p1")
        await asyncio.sleep(10)
        scene.start("p2")
        await scene.happen("e1")
        await asyncio.sleep(300)
        assert scene.told == ["e1"] * 8
        assert len({process for process, _ in scene.calls}) == 1

    play(scenario)


def test_a_webhook_that_was_deleted_is_called_no_more() -> None:
    """After some seconds."""

    async def scenario(scene: Scene) -> None:
        hook = await scene.hook()
        scene.start("p1")
        await asyncio.sleep(10)
        await scene.happen("e1")
        await asyncio.sleep(5)
        await scene.webhooks.drop(hook.id)
        await asyncio.sleep(10)
        await scene.happen("e2")
        await asyncio.sleep(20)
        assert scene.told == ["e1"]

    play(scenario)
