"""One region's API as the replay sees it. Every call has a deadline; every answer becomes a value."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import httpx
import msgspec
from msgspec import Struct

from placer import tracing
from placer.errors import InvalidInput, PlacerError, Unauthorized
from placer.history import Answer, ClientHistory, Operation, OperationKind
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


class _Seen(Struct):
    """The request as it was answered last, while it is followed."""

    request: Request | None = None


class Target:
    """The API of one cell. What is posted to it goes into ``history``."""

    def __init__(
        self, cell: str, client: httpx.AsyncClient, history: ClientHistory | None = None
    ) -> None:
        self.cell = cell
        #: Known once its hosts were listed.
        self.region = ""
        self._client = client
        self._history = history or ClientHistory(None, "replay")

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
            self.region = page.hosts[0].region if page.hosts else self.region
            following = [link.href for link in page.links if link.rel == "next"]
            if not following:
                break
            path = following[0]
        return list(found.values())

    async def post(self, planned: Planned) -> Outcome:
        """Post a request and follow it to its end. Raises only what ends the whole replay."""
        started = time.perf_counter()
        operation = self._history.sent(
            OperationKind.CLAIM,
            self.cell,
            region=self.region,
            resources=planned.spec.resources,
            of=planned.spec.count,
        )
        seen = _Seen()
        try:
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                ended = await self._follow(planned, operation.trace, seen)
        except TimeoutError:
            ended = "deadline"
        except httpx.TimeoutException:
            ended = "timeout"
        except httpx.HTTPError as error:
            ended = type(error).__name__
        total_ms = (time.perf_counter() - started) * 1000
        self._answered(operation, ended, seen)
        if isinstance(ended, str):
            refused = _is_refusal(ended)
            return Outcome(planned=planned, total_ms=total_ms, code=ended, refused=refused)
        refused = ended.stage is Stage.REFUSED
        lost = ended.stage in _LOST
        code = ended.reason.code if refused and ended.reason else ""
        code = code or (ended.stage.value if lost else "")
        return Outcome(
            planned=planned, total_ms=total_ms, request=ended, code=code, refused=refused
        )

    def _answered(self, operation: Operation, ended: Request | str, seen: _Seen) -> None:
        """Record the end. A "no" to the post itself did nothing; without a final answer nobody knows."""
        if isinstance(ended, str):
            no = seen.request is None and _did_nothing(ended)
            self._history.answered(
                operation,
                Answer.REFUSED if no else Answer.UNKNOWN,
                request=seen.request.id if seen.request else "",
                code=ended,
            )
            return
        nothing = ended.stage in (Stage.REFUSED, Stage.FAILED, Stage.CANCELLED)
        self._history.answered(
            operation,
            Answer.REFUSED if nothing else Answer.OK,
            request=ended.id,
            rev=ended.rev,
            stage=ended.stage.value,
            claims=tuple(placement.claim for placement in ended.placements),
            code=ended.reason.code if ended.reason else "",
        )

    async def _follow(self, planned: Planned, trace: str, seen: _Seen) -> Request | str:
        """The final request, or the code of what came instead."""
        headers = {tracing.HEADER: tracing.header(trace)}
        answer = await self._send(planned, headers)
        while True:
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise self._unauthorized()
            if answer.status_code >= httpx.codes.BAD_REQUEST:
                return _code(answer)
            try:
                request = msgspec.json.decode(answer.content, type=Request)
            except msgspec.DecodeError:
                return "unreadable_answer"
            seen.request = request
            if request.stage is not Stage.ACCEPTED:
                return request
            await asyncio.sleep(POLL_EVERY_S)
            answer = await self._client.get(
                f"/v1/requests/{request.id}", headers=headers, timeout=10.0
            )

    async def _send(self, planned: Planned, headers: dict[str, str]) -> httpx.Response:
        body = msgspec.json.encode(planned.spec)
        for attempt in range(1, OVERLOADED_TRIES_MAX + 1):
            answer = await self._client.post(
                "/v1/requests", params={"wait": f"{WAIT_S:g}s"}, content=body, headers=headers
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


#: Codes that say that nothing was done: a request that was not even logged.
_TURNED_AWAY: Final = frozenset({"placer.overloaded"})

_LOST: Final = (Stage.FAILED, Stage.CANCELLING, Stage.CANCELLED)


def _is_refusal(code: str) -> bool:
    """Whether an error code is our "no"; a failing service is none."""
    return code.startswith("placer.") and code not in _NOT_REFUSALS


def _did_nothing(code: str) -> bool:
    """Whether a post that was answered with ``code`` certainly left nothing behind."""
    return _is_refusal(code) or code in _TURNED_AWAY


def _code(answer: httpx.Response) -> str:
    """The error code of an answer; ``http_<status>`` when it is not one of ours."""
    try:
        problems = msgspec.json.decode(answer.content, type=_Problems).errors
    except msgspec.DecodeError:
        problems = []
    code = problems[0].code if problems else ""
    return code or f"http_{answer.status_code}"


def connect(
    cell: str, url: str, token: str, connections: int, history: ClientHistory | None = None
) -> Target:
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
    return Target(cell, client, history)
