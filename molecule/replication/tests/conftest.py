"""The fixtures of tests/ hold here too, and a cluster that is whole before and after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployment import Deployment
from faults import Cluster
from fixtures import api, api_token, deployment, make_lab

__all__ = ["api", "api_token", "cluster", "deployment", "make_lab"]


@pytest.fixture
def cluster(deployment: Deployment) -> Iterator[Cluster]:
    cluster = Cluster(deployment)
    cluster.wait_healthy()
    try:
        yield cluster
    finally:
        cluster.heal()
        cluster.wait_healthy()
