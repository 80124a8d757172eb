"""Processes killed at named steps: what they worked on is finished by whoever is left.

Finished means all of it: requests at their end, instances that are those of the requests, and hosts
that have given nothing else away. The process is a container of the same image and addresses that
kills itself (SIGKILL) at the fail point (``placer/failpoints.py``); nothing else is simulated. It
stays dead until that is checked. Time counts from its death, or, where it was the only scheduler,
from the moment that another serves.

Cells do not share schedulers: most tests deal their fail points out among the cells, and die in all
of them at once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import httpx
import pytest

from client import Api
from deployment import Deployment, docker
from lab import (
    Arm,
    MakeLab,
    arm_lab,
    bring_labs_to,
    died_at,
    has_died,
    lab_trait,
    labs,
    replaced,
    stopped,
    until,
    url_of,
)

pytestmark = pytest.mark.cluster

#: A dead scheduler's work is resumed within this; building it takes a moment more.
RESUMED_S = 10.0
BUILT_S = 5.0
#: Until nothing is left of a death, on the hosts' rows too.
SETTLED_S = 30.0
DIES_S = 60.0
DOWN_S = 30.0
FINAL = ("built", "refused", "failed", "cancelled")
ENDED = FINAL[1:]
#: Of one host of a lab.
CORES = 8

#: One death: in which cell, at which fail point, and what starts the process that dies there.
Story = Callable[[str, str, Arm], None]


def schedulers(deployment: Deployment, cell: str) -> list[str]:
    """Names of the schedulers of ``cell``, at least two."""
    pattern = rf"{deployment.name}-({re.escape(cell)}-scheduler-\d+)"
    found = sorted(m[1] for name in deployment.containers if (m := re.fullmatch(pattern, name)))
    assert len(found) > 1, f"{cell} has {found}: deploy it with placer_scheduler_count=2"
    return found


def labs_in_all_cells(
    deployment: Deployment, make_lab: MakeLab, hosts: int, *, failing: bool = False
) -> str:
    trait = lab_trait()
    for cell in deployment.cells:
        make_lab(cell, {f"h{number}": {} for number in range(hosts)}, trait=trait, failing=failing)
    return trait


@contextlib.contextmanager
def dying(deployment: Deployment, api: Api, process: str) -> Iterator[Arm]:
    """``replaced``; a scheduler's replacement is known to the API server of its cell as well.

    Until then the cell's other scheduler is given everything, and a small lab may be full.
    """
    if "-scheduler-" not in process:
        with replaced(deployment, process) as arm:
            yield arm
        return
    cell = deployment.cell_of(f"{deployment.name}-{process}")
    path = f"/v1/services?cell={cell}&kind=scheduler"

    def is_up() -> bool:
        found = api.get(cell, path)["services"]
        return any(one["name"] == process and one["state"] == "up" for one in found)

    with replaced(deployment, process) as arm:

        def arm_and_wait(point: str) -> str:
            container = arm(point)
            until(
                lambda: has_died(container) or is_up(),
                seconds=DOWN_S,
                what=f"the API server of {cell} knows {container}",
            )
            return container

        yield arm_and_wait


def all_told(
    deployment: Deployment, api: Api, process: str, points: Sequence[str], story: Story
) -> None:
    """Tell ``story`` at all ``points``; the one that dies stands in for ``process`` of its cell."""
    cells = deployment.cells

    def told(cell: str, mine: Sequence[str]) -> None:
        with dying(deployment, api, f"{cell}-{process}") as arm:
            for point in mine:
                try:
                    story(cell, point, arm)
                except BaseException as error:
                    error.add_note(f"at {point} in {cell}")
                    raise

    with concurrent.futures.ThreadPoolExecutor(len(cells)) as pool:
        running = [
            pool.submit(told, cell, points[number :: len(cells)])
            for number, cell in enumerate(cells[: len(points)])
        ]
    failed = [error for each in running if (error := each.exception()) is not None]
    if failed:
        raise BaseExceptionGroup("not survived", failed)


def until_it_dies(container: str, act: Callable[[], object] = lambda: None) -> float:
    """Do ``act`` again and again until ``container`` is dead; when that was, in s since 1970."""

    def dead() -> bool:
        act()
        time.sleep(0.2)
        return has_died(container)

    until(dead, seconds=DIES_S, what=f"{container} reaches its fail point")
    return died_at(container)


def resumed(api: Api, cell: str, asked: Sequence[str], died: float) -> list[dict[str, Any]]:
    """The requests at their ends: each was taken up by somebody in time, and then soon done."""
    ended = []
    for request in asked:
        left_s = max(0.0, died + RESUMED_S + BUILT_S - time.time())
        one = api.reaches(cell, request, *FINAL, seconds=left_s)
        later = [change["at_ms"] / 1000 for change in one["changes"]]
        later = [at for at in later if at > died]
        # Without a change since then it had been at its end already.
        assert not later or later[0] - died <= RESUMED_S, f"{later[0] - died:.1f} s: {one}"
        ended.append(one)
    return ended


def held(api: Api, cell: str, trait: str) -> tuple[int, set[str]]:
    """What lists say is free on the hosts with ``trait``, and the claims that their rows hold."""
    hosts = api.hosts(cell, trait)
    claims = {
        claim["claim"]
        for host in hosts
        for claim in api.get(cell, f"/v1/hosts/{cell}/{host}")["claims"]
    }
    return api.free(cell, trait, "VCPU"), claims


def all_settled(
    api: Api, cell: str, trait: str, free: int, claims: Iterable[str], since: float
) -> None:
    """Nothing is held that no request names: claims of the dead, and tags, are gone in time."""
    wanted = free, set(claims)
    with contextlib.suppress(AssertionError):
        until(
            lambda: api.free(cell, trait, "VCPU") == free and held(api, cell, trait) == wanted,
            seconds=max(1.0, since + SETTLED_S - time.time()),
            what="all is settled",
        )
    assert held(api, cell, trait) == wanted, f"{SETTLED_S:g} s after the death"


def claims_of(requests: Iterable[dict[str, Any]]) -> list[str]:
    return [placed["claim"] for one in requests for placed in one.get("placements", [])]


def instances_are(api: Api, cell: str, project: str, claims: Sequence[str]) -> None:
    """Exactly these claims run as the project's instances, each once."""
    assert len(set(claims)) == len(claims)
    path = f"/v1/instances?project={project}&limit=1000"

    def running() -> list[str]:
        found = api.get(cell, path)["instances"]
        return sorted(one["claim"] for one in found if one["state"] == "running")

    until(lambda: running() == sorted(claims), seconds=30, what=f"{sorted(claims)} run")


def test_requests_survive_their_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Before the claim, between claim and log, between log and agent: each request is built once."""
    trait = labs_in_all_cells(deployment, make_lab, 8)

    def story(cell: str, point: str, arm: Arm) -> None:
        first, *_ = schedulers(deployment, cell)
        project = f"crash-{uuid.uuid4().hex[:8]}"
        body = {"resources": {"VCPU": 1}, "required_traits": [trait], "project": project}
        free, claims = held(api, cell, trait)
        asked: list[str] = []
        container = arm(f"{point}:2")
        if point == "request.built":
            bring_labs_to(deployment, cell, first)
        died = until_it_dies(container, lambda: asked.append(api.post(cell, body)["id"]))
        ended = resumed(api, cell, asked, died)
        assert {one["stage"] for one in ended} == {"built"}, ended
        new = claims_of(ended)
        instances_are(api, cell, project, new)
        all_settled(api, cell, trait, free - len(ended), {*claims, *new}, died)

    points = [
        "claim.before_lwt",
        "claim.after_lwt",
        "request.claimed",
        "request.placed",
        "request.built",
    ]
    all_told(deployment, api, "scheduler-1", points, story)


@pytest.mark.long
def test_manifests_survive_their_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Whole or not at all, whichever step its coordinator died at."""
    trait = labs_in_all_cells(deployment, make_lab, 20)
    body = {"resources": {"VCPU": 5}, "required_traits": [trait], "count": 2}

    def story(cell: str, point: str, arm: Arm) -> None:
        free, claims = held(api, cell, trait)
        asked: list[str] = []
        died = until_it_dies(arm(point), lambda: asked.append(api.post(cell, body)["id"]))
        ended = resumed(api, cell, asked, died)
        assert [len(one["placements"]) for one in ended] == [2] * len(ended), ended
        wanted = {*claims, *claims_of(ended)}
        all_settled(api, cell, trait, free - 10 * len(ended), wanted, died)

    points = [
        "writeset.before_record",
        "writeset.record_made",
        "writeset.one_prepared",
        "writeset.prepared",
        "writeset.committed",
        "writeset.one_settled",
        "writeset.settled",
    ]
    all_told(deployment, api, "scheduler-1", points, story)


def test_refused_manifest_survives_its_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Several want the same two hosts; whoever undoes the loser's part dies over it."""
    trait = labs_in_all_cells(deployment, make_lab, 2)
    body = {"resources": {"VCPU": CORES}, "required_traits": [trait], "count": 2}

    def story(cell: str, point: str, arm: Arm) -> None:
        asked: list[str] = []

        def collide() -> None:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                now = [one["id"] for one in pool.map(lambda _: api.post(cell, body), range(6))]
            asked.extend(now)
            time.sleep(0.5)
            for request in now:
                assert api.cancel(cell, request).is_success

        died = until_it_dies(arm(point), collide)
        for request in asked:
            api.reaches(cell, request, *ENDED, seconds=RESUMED_S + BUILT_S)
        all_settled(api, cell, trait, 2 * CORES, (), died)

    all_told(deployment, api, "scheduler-1", ["writeset.aborted"], story)


@pytest.mark.long
@pytest.mark.parametrize(
    ("failing", "points"),
    [
        pytest.param(False, ["cancel.released", "request.left"], id="cancelled"),
        pytest.param(True, ["request.reopening", "request.reopened"], id="its build failed"),
    ],
)
def test_ends_survive_their_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab, failing: bool, points: list[str]
) -> None:
    """A cancel, or a failed build, that was cut short is brought to its end by another."""
    trait = labs_in_all_cells(deployment, make_lab, 2, failing=failing)
    body = {"resources": {"VCPU": 1}, "required_traits": [trait], "deadline_s": 5}

    def story(cell: str, point: str, arm: Arm) -> None:
        first, *_ = schedulers(deployment, cell)
        asked: list[str] = []
        container = arm(point)
        if point != "cancel.released":
            bring_labs_to(deployment, cell, first)

        def end_one() -> None:
            request = api.post(cell, body)["id"]
            asked.append(request)
            if not failing:
                api.reaches(cell, request, *FINAL, seconds=RESUMED_S + BUILT_S)
                assert api.cancel(cell, request).is_success

        died = until_it_dies(container, end_one)
        for request in asked:
            api.reaches(cell, request, *ENDED, seconds=RESUMED_S + BUILT_S)
        all_settled(api, cell, trait, 2 * CORES, (), died)

    all_told(deployment, api, "scheduler-1", points, story)


@pytest.mark.long
def test_moves_survive_their_scheduler(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """The instance is where its request says, once, in the size that was asked for last."""
    trait = labs_in_all_cells(deployment, make_lab, 3)
    project, limited = (f"crash-{uuid.uuid4().hex[:8]}" for _ in range(2))
    quota = f"/v1/quotas/{limited}"
    api.put(deployment.cells[0], quota, {"limits": {"VCPU": 1000}})

    def story(cell: str, point: str, arm: Arm) -> None:
        first, *_ = schedulers(deployment, cell)
        # Only what has a quota asks it before it grows.
        owner = limited if point == "move.grown" else project
        body = {"resources": {"VCPU": 1}, "required_traits": [trait], "project": owner}
        request = api.post(cell, body)["id"]
        (here,) = api.reaches(cell, request, "built")["placements"]
        path = f"/v1/instances/{here['instance']}/actions"
        until(
            lambda: api.call(cell, "GET", f"/v1/instances/{here['instance']}").is_success,
            seconds=BUILT_S,
            what="the instance is listed",
        )
        container = arm(point)
        bring_labs_to(deployment, cell, first)
        cores = 1

        def act() -> None:
            nonlocal cores
            if point in ("move.grown", "move.resized"):
                cores = 3 - cores
                order = {"action": "resize", "resources": {"VCPU": cores}}
            else:
                order = {"action": "move"}
            answer = api.call(cell, "POST", path, order)
            assert answer.is_success, answer.text
            until(
                lambda: has_died(container) or api.request(cell, request)["stage"] == "built",
                seconds=BUILT_S + RESUMED_S,
                what="the move is over",
            )

        died = until_it_dies(container, act)
        (ended,) = resumed(api, cell, [request], died)
        (there,) = ended["placements"]
        assert there["instance"] == here["instance"]
        all_settled(api, cell, trait, 3 * CORES - cores, {there["claim"]}, died)
        found = api.get(cell, f"/v1/instances/{here['instance']}")["instance"]
        assert (found["claim"], found["resources"]["VCPU"]) == (there["claim"], cores)
        assert api.cancel(cell, request).is_success
        all_settled(api, cell, trait, 3 * CORES, (), time.time())

    points = [
        "move.claimed",
        "move.named",
        "move.swapped",
        "move.left",
        "move.grown",
        "move.resized",
    ]
    try:
        all_told(deployment, api, "scheduler-1", points, story)
    finally:
        api.call(deployment.cells[0], "DELETE", quota)


@pytest.mark.long
def test_an_evacuation_survives_the_only_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """The dead host is fenced and the request does not say so yet; the instance runs once, elsewhere."""
    cell = deployment.cells[0]
    before = labs(deployment, cell)
    trait = make_lab(cell, {"a": {}})
    (agent,) = labs(deployment, cell) - before
    request = api.post(cell, {"resources": {"VCPU": 1}, "required_traits": [trait]})["id"]
    (here,) = api.reaches(cell, request, "built")["placements"]
    make_lab(cell, {"b": {}}, trait=trait)
    first, *others = schedulers(deployment, cell)
    with dying(deployment, api, first) as arm:
        with stopped(deployment, others):
            container = arm("move.fenced")
            docker("kill", agent)
            name = here["host_name"]
            until(
                lambda: api.hosts(cell, trait)[name]["status"] == "down",
                seconds=DOWN_S,
                what=f"{name} is down",
            )
            path = f"/v1/hosts/{cell}/{name}/evacuate"
            until_it_dies(container, lambda: api.call(cell, "POST", path, {}))

        def elsewhere() -> bool:
            now = api.request(cell, request)
            return bool(now["stage"] == "built" and now["placements"][0]["host_name"] != name)

        until(elsewhere, seconds=SETTLED_S, what="it runs elsewhere")
        docker("start", agent)
        claims = claims_of([api.request(cell, request)])
        all_settled(api, cell, trait, 2 * CORES - 1, claims, time.time())
    api.call(cell, "POST", f"/v1/hosts/{cell}/{name}/enable", {})


@pytest.mark.long
def test_recovery_survives_its_own_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """Whoever finishes what a dead scheduler left dies over it, and so does the next, at each step."""
    cell = deployment.cells[0]
    trait = make_lab(cell, {f"h{number}": {} for number in range(16)})
    body = {"resources": {"VCPU": 5}, "required_traits": [trait], "count": 2, "deadline_s": 300}
    asked: list[str] = []
    first, *others = schedulers(deployment, cell)
    with dying(deployment, api, first) as arm:
        with stopped(deployment, others):
            for begun, steps in (
                (
                    "writeset.prepared",
                    ["recovery.aborted", "recovery.row_settled", "recovery.before_delete"],
                ),
                ("request.claimed", ["recovery.before_take", "recovery.taken"]),
            ):
                until_it_dies(arm(begun), lambda: asked.append(api.post(cell, body)["id"]))
                for step in steps:
                    until_it_dies(arm(step))
        serves = time.time()
        ended = [api.reaches(cell, request, *FINAL, seconds=SETTLED_S) for request in asked]
        taken = [one for one in ended if one.get("reason", {}).get("code") != "no_scheduler"]
        assert [len(one["placements"]) for one in taken] == [2] * len(taken), ended
        assert taken
        all_settled(api, cell, trait, 16 * CORES - 10 * len(taken), claims_of(taken), serves)


@pytest.mark.long
def test_addresses_survive_their_scheduler(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """On their way from the pool to a host, or back: all of them are given out all the same, once."""
    cell = deployment.cells[0]
    network = f"net-{uuid.uuid4().hex[:8]}"
    api.put(cell, f"/v1/networks/{network}", {"cell": cell, "cidr": "10.20.31.0/28"})
    trait = make_lab(cell, {"a": {}, "b": {}})
    hosts = sorted(api.hosts(cell, trait))
    body = {
        "resources": {"VCPU": 1},
        "required_traits": [trait],
        "network": network,
        "deadline_s": 60,
    }
    asked: list[str] = []

    def ask(host: str, container: str) -> None:
        request = api.post(cell, body | {"host": host})["id"]
        asked.append(request)
        until(
            lambda: has_died(container) or api.request(cell, request)["stage"] in FINAL,
            seconds=SETTLED_S,
            what=f"{request} is built",
        )

    first, *others = schedulers(deployment, cell)
    with dying(deployment, api, first) as arm:
        with stopped(deployment, others):
            for point, host in zip(("network.taken", "network.returning"), hosts, strict=True):
                container = arm(point)
                until_it_dies(container, partial(ask, host, container))
        ended = [api.reaches(cell, request, *FINAL, seconds=SETTLED_S) for request in asked]
        taken = [one for one in ended if one["stage"] == "built"]
        codes = {one["reason"]["code"] for one in ended if one["stage"] != "built"}
        assert codes <= {"no_scheduler"}, ended
        more = [api.ask(cell, body) for _ in range(14 - len(taken))]
    unplaced = [one for one in more if "placements" not in one]
    assert not unplaced, str(unplaced)
    addresses = [
        address
        for one in [*taken, *more]
        for slot, devices in one["placements"][0]["units"].items()
        if slot.endswith("/IPV4_ADDRESS")
        for address in devices
    ]
    assert len(addresses) == len(set(addresses)) == 14


def test_requests_survive_their_api_server(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """The caller hears nothing; what the log has is done, and asking again finds it."""
    trait = labs_in_all_cells(deployment, make_lab, 1)
    *_, elsewhere = deployment.cells  # its API server stays

    def story(cell: str, point: str, arm: Arm) -> None:
        project = f"crash-{uuid.uuid4().hex[:8]}"
        body = {"resources": {"VCPU": 1}, "required_traits": [trait], "project": project}
        key = {"Idempotency-Key": uuid.uuid4().hex}
        base = url_of(deployment, f"{cell}-api-1") + "/v1/requests"
        headers = {"Authorization": f"Bearer {api.token}", **key}
        container = arm(point)

        def broken(method: str, url: str, **more: Any) -> float:
            with pytest.raises(httpx.TransportError):
                httpx.request(method, url, headers=headers, timeout=40, **more)
            return until_it_dies(container)

        if point == "request.logged":
            died = broken("POST", base, json=body)
            path = f"/v1/instances?project={project}"
            (one,) = until(
                lambda: api.get(elsewhere, path)["instances"],
                seconds=died + RESUMED_S + BUILT_S - time.time(),
                what="the request that was logged is built",
            )
            again.append((cell, body, key, one["claim"]))
        else:
            answer = httpx.post(base, json=body, headers=headers, timeout=40)
            assert answer.is_success, answer.text
            request = answer.json()["id"]
            api.reaches(elsewhere, request, "built")
            died = broken("DELETE", f"{base}/{request}")
            resumed(api, elsewhere, [request], died)
            api.reaches(elsewhere, request, "cancelled", seconds=1)
            cancelled.append(cell)

    again: list[tuple[str, dict[str, Any], dict[str, str], str]] = []
    cancelled: list[str] = []
    all_told(deployment, api, "api-1", ["request.logged", "request.cancelling"], story)
    ((cell, body, key, claim),) = again
    first, second = (api.post(cell, body, **key)["id"] for _ in range(2))
    assert first == second
    (placement,) = api.reaches(cell, first, "built")["placements"]
    assert placement["claim"] == claim
    all_settled(api, cell, trait, CORES - 1, {claim}, time.time())
    for other in cancelled:
        all_settled(api, other, trait, CORES, (), time.time())


@pytest.mark.long
def test_instances_survive_their_agent(deployment: Deployment, api: Api, make_lab: MakeLab) -> None:
    """An agent that dies at each step of a build and of an end: one instance, and then none."""
    cell = deployment.cells[0]
    before = labs(deployment, cell)
    trait = make_lab(cell, {"a": {}})
    (agent,) = labs(deployment, cell) - before
    project = f"crash-{uuid.uuid4().hex[:8]}"
    arm_lab(agent, "agent.adopted")
    request = api.post(
        cell,
        {
            "resources": {"VCPU": 1},
            "required_traits": [trait],
            "project": project,
            "deadline_s": 300,
        },
    )["id"]
    until_it_dies(agent)
    for point in ("agent.noted", "agent.said_built"):
        arm_lab(agent, point)
        until_it_dies(agent)
    arm_lab(agent, "agent.destroying")
    (placement,) = api.reaches(cell, request, "built")["placements"]
    instances_are(api, cell, project, [placement["claim"]])
    assert api.cancel(cell, request).is_success
    until_it_dies(agent)
    for point in ("agent.destroyed", "agent.said_gone"):
        arm_lab(agent, point)
        until_it_dies(agent)
    arm_lab(agent, "")
    api.reaches(cell, request, "cancelled")
    all_settled(api, cell, trait, CORES, (), time.time())
    instances_are(api, cell, project, [])
