"""Quotas on real quorums: never above the slice, refused with what is left, given back on cancel."""

from __future__ import annotations

import concurrent.futures
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from client import Api
from deployment import Deployment
from lab import until

pytestmark = pytest.mark.cluster

PLACED = ("placed", "built")
#: Schedulers read quotas again every five seconds.
HEEDED_S = 15.0
#: So many requests that of two schedulers one is left out in one of 32,768 runs.
OF_EACH = 16


@pytest.fixture
def project(deployment: Deployment, api: Api) -> Iterator[str]:
    """A project of this test alone; its quota is taken away afterwards."""
    name = f"quota-{uuid.uuid4().hex[:8]}"
    yield name
    api.call(deployment.cells[0], "DELETE", f"/v1/quotas/{name}")


def used(api: Api, cell: str, project: str) -> int:
    slices = api.get(cell, f"/v1/quotas/{project}")["slices"]
    return int(next(one for one in slices if one["cell"] == cell)["used"]["VCPU"])


def at_once(api: Api, cell: str, body: dict[str, Any], number: int) -> list[dict[str, Any]]:
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        asked = [pool.submit(api.ask, cell, body) for _ in range(number)]
        return [future.result() for future in asked]


def test_slice_is_never_exceeded_and_comes_back(
    deployment: Deployment, api: Api, everywhere: str, project: str
) -> None:
    """Room for 24 by the hosts and for 5 by the slice: 5 of 8 at once; after a cancel one more."""
    cell = deployment.cells[0]
    quota = api.put(cell, f"/v1/quotas/{project}", {"limits": {"VCPU": 5}, "cells": {cell: 1}})
    assert all(part["reachable"] for part in quota["slices"]), quota
    body = {"resources": {"VCPU": 1}, "required_traits": [everywhere], "project": project}

    def heeded() -> bool:
        # More than any host has: it is not placed before the quota is heeded either.
        refused = api.ask(cell, {**body, "resources": {"VCPU": 9}})
        return bool((refused.get("reason") or {}).get("code") == "quota_exceeded")

    # More than one scheduler serves the cell, each asked at random, and each has to have read the list.
    until(
        lambda: all(heeded() for _ in range(OF_EACH)), seconds=HEEDED_S, what="the quota is heeded"
    )
    done = at_once(api, cell, body, 8)
    placed = [one for one in done if one["stage"] in PLACED]
    refused = [one for one in done if one not in placed]
    assert len(placed) == 5, done
    for one in refused:
        assert one["stage"] == "refused"
        assert one["reason"]["code"] == "quota_exceeded", one
        assert one["reason"]["quota"]["left"] == 0
        assert one["reason"]["remedy"]
    assert used(api, cell, project) == 5
    api.cancel(cell, placed[0]["id"])
    until(lambda: used(api, cell, project) == 4, seconds=30, what="the share is given back")
    assert api.ask(cell, body)["stage"] in PLACED


def test_other_cells_are_named_by_the_refusal(
    deployment: Deployment, api: Api, everywhere: str, project: str
) -> None:
    """All of the quota is in another cell: the reason says how much, the remedy what to do."""
    here, there = deployment.cells[:2]
    api.put(here, f"/v1/quotas/{project}", {"limits": {"VCPU": 3}, "cells": {there: 1}})
    body = {"resources": {"VCPU": 1}, "required_traits": [everywhere], "project": project}

    def refusal() -> dict[str, Any] | None:
        reason = api.ask(here, body).get("reason") or {}
        return reason if reason.get("code") == "quota_exceeded" else None

    reason = until(refusal, seconds=HEEDED_S, what="the quota is heeded")
    assert f"3 in {there}" in reason["message"]
    assert there in reason["remedy"]
