"""Taking requests in: logged in the own cell, then handed to one of its schedulers.

The log is the truth; the call to a scheduler only wakes it. Should the call or the scheduler be
lost, another scheduler of the cell finds the request in the log. So a request is offered to the next
scheduler only when the one before is known not to have taken it (no connection came about, or it is
full): after anything else two would work on it, of which one in vain.

A request with an idempotency key has an id that follows from project and key, and is logged by a
lightweight transaction: of two calls with one key, the second finds the request of the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any, Final, Protocol

import httpx
import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Counter

from placer import failpoints, tracing
from placer.errors import (
    Conflict,
    IdempotencyConflict,
    InvalidInput,
    NoScheduler,
    NotFound,
    Overloaded,
    PlacerError,
    StoreError,
    StoreUnknown,
)
from placer.model import ids
from placer.model.request import Change, Reason, Request, RequestSpec, Stage, check_spec
from placer.model.work import Work
from placer.settings import Settings
from placer.store.base import CellStore, CellStores

log = structlog.get_logger(__name__)

#: A scheduler is a neighbour: who does not take a connection within this is taken for down.
_CONNECT_S: Final = 1.0
#: Beyond the claim's own deadline: reading candidates, writing the outcome.
_MARGIN_S: Final = 10.0
#: Waits between two looks at the log while a caller waits.
_LOOK_S: Final = 0.05
_LOOK_MAX_S: Final = 0.5
#: Times that a request is logged until the answer comes, each within the store's own timeout.
_LOG_TRIES: Final = 3
#: Between two offers of a request while no scheduler can be reached.
_AGAIN_S: Final = 1.0
#: Changes of a request that may be lost to others before its cancellation is given up.
_CANCEL_TRIES: Final = 8
#: How long a cancellation waits for a scheduler, so that what no agent holds is gone at once.
_CANCEL_WAIT_S: Final = 1.0
_KEYS: Final = uuid.UUID("0f3b7a52-93f5-4b56-9a0c-5d4b6f8a8e11")

_accepted = Counter("placer_api_requests_accepted_total", "Requests that were logged.")
_not_taken = Counter("placer_api_requests_not_taken_total", "Requests that no scheduler took.")
_answers_lost = Counter("placer_api_answers_lost_total", "Requests whose outcome was not heard.")


def clock_us() -> int:
    return time.time_ns() // 1000


class _Problem(Struct):
    code: str = ""


class _Problems(Struct):
    errors: tuple[_Problem, ...] = ()


class Whereabouts(Protocol):
    """Where schedulers are: placer.directory."""

    def schedulers(self, cell: str) -> Sequence[str]: ...

    async def look(self) -> None: ...


class Intake:
    """One per process. ``accept`` and ``settle`` are the two halves of a request's beginning."""

    def __init__(
        self,
        settings: Settings,
        cells: CellStores,
        client: httpx.AsyncClient,
        inflight_max: int,
        directory: Whereabouts,
        *,
        rng: random.Random,
        clock_us: Callable[[], int] = clock_us,
    ) -> None:
        self._clock_us = clock_us
        self._settings = settings
        self._inflight_max = inflight_max
        self._cells = cells
        self._client = client
        self._directory = directory
        self._rng = rng
        self._region_turns = itertools.count()
        self._handing_over: set[asyncio.Task[Request]] = set()
        #: Requests that were logged here and not handed over yet.
        self._fresh: set[str] = set()

    async def accept(
        self, spec: RequestSpec, key: str = "", asked: RequestSpec | None = None
    ) -> Request:
        """Log ``spec`` as a new request; with a ``key`` that was used before, the request of then.

        ``asked`` is what the caller wrote, if that is not ``spec`` itself: what a repeated call must
        repeat. Raises InvalidInput, Overloaded, IdempotencyConflict or StoreError; nobody will then
        act on it.
        """
        digest = _digest(asked or spec) if key else ""
        spec = self.with_cell(check_spec(spec))
        if len(self._handing_over) >= self._inflight_max:
            raise Overloaded(
                f"{self._inflight_max} requests wait for a scheduler.",
                remedy="Try again in a second.",
            )
        cell, now_us = self._settings.cell, self._clock_us()
        now_ms = now_us // 1000
        tries_s = max(spec.deadline_s, self._settings.cluster.claim_deadline_s)
        request = Request(
            id=_keyed_id(cell, spec.project, key) if key else ids.new_request_id(cell),
            rev=now_us,
            home_cell=cell,
            spec=spec,
            stage=Stage.ACCEPTED,
            created_ms=now_ms,
            updated_ms=now_ms,
            deadline_ms=now_ms + int(tries_s * 1000),
            asked=digest,
            changes=(Change(Stage.ACCEPTED, now_ms),),
            trace=tracing.current(),
        )
        home = await self._cells.cell(cell)
        work = Work(request.id, request.rev, request.updated_ms)
        if key:
            stored = await self._once(home, request, work)
            if stored.asked != digest:
                raise IdempotencyConflict(
                    f"The idempotency key {key!r} was used for another request.",
                    remedy="Use a new key for a new request, or send the same body again.",
                    request=stored.id,
                )
            if stored != request:
                return stored
        else:
            await home.add_request(request, work)
        failpoints.reach("request.logged")
        _accepted.inc()
        self._fresh.add(request.id)
        return request

    def depths(self) -> dict[str, int]:
        """How many requests wait for a scheduler to take them, or to be handed over at all."""
        return {
            "requests_handing_over": len(self._handing_over),
            "requests_fresh": len(self._fresh),
        }

    async def settle(self, request: Request, wait_s: float, until: Collection[Stage]) -> Request:
        """Hand ``request`` over and give it ``wait_s`` to reach a stage of ``until``.

        After that the answer is what is known of it. One that was accepted earlier is only waited
        for. Raises NoScheduler or Overloaded if it was refused because nobody could take it.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        if request.id in self._fresh:
            self._fresh.discard(request.id)
            task = self._start(self._hand_over(request))
            if not wait_s:
                return request
            done, _ = await asyncio.wait({task}, timeout=wait_s)
            if not done:
                return request
            request = task.result()
        look_s = _LOOK_S
        while request.stage not in until and (left_s := deadline - clock()) > 0:
            await asyncio.sleep(min(look_s, left_s))
            look_s = min(_LOOK_MAX_S, 1.5 * look_s)
            request = await self._look(request)
        return request

    async def cancel(self, request_id: str) -> Request:
        """Have everything freed that a request holds; ``cancelling`` while agents destroy instances.

        Safe to repeat; one that holds nothing any more is returned as it is. Raises NotFound,
        UnknownCell, StoreError, and Conflict if others kept changing it.
        """
        cell = ids.cell_of(request_id)
        store = await self._cells.cell(cell)
        for _ in range(_CANCEL_TRIES):
            request = await store.get_request(request_id, serial=True)
            if request is None:
                raise NotFound(
                    f"There is no request {request_id}.",
                    remedy="Use the address that the answer to its POST gave.",
                )
            if request.stage in (Stage.REFUSED, Stage.FAILED, Stage.CANCELLED):
                return request
            if request.stage is not Stage.CANCELLING:
                now_ms = self._clock_us() // 1000
                ending = request.to(Stage.CANCELLING, now_ms, "asked", reason=None, owner="")
                # The work row first: a scan leaves it alone until the change is there.
                await store.add_work(Work(ending.id, ending.rev, now_ms))
                try:
                    if not await store.change_request(ending, if_rev=request.rev):
                        continue
                except StoreUnknown:
                    continue
                failpoints.reach("request.cancelling")
                request = ending
            task = self._start(self._end(request, cell))
            await asyncio.wait({task}, timeout=_CANCEL_WAIT_S)
            return await self._look(request)
        raise Conflict(
            f"Request {request_id} was changed by others each time.", remedy="Cancel it again."
        )

    async def close(self, grace_s: float) -> None:
        """Let what is being handed over end, within ``grace_s``."""
        if self._handing_over:
            await asyncio.wait(self._handing_over, timeout=grace_s)
        for task in self._handing_over:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, Request]) -> asyncio.Task[Request]:
        task = asyncio.create_task(work)
        self._handing_over.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Request]) -> None:
        self._handing_over.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("hand_over_failed", error=str(error))

    async def _once(self, home: CellStore, request: Request, work: Work) -> Request:
        """Log a request whose id may have been used: the request that is stored then.

        Where the answer is lost and no row there, it is logged again, as whoever asked would have
        to: the id is the same, so that one row at most comes of it.
        """
        for attempt in range(1, _LOG_TRIES + 1):
            try:
                added, _ = await asyncio.gather(home.add_request_once(request), home.add_work(work))
            except StoreUnknown:
                log.info("request_add_unknown", request=request.id, attempt=attempt)
                added = False
            stored = request if added else await home.get_request(request.id, serial=True)
            if stored is not None:
                return stored
        raise StoreUnknown(
            f"The answer to the logging of request {request.id} was lost.",
            remedy="Send it again with the same key.",
        )

    async def _look(self, request: Request) -> Request:
        """What is stored now; what was known if the log does not answer."""
        try:
            store = await self._cells.cell(ids.cell_of(request.id))
            return await store.get_request(request.id) or request
        except StoreError as error:
            log.info("request_not_read", request=request.id, why=str(error))
            return request

    def with_cell(self, spec: RequestSpec) -> RequestSpec:
        """``spec`` with the cell it means; unknown ones are refused, with the known ones listed."""
        cluster = self._settings.cluster
        if spec.cell:
            cell = cluster.cell(spec.cell)
            if spec.region and cell.region != spec.region:
                raise InvalidInput(
                    f"Cell {cell.name} is in region {cell.region}, not in {spec.region}.",
                    remedy="Name one of the two.",
                    field="region",
                )
            return spec
        if spec.cells:
            for name in spec.cells:
                cluster.cell(name)
            return spec
        home = self._settings.home
        if not spec.region or spec.region == home.region:
            return msgspec.structs.replace(spec, cell=home.name)
        cells = [cell.name for cell in cluster.cells if cell.region == spec.region]
        if not cells:
            regions = sorted({cell.region for cell in cluster.cells})
            raise InvalidInput(
                f"Unknown region {spec.region!r}.",
                remedy=f"Known regions: {', '.join(regions)}.",
                field="region",
            )
        # Each of them is the first in turn; the others are tried when it has no room.
        first = next(self._region_turns) % len(cells)
        return msgspec.structs.replace(spec, cells=(*cells[first:], *cells[:first]))

    async def _hand_over(self, request: Request) -> Request:
        """Offer a new request to the schedulers; refuses it if none of them can take it.

        Where none can be reached, one that may be tried for longer (``deadline_s``) is offered again
        until its deadline: they may be on their way back, as when a deployment makes them anew.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + request.spec.deadline_s - _AGAIN_S
        answer = await self._offer(request, self._settings.cell)
        while isinstance(answer, NoScheduler) and loop.time() < until:
            await asyncio.sleep(_AGAIN_S)
            stored = await self._look(request)
            if stored.rev != request.rev:  # a scan found it first
                return stored
            answer = await self._offer(request, self._settings.cell)
        if isinstance(answer, Request):
            return answer
        _not_taken.inc()
        stored = await self._refuse(request, answer)
        if stored.stage is Stage.REFUSED:
            raise answer
        return stored

    async def _end(self, request: Request, cell: str) -> Request:
        """Offer a cancelled request to the schedulers; the scan finds it where none took it."""
        answer = await self._offer(request, cell)
        return answer if isinstance(answer, Request) else request

    async def _offer(self, request: Request, cell: str) -> Request | PlacerError:
        """What a scheduler of ``cell`` answers first; an error if none took it."""
        body = msgspec.json.encode(request)
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        full = False
        async for url in self._schedulers(cell):
            try:
                answer = await self._client.post(
                    f"{url}/internal/v1/schedule",
                    content=body,
                    headers={"Content-Type": "application/json", "x-request-id": request_id},
                )
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                log.warning("scheduler_not_reached", scheduler=url, error=type(error).__name__)
                continue
            except httpx.HTTPError as error:
                return self._unanswered(request, url, type(error).__name__)
            if answer.status_code == httpx.codes.OK:
                return msgspec.json.decode(answer.content, type=Request)
            if _code(answer) != Overloaded.code:
                return self._unanswered(request, url, f"{answer.status_code} {_code(answer)}")
            full = True
        return _nobody(cell, full=full, request=request.id)

    async def _schedulers(self, cell: str) -> AsyncIterator[str]:
        """Base URLs of the cell's schedulers, in random order; then those that began meanwhile.

        In turns they would not be loaded evenly: of a client that asks and cancels alternately, one
        scheduler would get all that is asked and another all that is cancelled.
        """
        tried: set[str] = set()
        for fresh in (False, True):
            if fresh:
                await self._directory.look()
            urls = [url for url in self._directory.schedulers(cell) if url not in tried]
            tried.update(urls)
            for url in self._rng.sample(urls, len(urls)):
                yield url

    def _unanswered(self, request: Request, url: str, said: str) -> Request:
        _answers_lost.inc()
        log.warning("answer_lost", scheduler=url, request=request.id, said=said)
        return request

    async def _refuse(self, request: Request, error: PlacerError) -> Request:
        """Close the log entry of a request that nobody took, unless a scan found it meanwhile."""
        now_ms = self._clock_us() // 1000
        code = error.code.removeprefix("placer.")
        reason = Reason(code=code, message=error.message, remedy=error.remedy)
        refused = request.to(Stage.REFUSED, now_ms, code, reason=reason)
        try:
            home = await self._cells.cell(self._settings.cell)
            if await home.change_request(refused, if_rev=request.rev):
                await home.drop_work(Work(request.id, request.rev, request.updated_ms))
                return refused
        except StoreError as failed:
            log.warning("refusal_not_stored", request=request.id, error=str(failed))
        return await self._look(request)


def _keyed_id(cell: str, project: str, key: str) -> str:
    """The id of the request that ``key`` of ``project`` stands for."""
    return f"{cell}.{uuid.uuid5(_KEYS, f'{len(project)}/{project}/{key}').hex}"


def _digest(spec: RequestSpec) -> str:
    """Equal for equal requests."""
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()[:32]


def _nobody(cell: str, *, full: bool, request: str) -> PlacerError:
    if full:
        return Overloaded(
            f"All schedulers of cell {cell} are full.",
            remedy="Nothing was claimed; ask again in a second.",
            request=request,
        )
    return NoScheduler(
        f"No scheduler of cell {cell} can be reached.",
        remedy="Nothing was claimed. See that the cell's schedulers run, then ask again.",
        request=request,
    )


def _code(answer: httpx.Response) -> str:
    try:
        problems = msgspec.json.decode(answer.content, type=_Problems)
    except msgspec.DecodeError:
        return ""
    return problems.errors[0].code if problems.errors else ""


def scheduler_client(
    settings: Settings,
    service_token: str,
    connections: int,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """The HTTP client for the cell's schedulers; a call is bounded by the claim's own deadline."""
    return httpx.AsyncClient(
        headers={"Authorization": f"Bearer {service_token}"},
        timeout=httpx.Timeout(
            settings.cluster.claim_deadline_s + _MARGIN_S, connect=_CONNECT_S, pool=_CONNECT_S
        ),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        trust_env=False,
        event_hooks={"request": [tracing.hand_on]},
        transport=transport,
    )
