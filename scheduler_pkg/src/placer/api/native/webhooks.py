"""Webhooks: addresses that are called for events. An operator's calls.

A webhook's home is the cell of the server that made it; schedulers of that cell deliver it.
"""

from __future__ import annotations

import msgspec
from litestar import delete, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.cells_heard import clock_ms
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.errors import NotFound
from placer.model import webhook as webhooks
from placer.model.webhook import DeadLetter, Webhook, WebhookSpec, WebhookView


class WebhookPage(Struct, frozen=True):
    """Webhooks in the order of their ids."""

    webhooks: list[WebhookView]
    links: list[Link]


class DeadLetterPage(Struct, frozen=True):
    """Events that a webhook did not take, the newest first."""

    dead_letters: list[DeadLetter]
    links: list[Link]


@get("/v1/webhooks", query=("limit", "marker"))
async def list_webhooks(
    state: State,
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> WebhookPage:
    """All webhooks, without their secrets."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    after = paging.unpack(marker, str) or ""
    found = await service.catalog.webhooks.page(limit=limit + 1, after=after)
    following = paging.pack(found[limit - 1].id) if len(found) > limit else ""
    shown = [webhooks.shown(one) for one in found[:limit]]
    return WebhookPage(shown, paging.links("/v1/webhooks", following, limit=limit))


@post("/v1/webhooks", status_code=201)
async def create_webhook(data: JSONBody[WebhookSpec], state: State) -> WebhookView:
    """Have an address called for each event from now on. The answer alone has the `secret`.

    Each call is signed: `Placer-Signature` is `v1=` and HMAC-SHA256 of `Placer-Timestamp`, a dot and
    the body, with the secret. Any answer of 2xx takes the event; others are tried again.
    """
    service: Service = state.service
    begin = msgspec.json.encode(await service.feed.start()).decode()
    made = webhooks.new_webhook(data, service.settings.cell, clock_ms(), begin)
    await service.catalog.webhooks.put(made.id, made)
    return webhooks.shown(made, secret=True)


@get("/v1/webhooks/{webhook_id:str}")
async def show_webhook(webhook_id: FromPath[str], state: State) -> WebhookView:
    """One webhook, without its secret."""
    return webhooks.shown(await _stored(state.service, webhook_id))


@delete("/v1/webhooks/{webhook_id:str}", status_code=204)
async def delete_webhook(webhook_id: FromPath[str], state: State) -> None:
    """Call the address no more; it may be called for some seconds still."""
    service: Service = state.service
    if not await service.catalog.webhooks.drop(webhook_id):
        raise _missing(webhook_id)


@get("/v1/webhooks/{webhook_id:str}/dead-letters", query=("limit", "marker"))
async def list_dead_letters(
    webhook_id: FromPath[str],
    state: State,
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> DeadLetterPage:
    """Events that a webhook did not take, and why; kept as long as events are."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    await _stored(service, webhook_id)
    before = paging.unpack(marker, tuple[int, str])
    found = await service.globals.dead_letters(webhook_id, limit=limit + 1, before=before)
    last = found[limit - 1].event if len(found) > limit else None
    following = paging.pack((last.at_ms, last.id)) if last else ""
    links = paging.links(f"/v1/webhooks/{webhook_id}/dead-letters", following, limit=limit)
    return DeadLetterPage(found[:limit], links)


async def _stored(service: Service, webhook_id: str) -> Webhook:
    found = await service.catalog.webhooks.get(webhook_id)
    if found is None:
        raise _missing(webhook_id)
    return found


def _missing(webhook_id: str) -> NotFound:
    return NotFound(
        f"There is no webhook {webhook_id[:100]}.",
        remedy="GET /v1/webhooks lists those there are.",
    )
