"""Taking requests in: logged in the own cell, then handed to one of its schedulers.

A request must never be decided twice. So the next scheduler is asked only when the one before is
known not to have taken it: no connection came about, or it answered that it is full. After anything
else (time-out, connection lost) the request stays as logged, and whoever asks later sees what the
scheduler wrote.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Final

import httpx
import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Counter

from placer.errors import InvalidInput, Overloaded, PlacerError, StoreError
from placer.model import ids
from placer.model.request import Reason, Request, RequestSpec, Stage, check_spec
from placer.settings import Settings
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

#: A scheduler is a neighbour: who does not take a connection within this is taken for down.
_CONNECT_S: Final = 1.0
#: Beyond the claim's own deadline: reading candidates, writing the outcome.
_MARGIN_S: Final = 10.0

_accepted = Counter("placer_api_requests_accepted_total", "Requests that were logged.")
_not_taken = Counter("placer_api_requests_not_taken_total", "Requests that no scheduler took.")
_answers_lost = Counter("placer_api_answers_lost_total", "Requests whose outcome was not heard.")


class NoScheduler(PlacerError):
    """No scheduler of the cell could be reached; the request was refused and nothing was claimed."""

    code = "placer.no_scheduler"
    status = 503


class _Problem(Struct):
    code: str = ""


class _Problems(Struct):
    errors: tuple[_Problem, ...] = ()


class Intake:
    """One per process. ``accept`` and ``hand_over`` are the two halves of a request's beginning."""

    def __init__(
        self, settings: Settings, home: CellStore, client: httpx.AsyncClient, inflight_max: int
    ) -> None:
        self._settings = settings
        self._inflight_max = inflight_max
        self._home = home
        self._client = client
        self._turns = itertools.count()
        self._region_turns = itertools.count()
        self._handing_over: set[asyncio.Task[Request]] = set()

    async def accept(self, spec: RequestSpec) -> Request:
        """Log ``spec`` as a new request.

        Raises InvalidInput, Overloaded or StoreError; nobody will then act on it.
        """
        spec = self._with_cell(check_spec(spec))
        if len(self._handing_over) >= self._inflight_max:
            raise Overloaded(
                f"{self._inflight_max} requests wait for a scheduler.",
                remedy="Try again in a second.",
            )
        now_us = time.time_ns() // 1000
        request = Request(
            id=ids.new_request_id(self._settings.cell),
            rev=now_us,
            home_cell=self._settings.cell,
            spec=spec,
            stage=Stage.ACCEPTED,
            created_ms=now_us // 1000,
            updated_ms=now_us // 1000,
        )
        await self._home.put_request(request)
        _accepted.inc()
        return request

    async def settle(self, request: Request, wait_s: float, request_id: str) -> Request:
        """Hand ``request`` over and give it ``wait_s``; after that the answer is what was logged.

        Raises NoScheduler or Overloaded if it was refused because nobody could take it.
        """
        task = asyncio.create_task(self._hand_over(request, request_id))
        self._handing_over.add(task)
        task.add_done_callback(self._ended)
        if not wait_s:
            return request
        done, _ = await asyncio.wait({task}, timeout=wait_s)
        return task.result() if done else request

    async def close(self, grace_s: float) -> None:
        """Let what is being handed over end, within ``grace_s``."""
        if self._handing_over:
            await asyncio.wait(self._handing_over, timeout=grace_s)
        for task in self._handing_over:
            task.cancel()

    def _ended(self, task: asyncio.Task[Request]) -> None:
        self._handing_over.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("hand_over_failed", error=str(error))

    def _with_cell(self, spec: RequestSpec) -> RequestSpec:
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
        chosen = cells[next(self._region_turns) % len(cells)]
        return msgspec.structs.replace(spec, cell=chosen)

    async def _hand_over(self, request: Request, request_id: str) -> Request:
        body = msgspec.json.encode(request)
        full = False
        for url in self._schedulers():
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
        _not_taken.inc()
        nobody = _nobody(self._settings.cell, full=full, request=request.id)
        await self._refuse(request, nobody)
        raise nobody

    def _schedulers(self) -> list[str]:
        """Base URLs of the cell's schedulers, each time beginning with the next one."""
        urls = self._settings.home.schedulers
        start = next(self._turns) % max(1, len(urls))
        return [*urls[start:], *urls[:start]]

    def _unanswered(self, request: Request, url: str, said: str) -> Request:
        _answers_lost.inc()
        log.warning("answer_lost", scheduler=url, request=request.id, said=said)
        return request

    async def _refuse(self, request: Request, error: PlacerError) -> None:
        """Close the log entry of a request that nobody took; nobody else can be writing it."""
        now_us = time.time_ns() // 1000
        code = error.code.removeprefix("placer.")
        refused = msgspec.structs.replace(
            request,
            rev=max(now_us, request.rev + 1),
            updated_ms=now_us // 1000,
            stage=Stage.REFUSED,
            reason=Reason(code=code, message=str(error)),
        )
        try:
            await self._home.put_request(refused)
        except StoreError as failed:
            log.warning("refusal_not_stored", request=request.id, error=str(failed))


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
        transport=transport,
    )
