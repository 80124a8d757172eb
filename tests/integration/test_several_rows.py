"""Changes of several rows on real quorums: server groups, manifests over cells, pools, addresses."""

from __future__ import annotations

import concurrent.futures
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from client import Api
from deployment import Deployment
from lab import MakeLab, until

pytestmark = pytest.mark.cluster

PLACED = ("placed", "built")
CORE = {"VCPU": 1}


def at_once(
    api: Api, cells: Sequence[str], bodies: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Ask for all of ``bodies`` at the same moment, each in the next of ``cells``."""
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        asked = [
            pool.submit(api.ask, cells[number % len(cells)], body)
            for number, body in enumerate(bodies)
        ]
        return [future.result() for future in asked]


def places(done: Sequence[dict[str, Any]], part: str) -> list[str]:
    return [p[part] for one in done if one["stage"] in PLACED for p in one["placements"]]


# -- server groups


def test_manifest_over_all_cells_is_taken_whole(
    deployment: Deployment, api: Api, everywhere: str
) -> None:
    """As many instances as cells, one in each: all are placed, each in a cell of its own."""
    cells = deployment.cells
    group = api.group(cells[0], "anti-affinity", "cell")
    body = {
        "resources": CORE,
        "required_traits": [everywhere],
        "server_group": group,
        "cells": cells,
        "count": len(cells),
    }
    done = api.ask(cells[0], body)
    assert done["stage"] in PLACED, done
    assert sorted(places([done], "cell")) == sorted(cells)


def test_manifest_that_does_not_fit_leaves_nothing(
    deployment: Deployment, api: Api, everywhere: str
) -> None:
    """One instance more than there are cells: none is placed, and no cell holds a claim."""
    cells = deployment.cells
    group = api.group(cells[0], "anti-affinity", "cell")
    body = {
        "resources": CORE,
        "required_traits": [everywhere],
        "server_group": group,
        "cells": cells,
        "count": len(cells) + 1,
    }
    done = api.ask(cells[0], body)
    assert done["stage"] == "refused", done
    for cell in cells:
        assert api.free(cell, everywhere, "VCPU") == 24


@pytest.mark.parametrize(
    ("policy", "scope", "distinct", "placed"),
    [
        pytest.param(
            "anti-affinity", "cell", "cell", "cells", id="one in each cell, the rest none"
        ),
        pytest.param("anti-affinity", "host", "host", "all", id="each on a host of its own"),
    ],
)
def test_apart_under_contention(
    deployment: Deployment,
    api: Api,
    everywhere: str,
    policy: str,
    scope: str,
    distinct: str,
    placed: str,
) -> None:
    """All regions ask at once for members of one group: the rule is never broken."""
    cells = deployment.cells
    group = api.group(cells[0], policy, scope)
    body = {
        "resources": CORE,
        "required_traits": [everywhere],
        "server_group": group,
        "cells": cells,
        "deadline_s": 20,
    }
    done = at_once(api, cells, [body] * (2 * len(cells)))
    found = places(done, distinct)
    assert len(set(found)) == len(found), done
    assert len(found) == (len(cells) if placed == "cells" else len(done)), done


@pytest.mark.parametrize("scope", ["host", "cell"])
def test_together_under_contention(
    deployment: Deployment, api: Api, everywhere: str, scope: str
) -> None:
    """All regions ask at once: whoever is first decides where the others go."""
    cells = deployment.cells
    group = api.group(cells[0], "affinity", scope)
    body = {
        "resources": CORE,
        "required_traits": [everywhere],
        "server_group": group,
        "cells": cells,
        "deadline_s": 20,
    }
    done = at_once(api, cells, [body] * 6)
    assert len(places(done, scope)) == 6, done
    assert len(set(places(done, scope))) == 1, done


def test_place_in_a_group_is_free_again_after_a_cancel(
    deployment: Deployment, api: Api, everywhere: str
) -> None:
    """A member that is gone keeps nobody out."""
    cells = deployment.cells
    group = api.group(cells[0], "anti-affinity", "cell")
    body = {
        "resources": CORE,
        "required_traits": [everywhere],
        "server_group": group,
        "cells": cells[:1],
    }
    first = api.ask(cells[0], body)
    assert first["stage"] in PLACED, first
    assert api.ask(cells[0], body)["stage"] == "refused"
    api.cancel(cells[0], first["id"])
    api.reaches(cells[0], first["id"], "cancelled")
    until(
        lambda: api.ask(cells[0], body)["stage"] in PLACED,
        seconds=90,
        what="the place of the cancelled member is free",
    )


# -- pools


def test_disk_comes_from_the_pool_of_the_aggregate(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Host and pool are claimed together; a full pool refuses; a cancel gives the disk back."""
    cell = deployment.cells[0]
    aggregate = f"storage-{uuid.uuid4().hex[:8]}"
    pool = f"pool-{uuid.uuid4().hex[:8]}"
    api.put(
        cell,
        f"/v1/pools/{pool}",
        {"cell": cell, "aggregates": [aggregate], "inventories": {"DISK_GB": {"total": 100}}},
    )
    trait = make_lab(cell, {"near": {"aggregates": [aggregate]}, "far": {}})
    body = {"resources": {"VCPU": 1, "DISK_GB": 60}, "required_traits": [trait]}

    def left() -> int:
        found = api.get(cell, f"/v1/pools?cell={cell}&limit=1000")["pools"]
        free: int = next(one["free"]["DISK_GB"] for one in found if one["name"] == pool)
        return free

    done = api.ask(cell, body)
    assert done["stage"] in PLACED, done
    assert done["placements"][0]["host_name"].endswith("-near")
    until(lambda: left() == 40, seconds=20, what="60 GB of the pool are taken")
    second = api.ask(cell, body)
    assert second["stage"] == "refused", second
    assert second["reason"]["rejected"].get("DISK_GB:no_capacity"), second["reason"]
    assert api.free(cell, trait, "VCPU") == 15, "a refused request left its cores taken"
    api.cancel(cell, done["id"])
    api.reaches(cell, done["id"], "cancelled")
    until(lambda: left() == 100, seconds=90, what="the pool is whole again")


def test_pool_cannot_lose_what_is_promised(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """A PUT that would take away what an instance has is refused, and nothing changes."""
    cell = deployment.cells[0]
    aggregate = f"storage-{uuid.uuid4().hex[:8]}"
    path = f"/v1/pools/pool-{uuid.uuid4().hex[:8]}"
    pool = {"cell": cell, "aggregates": [aggregate], "inventories": {"DISK_GB": {"total": 100}}}
    first, again = api.put(cell, path, pool), api.put(cell, path, pool)
    assert first["id"] == again["id"]
    trait = make_lab(cell, {"near": {"aggregates": [aggregate]}})
    body = {"resources": {"VCPU": 1, "DISK_GB": 60}, "required_traits": [trait]}
    assert api.ask(cell, body)["stage"] in PLACED
    less = pool | {"inventories": {"DISK_GB": {"total": 50}}}
    answer = api.call(cell, "PUT", path, less)
    assert answer.status_code == 409, answer.text
    assert answer.json()["errors"][0]["remedy"]


# -- addresses


def test_every_instance_gets_an_address_of_its_own(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Five addresses for six instances on three hosts: five are given, each once; then none is left."""
    cell = deployment.cells[0]
    network = f"net-{uuid.uuid4().hex[:8]}"
    made = api.put(
        cell,
        f"/v1/networks/{network}",
        {"cell": cell, "cidr": "10.20.30.0/29", "gateway": "10.20.30.1"},
    )
    assert (made["total"], made["free"]) == (5, 5)
    trait = make_lab(cell, {"a": {}, "b": {}, "c": {}})
    body = {
        "resources": CORE,
        "required_traits": [trait],
        "network": network,
        "deadline_s": 10,
    }
    done = at_once(api, [cell], [body] * 5)
    given = [
        address
        for one in done
        if one["stage"] in PLACED
        for slot, devices in one["placements"][0]["units"].items()
        if slot.endswith("/IPV4_ADDRESS")
        for address in devices
    ]
    assert len(given) == 5, done
    assert sorted(given) == [f"10.20.30.{n}" for n in range(2, 7)]
    last = api.ask(cell, body | {"deadline_s": 0})
    assert last["stage"] == "refused", last
    api.cancel(cell, done[0]["id"])
    api.reaches(cell, done[0]["id"], "cancelled")
    until(
        lambda: api.ask(cell, body)["stage"] in PLACED,
        seconds=60,
        what="the address that was given back is given out again",
    )


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param({"cidr": "10.0.0.0/8"}, "10.0.0.0/8", id="too large"),
        pytest.param({"cidr": "ten"}, "ten", id="no network"),
        pytest.param({"cidr": "10.0.0.0/24", "gateway": "10.1.0.1"}, "10.1.0.1", id="far gateway"),
    ],
)
def test_network_that_makes_no_sense_is_refused(
    deployment: Deployment, api: Api, body: dict[str, Any], named: str
) -> None:
    """400 with the value and a remedy; nothing is stored."""
    cell = deployment.cells[0]
    answer = api.call(cell, "PUT", "/v1/networks/wrong", body)
    assert answer.status_code == 400, answer.text
    assert named in answer.text
    names = [one["name"] for one in api.get(cell, "/v1/networks?limit=1000")["networks"]]
    assert "wrong" not in names
