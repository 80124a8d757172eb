"""A scheduler killed at a named step: what it worked on is finished by whoever is left.

The process is a container of the same image and addresses that kills itself (SIGKILL) at the fail
point; nothing else is simulated. Time counts from its death, or, where a cell has a single
scheduler, from the moment that it serves again.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import pytest

from client import Api
from deployment import Deployment
from lab import MakeLab, failing_at, has_died, until

pytestmark = pytest.mark.cluster

#: A dead scheduler's work is resumed within this; building it takes a moment more.
RESUMED_S = 10.0
BUILT_S = 5.0
#: Without another scheduler: from the moment that the next one serves.
SETTLED_S = 30.0
DIES_S = 60.0
FINAL = ("built", "refused", "failed", "cancelled")


def schedulers(deployment: Deployment, cell: str) -> list[str]:
    pattern = rf"{deployment.name}-({re.escape(cell)}-scheduler-\d+)"
    return sorted(m[1] for name in deployment.containers if (m := re.fullmatch(pattern, name)))


def asked_until_it_dies(
    api: Api, cell: str, body: dict[str, Any], container: str
) -> tuple[list[str], float]:
    """Post requests until the failing scheduler is dead: their ids, and when it was seen dead."""
    asked: list[str] = []

    def post_one() -> bool:
        asked.append(api.post(cell, body)["id"])
        time.sleep(0.3)
        return has_died(container)

    until(post_one, seconds=DIES_S, what=f"{container} reaches its fail point")
    return asked, time.monotonic()


def finish(
    deployment: Deployment, api: Api, cell: str, body: dict[str, Any], point: str
) -> list[dict[str, Any]]:
    """Ask while the first scheduler of ``cell`` dies at ``point``; the requests as they ended."""
    first, *others = schedulers(deployment, cell)
    with failing_at(deployment, first, point) as container:
        asked, died = asked_until_it_dies(api, cell, body, container)
        if others:
            ended = [
                api.reaches(cell, request, *FINAL, seconds=RESUMED_S + BUILT_S) for request in asked
            ]
            assert time.monotonic() - died <= RESUMED_S + BUILT_S
            return _taken(ended)
    return _taken([api.reaches(cell, request, *FINAL, seconds=SETTLED_S) for request in asked])


def _taken(ended: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that the API refused because nobody was there to take them."""
    return [one for one in ended if one.get("reason", {}).get("code") != "no_scheduler"]


def one_claim_each(
    api: Api, cell: str, trait: str, ended: list[dict[str, Any]], cores: int
) -> None:
    """Each request has its own claims and no more; what was claimed twice lapses, it is not built."""
    claims = [p["claim"] for one in ended for p in one.get("placements", [])]
    assert len(set(claims)) == len(claims)
    path = f"/v1/instances?project={ended[0]['spec']['project']}&limit=1000"

    def built() -> list[str]:
        found = api.get(cell, path)["instances"]
        return sorted(one["claim"] for one in found if one["state"] == "running")

    until(lambda: built() == sorted(claims), seconds=30, what="instances are those of the requests")
    assert api.free(cell, trait, "VCPU") <= cores - len(claims)


@pytest.mark.parametrize(
    "point",
    [
        "claim.before_lwt",
        "claim.after_lwt",
        "request.claimed",
        "request.placed",
    ],
)
def test_request_survives_its_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab, point: str
) -> None:
    """Before the claim, between claim and log, between log and agent: each request is built once."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {f"h{number}": {} for number in range(8)})
    project = f"crash-{uuid.uuid4().hex[:8]}"
    body = {
        "resources": {"VCPU": 1},
        "required_traits": [trait],
        "project": project,
        "deadline_s": 60,
    }
    ended = finish(deployment, api, cell, body, f"{point}:2")
    assert {one["stage"] for one in ended} == {"built"}, ended
    one_claim_each(api, cell, trait, ended, 64)


@pytest.mark.parametrize(
    "point",
    [
        "writeset.record_made",
        "writeset.one_prepared",
        "writeset.prepared",
        "writeset.committed",
        "writeset.one_settled",
    ],
)
def test_manifest_survives_its_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab, point: str
) -> None:
    """Whole or not at all, whichever step its coordinator died at."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {f"h{number}": {} for number in range(8)})
    project = f"crash-{uuid.uuid4().hex[:8]}"
    body = {
        "resources": {"VCPU": 5},
        "required_traits": [trait],
        "project": project,
        "count": 2,
        "deadline_s": 60,
    }
    ended = finish(deployment, api, cell, body, point)
    for one in ended:
        assert len(one.get("placements", [])) == (2 if one["stage"] == "built" else 0), one
    assert any(one["stage"] == "built" for one in ended)


@pytest.mark.parametrize("point", ["cancel.released", "request.reopened"])
def test_end_of_a_request_survives_its_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab, point: str
) -> None:
    """A cancel, or a failed build, that was cut short is brought to its end by another."""
    cell = deployment.cells[0]
    failing = point == "request.reopened"
    trait = make_lab(cell, {"a": {}}, failing=failing)
    body: dict[str, Any] = {"resources": {"VCPU": 1}, "required_traits": [trait]}
    first, *others = schedulers(deployment, cell)
    asked: list[str] = []
    with failing_at(deployment, first, point) as container:

        def one_more() -> bool:
            request = api.post(cell, body)["id"]
            asked.append(request)
            if not failing:
                until(
                    lambda: has_died(container) or api.request(cell, request)["stage"] == "built",
                    seconds=BUILT_S + RESUMED_S,
                    what=f"{request} is built",
                )
                api.cancel(cell, request)
            for _ in range(10):
                time.sleep(0.2)
                if has_died(container):
                    return True
            return False

        until(one_more, seconds=DIES_S, what=f"{container} reaches {point}")
        if others:
            for request in asked:
                api.reaches(cell, request, *FINAL[1:], seconds=RESUMED_S + BUILT_S)
    for request in asked:
        api.reaches(cell, request, *FINAL[1:], seconds=SETTLED_S)
    until(lambda: api.free(cell, trait, "VCPU") == 8, seconds=60, what="the host is free again")


def test_addresses_survive_a_refill_that_died(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """The pool gave addresses, the host never got them: all of them are given out all the same."""
    cell = deployment.cells[0]
    network = f"net-{uuid.uuid4().hex[:8]}"
    api.put(cell, f"/v1/networks/{network}", {"cell": cell, "cidr": "10.20.31.0/28"})
    trait = make_lab(cell, {"a": {}, "b": {}})
    body = {
        "resources": {"VCPU": 1},
        "required_traits": [trait],
        "network": network,
        "deadline_s": 60,
    }
    ended = finish(deployment, api, cell, body, "network.taken")
    assert {one["stage"] for one in ended} == {"built"}, ended
    left = 14 - len(ended)
    more = [api.ask(cell, body) for _ in range(left)]
    addresses = [
        address
        for one in [*ended, *more]
        for slot, devices in one["placements"][0]["units"].items()
        if slot.endswith("/IPV4_ADDRESS")
        for address in devices
    ]
    assert len(addresses) == len(set(addresses)) == 14
