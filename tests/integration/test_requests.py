"""The life of requests on real quorums: several groups, counts, cancelling, repeating, failing builds."""

from __future__ import annotations

import concurrent.futures
import uuid
from typing import Any

import pytest

from client import BUILT_S, Api
from deployment import Deployment
from lab import MakeLab, fill_disk, free_disk, labs, until

pytestmark = pytest.mark.cluster

CORE = {"VCPU": 1}
NUMA: dict[str, Any] = {
    "inventories": {"DISK_GB": {"total": 100}},
    "children": [
        {"key": "numa0", "inventories": {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 4096}}},
        {"key": "numa1", "inventories": {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 4096}}},
        {
            "key": "nic0.blue",
            "parent": "numa0",
            "inventories": {"SRIOV_NET_VF": {"total": 2}},
            "traits": ["CUSTOM_PHYSNET_BLUE"],
        },
        {
            "key": "nic0.green",
            "parent": "numa0",
            "inventories": {"SRIOV_NET_VF": {"total": 2}},
            "traits": ["CUSTOM_PHYSNET_GREEN"],
        },
    ],
}


def on(trait: str, resources: dict[str, int], **more: Any) -> dict[str, Any]:
    return {"resources": resources, "required_traits": [trait], **more}


def gone(api: Api, cell: str, trait: str, cores: int) -> None:
    """Wait until hosts with ``trait`` have ``cores`` free again: nothing was left behind."""
    until(
        lambda: api.free(cell, trait, "VCPU") == cores,
        seconds=60,
        what=f"{cores} cores are free on hosts with {trait}",
    )


# -- nested providers


def test_named_groups_come_from_one_provider_each(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Cores and memory of one NUMA node, a function of the card that leads to the blue network."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"numa": NUMA})
    body = on(
        trait,
        {"DISK_GB": 10},
        groups={
            "cpu": {"resources": {"VCPU": 4, "MEMORY_MB": 1024}},
            "nic": {"resources": {"SRIOV_NET_VF": 1}, "required_traits": ["CUSTOM_PHYSNET_BLUE"]},
        },
    )
    done = [api.ask(cell, body) for _ in range(3)]
    assert [one["stage"] in ("placed", "built") for one in done] == [True, True, False], done
    (host,) = api.hosts(cell, trait).values()
    assert host["free"]["nic0.blue/SRIOV_NET_VF"] == 0
    assert host["free"]["nic0.green/SRIOV_NET_VF"] == 2
    assert host["free"]["numa0/VCPU"] == host["free"]["numa1/VCPU"] == 0
    assert done[2]["reason"]["code"] == "no_valid_host"
    assert done[2]["reason"]["rejected"], done[2]


def test_one_group_never_spans_two_providers(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Eight cores are there, four in each node: a group of six is refused, two of three are not."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"numa": NUMA})
    refused = api.ask(cell, on(trait, {}, groups={"cpu": {"resources": {"VCPU": 6}}}))
    assert refused["stage"] == "refused"
    three = {"resources": {"VCPU": 3}}
    apart = {"groups": {"a": three, "b": three}, "group_policy": "isolate"}
    assert api.ask(cell, on(trait, {}, **apart))["stage"] in ("placed", "built")


# -- several instances


@pytest.mark.parametrize("count", [3, 6])
def test_count_is_placed_whole(
    deployment: Deployment, api: Api, make_lab: MakeLab, count: int
) -> None:
    """Each instance has a claim of its own; together they take what was asked for."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {}, "b": {}})
    done = api.ask(cell, on(trait, {"VCPU": 2}, count=count))
    assert done["stage"] in ("placed", "built"), done
    assert len({placement["claim"] for placement in done["placements"]}) == count
    assert len({placement["instance"] for placement in done["placements"]}) == count
    gone(api, cell, trait, 16 - 2 * count)


def test_count_without_room_takes_nothing(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Five instances of four cores on sixteen cores: none is placed, and with partial four are."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {}, "b": {}})
    refused = api.ask(cell, on(trait, {"VCPU": 4}, count=5))
    assert refused["stage"] == "refused", refused
    gone(api, cell, trait, 16)
    partly = api.ask(cell, on(trait, {"VCPU": 4}, count=5, partial=True))
    assert len(partly["placements"]) == 4, partly


# -- the end of a request


@pytest.mark.parametrize("stage", ["accepted", "placed", "built"])
def test_cancel_frees_everything_at_every_stage(
    deployment: Deployment, api: Api, make_lab: MakeLab, stage: str
) -> None:
    """Cancelled before the decision, before or after the build: nothing stays on the host."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {}})
    accepted = api.post(cell, on(trait, CORE, count=2))
    if stage != "accepted":
        wanted = ("placed", "built") if stage == "placed" else ("built",)
        api.reaches(cell, accepted["id"], *wanted)
    answer = api.cancel(cell, accepted["id"])
    assert answer.status_code in (200, 202), answer.text
    api.reaches(cell, accepted["id"], "cancelled")
    gone(api, cell, trait, 8)
    assert api.cancel(cell, accepted["id"]).is_success, "cancelling twice is once"


def test_cancel_from_another_region(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """Any cell's API can cancel: the request's id names its home."""
    home, other = deployment.cells[:2]
    trait = make_lab(home, {"a": {}})
    accepted = api.post(home, on(trait, CORE))
    api.reaches(home, accepted["id"], "built")
    assert api.cancel(other, accepted["id"]).is_success
    api.reaches(other, accepted["id"], "cancelled")
    gone(api, home, trait, 8)


def test_failed_build_moves_on_to_an_alternate(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Where builds fail, the next host is claimed first; the request says which was tried."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"good": {}})
    make_lab(cell, {"bad": {}}, trait=trait, failing=True)
    bad = next(h["host"] for name, h in api.hosts(cell, trait).items() if name.endswith("-bad"))
    tried = []
    for _ in range(8):
        accepted = api.post(cell, on(trait, CORE, alternates=1, deadline_s=60))
        built = api.reaches(cell, accepted["id"], "built", seconds=60)
        assert built["placements"][0]["host_name"].endswith("-good"), built
        tried += built.get("tried", [])
        if tried:
            break
    assert set(tried) == {bad}, "no build was ever begun on the host where they fail"


def test_request_without_a_good_host_fails_and_says_why(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """The only host fails the build: the request ends as failed, and the host is free again."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"bad": {}}, failing=True)
    accepted = api.post(cell, on(trait, CORE))
    failed = api.reaches(cell, accepted["id"], "failed")
    assert failed["reason"]["code"] == "build_failed", failed
    assert failed["reason"]["message"].startswith("Build failed on "), failed
    assert [change["stage"] for change in failed["changes"]][-1] == "failed"
    gone(api, cell, trait, 8)


def test_a_journal_on_a_full_disk_begins_nothing(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """A build that cannot be noted fails and says why; what runs goes on, and may be taken away."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {}}, small_disk=True)
    (agent,) = labs(deployment, cell)
    first, second = (api.post(cell, on(trait, CORE)) for _ in range(2))
    for request in (first, second):
        api.reaches(cell, request["id"], "built")
    fill_disk(agent)
    failed = api.reaches(cell, api.post(cell, on(trait, CORE))["id"], "failed")
    assert "database or disk is full" in failed["reason"]["message"], failed
    api.cancel(cell, first["id"])
    gone(api, cell, trait, 7)
    assert api.get(cell, f"/v1/requests/{second['id']}")["stage"] == "built"
    free_disk(agent)
    api.reaches(cell, api.post(cell, on(trait, CORE))["id"], "built")
    gone(api, cell, trait, 6)


# -- asking twice


def test_same_key_same_request(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """Eight calls with one key and one body, at once and later, are one request and one claim."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {}})
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [pool.submit(api.post, cell, on(trait, CORE), **key) for _ in range(8)]
        found = {future.result()["id"] for future in asked}
    (request_id,) = found
    api.reaches(cell, request_id, "built")
    assert api.post(cell, on(trait, CORE), **key)["id"] == request_id
    gone(api, cell, trait, 7)


def test_same_key_another_body_is_refused(deployment: Deployment, api: Api) -> None:
    """The second body is not what the first answer was about: 409, nothing is stored."""
    cell = deployment.cells[0]
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = api.post(cell, {"resources": CORE}, **key)
    answer = api.call(cell, "POST", "/v1/requests", {"resources": {"VCPU": 2}}, **key)
    assert answer.status_code == 409, answer.text
    assert answer.json()["errors"][0]["code"] == "placer.idempotency_conflict"
    assert api.request(cell, first["id"])["spec"]["resources"] == CORE


# -- being told why


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        pytest.param({"resources": {"VCPU": 9}}, "VCPU:no_capacity", id="too many cores"),
        pytest.param(
            {"resources": {"SRIOV_NET_VF": 1}}, "SRIOV_NET_VF:not_offered", id="no such device"
        ),
        pytest.param(
            {"resources": CORE, "forbidden_traits": ["CUSTOM_COLOUR_RED"]},
            "trait_forbidden:CUSTOM_COLOUR_RED",
            id="a trait that all have",
        ),
    ],
)
def test_refusal_says_what_is_missing(
    deployment: Deployment, api: Api, make_lab: MakeLab, wanted: dict[str, Any], said: str
) -> None:
    """Counts by reason, the nearest host, and what to change; stored with the request."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {"traits": ["CUSTOM_COLOUR_RED"]}})
    refused = api.ask(cell, wanted | {"required_traits": [trait]})
    assert refused["stage"] == "refused"
    reason = refused["reason"]
    assert reason["code"] == "no_valid_host"
    assert reason["rejected"].get(said), reason
    assert reason["remedy"]
    assert reason["hosts_seen"] > 0


def test_request_shows_its_way(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """The stages it went through, in order and with their times."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {"a": {}})
    accepted = api.post(cell, on(trait, CORE))
    built = api.reaches(cell, accepted["id"], "built", seconds=BUILT_S)
    stages = [change["stage"] for change in built["changes"]]
    assert stages[-2:] == ["placed", "built"], stages
    times = [change["at_ms"] for change in built["changes"]]
    assert times == sorted(times)
