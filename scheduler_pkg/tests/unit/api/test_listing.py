"""Lists: every item once, in pages of the size asked for."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from placer.model import ids

from .. import factories
from .conftest import Api

BUCKETS = 4


def fill(api: Api, count: int, cell: str = "nyc1") -> set[str]:
    """``count`` hosts in the buckets of ``cell``; their uuids."""
    store = api.stores.cells[cell]
    hosts = {str(uuid.UUID(int=number)) for number in range(1, count + 1)}
    for host in hosts:
        view = msgspec.structs.replace(factories.view("h"), host=host, cell=cell)
        store.views.setdefault(ids.bucket_of(host, BUCKETS), []).append(view)
    return hosts


def pages(api: Api, href: str, key: str) -> list[list[Any]]:
    """All pages from ``href`` on, by their links."""
    found = []
    while href:
        body = api.client.get(href).json()
        found.append(body[key])
        href = next((link["href"] for link in body["links"] if link["rel"] == "next"), "")
    return found


@pytest.mark.parametrize(
    ("count", "limit", "sizes"),
    [
        pytest.param(0, 10, [0], id="an empty cell"),
        pytest.param(7, 10, [7], id="one page, not full"),
        pytest.param(10, 10, [10], id="one full page and no link"),
        pytest.param(25, 10, [10, 10, 5], id="three pages"),
        pytest.param(3, 1, [1, 1, 1], id="pages of one"),
    ],
)
def test_each_host_is_listed_once(api: Api, count: int, limit: int, sizes: list[int]) -> None:
    """Pages are full but for the last; together they are all hosts."""
    hosts = fill(api, count)
    found = pages(api, f"/v1/hosts?limit={limit}", "hosts")
    assert [len(page) for page in found] == sizes
    listed = [view["host"] for page in found for view in page]
    assert sorted(listed) == sorted(hosts)


def test_a_host_that_is_gone_still_marks_its_place(api: Api) -> None:
    """A page begins where the one before ended, also when its last host is gone meanwhile."""
    fill(api, 9)
    first, *rest = pages(api, "/v1/hosts?limit=4", "hosts")
    link = api.client.get("/v1/hosts?limit=4").json()["links"][0]["href"]
    last = first[-1]["host"]
    for views in api.stores.cells["nyc1"].views.values():
        views[:] = [view for view in views if view.host != last]
    assert pages(api, link, "hosts") == rest


def test_hosts_of_another_cell(api: Api) -> None:
    """Any cell's API lists any cell's hosts, and the link stays in that cell."""
    hosts = fill(api, 6, cell="ams1")
    found = pages(api, "/v1/hosts?cell=ams1&limit=5", "hosts")
    assert {view["host"] for page in found for view in page} == hosts
    assert api.client.get("/v1/hosts").json()["hosts"] == []
