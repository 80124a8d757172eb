"""Manifests over all cells, timed on the deployment that ./demo brought up: beside the slowest RTT they need."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from client import Api
from deployment import Deployment

BARS: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "command_bars.yml").read_text()
)
MANIFESTS = 12


@pytest.fixture
def api(deployment: Deployment, api_token: str) -> Iterator[Api]:
    with Api(deployment, api_token).taking_back() as api:
        yield api


def test_manifest_over_all_cells_takes_about_one_round_trip(
    deployment: Deployment, api: Api
) -> None:
    """From each region one instance in every cell, whole: the median claim against the longest RTT."""
    report = json.loads((deployment.run_dir / "report.json").read_text())
    ratios = {}
    for cell in deployment.cells:
        body = {"resources": {"VCPU": 1}, "cells": deployment.cells, "count": 3}
        times = []
        for _ in range(MANIFESTS):
            body["server_group"] = api.group(cell, "anti-affinity", "cell")
            done = api.ask(cell, body)
            assert done["stage"] in ("placed", "built"), done
            assert sorted(p["cell"] for p in done["placements"]) == deployment.cells
            times.append(done["timings"]["claim_ms"])
            assert api.cancel(cell, done["id"]).is_success
            api.reaches(cell, done["id"], "cancelled")
        longest = max(pair["rtt_ms"] for pair in report["cross_cell"] if pair["from"] == cell)
        ratios[cell] = round(statistics.median(times) / longest, 2)
    (deployment.run_dir / "manifests.json").write_text(json.dumps(ratios))
    worst = max(ratios.values())
    assert worst <= BARS["manifest_p50_over_rtt"]["max"], ratios
