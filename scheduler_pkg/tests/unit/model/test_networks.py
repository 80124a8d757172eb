"""What operators may say of networks and pools."""

from __future__ import annotations

import pytest

from placer.errors import InvalidInput
from placer.model import networks
from placer.model.networks import NetworkSpec, PoolSpec
from placer.model.records import Inventory


def test_addresses_are_those_that_may_be_given_out() -> None:
    """Neither the network's own addresses nor the gateway nor the reserved ones."""
    spec = NetworkSpec("10.0.0.0/29", gateway="10.0.0.1", reserved=("10.0.0.6",))
    assert networks.network_inventory(spec).units == (
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.5",
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param(NetworkSpec("ten"), "cidr", id="no network at all"),
        pytest.param(NetworkSpec("10.0.0.1/24"), "cidr", id="bits of hosts are set"),
        pytest.param(NetworkSpec("10.0.0.0/19"), "cidr", id="too large for one row"),
        pytest.param(NetworkSpec("fd00::/64"), "cidr", id="the next version's addresses"),
        pytest.param(NetworkSpec("10.0.0.0/24", gateway="10.1.0.1"), "gateway", id="far gateway"),
        pytest.param(NetworkSpec("10.0.0.0/24", reserved=("x",)), "reserved", id="no address"),
        pytest.param(
            NetworkSpec("10.0.0.0/30", gateway="10.0.0.1", reserved=("10.0.0.2",)),
            "cidr",
            id="nothing is left",
        ),
    ],
)
def test_network_that_cannot_be_used_is_refused(spec: NetworkSpec, field: str) -> None:
    """The error names the field and says what to do."""
    with pytest.raises(InvalidInput) as error:
        networks.network_inventory(spec)
    assert error.value.fields["field"] == field
    assert error.value.remedy


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param(PoolSpec(("a",), {}), "inventories", id="a pool of nothing"),
        pytest.param(PoolSpec((), {"DISK_GB": Inventory(total=1)}), "aggregates", id="for nobody"),
        pytest.param(
            PoolSpec(("a",), {"DISK": Inventory(total=1)}), "inventories.DISK", id="unknown class"
        ),
        pytest.param(
            PoolSpec(("a",), {"DISK_GB": Inventory(total=1)}, traits=("x",)), "traits", id="trait"
        ),
    ],
)
def test_pool_that_cannot_be_used_is_refused(spec: PoolSpec, field: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidInput) as error:
        networks.pool_inventories(spec)
    assert error.value.fields["field"] == field


@pytest.mark.parametrize("name", ["", "Blue", "9", "a/b", "x" * 41])
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    """Names end up in keys, traits and addresses of the API."""
    with pytest.raises(InvalidInput):
        networks.check_name(name, "network")


def test_same_name_is_the_same_row_for_ever() -> None:
    """A pool and a network of one name are two rows; cells have rows of their own."""
    rows = {
        networks.pool_id("nyc1", "blue"),
        networks.network_id("nyc1", "blue"),
        networks.network_id("ams1", "blue"),
    }
    assert len(rows) == 3
    assert networks.pool_id("nyc1", "blue") in rows
