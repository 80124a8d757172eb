"""Requests: logged first, handed over once, whatever the schedulers do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from placer.model.request import Stage

from .conftest import Answer, Api, make_settings, placed, started

BODY: dict[str, Any] = {"resources": {"VCPU": 1}}


def refusing(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def full(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"errors": [{"code": "placer.overloaded"}]})


def broken(request: httpx.Request) -> httpx.Response:
    return httpx.Response(500, json={"errors": [{"code": "placer.internal"}]})


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("no answer", request=request)


def cut_off(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("closed", request=request)


def post(api: Api, body: dict[str, Any] | None = None, wait: str = "10s") -> Any:
    return api.client.post("/v1/requests", params={"wait": wait}, json=body or BODY)


def test_a_request_is_placed_while_its_caller_waits(api: Api) -> None:
    """200 with the outcome; the scheduler got the stored request with the caller's request id."""
    response = api.client.post("/v1/requests?wait=10s", json=BODY, headers={"x-request-id": "mine"})
    assert response.status_code == 200
    assert response.json()["stage"] == "placed"
    (asked,) = api.schedulers.asked
    assert asked.url.path == "/internal/v1/schedule"
    assert asked.headers["authorization"] == "Bearer service-token"
    assert asked.headers["x-request-id"] == "mine"
    assert response.json()["id"] in api.stores.cells["nyc1"].requests


def test_without_waiting_the_answer_is_its_address(api: Api) -> None:
    """202 with Location; the request can be read there at once."""
    response = api.client.post("/v1/requests", json=BODY)
    assert response.status_code == 202
    location = response.headers["location"]
    assert location == f"/v1/requests/{response.json()['id']}"
    assert api.client.get(location).json()["stage"] == "accepted"


@pytest.mark.parametrize("wait", ["-1", "31", "10m", "abc", "nan", "inf", "1e1", ""])
def test_a_bad_wait_is_refused(api: Api, wait: str) -> None:
    """Nothing is logged."""
    response = post(api, wait=wait)
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "wait"
    assert not api.stores.cells["nyc1"].requests


@pytest.mark.parametrize(
    ("body", "cell"),
    [
        pytest.param({}, "nyc1", id="nothing named: the own cell"),
        pytest.param({"cell": "ams2"}, "ams2", id="a cell"),
        pytest.param({"region": "nyc"}, "nyc1", id="the own region: the own cell"),
        pytest.param({"region": "ams", "cell": "ams1"}, "ams1", id="a cell and its region"),
    ],
)
def test_the_cell_that_is_meant(api: Api, body: dict[str, Any], cell: str) -> None:
    """The stored request names its cell."""
    request = post(api, {**BODY, **body}).json()
    assert request["spec"]["cell"] == cell
    assert request["home_cell"] == "nyc1"


def test_a_region_means_its_cells_each_the_first_in_turn(api: Api) -> None:
    """So that none of them gets all."""
    cells = [post(api, {**BODY, "region": "ams"}).json()["spec"]["cells"] for _ in range(4)]
    assert sorted(cells) == [["ams1", "ams2"]] * 2 + [["ams2", "ams1"]] * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"cell": "mars1"}, "ams1, ams2, nyc1", id="unknown cell"),
        pytest.param({"region": "mars"}, "ams, nyc", id="unknown region"),
        pytest.param({"cell": "ams1", "region": "nyc"}, "one of the two", id="cell elsewhere"),
    ],
)
def test_an_unknown_place_is_refused_with_the_known_ones(
    api: Api, body: dict[str, Any], words: str
) -> None:
    """The remedy lists what there is."""
    response = post(api, {**BODY, **body})
    assert response.status_code == 400
    assert words in response.json()["errors"][0]["remedy"]
    assert not api.schedulers.asked


@pytest.mark.parametrize(
    "first",
    [pytest.param(refusing, id="not reached"), pytest.param(full, id="full")],
)
def test_the_next_scheduler_is_asked_when_the_first_did_not_take_it(
    api: Api, first: Answer
) -> None:
    """One of the two is out of order; every request is placed."""
    api.schedulers.answers["http://s1:8790"] = first
    assert [post(api).json()["stage"] for _ in range(4)] == ["placed"] * 4


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(silent, id="time-out after sending"),
        pytest.param(cut_off, id="connection lost"),
        pytest.param(broken, id="fault of the scheduler"),
    ],
)
def test_never_handed_over_twice(api: Api, answer: Answer) -> None:
    """It may have been claimed: 202 with what is stored, and no second scheduler is asked."""
    api.schedulers.all(answer)
    response = post(api, wait="1s")
    assert response.status_code == 202
    assert response.json()["stage"] == "accepted"
    assert len(api.schedulers.asked) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(refusing, "placer.no_scheduler", id="none reached"),
        pytest.param(full, "placer.overloaded", id="all full"),
    ],
)
def test_when_nobody_takes_it_the_log_says_so(api: Api, answer: Answer, code: str) -> None:
    """503, and the stored request is refused: nobody will come back to it."""
    api.schedulers.all(answer)
    response = post(api)
    assert response.status_code == 503
    error = response.json()["errors"][0]
    assert error["code"] == code
    assert len(api.schedulers.asked) == 2
    stored = api.stores.cells["nyc1"].requests[error["request"]]
    assert stored.stage is Stage.REFUSED
    assert stored.reason is not None
    assert f"placer.{stored.reason.code}" == code


def test_a_log_that_cannot_be_written_means_no_request(api: Api) -> None:
    """503 by the store's own error, and no scheduler is asked."""
    api.stores.cells["nyc1"].down = True
    response = post(api)
    assert response.status_code == 503
    assert response.json()["errors"][0]["code"] == "placer.store_unavailable"
    assert not api.schedulers.asked


def test_requests_of_another_cell_are_read_there(api: Api) -> None:
    """The id says where."""
    request_id = post(api).json()["id"]
    request = api.stores.cells["nyc1"].requests.pop(request_id)
    foreign = request_id.replace("nyc1.", "ams2.")
    api.stores.cells["ams2"].requests[foreign] = request
    assert api.client.get(f"/v1/requests/{foreign}").status_code == 200


def test_a_slow_scheduler_is_not_waited_for_longer_than_asked(tmp_path: Path) -> None:
    """202 after the wait; the scheduler's work goes on."""

    class Slow:
        asked = 0

        async def __call__(self, request: httpx.Request) -> httpx.Response:
            self.asked += 1
            await asyncio.sleep(0.5)
            return placed(request)

    slow = Slow()
    for api in started(make_settings(tmp_path), slow):
        response = post(api, wait="0.05s")
        assert response.status_code == 202
        assert slow.asked == 1
