"""Claims on real quorums, through the APIs of all regions, and what the store itself refuses."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cassandra import InvalidRequest, Unauthorized

from deployment import Deployment, session_on

pytestmark = pytest.mark.cluster

#: A request that has its claims; its agent may already have built.
PLACED = ("placed", "built")

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(deployment: Deployment, api_token: str) -> Ask:
    """Post a request to the API of a cell and wait for its outcome."""

    def post(cell: str, resources: dict[str, int], /, **more: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{deployment.api_urls[cell]}/v1/requests",
            params={"wait": "20s"},
            headers={"Authorization": f"Bearer {api_token}"},
            json={"resources": resources, **more},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        done: dict[str, Any] = answer.json()
        return done

    return post


@pytest.fixture
def get(deployment: Deployment, api_token: str) -> Callable[[str, str], Any]:
    def fetch(cell: str, path: str) -> Any:
        answer = httpx.get(
            deployment.api_urls[cell] + path,
            headers={"Authorization": f"Bearer {api_token}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    return fetch


def test_every_cell_places_in_itself(deployment: Deployment, ask: Ask) -> None:
    """A request without a place is placed in the cell of the API that took it."""
    for cell in deployment.cells:
        done = ask(cell, {"VCPU": 1, "MEMORY_MB": 256})
        assert done["stage"] in PLACED, done
        assert done["placements"][0]["cell"] == cell


def test_every_cell_places_in_every_other(deployment: Deployment, ask: Ask) -> None:
    """Schedulers claim on hosts of other cells by the same transaction as on their own."""
    for home in deployment.cells:
        for target in set(deployment.cells) - {home}:
            done = ask(home, {"VCPU": 1}, cell=target)
            assert done["stage"] in PLACED, done
            assert done["placements"][0]["cell"] == target


def test_request_is_found_from_every_region(
    deployment: Deployment, ask: Ask, get: Callable[[str, str], Any]
) -> None:
    """A request's id names its home; any API server shows it."""
    home = deployment.cells[0]
    done = ask(home, {"VCPU": 1})
    for cell in deployment.cells:
        found = get(cell, f"/v1/requests/{done['id']}")
        assert (found["spec"], found["placements"][0]["claim"]) == (
            done["spec"],
            done["placements"][0]["claim"],
        )


def test_last_unit_has_exactly_one_winner(
    deployment: Deployment, ask: Ask, get: Callable[[str, str], Any]
) -> None:
    """All regions ask at the same moment for one bare-metal host: one gets it, the rest hear no."""
    target = deployment.cells[0]
    hosts = get(target, f"/v1/hosts?cell={target}&limit=1000")["hosts"]
    free = next(host for host in hosts if host["free"].get("CUSTOM_BAREMETAL") == 1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(ask, cell, {"CUSTOM_BAREMETAL": 1}, cell=target, host=free["name"])
            for cell in deployment.cells * 3
        ]
        outcomes = [future.result() for future in asked]
    stages = [outcome["stage"] for outcome in outcomes]
    assert sum(stage in PLACED for stage in stages) == 1, outcomes
    assert stages.count("refused") == len(outcomes) - 1


@pytest.mark.parametrize(
    ("role", "secret"),
    [
        pytest.param("placer_api", "db_api", id="the API cannot touch host rows"),
        pytest.param("placer_check", "db_check", id="the checker cannot write"),
    ],
)
def test_service_roles_have_only_what_they_need(
    deployment: Deployment, role: str, secret: str
) -> None:
    """Each service has a database role of its own, without the others' rights."""
    cell = deployment.cells[0]
    with (
        session_on(deployment, deployment.nodes_of(cell)[0], role, secret) as session,
        pytest.raises((Unauthorized, InvalidRequest)),
    ):
        session.execute(f"INSERT INTO placer_{cell}.host (host, rev) VALUES ('x', 1) IF NOT EXISTS")


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        pytest.param({"resources": {"VCPU": -1}}, 400, "-1", id="negative amount"),
        pytest.param({"resources": {"VCPU": "two"}}, 400, "resources", id="amount is no number"),
        pytest.param({"resources": {"VCPUS": 1}}, 400, "VCPUS", id="unknown class"),
        pytest.param({"resources": {"VCPU": 1}, "cell": "mars1"}, 400, "mars1", id="unknown cell"),
        pytest.param({"resources": {"VCPU": 1}, "colour": 1}, 400, "colour", id="unknown field"),
        pytest.param(
            {"resources": {"VCPU": 1}, "name": "x" * 1_100_000},
            413,
            "1048576",
            id="oversized body",
        ),
    ],
)
def test_bad_request_is_refused_by_name(
    deployment: Deployment, api_token: str, body: dict[str, Any], status: int, named: str
) -> None:
    """The answer has a stable code, names the value and says what to do; nothing is stored."""
    answer = httpx.post(
        f"{deployment.api_urls[deployment.cells[0]]}/v1/requests",
        headers={"Authorization": f"Bearer {api_token}"},
        json=body,
        timeout=30,
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["errors"][0]
    assert error["code"].startswith("placer.")
    assert error["remedy"]
    assert named in answer.text or status == 413


def test_wrong_token_is_refused(deployment: Deployment) -> None:
    """Nothing is served to who does not know the token."""
    for token in ("", "Bearer", "Bearer wrong", "Basic d3Jvbmc="):
        answer = httpx.get(
            f"{deployment.api_urls[deployment.cells[0]]}/v1/hosts",
            headers={"Authorization": token} if token else {},
            timeout=30,
        )
        assert answer.status_code == 401, token
