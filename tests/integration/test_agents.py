"""Agents as their schedulers see them: who is none, and what falls silent."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from client import Api
from deployment import Deployment, docker
from lab import MakeLab, host, lab, lab_trait, labs, until

pytestmark = pytest.mark.cluster

TOLD_S = 30
BACK_S = 30
#: Promised: a host that says nothing any more is noticed within this.
NOTICED_S = 10


def refusals(api: Api, cell: str, marker: str, container: str) -> list[dict[str, Any]]:
    """Events that ``container`` was refused as an agent, which the API of ``cell`` tells since ``marker``."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    addresses = docker("inspect", "--format", form, container).split()
    page = api.get(cell, f"/v1/events?since={marker}&types=agent.refused&limit=1000")
    return [event for event in page["events"] if event["by"] in addresses]


def test_a_certificate_of_another_authority_is_told(
    deployment: Deployment, api: Api, tmp_path: Path
) -> None:
    """Its hosts never appear, and in another region a reader of events hears from where it came and why it may not."""
    cell, other = deployment.cells[0], deployment.cells[-1]
    marker = api.get(other, "/v1/instances?limit=1")["events_marker"]
    trait = lab_trait()
    played = [host("stranger", trait)]
    with lab(deployment, cell, played, tmp_path, stranger=True) as container:
        told = until(
            partial(refusals, api, other, marker, container),
            seconds=TOLD_S,
            what=f"{container} was refused",
        )
        assert not api.hosts(cell, trait)
    for event in told:
        assert event["cell"] == cell
        assert event["why"].startswith("Its certificate is not good here: "), event


def test_a_host_that_falls_silent_is_noticed_everywhere(
    deployment: Deployment, api: Api, make_lab: MakeLab
) -> None:
    """No power, no network: nothing closes its connection. Each region lists it as down in time, and as up again."""
    cell = deployment.cells[0]
    before = labs(deployment, cell)
    trait = make_lab(cell, {"a": {}})
    (agent,) = labs(deployment, cell) - before
    name = f"silent-{trait[-8:].lower()}"
    body = {"resources": {"VCPU": 1}, "required_traits": [trait], "name": name}
    api.reaches(cell, api.ask(cell, body)["id"], "built")
    query = f"/v1/instances?name={name}&state=running"

    def all_say(status: str) -> bool:
        listed = [api.get(one, query)["instances"] for one in deployment.cells]
        return all([one["host_status"] for one in found] == [status] for found in listed)

    until(partial(all_say, "up"), seconds=BACK_S, what="it is up everywhere")
    docker("pause", agent)
    silent_s = time.monotonic()
    try:
        until(partial(all_say, "down"), seconds=BACK_S, what="it is down everywhere")
        assert time.monotonic() - silent_s <= NOTICED_S
    finally:
        docker("unpause", agent)
    until(partial(all_say, "up"), seconds=BACK_S, what="it is up again everywhere")
