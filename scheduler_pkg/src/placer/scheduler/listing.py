"""The one place that writes the list of instances, their histories and the feed of events.

Nothing here decides anything: what is written follows from rows and requests that stand already. So
each call is safe to repeat, and whoever hears nothing repeats it: an agent is answered only once its
step is listed, and asks again until then. That is what guarantees that no event is lost: between a
change and its event lies no queue but the caller's own wait.

Several calls at once ride together. The naive way, a write for each as it comes, costs each built
instance a message for each of its lists. Here up to ``list_writers`` writes are under way, and
whatever arrives meanwhile waits for the next to be free and goes as one: nobody waits for a timer,
and the busier it is, the more share a message. All that went together hear the same outcome; a repeat
writes what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from msgspec import Struct

from placer import metrics, telemetry, tracing
from placer.errors import Overloaded, StoreError
from placer.model import event as events
from placer.model import ids
from placer.model.event import Event
from placer.model.instance import (
    EPOCH_MAX,
    Guest,
    HostSeen,
    Instance,
    InstanceState,
    Reach,
    order,
)
from placer.model.messages import GuestState
from placer.model.records import HostRow, Record
from placer.model.request import Placement, Request
from placer.scheduler.background import Background
from placer.scheduler.worklog import clock_ms
from placer.settings import Settings
from placer.store.base import GlobalStore
from placer.store.instances import Change

log = structlog.get_logger(__name__)

#: Changes that one round of writes takes.
_GROUP_MAX: Final = 256


class LostInstance(Struct, frozen=True):
    """An instance without a claim: where it was, the epoch that its next claim would have had."""

    request: Request
    placement: Placement
    epoch: int
    state: InstanceState
    by: str
    why: str


class Listing:
    """The list of instances as one scheduler process writes it: of its own cell's hosts."""

    def __init__(
        self,
        settings: Settings,
        store: GlobalStore,
        background: Background,
        *,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._settings = settings
        self._home = settings.home
        self._store = store
        self._background = background
        self._now_ms = now_ms
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._writers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: Claims that are being built and not listed yet.
        self._building: dict[str, asyncio.TimerHandle] = {}

    # -- what became of an instance

    async def place(
        self,
        row: HostRow,
        record: Record,
        state: InstanceState,
        *,
        request: Request | None,
        by: str = "",
        why: str = "",
        turn: int = 0,
    ) -> None:
        """``record``, a claim on ``row``, is in ``state``. Safe to repeat. Raises StoreError, Overloaded.

        ``request`` is what it was claimed for, for name, image and tags. ``by`` is who wanted it, this
        process by default. ``turn`` tells apart the times that one claim enters one state, if it does
        so more than once. A claim that ends while its request names another one for the instance has
        been left, and does not end the instance.
        """
        self._forget(record.id)
        now_ms = self._now_ms()
        if state.is_final and _lives_on(request, record):
            await self._left(row, record, request, now_ms, by, why)
            return
        spec = request.spec if request else None
        # The end of a claim is told while it is on its row still: after all that was told of that.
        count = row.rev + 1 if state.is_final else row.rev
        await self._write(
            Change(
                order=order(record.epoch, count),
                event=self._event(
                    f"{events.INSTANCE}{state}", row, record, now_ms, by, why, turn, request
                ),
                instance=record.consumer,
                project=record.project,
                cell=self._home.name,
                created_ms=made_ms(record),
                place=Instance(
                    id=record.consumer,
                    project=record.project,
                    region=self._home.region,
                    cell=self._home.name,
                    host=row.host,
                    host_name=row.name,
                    request=record.request,
                    claim=record.id,
                    state=state,
                    resources={name: -amount for name, amount in record.amounts.items()},
                    created_ms=made_ms(record),
                    updated_ms=now_ms,
                    rev=count,
                    epoch=record.epoch,
                    name=spec.name if spec else "",
                    image=spec.image if spec else "",
                    flavor=spec.flavor if spec else "",
                    tags=spec.tags if spec else (),
                ),
            )
        )

    async def lost(self, lost: LostInstance) -> None:
        """An instance that was taken from its host came to no other one: that is its end.

        Told after all of the claims that it had, and before what one that is built all the same would
        tell. Safe to repeat. Raises StoreError, Overloaded.
        """
        here, spec, now_ms = lost.placement, lost.request.spec, self._now_ms()
        created_ms = ids.made_ms(here.instance) or lost.request.created_ms
        place = Instance(
            id=here.instance,
            project=spec.project,
            region=self._home.region,
            cell=self._home.name,
            host=here.host,
            host_name=here.host_name,
            request=lost.request.id,
            claim=here.claim,
            state=lost.state,
            resources=here.resources or spec.resources,
            created_ms=created_ms,
            updated_ms=now_ms,
            rev=0,
            epoch=min(lost.epoch, EPOCH_MAX),
            name=spec.name,
            image=spec.image,
            flavor=spec.flavor,
            tags=spec.tags,
        )
        kind = f"{events.INSTANCE}{lost.state}"
        told = Event(
            id=events.event_id(here.claim, kind, lost.epoch),
            type=kind,
            at_ms=now_ms,
            region=place.region,
            cell=place.cell,
            host=here.host,
            host_name=here.host_name,
            project=place.project,
            instance=place.id,
            request=place.request,
            by=lost.by or self._settings.process,
            why=lost.why,
            trace=lost.request.trace or tracing.current(),
        )
        await self._write(
            Change(
                order=place.order,
                event=told,
                instance=place.id,
                project=place.project,
                cell=place.cell,
                created_ms=created_ms,
                place=place,
            )
        )

    def building(
        self, row: HostRow, record: Record, find: Callable[[], Awaitable[Request | None]]
    ) -> None:
        """A build began. It is listed if it takes longer than ``list_building_after_s``.

        Most builds are over by then, and one that is not costs a write more. Lost with the process.
        One that a moving instance is to come to is not listed before it is there.
        ``find`` gives the request.
        """
        if record.epoch or len(self._building) >= self._settings.scheduler.background_writes_max:
            return
        self._forget(record.id)
        self._building[record.id] = asyncio.get_running_loop().call_later(
            self._settings.scheduler.list_building_after_s,
            lambda: self._background.start(
                "list_building", self._still_building(row, record, find)
            ),
        )

    async def _still_building(
        self, row: HostRow, record: Record, find: Callable[[], Awaitable[Request | None]]
    ) -> None:
        request = await find()
        if record.id in self._building:
            await self.place(row, record, InstanceState.BUILDING, request=request)

    async def guest(self, row: HostRow, record: Record, said: GuestState, *, by: str = "") -> None:
        """What an agent says of its instance. Safe to repeat. Raises StoreError, Overloaded."""
        now_ms = self._now_ms()
        state = InstanceState(said.state)
        await self._write(
            Change(
                order=order(record.epoch, said.version),
                event=self._event(
                    f"{events.INSTANCE}{state}", row, record, now_ms, by, said.why, said.version
                ),
                instance=record.consumer,
                project=record.project,
                cell=self._home.name,
                created_ms=made_ms(record),
                guest=Guest(state, now_ms, record.epoch, said.version, said.why),
            )
        )

    async def host(self, row: HostRow, seen: HostSeen, *, by: str = "", why: str = "") -> None:
        """A host's status changed, with all that is on it: one event, and a mark on each instance.

        Safe to repeat. Raises StoreError, Overloaded.
        """
        now_ms = self._now_ms()
        told = self._event(f"{events.HOST}{seen}", row, None, now_ms, by, why, row.rev)
        marks = [
            Change(
                order=order(record.epoch, row.rev),
                event=told,
                instance=record.consumer,
                project=record.project,
                cell=self._home.name,
                created_ms=made_ms(record),
                reach=Reach(seen, now_ms, why),
            )
            for record in row.claims
            if record.request and not record.tag
        ]
        for start in range(0, len(marks), _GROUP_MAX):
            await asyncio.gather(*(self._write(mark) for mark in marks[start : start + _GROUP_MAX]))
        if not marks:
            await self._write(Change(order=row.rev, event=told))

    async def refused(self, row: HostRow, agent: str, why: str) -> None:
        """An agent wanted to serve a host and may not: an event of the host. Raises StoreError, Overloaded."""
        now_ms = self._now_ms()
        told = self._event(events.REFUSED, row, None, now_ms, agent, why, now_ms)
        await self._write(Change(order=row.rev, event=told))

    async def turned_away(self, who: str, why: str) -> None:
        """Somebody wanted to be an agent of the cell and may not. Raises StoreError, Overloaded."""
        now_ms = self._now_ms()
        kind = events.AGENT_REFUSED
        told = Event(
            id=events.event_id(f"{self._home.name}/{who}", kind, now_ms),
            type=kind,
            at_ms=now_ms,
            region=self._home.region,
            cell=self._home.name,
            by=who,
            why=why,
        )
        await self._write(Change(order=now_ms * 1000, event=told))

    # -- pulses

    async def pulse(self) -> None:
        """Say every ``pulse_every_s`` that this cell is heard, for ever.

        Times are whole multiples, so that all of a cell's schedulers write one row between them.
        """
        every_ms = int(self._settings.cluster.pulse_every_s * 1000)
        while True:
            now_ms = self._now_ms()
            try:
                await self._store.add_pulse(self._home.name, now_ms - now_ms % every_ms)
            except StoreError as error:
                log.warning("pulse_not_written", error=str(error))
            await asyncio.sleep((every_ms - self._now_ms() % every_ms) / 1000)

    @property
    def waiting(self) -> int:
        """Changes that wait to be written."""
        return len(self._waiting)

    async def close(self, grace_s: float) -> None:
        """Let writes end within ``grace_s``; what is not listed then, agents bring again."""
        for handle in self._building.values():
            handle.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()

    # -- writing

    async def _left(
        self,
        row: HostRow,
        record: Record,
        request: Request | None,
        now_ms: int,
        by: str,
        why: str,
    ) -> None:
        """The instance went on to another claim: only this cell's list, if it left that, changes."""
        assert request is not None
        stays = any(
            p.instance == record.consumer and p.cell == self._home.name
            for p in request.held
            if p.claim != record.id
        )
        told = self._event("instance.left", row, record, now_ms, by, why, 0, request)
        if stays:
            await self._write(Change(order=order(record.epoch, row.rev), event=told))
            return
        await self._write(
            Change(
                order=order(record.epoch, row.rev + 1),
                event=told,
                instance=record.consumer,
                project=record.project,
                cell=self._home.name,
                created_ms=made_ms(record),
                left=True,
            )
        )

    def _event(
        self,
        kind: str,
        row: HostRow,
        record: Record | None,
        now_ms: int,
        by: str,
        why: str,
        count: int,
        request: Request | None = None,
    ) -> Event:
        subject = record.id if record else row.host
        return Event(
            id=events.event_id(subject, kind, count),
            type=kind,
            at_ms=now_ms,
            region=self._home.region,
            cell=self._home.name,
            host=row.host,
            host_name=row.name,
            project=record.project if record else "",
            instance=record.consumer if record else "",
            request=record.request if record else "",
            by=by or self._settings.process,
            why=why,
            trace=_trace(record, request),
        )

    async def _write(self, change: Change) -> None:
        if len(self._waiting) >= self._settings.scheduler.list_queue_max:
            metrics.list_queue_full.inc()
            raise Overloaded(
                f"{len(self._waiting)} changes wait to be listed.", remedy="Ask again in a second."
            )
        event = change.event
        with telemetry.span(
            f"event {event.type}", event.trace, instance=event.instance, host=event.host_name
        ):
            await self._queued(change)

    async def _queued(self, change: Change) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._writers < self._settings.scheduler.list_writers:
            self._writers += 1
            task = asyncio.get_running_loop().create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await done

    async def _drain(self) -> None:
        """Write what waits, all of it at once, until nothing does."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_GROUP_MAX], self._waiting[_GROUP_MAX:]
                await self._write_group(group)
        finally:
            self._writers -= 1

    async def _write_group(self, group: list[tuple[Change, asyncio.Future[None]]]) -> None:
        error: BaseException | None = None
        try:
            await self._store.write_changes([change for change, _ in group])
        except StoreError as failed:
            error = failed
        except BaseException as failed:
            error = failed
            raise
        finally:
            for _, done in group:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                elif isinstance(error, StoreError):
                    done.set_exception(error)
                else:
                    done.cancel()

    def _forget(self, claim: str) -> None:
        handle = self._building.pop(claim, None)
        if handle is not None:
            handle.cancel()


def _trace(record: Record | None, request: Request | None) -> str:
    """The trace of what an event tells of: its request's, else that of the call that caused it."""
    if request is not None and request.trace:
        return request.trace
    return (record.trace if record is not None else "") or tracing.current()


def made_ms(record: Record) -> int:
    """When a claim's instance was made: it keeps that, and so its place in lists, wherever it moves."""
    told = ids.made_ms(record.consumer)
    return record.created_ms if told is None else told


def _lives_on(request: Request | None, record: Record) -> bool:
    """Whether the request has another claim for the instance of ``record``."""
    return request is not None and any(
        held.instance == record.consumer and held.claim != record.id for held in request.held
    )
