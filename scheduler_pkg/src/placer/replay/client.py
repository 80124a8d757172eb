"""One region's API as the replay sees it. Every call has a deadline; every answer becomes a value."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import httpx
import msgspec
from msgspec import Struct

from placer.errors import InvalidInput, PlacerError, Unauthorized
from placer.model.host_view import HostView
from placer.model.request import Request, Stage
from placer.replay.outcome import Outcome
from placer.replay.plan import Planned

#: How long the API may hold a post open until the request is final.
WAIT_S: Final = 20.0

#: From a request's first byte to its end, polling and repeated tries included.
REQUEST_DEADLINE_S: Final = 60.0

#: Tries of a post that the API turned away because it was full; nothing had happened then.
OVERLOADED_TRIES_MAX: Final = 6
OVERLOADED_PAUSE_S: Final = 0.5
POLL_EVERY_S: Final = 0.25

#: Bounds on reading the list of hosts.
PAGE: Final = 1000
PAGES_MAX: Final = 1000


class _Link(Struct):
    rel: str
    href: str


class _Hosts(Struct):
    hosts: list[HostView]
    links: list[_Link] = []


class _Problem(Struct):
    code: str = ""


class _Problems(Struct):
    errors: list[_Problem] = []


class Target:
    """The API of one cell."""

    def __init__(self, cell: str, client: httpx.AsyncClient) -> None:
        self.cell = cell
        self._client = client

    async def ready(self, deadline_s: float) -> None:
        """Return once the API says it is ready; raises PlacerError after ``deadline_s``."""
        ends = time.monotonic() + deadline_s
        while True:
            try:
                answer = await self._client.get("/readyz", timeout=5.0)
                if answer.status_code == httpx.codes.OK:
                    return
                said = f"answers {answer.status_code} to /readyz"
            except httpx.HTTPError as error:
                said = f"does not answer ({type(error).__name__})"
            if time.monotonic() >= ends:
                raise PlacerError(
                    f"The API of cell {self.cell} at {self._client.base_url} {said}.",
                    remedy="Deploy it, or correct --target.",
                )
            await asyncio.sleep(POLL_EVERY_S)

    async def hosts(self) -> list[HostView]:
        """All host views of this cell."""
        found: dict[str, HostView] = {}
        path = f"/v1/hosts?cell={self.cell}&limit={PAGE}"
        for _ in range(PAGES_MAX):
            try:
                answer = await self._client.get(path, timeout=30.0)
            except httpx.HTTPError as error:
                raise self._no_answer(path, type(error).__name__) from error
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise self._unauthorized()
            if answer.status_code != httpx.codes.OK:
                raise self._no_answer(path, str(answer.status_code))
            page = msgspec.json.decode(answer.content, type=_Hosts)
            found.update((view.host, view) for view in page.hosts)
            following = [link.href for link in page.links if link.rel == "next"]
            if not following:
                break
            path = following[0]
        return list(found.values())

    async def post(self, planned: Planned) -> Outcome:
        """Post a request and follow it to its end. Raises only what ends the whole replay."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                ended = await self._follow(planned)
        except TimeoutError:
            ended = "deadline"
        except httpx.TimeoutException:
            ended = "timeout"
        except httpx.HTTPError as error:
            ended = type(error).__name__
        total_ms = (time.perf_counter() - started) * 1000
        if isinstance(ended, str):
            refused = ended.startswith("placer.") and ended not in _NOT_REFUSALS
            return Outcome(planned=planned, total_ms=total_ms, code=ended, refused=refused)
        refused = ended.stage is Stage.REFUSED
        lost = ended.stage in (Stage.FAILED, Stage.CANCELLING, Stage.CANCELLED)
        code = ended.reason.code if refused and ended.reason else ""
        code = code or (ended.stage.value if lost else "")
        return Outcome(
            planned=planned, total_ms=total_ms, request=ended, code=code, refused=refused
        )

    async def _follow(self, planned: Planned) -> Request | str:
        """The final request, or the code of what came instead."""
        answer = await self._send(planned)
        while True:
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise self._unauthorized()
            if answer.status_code >= httpx.codes.BAD_REQUEST:
                return _code(answer)
            try:
                request = msgspec.json.decode(answer.content, type=Request)
            except msgspec.DecodeError:
                return "unreadable_answer"
            if request.stage is not Stage.ACCEPTED:
                return request
            await asyncio.sleep(POLL_EVERY_S)
            answer = await self._client.get(f"/v1/requests/{request.id}", timeout=10.0)

    async def _send(self, planned: Planned) -> httpx.Response:
        body = msgspec.json.encode(planned.spec)
        for attempt in range(1, OVERLOADED_TRIES_MAX + 1):
            answer = await self._client.post(
                "/v1/requests", params={"wait": f"{WAIT_S:g}s"}, content=body
            )
            full = answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            if not full or _code(answer) != "placer.overloaded":
                break
            await asyncio.sleep(OVERLOADED_PAUSE_S * attempt)
        return answer

    def _unauthorized(self) -> PlacerError:
        return Unauthorized(
            f"The API of cell {self.cell} does not take this token.",
            remedy="Give the deployment's own token with --token-file.",
        )

    def _no_answer(self, path: str, said: str) -> PlacerError:
        return PlacerError(
            f"The API of cell {self.cell} did not list its hosts ({path}: {said}).",
            remedy="See its log.",
        )


#: Codes of ours that say the service failed, not that it refused the request.
_NOT_REFUSALS: Final = frozenset(
    {"placer.error", "placer.overloaded", "placer.store_unavailable", "placer.store_unknown"}
)


def _code(answer: httpx.Response) -> str:
    """The error code of an answer; ``http_<status>`` when it is not one of ours."""
    try:
        problems = msgspec.json.decode(answer.content, type=_Problems).errors
    except msgspec.DecodeError:
        problems = []
    code = problems[0].code if problems else ""
    return code or f"http_{answer.status_code}"


def connect(cell: str, url: str, token: str, connections: int) -> Target:
    """A target; close its client with ``Target.close``. Raises InvalidInput for a bad address."""
    try:
        client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(WAIT_S + 10.0, connect=5.0),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(
            f"The address {url!r} of cell {cell} cannot be used: {error}.",
            remedy="Give it as --target CELL=http://HOST:PORT.",
        ) from error
    return Target(cell, client)
