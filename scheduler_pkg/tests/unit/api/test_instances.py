"""The list of instances: what filters let through, in pages, with what is known of each."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from placer.model.event import Event
from placer.model.instance import SLOT_MS, Guest, HostSeen, Instance, InstanceState, Reach, order
from placer.store.instances import Change

from .. import factories
from .conftest import Api
from .test_listing import pages

NOW_MS = int(time.time() * 1000)
DAY_MS = 86_400_000


def put(api: Api, *instances: Instance) -> None:
    asyncio.run(api.stores.globals.write_changes([factories.placed(one) for one in instances]))


def ids_of(found: list[list[Any]]) -> list[list[str]]:
    return [[one["id"] for one in page] for page in found]


def test_instances_of_a_project(api: Api) -> None:
    """In pages, the newest first, and only of the project asked for."""
    for number in range(5):
        project = "red" if number else "default"
        put(api, factories.instance(number, created_ms=NOW_MS + number, project=project))
    found = pages(api, "/v1/instances?project=red&limit=3", "instances")
    assert ids_of(found) == [["i4", "i3", "i2"], ["i1"]]
    assert ids_of(pages(api, "/v1/instances", "instances")) == [["i0"]]


def test_all_projects(api: Api) -> None:
    """For operators: every project's instances in every cell, in one order."""
    put(
        api,
        factories.instance(1, created_ms=NOW_MS - 3, project="red"),
        factories.instance(2, created_ms=NOW_MS - 2, project="blue", cell="ams1", region="ams"),
        factories.instance(3, created_ms=NOW_MS - 1),
    )
    found = pages(api, "/v1/instances?all_projects=true&limit=2", "instances")
    assert ids_of(found) == [["i3", "i2"], ["i1"]]


def test_a_busy_page_is_one_query(api: Api) -> None:
    """Whatever the position: each page of a list without pauses asks the store once."""
    put(api, *(factories.instance(n, created_ms=NOW_MS - n * 1000) for n in range(1, 51)))
    found = pages(api, "/v1/instances?limit=10", "instances")
    assert [len(page) for page in found] == [10] * 5
    assert len(api.stores.globals.asked) == 5


def test_long_pauses_between_instances(api: Api) -> None:
    """An instance a day for a year: every one is listed, and a page takes a few queries at most."""
    made = [NOW_MS - day * DAY_MS for day in range(365)]
    put(api, *(factories.instance(n, created_ms=at) for n, at in enumerate(made)))
    found = pages(api, "/v1/instances?limit=50", "instances")
    assert [name for page in ids_of(found) for name in page] == [f"i{n}" for n in range(365)]
    assert len(api.stores.globals.asked) <= 3 * len(found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("state=stopped", ["i2"], id="by state, as the guest has it"),
        pytest.param("state=stopped,failed", ["i3", "i2"], id="by several states"),
        pytest.param("region=ams", ["i4"], id="by region"),
        pytest.param("cell=nyc1", ["i3", "i2", "i1"], id="by cell"),
        pytest.param("host=h9", ["i4"], id="by a host's name"),
        pytest.param("host=u", ["i4", "i3", "i2", "i1"], id="by a host's id"),
        pytest.param("name=web-", ["i2", "i1"], id="by how the name begins"),
        pytest.param("tag=blue", ["i3"], id="by tag"),
        pytest.param(f"changed_since={NOW_MS + 5}", ["i2"], id="by when it changed"),
        pytest.param("state=lost", [], id="by a state that none is in"),
        pytest.param("name=web-&state=running", ["i1"], id="by two at once"),
    ],
)
def test_filters(api: Api, query: str, expected: list[str]) -> None:
    """Of a project's list, and of the list of all cells, alike."""
    put(
        api,
        factories.instance(1, created_ms=NOW_MS - 4, name="web-1"),
        factories.instance(2, created_ms=NOW_MS - 3, name="web-2"),
        factories.instance(
            3, created_ms=NOW_MS - 2, name="db", tags=("blue",), state=InstanceState.FAILED
        ),
        factories.instance(4, created_ms=NOW_MS - 1, cell="ams1", region="ams", host_name="h9"),
    )
    say(api, "i2", guest=Guest(InstanceState.STOPPED, NOW_MS + 10, 0, 7, "asked to"))
    for of in ("project=default", "all_projects=true"):
        found = pages(api, f"/v1/instances?{of}&{query}", "instances")
        assert [one["id"] for page in found for one in page] == expected


def say(api: Api, name: str, **part: Any) -> None:
    """Something is said of an instance of nyc1 by its agent or of its host."""
    known, _ = asyncio.run(api.stores.globals.get_instance(name))  # type: ignore[misc]
    change = Change(
        order=order(0, 9),
        event=Event(f"e-{name}", "instance.stopped", NOW_MS, "nyc", "nyc1"),
        instance=name,
        project="default",
        cell="nyc1",
        created_ms=known.place.created_ms,
        **part,
    )
    asyncio.run(api.stores.globals.write_changes([change]))


def test_a_page_reads_a_bounded_number_of_rows(api: Api) -> None:
    """What is rare is found in the end, over pages that may be empty."""
    put(api, *(factories.instance(n, created_ms=NOW_MS - n) for n in range(1, 9_001)))
    put(api, factories.instance(0, created_ms=NOW_MS - SLOT_MS, tags=("rare",)))
    found = pages(api, "/v1/instances?tag=rare", "instances")
    assert [one["id"] for page in found for one in page] == ["i0"]
    assert len(found) == 3  # 4,000 rows a page


def test_a_host_that_is_down(api: Api) -> None:
    """Its instances say since when nothing is known of them."""
    put(api, factories.instance(1, created_ms=NOW_MS))
    say(api, "i1", reach=Reach(HostSeen.DOWN, NOW_MS - 60_000, "its agent is away"))
    (one,) = api.client.get("/v1/instances").json()["instances"]
    assert (one["state"], one["host_status"]) == ("running", "down")
    assert (one["as_of_ms"], one["why"]) == (NOW_MS - 60_000, "its agent is away")


def test_a_cell_that_is_cut_off(api: Api) -> None:
    """Its instances are there, with the time that it was last heard."""
    lists = api.stores.globals
    put(
        api,
        factories.instance(1, created_ms=NOW_MS),
        factories.instance(2, created_ms=NOW_MS, cell="ams1", region="ams"),
    )
    asyncio.run(lists.add_pulse("nyc1", int(time.time() * 1000)))
    asyncio.run(lists.add_pulse("ams1", NOW_MS - 90_000))
    time.sleep(1.2)  # cells are looked at once a second
    two, one = api.client.get("/v1/instances").json()["instances"]
    assert (one["host_status"], one.get("as_of_ms")) == ("up", None)
    assert (two["host_status"], two["as_of_ms"]) == ("cut_off", NOW_MS - 90_000)


def test_one_instance_with_its_history(api: Api) -> None:
    """What became of it, the oldest first, by whom and why."""
    one = factories.instance(1, created_ms=NOW_MS, rev=1)
    asyncio.run(
        api.stores.globals.write_changes(
            [
                factories.placed(one, by="nyc1-scheduler-1"),
                factories.placed(
                    factories.instance(1, created_ms=NOW_MS, rev=2, state=InstanceState.DELETED),
                    by="ann",
                    why="no longer needed",
                ),
            ]
        )
    )
    body = api.client.get("/v1/instances/i1").json()
    assert body["instance"]["state"] == "deleted"
    assert [(e["type"], e["by"], e.get("why")) for e in body["history"]] == [
        ("instance.running", "nyc1-scheduler-1", None),
        ("instance.deleted", "ann", "no longer needed"),
    ]
    assert api.client.get("/v1/instances/i2").status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param("state=happy", "state", id="a state that there is not"),
        pytest.param("region=mars", "region", id="an unknown region"),
        pytest.param("region=nyc&cell=ams1", "cell", id="a cell of another region"),
        pytest.param("changed_since=yesterday", "changed_since", id="no time"),
        pytest.param(
            "changed_since=2026-01-31T12:00:00", "changed_since", id="a time without zone"
        ),
        pytest.param("marker=AbC", "marker", id="a marker that no page gave"),
    ],
)
def test_bad_filters(api: Api, query: str, field: str) -> None:
    """Are refused with the field they are in."""
    answer = api.client.get(f"/v1/instances?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
