"""Pages: how long one may be, and markers, which say where the next one begins.

A marker is opaque to callers, so that it may change with the store: it is the key of the last item
seen, packed. What is gone meanwhile still marks its place. It begins with the version of its form and
a checksum: one of an older release is known as such and still read, and one that was cut or mistyped
is refused. It is not signed, as it grants nothing: whoever makes one up gets another place in a list
that they may read anyway.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from placer.api.native.versions import Link
from placer.errors import InvalidInput

LIMIT_DEFAULT: Final = 100
_MARKER_CHARS_MAX: Final = 8000
#: The first byte of a marker: the version of its form.
_FORM: Final = b"\x01"
_CHECK_BYTES: Final = 4
_HEAD_BYTES: Final = 1 + _CHECK_BYTES

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
    content = msgspec.json.encode(key)
    packed = _FORM + zlib.crc32(content).to_bytes(_CHECK_BYTES) + content
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def unpack(marker: str, kind: type[_T], *, field: str = "marker") -> _T | None:
    """The key in ``marker``; None without one. Raises InvalidInput for one that no page gave."""
    if not marker:
        return None
    try:
        if len(marker) > _MARKER_CHARS_MAX:
            raise ValueError("too long")
        packed = base64.b64decode(marker + "=" * (-len(marker) % 4), altchars=b"-_", validate=True)
        form, check, content = packed[:1], packed[1:_HEAD_BYTES], packed[_HEAD_BYTES:]
        if form != _FORM or check != zlib.crc32(content).to_bytes(_CHECK_BYTES):
            raise ValueError("not a marker")
        return msgspec.json.decode(content, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidInput(
            f"The marker {marker[:100]!r} is none that a page gave.",
            remedy="Follow the link of the page before, or leave the marker out.",
            field=field,
        ) from None


def links(path: str, marker: str, **query: Any) -> list[Link]:
    """The link to the next page, if there is one."""
    if not marker:
        return []
    given = {name: value for name, value in query.items() if value != ""}
    return [Link("next", f"{path}?{urlencode({**given, 'marker': marker})}")]
