"""The webhook: an address that is called for each event that its owner wants to hear of."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from placer.errors import InvalidInput
from placer.model.event import Event

URL_CHARS_MAX: Final = 2000
TYPES_MAX: Final = 32
TYPE_CHARS_MAX: Final = 64
PROJECT_CHARS_MAX: Final = 200

#: Headers of a delivery. The signature is ``v1=`` and HMAC-SHA256 of ``<time>.<body>``, hexadecimal.
EVENT_HEADER: Final = "Placer-Event-Id"
WEBHOOK_HEADER: Final = "Placer-Webhook-Id"
TIME_HEADER: Final = "Placer-Timestamp"
SIGNATURE_HEADER: Final = "Placer-Signature"


class WebhookSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What its owner says. Without `types` all events; without `project` those of all projects."""

    url: str
    types: tuple[str, ...] = ()
    project: str = ""


class Webhook(Struct, frozen=True, omit_defaults=True):
    """A webhook as stored. ``id`` is `<home cell>.<random>`; ``begin`` is the marker it begins after."""

    id: str
    url: str
    secret: str
    created_ms: int
    begin: str
    types: tuple[str, ...] = ()
    project: str = ""


class WebhookView(Struct, frozen=True, omit_defaults=True):
    """A webhook as it is shown: its `secret` once, when it is made."""

    id: str
    url: str
    created_ms: int
    types: tuple[str, ...] = ()
    project: str = ""
    secret: str = ""


class DeadLetter(Struct, frozen=True):
    """An event that was given up, when, after how many tries, and what went wrong with the last."""

    event: Event
    at_ms: int
    tries: int
    why: str


class Turn(Struct, frozen=True):
    """Whose turn it is to deliver a webhook, until when, and how far it is delivered."""

    rev: int
    owner: str
    until_ms: int
    mark: str


def new_webhook(spec: WebhookSpec, cell: str, now_ms: int, begin: str) -> Webhook:
    """A webhook whose home is ``cell``; raises InvalidInput for one that could not be called."""
    check(spec)
    return Webhook(
        id=f"{cell}.{uuid.uuid4().hex}",
        url=spec.url,
        secret=secrets.token_urlsafe(32),
        created_ms=now_ms,
        begin=begin,
        types=spec.types,
        project=spec.project,
    )


def check(spec: WebhookSpec) -> None:
    """Raises InvalidInput."""
    try:
        parts = urlsplit(spec.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username or parts.fragment or not spec.url.isprintable():
        raise InvalidInput(
            f"{spec.url[:100]!r} cannot be called.",
            remedy="Give it as https://HOST/PATH, without a user or a fragment.",
            field="url",
        )
    if len(spec.url) > URL_CHARS_MAX or len(spec.project) > PROJECT_CHARS_MAX:
        raise InvalidInput(
            "The url or the project is too long.",
            remedy=f"Use at most {URL_CHARS_MAX} and {PROJECT_CHARS_MAX} characters.",
            field="url" if len(spec.url) > URL_CHARS_MAX else "project",
        )
    for kind in spec.types:
        if len(spec.types) > TYPES_MAX or not 1 <= len(kind) <= TYPE_CHARS_MAX:
            raise InvalidInput(
                f"{kind[:60]!r} is no type of event, or there are too many.",
                remedy=f"Give up to {TYPES_MAX}, such as instance.running or host.",
                field="types",
            )


def shown(webhook: Webhook, *, secret: bool = False) -> WebhookView:
    """``webhook`` for its owner."""
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        created_ms=webhook.created_ms,
        types=webhook.types,
        project=webhook.project,
        secret=webhook.secret if secret else "",
    )


def signature(secret: str, at_s: int, body: bytes) -> str:
    """What the receiver reckons as well; the time is in it, so that an old call cannot be replayed."""
    signed = str(at_s).encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
