"""Trace ids: which headers are taken, and that the id goes all the way."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import msgspec
import pytest
from structlog.contextvars import clear_contextvars

from placer import tracing
from placer.model.request import Request

from .conftest import Api

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    clear_contextvars()
    yield
    clear_contextvars()


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", TRACE, id="version 00"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what", TRACE, id="a later version may say more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-what", "", id="version 00 may not"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", "", id="ff is no version"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", "", id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", "", id="no span"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", "", id="capitals"),
        pytest.param("", "", id="nothing"),
        pytest.param("x" * 10_000, "", id="rubbish"),
    ],
)
def test_traceparent_is_taken_as_the_standard_says(header: str, trace: str) -> None:
    """What it has us ignore is ignored; a new id is made then."""
    assert tracing.given_in(header) == trace


async def test_a_call_says_its_trace() -> None:
    """The header that goes out holds the id that this task works for, and only with one."""
    call = httpx.Request("GET", "http://s1")
    await tracing.hand_on(call)
    assert tracing.HEADER not in call.headers
    tracing.bind(TRACE)
    await tracing.hand_on(call)
    assert tracing.given_in(call.headers[tracing.HEADER]) == TRACE
    tracing.bind("")
    assert tracing.current() == ""


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", id="the caller's"),
        pytest.param("", id="a new one"),
    ],
)
def test_a_request_keeps_its_trace(api: Api, given: str) -> None:
    """Stored with the request, and said to the scheduler that gets it."""
    headers = {"traceparent": given} if given else {}
    answer = api.client.post("/v1/requests", json={"resources": {"VCPU": 1}}, headers=headers)
    trace = answer.json()["trace"]
    assert trace == TRACE if given else len(trace) == len(TRACE)
    (call,) = api.schedulers.asked
    assert tracing.given_in(call.headers["traceparent"]) == trace
    assert msgspec.json.decode(call.content, type=Request).trace == trace
