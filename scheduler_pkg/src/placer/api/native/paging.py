"""Pages: how long one may be, and markers, which say where the next one begins.

A marker is opaque to callers, so that it may change with the store: it is the key of the last item
seen, packed. What is gone meanwhile still marks its place.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from placer.api.native.versions import Link
from placer.errors import InvalidInput

LIMIT_DEFAULT: Final = 100
_MARKER_CHARS_MAX: Final = 1000

_T = TypeVar("_T")


def limited(limit: int, page_max: int) -> int:
    """``limit`` if a page may be that long."""
    if not 1 <= limit <= page_max:
        raise InvalidInput(
            f"A limit of {limit} cannot be used.",
            remedy=f"Use 1 to {page_max}.",
            field="limit",
        )
    return limit


def pack(key: Any) -> str:
    """A marker from the key of the last item of a page."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def unpack(marker: str, kind: type[_T]) -> _T | None:
    """The key in ``marker``; None without one. Raises InvalidInput for one that no page gave."""
    if not marker:
        return None
    try:
        padded = marker[:_MARKER_CHARS_MAX] + "=" * (-len(marker) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidInput(
            f"The marker {marker[:100]!r} is none that a page gave.",
            remedy="Follow the link of the page before, or leave the marker out.",
            field="marker",
        ) from None


def links(path: str, marker: str, **query: Any) -> list[Link]:
    """The link to the next page, if there is one."""
    if not marker:
        return []
    given = {name: value for name, value in query.items() if value != ""}
    return [Link("next", f"{path}?{urlencode({**given, 'marker': marker})}")]
