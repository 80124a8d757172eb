"""What the tests' API client records of a call, without a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

import client
from deployment import Deployment
from placer.checker import files
from placer.history import Answer, Operation, OperationKind

REQUEST = {"id": "nyc1.r", "rev": 7, "stage": "placed", "placements": [{"claim": "nyc1.h.c"}]}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> client.Api:
    """An API whose calls are answered by ``answer``, recorded below the test's own folder."""
    monkeypatch.setenv("PLACER_TEST_HISTORY", str(tmp_path / "history"))
    monkeypatch.setattr(Deployment, "api_urls", {"nyc1": "http://nyc1"})
    return client.Api(Deployment(name=str(tmp_path), run_dir=tmp_path, port_base=1), "token")


def operations(tmp_path: Path) -> list[Operation]:
    loaded = files.load(files.find([tmp_path / "history"]))
    assert loaded.damage == []
    return [event for event in loaded.events if isinstance(event, Operation)]


def answers(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | Exception) -> list[Any]:
    """Have every call answered so; the headers that were sent."""
    sent: list[Any] = []

    def call(method: str, url: str, **more: Any) -> httpx.Response:
        sent.append(more["headers"])
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(client.HTTP, "request", call)
    return sent


@pytest.mark.parametrize(
    ("method", "path", "answer", "kind", "outcome"),
    [
        pytest.param(
            "POST",
            "/v1/requests?wait=5s",
            httpx.Response(200, json=REQUEST),
            OperationKind.CLAIM,
            Answer.OK,
            id="posted",
        ),
        pytest.param(
            "GET",
            "/v1/requests/nyc1.r",
            httpx.Response(200, json=REQUEST),
            OperationKind.READ,
            Answer.OK,
            id="looked at",
        ),
        pytest.param(
            "DELETE",
            "/v1/requests/nyc1.r",
            httpx.Response(202, json=REQUEST),
            OperationKind.RELEASE,
            Answer.OK,
            id="cancelled",
        ),
        pytest.param(
            "POST",
            "/v1/requests",
            httpx.Response(409, json={"errors": [{"code": "placer.conflict"}]}),
            OperationKind.CLAIM,
            Answer.REFUSED,
            id="turned away",
        ),
        pytest.param(
            "POST",
            "/v1/requests",
            httpx.Response(503, json={"errors": [{"code": "placer.overloaded"}]}),
            OperationKind.CLAIM,
            Answer.REFUSED,
            id="full: nothing was done",
        ),
        pytest.param(
            "POST",
            "/v1/requests",
            httpx.Response(503, json={"errors": [{"code": "placer.store_unknown"}]}),
            OperationKind.CLAIM,
            Answer.UNKNOWN,
            id="a service that failed",
        ),
        pytest.param(
            "POST",
            "/v1/requests",
            httpx.Response(502, content=b"<html>"),
            OperationKind.CLAIM,
            Answer.UNKNOWN,
            id="a gateway's page",
        ),
    ],
)
def test_call_of_a_request_is_recorded(
    api: client.Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    answer: httpx.Response,
    kind: OperationKind,
    outcome: Answer,
) -> None:
    """Once, with what it was told, under the trace id that was sent."""
    headers = answers(monkeypatch, answer)
    api.call("nyc1", method, path, {"resources": {"VCPU": 2}, "count": 3})
    (operation,) = operations(tmp_path)
    assert (operation.kind, operation.outcome) == (kind, outcome)
    assert operation.trace in headers[0]["traceparent"]
    assert (operation.resources, operation.of) == ({"VCPU": 2}, 3)
    if outcome is Answer.OK:
        assert (operation.request, operation.rev) == ("nyc1.r", 7)
        assert operation.claims == ("nyc1.h.c",)


def test_lost_connection_is_unknown(
    api: client.Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the caller hears of it as before."""
    answers(monkeypatch, httpx.ConnectError("gone"))
    with pytest.raises(httpx.ConnectError):
        api.call("nyc1", "POST", "/v1/requests", {})
    (operation,) = operations(tmp_path)
    assert (operation.outcome, operation.code) == (Answer.UNKNOWN, "ConnectError")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/hosts?cell=nyc1"),
        ("GET", "/v1/requests?project=p"),
        ("POST", "/v1/requests/nyc1.r/actions"),
        ("POST", "/v1/server-groups"),
    ],
)
def test_other_calls_are_not_recorded(
    api: client.Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """Only what asks for, looks at or gives back one request."""
    answers(monkeypatch, httpx.Response(200, json={}))
    api.call("nyc1", method, path)
    assert not (tmp_path / "history").exists()


def test_no_history_where_nobody_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that has no place for results gets no files."""
    monkeypatch.delenv("PLACER_TEST_HISTORY", raising=False)
    opened = client.history(Deployment(name="none", run_dir=tmp_path, port_base=1))
    opened.sent(OperationKind.READ, "nyc1")
    assert list(tmp_path.iterdir()) == []
