"""Calls to the schedulers of a cell that may be repeated: the next one is asked until one answers."""

from __future__ import annotations

import itertools
from typing import Any, Final, TypeVar

import httpx
import msgspec
import structlog
from msgspec import Struct

from placer import errors
from placer.directory import Directory
from placer.errors import NoScheduler, PlacerError
from placer.settings import Settings

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_KINDS: Final = {kind.code: kind for kind in errors.table()}


class _Problem(Struct):
    code: str = ""
    detail: str = ""
    remedy: str = ""
    field: str = ""


class _Problems(Struct):
    errors: tuple[_Problem, ...] = ()


class Schedulers:
    """The scheduler processes of all cells. Use it only for calls that are safe to repeat."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient, directory: Directory) -> None:
        self._settings = settings
        self._directory = directory
        self._client = client
        self._turns = itertools.count()

    async def call(self, method: str, path: str, body: Any, kind: type[_T], cell: str = "") -> _T:
        """The answer of a scheduler of ``cell`` (without it, the own) to ``/internal/v1/<path>``.

        A refusal comes back as the error that it is. Raises NoScheduler when nobody answers.
        """
        cell = cell or self._settings.cell
        content = msgspec.json.encode(body)
        urls = self._directory.schedulers(cell)
        turn = next(self._turns) % max(1, len(urls))
        said: PlacerError = NoScheduler(
            f"No scheduler of cell {cell} can be reached.",
            remedy="See that the cell's schedulers run, then ask again.",
            cell=cell,
        )
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        for url in (*urls[turn:], *urls[:turn]):
            try:
                answer = await self._client.request(
                    method,
                    f"{url}/internal/v1/{path}",
                    content=content,
                    headers={"Content-Type": "application/json", "x-request-id": request_id},
                )
            except httpx.HTTPError as error:
                log.warning("scheduler_not_reached", scheduler=url, error=type(error).__name__)
                continue
            if answer.is_success:
                return msgspec.json.decode(answer.content, type=kind)
            said = _refusal(answer)
            if answer.is_client_error:
                break
        raise said


def _refusal(answer: httpx.Response) -> PlacerError:
    """The error that a scheduler answered with."""
    try:
        problems = msgspec.json.decode(answer.content, type=_Problems).errors
    except msgspec.DecodeError:
        problems = ()
    if not problems or problems[0].code not in _KINDS:
        return PlacerError(
            f"A scheduler answered {answer.status_code}.", remedy="Its log says why; ask again."
        )
    first = problems[0]
    fields = {"field": first.field} if first.field else {}
    return _KINDS[first.code](first.detail, remedy=first.remedy, **fields)
