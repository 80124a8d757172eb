"""Actions on instances and hosts on real quorums: moved, resized, stopped, deleted, drained, evacuated.

Every test has hosts of its own, in an agent of its own (the sim driver).
"""

from __future__ import annotations

from typing import Any

import pytest

from client import BUILT_S, Api
from deployment import Deployment, docker
from lab import MakeLab, labs, until

pytestmark = pytest.mark.cluster

#: A host's loss is noticed by its agent's silence; then a grace passes.
DOWN_S = 90.0
MOVED_S = 60.0


def built(api: Api, cell: str, trait: str, **more: Any) -> dict[str, Any]:
    """A request of one core a piece on hosts with ``trait``, built."""
    body = {"resources": {"VCPU": 1}, "required_traits": [trait], **more}
    asked = api.post(cell, body)
    return api.reaches(cell, asked["id"], "built", seconds=BUILT_S)


def act(api: Api, cell: str, instance: str, action: str, **more: Any) -> dict[str, Any]:
    """The answer to an action; the list may take a moment to know the instance."""
    body = {"action": action, "by": "test", "why": "it is a test", **more}

    def answered() -> dict[str, Any] | None:
        answer = api.call(cell, "POST", f"/v1/instances/{instance}/actions", body)
        if answer.status_code == 404:
            return None
        assert answer.is_success, answer.text
        done: dict[str, Any] = answer.json()
        return done

    found: dict[str, Any] = until(answered, seconds=10, what=f"{action} of {instance} is taken")
    return found


def order(api: Api, cell: str, host: str, operation: str) -> dict[str, Any]:
    body = {"by": "test", "why": "it is a test"}
    answer = api.call(cell, "POST", f"/v1/hosts/{cell}/{host}/{operation}", body)
    assert answer.is_success, answer.text
    detail: dict[str, Any] = answer.json()
    return detail


def name_of(api: Api, cell: str, trait: str, ending: str) -> str:
    """The whole name of a lab's host."""
    return next(name for name in api.hosts(cell, trait) if name.endswith(f"-{ending}"))


def shown(api: Api, cell: str, instance: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(cell, f"/v1/instances/{instance}")["instance"]
    return found


def empty(api: Api, cell: str, host: str) -> bool:
    return not api.get(cell, f"/v1/hosts/{cell}/{host}")["claims"]


def test_a_move_keeps_the_instance(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """To another host, under the same id; the old host is free again; any cell's API takes the call."""
    *others, cell = deployment.cells
    trait = make_lab(cell, {"a": {}, "b": {}})
    request = built(api, cell, trait)
    (here,) = request["placements"]
    done = act(api, others[0] if others else cell, here["instance"], "move")
    assert done["request"]["id"] == request["id"]
    after = api.reaches(cell, request["id"], "built", seconds=MOVED_S)
    (there,) = after["placements"]
    assert there["instance"] == here["instance"]
    assert there["host_name"] != here["host_name"]
    assert any("asked by test" in change.get("why", "") for change in after["changes"])
    until(lambda: empty(api, cell, here["host_name"]), seconds=30, what="the old host is empty")
    until(
        lambda: shown(api, cell, here["instance"])["host_name"] == there["host_name"],
        seconds=10,
        what="the list shows the new host",
    )
    history = api.get(cell, f"/v1/instances/{here['instance']}")["history"]
    assert any(event.get("by") == "test" for event in history), history


@pytest.mark.parametrize(
    ("cores", "moves"),
    [pytest.param(4, False, id="where it is"), pytest.param(8, True, id="by a move")],
)
def test_a_resize(
    deployment: Deployment, api: Api, make_lab: MakeLab, cores: int, moves: bool
) -> None:
    """In one step where there is room, else on another host; the row says the new size."""
    cell = deployment.cells[-1]
    trait = make_lab(cell, {"a": {}})
    neighbour = built(api, cell, trait)
    request = built(api, cell, trait)
    assert neighbour["placements"][0]["host"] == request["placements"][0]["host"]
    make_lab(cell, {"b": {}}, trait=trait)
    (here,) = request["placements"]
    act(api, cell, here["instance"], "resize", resources={"VCPU": cores})
    after = api.reaches(cell, request["id"], "built", seconds=MOVED_S)
    (there,) = after["placements"]
    assert (there["host"] != here["host"]) is moves
    until(
        lambda: shown(api, cell, here["instance"])["resources"] == {"VCPU": cores},
        seconds=20,
        what="the list shows the new size",
    )


def test_stop_and_start(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """The list says how the instance is, and its history who wanted it."""
    cell = deployment.cells[-1]
    trait = make_lab(cell, {"a": {}})
    (here,) = built(api, cell, trait)["placements"]
    for action, state in (("stop", "stopped"), ("start", "running")):
        assert "request" not in act(api, cell, here["instance"], action)
        stands(api, cell, here["instance"], state)
    log = api.get(cell, f"/v1/instances/{here['instance']}/log?lines=5")
    assert log["instance"] == here["instance"]


def stands(api: Api, cell: str, instance: str, state: str) -> None:
    """The list says ``state`` soon."""
    until(
        lambda: shown(api, cell, instance)["state"] == state,
        seconds=15,
        what=f"the instance is {state}",
    )


def test_one_of_several_is_deleted(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """The others stay, and it is not made again."""
    cell = deployment.cells[-1]
    trait = make_lab(cell, {"a": {}, "b": {}})
    request = built(api, cell, trait, count=3)
    gone = request["placements"][0]["instance"]
    act(api, cell, gone, "delete")
    until(
        lambda: len(api.request(cell, request["id"])["placements"]) == 2,
        seconds=30,
        what="two are left",
    )
    after = api.reaches(cell, request["id"], "built")
    assert gone not in {place["instance"] for place in after["placements"]}
    assert api.free(cell, trait, "VCPU") == 16 - 2


def test_a_host_is_drained(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """Everything leaves it, nothing new comes to it; enabled again it is chosen."""
    cell = deployment.cells[-1]
    trait = make_lab(cell, {"a": {}})
    requests = [built(api, cell, trait) for _ in range(6)]
    make_lab(cell, {"b": {}}, trait=trait)
    host = name_of(api, cell, trait, "a")
    detail = order(api, cell, host, "drain")
    assert detail["host"]["duty"]["state"] == "draining"
    until(lambda: empty(api, cell, host), seconds=120, what=f"{host} is empty")
    for request in requests:
        (there,) = api.reaches(cell, request["id"], "built")["placements"]
        assert there["host_name"] != host
    refused = api.ask(cell, {"resources": {"VCPU": 8}, "required_traits": [trait]})
    assert refused["reason"]["rejected"].get("host_draining") == 1, refused["reason"]
    order(api, cell, host, "enable")
    until(
        lambda: (
            api.ask(cell, {"resources": {"VCPU": 8}, "required_traits": [trait]})["stage"]
            in ("placed", "built")
        ),
        seconds=20,
        what="it is chosen again",
    )


def test_a_dead_host_is_evacuated_and_does_not_run_it_twice(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Its instances are built elsewhere; the host that is back destroys them before all else."""
    cell = deployment.cells[-1]
    before = labs(deployment, cell)
    trait = make_lab(cell, {"a": {}})
    (agent,) = labs(deployment, cell) - before
    requests = [built(api, cell, trait) for _ in range(3)]
    make_lab(cell, {"b": {}}, trait=trait)
    host = name_of(api, cell, trait, "a")
    refused = api.call(cell, "POST", f"/v1/hosts/{cell}/{host}/evacuate", {})
    assert refused.status_code == 409, refused.text
    docker("pause", agent)
    try:
        until(
            lambda: api.hosts(cell, trait)[host]["status"] == "down",
            seconds=DOWN_S,
            what=f"{host} is down",
        )
        order(api, cell, host, "evacuate")

        def elsewhere() -> bool:
            found = [api.request(cell, request["id"]) for request in requests]
            return all(
                one["stage"] == "built" and one["placements"][0]["host_name"] != host
                for one in found
            )

        until(elsewhere, seconds=MOVED_S, what="all run elsewhere")
        left = api.get(cell, f"/v1/hosts/{cell}/{host}")
        assert (left["left"], left["leaving"]) == (0, 3)
    finally:
        docker("unpause", agent)
    until(lambda: empty(api, cell, host), seconds=DOWN_S, what=f"{host} destroyed what it ran")
    there = api.get(cell, f"/v1/hosts/{cell}/{host}")["host"]
    assert (there["status"], there["duty"]["state"]) == ("up", "evacuating")
    order(api, cell, host, "enable")
