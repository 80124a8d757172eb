"""Trace ids: one for all that is done for one call, in every log line, request, claim and event.

The form is W3C Trace Context: a caller's ``traceparent`` is taken, a call without one gets a new id.
The id goes on in the same header from process to process, and with the request and its claims
through the log and the rows, so that what happens later, elsewhere, is found under it too.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import structlog

HEADER: Final = "traceparent"
#: The key of log lines.
KEY: Final = "trace"

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


def new() -> str:
    """A new trace id: 32 hexadecimal digits, not all zero."""
    return secrets.token_hex(16)


def given_in(header: str) -> str:
    """The trace id in a ``traceparent``; empty for one that the standard has us ignore."""
    form = _FORM.fullmatch(header.strip())
    if form is None or form[1] == "ff" or (form[1] == "00" and form[4]):
        return ""
    return "" if form[2] == _NO_TRACE or form[3] == _NO_SPAN else form[2]


def header(trace: str) -> str:
    """The ``traceparent`` of a call that is made for ``trace``."""
    return f"00-{trace}-{secrets.token_hex(8)}-01"


def bind(trace: str) -> None:
    """From here on this task, and what it starts, works for ``trace``; '' for none."""
    if trace:
        structlog.contextvars.bind_contextvars(**{KEY: trace})
    else:
        structlog.contextvars.unbind_contextvars(KEY)


def current() -> str:
    """The trace that this task works for; empty if none."""
    return str(structlog.contextvars.get_contextvars().get(KEY, ""))


async def hand_on(call: Any) -> None:
    """A hook of HTTP clients: the call says for which trace it is made."""
    trace = current()
    if trace:
        call.headers[HEADER] = header(trace)
