"""Delivering webhooks: every event that somebody wants is posted to their address, at least once.

Any scheduler of a webhook's home cell can deliver it, and none is special. The naive way, each of them
posting what it sees, tells everything as often as there are schedulers; one that is appointed is
missing when it dies. So a webhook has a row that says whose turn it is, until when, and how far it was
delivered, and that changes by LWT ``IF rev = ?`` only:

  taking a turn   when it is nobody's, or its time is over. Of several takers one succeeds.
  going on        after each batch the place is stored, and the time extended, by the same LWT. Who
                  fails there has lost the turn and stops: another began where the last stored place
                  was, so what was posted since is posted again, with the same event ids.
  a process dies  its turn ends by itself after ``TURN_S``.

An event that is not taken (any answer but 2xx, none in time) is tried again with growing pauses, up to
``webhook_tries_max`` times, and those after it wait. Then it is a dead letter, kept and listed, and the
next ones are tried twice only until one is taken: an address that is gone for good does not hold up its
events until they expire. Nothing of this touches other webhooks.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import httpx
import msgspec
import structlog

from placer import metrics
from placer.errors import MarkerExpired, PlacerError
from placer.model.event import Event, wanted
from placer.model.ids import cell_of
from placer.model.webhook import (
    EVENT_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    WEBHOOK_HEADER,
    DeadLetter,
    Turn,
    Webhook,
    signature,
)
from placer.scheduler.worklog import clock_ms
from placer.settings import Settings
from placer.store.base import NamedStore
from placer.store.feed import Feed, Mark
from placer.store.webhooks import DeadLetterStore, TurnStore

log = structlog.get_logger(__name__)

#: How long a turn lasts without being extended.
TURN_S: Final = 30.0
_LOOK_EVERY_S: Final = 1.0
#: How often the webhooks there are, and turns of others, are looked at.
_LIST_EVERY_S: Final = 5.0
_BATCH: Final = 100
_RETRY_MAX_S: Final = 60.0
#: Tries of an event after one was given up, until one is taken.
_TRIES_FAILING: Final = 2
_KNOWN_MAX: Final = 10_000
_WEBHOOKS_MAX: Final = 1000
_WHY_CHARS_MAX: Final = 200

_encode = msgspec.json.Encoder().encode
_decode_mark = msgspec.json.Decoder(Mark).decode


class _TurnLost(Exception):
    """Somebody else goes on."""


class Webhooks:
    """The webhooks of one cell, as one of its schedulers delivers them."""

    def __init__(
        self,
        settings: Settings,
        webhooks: NamedStore[Webhook],
        turns: TurnStore,
        letters: DeadLetterStore,
        feed: Feed,
        client: httpx.AsyncClient,
        *,
        now_ms: Callable[[], int] = clock_ms,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._webhooks = webhooks
        self._turns = turns
        self._letters = letters
        self._feed = feed
        self._client = client
        self._now_ms = now_ms
        self._rng = rng or random.Random()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deliver what is this process's turn, for ever. Cancelled, it leaves its turns to others."""
        try:
            while True:
                try:
                    await self._look()
                except PlacerError as error:
                    log.warning("webhooks_not_read", error=str(error))
                await asyncio.sleep(_LIST_EVERY_S * self._rng.uniform(0.8, 1.2))
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self) -> None:
        """Begin with webhooks that are not worked on here, end with those that are gone."""
        found = await self._webhooks.page(limit=_WEBHOOKS_MAX)
        own = {one.id: one for one in found if cell_of(one.id) == self._settings.cell}
        for name, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[name]
            elif name not in own:
                task.cancel()
        for name, webhook in own.items():
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._deliver(webhook))

    async def _deliver(self, webhook: Webhook) -> None:
        """Take the turn if it is free and go on until it is lost; the next look tries again."""
        try:
            turn = await self._take(webhook)
            if turn is not None:
                await _Delivery(self, webhook, turn).run()
        except _TurnLost:
            log.info("webhook_turn_lost", webhook=webhook.id)
        except PlacerError as error:
            log.warning("webhook_not_delivered", webhook=webhook.id, error=str(error))

    async def _take(self, webhook: Webhook) -> Turn | None:
        """The turn, if it is ours now. Raises StoreError; then the next look tries again."""
        found = await self._turns.read_turn(webhook.id)
        if found is None:
            turn = Turn(1, self._settings.process, self._until_ms(), webhook.begin)
            return turn if await self._turns.add_turn(webhook.id, turn) else None
        if found.owner != self._settings.process and found.until_ms > self._now_ms():
            return None
        return await self._change(webhook, found, found.mark)

    async def _change(self, webhook: Webhook, turn: Turn, mark: str) -> Turn | None:
        new = Turn(turn.rev + 1, self._settings.process, self._until_ms(), mark)
        done = await self._turns.change_turn(webhook.id, new, if_rev=turn.rev)
        return new if done else None

    def _until_ms(self) -> int:
        return self._now_ms() + int(TURN_S * 1000)


class _Delivery:
    """One turn of one webhook."""

    def __init__(self, parent: Webhooks, webhook: Webhook, turn: Turn) -> None:
        self._of = parent
        self._webhook = webhook
        self._turn = turn
        self._failing = False
        #: Events told in this turn: the feed may tell them again.
        self._known: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> None:
        """Raises _TurnLost, StoreError."""
        of, mark = self._of, _decode_mark(self._turn.mark)
        while True:
            try:
                told = await of._feed.read(mark, _BATCH)
            except MarkerExpired:
                log.warning("webhook_skips", webhook=self._webhook.id, why="it was too far behind")
                mark = await of._feed.start()
                continue
            for event in told.events:
                if event.id not in self._known and self._is_wanted(event):
                    await self._tell(event)
                    self._remember(event.id)
            mark = told.mark
            if told.events or self._turn.until_ms - of._now_ms() < TURN_S * 500:
                await self._go_on(_encode(mark).decode())
            if not told.more:
                await asyncio.sleep(_LOOK_EVERY_S)

    def _is_wanted(self, event: Event) -> bool:
        return wanted(event, self._webhook.types, self._webhook.project)

    def _remember(self, name: str) -> None:
        self._known[name] = None
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    async def _tell(self, event: Event) -> None:
        """Post it until it is taken; else it is a dead letter. Raises _TurnLost, StoreError."""
        settings = self._of._settings.scheduler
        tries = _TRIES_FAILING if self._failing else settings.webhook_tries_max
        why = ""
        for attempt in range(tries):
            if attempt:
                pause_s = min(_RETRY_MAX_S, settings.webhook_retry_s * 2.0 ** (attempt - 1))
                await self._wait(pause_s * self._of._rng.uniform(0.8, 1.2))
            why = await self._post(event)
            if not why:
                metrics.webhook_calls.labels("taken").inc()
                self._failing = False
                return
            metrics.webhook_calls.labels("refused").inc()
            log.info("webhook_refused", webhook=self._webhook.id, event_id=event.id, why=why)
        self._failing = True
        metrics.webhook_calls.labels("dead").inc()
        letter = DeadLetter(event, self._of._now_ms(), tries, why)
        await self._of._letters.add_dead_letter(self._webhook.id, letter)

    async def _post(self, event: Event) -> str:
        """One try; why it was not taken, or ''."""
        body, at_s = _encode(event), self._of._now_ms() // 1000
        headers = {
            "Content-Type": "application/json",
            WEBHOOK_HEADER: self._webhook.id,
            EVENT_HEADER: event.id,
            TIME_HEADER: str(at_s),
            SIGNATURE_HEADER: signature(self._webhook.secret, at_s, body),
        }
        timeout_s = self._of._settings.scheduler.webhook_timeout_s
        try:
            # The client's own bounds are for each step; a slow answer may take many.
            async with asyncio.timeout(timeout_s):
                request = self._of._client.build_request(
                    "POST", self._webhook.url, content=body, headers=headers
                )
                answer = await self._of._client.send(request, stream=True)
                await answer.aclose()  # what it says besides its status is not read
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return (str(error) or type(error).__name__)[:_WHY_CHARS_MAX]
        return "" if answer.is_success else f"answered {answer.status_code}"

    async def _wait(self, seconds: float) -> None:
        """Wait, and keep the turn meanwhile."""
        until_s = asyncio.get_running_loop().time() + seconds
        while (left_s := until_s - asyncio.get_running_loop().time()) > 0:
            if self._turn.until_ms - self._of._now_ms() < TURN_S * 500:
                await self._go_on(self._turn.mark)
            await asyncio.sleep(min(left_s, TURN_S / 4))

    async def _go_on(self, mark: str) -> None:
        """Store the place and extend the turn. Raises _TurnLost, StoreError."""
        turn = await self._of._change(self._webhook, self._turn, mark)
        if turn is None:
            raise _TurnLost
        self._turn = turn
