"""What of the deployment's networks a deploy makes, leaves alone, or refuses to move."""

from __future__ import annotations

from typing import Any

import pytest

from roles.docker.filter_plugins import networks

WANTED = {
    "name": "demo-nyc",
    "bridge": "plr901",
    "prefix": "10.90.1.0/24",
    "dynamic_prefix": "10.90.1.240/28",
    "gateway": "10.90.1.1",
}
#: The same as the engine lists it.
FOUND: dict[str, Any] = {
    "Name": "demo-nyc",
    "Driver": "bridge",
    "Internal": False,
    "IPAM": {
        "Config": [{"Subnet": "10.90.1.0/24", "IPRange": "10.90.1.240/28", "Gateway": "10.90.1.1"}]
    },
    "Options": {"com.docker.network.bridge.name": "plr901"},
    "Labels": {"io.placer.deployment": "demo"},
}


def test_a_network_that_is_as_it_should_be_is_left_alone() -> None:
    assert networks.docker_networks_lacking([WANTED], [FOUND]) == []


@pytest.mark.parametrize(
    "there",
    [
        pytest.param([], id="none"),
        pytest.param([FOUND | {"Name": "demo-ams"}], id="another one"),
        pytest.param([FOUND | {"Internal": True}], id="one that leads nowhere"),
        pytest.param([FOUND | {"Options": None}], id="a bridge without its name"),
        pytest.param([FOUND | {"Driver": "macvlan"}], id="of another driver"),
        pytest.param([FOUND | {"IPAM": {"Config": None}}], id="without addresses"),
    ],
)
def test_one_that_is_lacking_or_differs_is_made(there: list[dict[str, Any]]) -> None:
    assert networks.docker_networks_lacking([WANTED], there) == [WANTED]


def test_one_whose_addresses_would_move_is_told() -> None:
    """Its containers have addresses of the old prefix, so that to make it anew would cut them off."""
    moved = WANTED | {"prefix": "10.90.2.0/24", "gateway": "10.90.2.1"}
    assert networks.docker_networks_moved([moved], [FOUND]) == [
        "demo-nyc has 10.90.1.0/24 and would get 10.90.2.0/24"
    ]
    assert networks.docker_networks_moved([WANTED], [FOUND]) == []
    assert networks.docker_networks_moved([moved], []) == []
