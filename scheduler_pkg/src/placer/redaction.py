"""Secrets that this process has read, so that nothing it hands out for people to read has one in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

HIDDEN: Final = "[hidden]"
#: Shorter ones would be found in ordinary words.
_LENGTH_MIN: Final = 4
#: A process reads a handful.
_SECRETS_MAX: Final = 256

_NAMES: Final = re.compile(r"password|passwd|secret|token|credential|private_?key|api_?key", re.I)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}")
#: Found by its "://": to begin with a scheme's letters would try each letter of a long word anew.
_IN_URL: Final = re.compile(r"(?<=\w)(://)[^/\s:@\"]*:[^/\s@\"]+@")
_ASSIGNED: Final = re.compile(
    r"(?i)((?:password|passwd|secret|token|api_?key)\w*[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&}\]]+)"
)

_known: set[str] = set()


def remember(secret: str) -> None:
    """From here on ``secret`` is hidden wherever ``scrubbed`` meets it."""
    if len(secret) >= _LENGTH_MIN and len(_known) < _SECRETS_MAX:
        _known.add(secret)


def scrubbed(text: str) -> str:
    """``text`` without secrets: those that were read, and what looks like one."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text)


def plain(value: Any, name: str = "") -> Any:
    """``value`` of builtin types, each text scrubbed; what is named like a secret is hidden whole.

    The path of a secret's file is none: its name ends with ``_file``.
    """
    if isinstance(value, dict):
        return {scrubbed(str(key)): plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return _list(value, name)
    if _NAMES.search(name) and not name.endswith("_file") and value not in ("", None):
        return HIDDEN
    return value if isinstance(value, (int, float, bool, type(None))) else scrubbed(str(value))


def _list(values: Iterable[Any], name: str) -> list[Any]:
    """Each for itself; after an option that is named like a secret comes one."""
    found: list[Any] = []
    before = name
    for value in values:
        found.append(plain(value, before))
        before = value if isinstance(value, str) and value.startswith("-") else name
    return found
