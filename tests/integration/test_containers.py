"""Instances that are containers: what the claim says is what the engine gives, and it is gone with the claim."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from client import Api
from deployment import Deployment, address, docker
from lab import until
from placer.model.networks import slice_slot
from placer.model.reports import driver_trait

pytestmark = pytest.mark.cluster

TRAIT = driver_trait("docker")
NETWORK = "guests"
MEMORY_MIB = 64
HOSTS_MIN = 2
GONE_S = 30
#: Exits with 0 if somebody takes a connection at the address and port that follow.
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
CQL_PORT = "9042"


def inspected(container: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def is_gone(container: str) -> bool:
    return not docker("ps", "--all", "--quiet", "--filter", f"name=^{container}$")


def addresses_on(network: str) -> set[str]:
    """Addresses that running containers have on a network of the engine."""
    (found,) = json.loads(docker("network", "inspect", network))
    return {one["IPv4Address"].partition("/")[0] for one in found["Containers"].values()}


def test_every_cell_has_hosts_of_containers(api: Api, deployment: Deployment) -> None:
    """Two at least, and they are up."""
    for cell in deployment.cells:
        up = [name for name, host in api.hosts(cell, TRAIT).items() if host["status"] == "up"]
        assert len(up) >= HOSTS_MIN, f"{cell}: {up}"


def test_container_has_what_its_claim_says_until_it_is_cancelled(
    api: Api, deployment: Deployment
) -> None:
    """In each cell: CPU, memory and exactly the address of the claim's units, on the guests' network alone; from there
    no node is reached. Container and address go with the request."""
    body = {
        "resources": {"VCPU": 1, "MEMORY_MB": MEMORY_MIB},
        "required_traits": [TRAIT],
        "network": NETWORK,
    }
    posted = {cell: api.post(cell, body)["id"] for cell in deployment.cells}
    for cell, request in posted.items():
        (placement,) = api.reaches(cell, request, "built")["placements"]
        (claimed,) = placement["units"][slice_slot(NETWORK)]
        container = f"placer-{deployment.name}-{placement['claim']}"
        network = f"{deployment.name}-{cell}-{NETWORK}"
        found = inspected(container)
        assert found["State"]["Running"]
        assert found["HostConfig"]["NanoCpus"] == 10**9
        assert found["HostConfig"]["Memory"] == MEMORY_MIB << 20
        joined = found["NetworkSettings"]["Networks"]
        assert {name: one["IPAddress"] for name, one in joined.items()} == {network: claimed}
        assert claimed in addresses_on(network)
        node = address(deployment, deployment.nodes_of(cell)[0])
        with pytest.raises(AssertionError, match=r"timed out|unreachable"):
            docker("exec", container, "/opt/placer/bin/python", "-c", CONNECT, node, CQL_PORT)
        api.cancel(cell, request)
        api.reaches(cell, request, "cancelled", seconds=GONE_S)
        until(partial(is_gone, container), seconds=GONE_S, what=f"{container} is gone")
        assert claimed not in addresses_on(network)
