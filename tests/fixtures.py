"""Fixtures of the tests that look at a running deployment. See deployment.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployment import ROOT, Deployment


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
