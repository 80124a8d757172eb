"""Fixtures of the tests that look at a running deployment. See deployment.py."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client import Api
from deployment import ROOT, Deployment
from faults import Cluster
from lab import MakeLab, host, lab, lab_trait, until

REPORTED_S = 60


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    return Deployment(
        name=os.environ.get("PLACER_TEST_DEPLOYMENT", "molecule"),
        run_dir=Path(os.environ.get("PLACER_TEST_RUN_DIR", ROOT / ".demo-molecule")),
        port_base=int(os.environ.get("PLACER_TEST_PORT_BASE", "8720")),
    )


@pytest.fixture(scope="session")
def api_token(deployment: Deployment) -> str:
    return deployment.secret("api_token")


@functools.cache
def _whole(deployment: Deployment) -> None:
    """Waits for it; what a test has left whole the next one need not wait for again."""
    Cluster(deployment).wait_healthy()


@pytest.fixture
def cluster(deployment: Deployment) -> Iterator[Cluster]:
    """For faults: whole before and after each test."""
    _whole(deployment)
    cluster = Cluster(deployment)
    try:
        yield cluster
    finally:
        _whole.cache_clear()
        cluster.heal()
        _whole(deployment)


@pytest.fixture
def api(deployment: Deployment, api_token: str, make_lab: MakeLab) -> Iterator[Api]:
    """Taken back before the labs go: instances are destroyed by the agents that built them."""
    with Api(deployment, api_token).taking_back() as api:
        yield api


@pytest.fixture
def make_lab(deployment: Deployment, api_token: str, tmp_path: Path) -> Iterator[MakeLab]:
    """Makes a lab in a cell and waits for its hosts; gives the trait that only they have.

    ``hosts``: what each differs in, by a name's ending.
    """
    api = Api(deployment, api_token)
    with contextlib.ExitStack() as labs:

        def make(
            cell: str,
            hosts: dict[str, dict[str, Any]],
            *,
            trait: str = "",
            failing: bool = False,
            small_disk: bool = False,
        ) -> str:
            trait = trait or lab_trait()
            prefix = f"{cell}-{trait.rpartition('_')[2].lower()}"
            made = [host(f"{prefix}-{name}", trait, **more) for name, more in hosts.items()]
            for one in made:
                one["traits"] = sorted({*one["traits"], trait})
            labs.enter_context(
                lab(deployment, cell, made, tmp_path, failing=failing, small_disk=small_disk)
            )
            names = {one["name"] for one in made}
            until(
                lambda: (
                    names <= {n for n, h in api.hosts(cell, trait).items() if h["status"] == "up"}
                ),
                seconds=REPORTED_S,
                what=f"hosts {sorted(names)} are up",
            )
            return trait

        yield make
