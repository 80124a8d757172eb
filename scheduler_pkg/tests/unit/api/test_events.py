"""Events over HTTP: pages by markers, and a stream."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from placer.model.event import Event
from placer.store.instances import Change

from .conftest import Api
from .live import Live, serving


def happen(
    api: Api | Live, name: str, kind: str = "instance.running", project: str = "red"
) -> None:
    """Now, in cell nyc1, which is heard."""
    now_ms = int(time.time() * 1000)
    asyncio.run(api.stores.globals.add_pulse("nyc1", now_ms - now_ms % 5000))
    event = Event(name, kind, now_ms, "nyc", "nyc1", project=project)
    asyncio.run(api.stores.globals.write_changes([Change(order=1, event=event)]))


def names(body: dict[str, list[dict[str, str]]]) -> list[str]:
    return [event["id"] for event in body["events"]]


def test_a_list_and_what_happened_after_it(api: Api) -> None:
    """The marker of a list leads to every event after it, and on from there."""
    marker = api.client.get("/v1/instances").json()["events_marker"]
    happen(api, "e1")
    first = api.client.get("/v1/events", params={"since": marker}).json()
    assert names(first) == ["e1"]
    happen(api, "e2")
    second = api.client.get("/v1/events", params={"since": first["marker"]}).json()
    assert names(second) == ["e2"]
    assert second["more"] is False


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({"types": "instance.running"}, ["e1"], id="of one type"),
        pytest.param({"types": "instance"}, ["e1", "e2"], id="of a kind"),
        pytest.param({"types": "host,instance.deleted"}, ["e2", "e3"], id="of several"),
        pytest.param({"project": "red"}, ["e1"], id="of a project"),
        pytest.param({"types": "inst"}, [], id="half a word is no kind"),
    ],
)
def test_filters(api: Api, query: dict[str, str], expected: list[str]) -> None:
    """Only what was asked for; the marker passes over the rest."""
    happen(api, "e1")
    happen(api, "e2", "instance.deleted", "blue")
    happen(api, "e3", "host.down", "")
    body = api.client.get("/v1/events", params=query).json()
    assert sorted(names(body)) == expected
    again = api.client.get("/v1/events", params={**query, "since": body["marker"]}).json()
    assert names(again) == []


def test_a_stream(tmp_path: Path) -> None:
    """Events as they come; the last of those sent together has the marker as its id."""
    with serving(tmp_path) as live:
        client = httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {live.token}"})
        marker = client.get("/v1/events").json()["marker"]
        happen(live, "e1")
        happen(live, "e2")
        headers = {"Accept": "text/event-stream", "Last-Event-ID": marker}
        lines: list[str] = []
        with client.stream("GET", "/v1/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                lines.append(line)
                if sum(line.startswith("data: ") for line in lines) == 2:
                    break
        told = [msgspec.json.decode(line[6:], type=Event) for line in lines if line[:6] == "data: "]
        assert [event.id for event in told] == ["e1", "e2"]
        (after,) = [line[4:] for line in lines if line.startswith("id: ")]
        assert names(client.get("/v1/events", params={"since": after}).json()) == []


@pytest.mark.parametrize(
    "since",
    [pytest.param("AbC", id="no marker"), pytest.param("x" * 9000, id="far too long")],
)
def test_a_marker_that_none_gave(api: Api, since: str) -> None:
    """Is refused with the field it is in."""
    answer = api.client.get("/v1/events", params={"since": since})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "since"
