"""Pools and networks through the API: what is passed on, what is refused at the edge, what is listed."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from placer.claims.pools import PutPool
from placer.model import networks
from placer.model.host_view import HostView, bucket_of, summarize
from placer.model.networks import NetworkSpec
from placer.model.records import HostRow, Inventory
from placer.model.request import network_trait
from placer.model.resource_classes import ADDRESS

from .conftest import Api

DISK = {"DISK_GB": Inventory(total=100)}


def _view(operation: PutPool) -> HostView:
    row = operation.founding(operation.provider)
    assert isinstance(row, HostRow)
    return summarize(row, cell="nyc1", region="nyc")


def pool(name: str) -> HostView:
    row = networks.pool_id("nyc1", name)
    return _view(PutPool(row, name, DISK, aggregates=("a",)))


def network(name: str) -> HostView:
    row = networks.network_id("nyc1", name)
    offered = {ADDRESS: networks.network_inventory(NetworkSpec("10.0.0.0/29"))}
    return _view(PutPool(row, networks.row_name(name), offered, (network_trait(name),)))


@pytest.fixture
def listed(api: Api) -> Api:
    for view in (pool("slow"), network("blue"), pool("fast"), network("green")):
        bucket = bucket_of(view, 4)
        assert bucket is not None
        api.stores.cells["nyc1"].views.setdefault(bucket, []).append(view)
    return api


def test_pools_and_networks_are_told_apart(listed: Api) -> None:
    """Each kind has a partition of its own; lists are in the order of names."""
    pools = listed.client.get("/v1/pools").json()["pools"]
    assert [one["name"] for one in pools] == ["fast", "slow"]
    assert pools[0]["free"] == {"DISK_GB": 100}
    found = listed.client.get("/v1/networks").json()["networks"]
    assert [(one["name"], one["total"], one["free"]) for one in found] == [
        ("blue", 6, 6),
        ("green", 6, 6),
    ]
    assert found[0]["trait"] == "CUSTOM_NETWORK_BLUE"


def test_pages_follow_their_links(listed: Api) -> None:
    """A page of one, and the link to the rest."""
    page = listed.client.get("/v1/pools?limit=1").json()
    assert [one["name"] for one in page["pools"]] == ["fast"]
    rest = listed.client.get(page["links"][0]["href"]).json()
    assert [one["name"] for one in rest["pools"]] == ["slow"]
    assert rest["links"] == []


def test_pools_are_no_hosts(listed: Api) -> None:
    """The list of hosts does not show them."""
    assert listed.client.get("/v1/hosts").json()["hosts"] == []


def test_put_goes_to_a_scheduler_with_the_cell_named(api: Api) -> None:
    """API servers may not write rows; the answer is the scheduler's."""

    def answer(request: httpx.Request) -> httpx.Response:
        made = networks.network_view(network("blue"))
        return httpx.Response(200, content=msgspec.json.encode(made))

    api.schedulers.all(answer)
    said = api.client.put("/v1/networks/blue", json={"cidr": "10.0.0.0/29"})
    assert said.status_code == 200, said.text
    assert said.json()["free"] == 6
    (asked,) = api.schedulers.asked
    assert asked.url.path == "/internal/v1/networks/blue"
    assert msgspec.json.decode(asked.content)["cell"] == "nyc1"


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        pytest.param("/v1/networks/blue", {"cidr": "10.0.0.0/8"}, "10.0.0.0/8", id="too large"),
        pytest.param("/v1/networks/Blue", {"cidr": "10.0.0.0/29"}, "Blue", id="upper case"),
        pytest.param(
            "/v1/networks/blue",
            {"cidr": "10.0.0.0/29", "cell": "mars1"},
            "mars1",
            id="no such cell",
        ),
        pytest.param(
            "/v1/pools/fast",
            {"aggregates": ["a"], "inventories": {}},
            "0 resource classes",
            id="of nothing",
        ),
        pytest.param("/v1/pools/fast", {"inventories": {}}, "aggregates", id="a field is missing"),
    ],
)
def test_senseless_put_reaches_no_scheduler(
    api: Api, path: str, body: dict[str, Any], named: str
) -> None:
    """400 at the edge, with the value and a remedy."""
    answer = api.client.put(path, json=body)
    assert answer.status_code == 400, answer.text
    assert named in answer.text
    assert api.schedulers.asked == []
