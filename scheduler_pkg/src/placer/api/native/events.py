"""Events: what became of instances and hosts, read after a marker or followed as they come.

A list of instances carries the marker of the moment it was read: list, then read the events after
that, and nothing is missed. Events may be told twice, and have ids to know them by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final, cast

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, get
from litestar.datastructures import State
from litestar.params import FromQuery
from litestar.response import Stream
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.errors import Overloaded, PlacerError
from placer.model.event import Event, wanted
from placer.store.feed import Mark

SSE: Final = "text/event-stream"
#: How often a follower hears that there are no events.
_QUIET_S: Final = 15.0

_encode = msgspec.json.Encoder().encode


class EventPage(Struct, frozen=True):
    """Events, oldest first. `marker` is where the next ones begin; `more`: there are some already."""

    events: list[Event]
    marker: str
    more: bool


@get("/v1/events", query=("since", "types", "project", "limit"))
async def list_events(
    request: HttpRequest[Any, Any, State],
    state: State,
    since: FromQuery[str] = "",
    types: FromQuery[str] = "",
    project: FromQuery[str] = "",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
) -> Response[EventPage]:
    """Events after the marker `since`: of a list of instances, or of the events before.

    Without it, those of the last moments. `types` are one or several, with commas: `instance.running`,
    or all of a kind, as `instance`. Each is told at least once; a repeat has the same id.
    With `Accept: text/event-stream` the connection stays open and events are sent as they come; a
    reader that was cut off sends `Last-Event-ID`, as browsers do.
    """
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    follows = SSE in request.headers.get("accept", "")
    after = (follows and request.headers.get("last-event-id")) or since
    mark = paging.unpack(after, Mark, field="since") or await service.feed.start()
    told = await service.feed.read(mark, limit)
    kinds = tuple(kind for kind in types.split(",") if kind)
    if follows:
        if service.followers >= service.api.followers_max:
            raise Overloaded(
                f"{service.followers} readers follow events here.",
                remedy="Try again later, or ask another API server.",
            )
        stream = _follow(service, mark, kinds, project)
        return cast(Response[EventPage], Stream(stream, media_type=SSE, headers=_HEADERS))
    events = [event for event in told.events if wanted(event, kinds, project)]
    return Response(EventPage(events, paging.pack(told.mark), told.more))


_HEADERS: Final = {"Cache-Control": "no-store"}


async def _follow(
    service: Service, mark: Mark, kinds: tuple[str, ...], project: str
) -> AsyncIterator[bytes]:
    """Events as they come, in the form of server-sent events, until the reader goes.

    The last of those read together carries the marker as its id: a reader that is cut off before
    hears them again. An error ends the stream; the reader comes back with its marker.
    """
    service.followers += 1
    loop = asyncio.get_running_loop()
    spoke_s = loop.time()
    try:
        yield b"retry: 1000\n\n"
        async with aclosing(service.following.after(mark)) as batches:
            async for told in batches:
                events = [event for event in told.events if wanted(event, kinds, project)]
                for event in events[:-1]:
                    yield _sent(event)
                if events:
                    yield _sent(events[-1], paging.pack(told.mark))
                elif loop.time() - spoke_s > _QUIET_S:
                    # With an empty text browsers take the id and tell nobody.
                    yield f"id: {paging.pack(told.mark)}\ndata:\n\n".encode()
                if events or loop.time() - spoke_s > _QUIET_S:
                    spoke_s = loop.time()
    except PlacerError as error:
        yield b": " + error.message.encode() + b"\n\n"
    finally:
        service.followers -= 1


def _sent(event: Event, marker: str = "") -> bytes:
    head = f"id: {marker}\n" if marker else ""
    return f"{head}event: {event.type}\ndata: ".encode() + _encode(event) + b"\n\n"
