"""What ./demo reported, against the bars and against the keys that docs/reference/report.md promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment import ROOT, Deployment

BARS: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "bars.yml").read_text())

# Keys that readers of report.json may rely on; a dot goes one level down.
KEYS = [
    "placed",
    "refused",
    "claims_per_second",
    "local_ms.p50",
    "local_ms.p95",
    "local_ms.p99",
    "cross_cell",
    "conflicts_per_success",
    "double_bookings",
    "revisions_checked",
    "nodes_up",
    "wan_backend",
    "seconds.image",
    "seconds.cluster",
    "seconds.services",
    "seconds.replay",
    "seconds.total",
]


@pytest.fixture(scope="module")
def report(deployment: Deployment) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((deployment.run_dir / "report.json").read_text())
    pairs = [pair for pair in content["cross_cell"] if pair["count"]]
    content["cross_cell_p50_over_rtt"] = max(pair["p50"] / pair["rtt_ms"] for pair in pairs)
    return content


def look_up(report: dict[str, Any], dotted: str) -> Any:
    value: Any = report
    for key in dotted.split("."):
        assert key in value, f"report.json has no {dotted}"
        value = value[key]
    return value


@pytest.mark.parametrize("key", KEYS)
def test_key_is_there_and_documented(report: dict[str, Any], key: str) -> None:
    """Programs find the key, and people find it explained."""
    assert look_up(report, key) is not None
    page = (ROOT / "docs/reference/report.md").read_text()
    assert re.search(rf"`{re.escape(key)}`", page), f"docs/reference/report.md lacks {key}"


@pytest.mark.parametrize("key", BARS)
def test_bar_is_reached(report: dict[str, Any], key: str) -> None:
    """The figure is within its bar."""
    value, bar = look_up(report, key), BARS[key]
    if "equal" in bar:
        assert value == bar["equal"], bar["why"]
    assert value >= bar.get("min", value), bar["why"]
    assert value <= bar.get("max", value), bar["why"]


def test_cross_cell_has_every_pair(report: dict[str, Any]) -> None:
    """Each region claimed in each other one, and says at which round-trip time."""
    pairs = {(pair["from"], pair["to"]) for pair in report["cross_cell"]}
    ends = {end for pair in pairs for end in pair}
    assert pairs == {(a, b) for a in ends for b in ends if a != b}
    for pair in report["cross_cell"]:
        assert {"from", "to", "rtt_ms", "p50", "p95", "p99", "count"} <= set(pair)
        assert pair["rtt_ms"] > 0
        assert pair["count"] > 0


def test_refusals_have_reasons(report: dict[str, Any]) -> None:
    """What could not fit was refused, each with a reason and a number."""
    assert report["refused"], "the workload holds requests that cannot fit"
    assert all(number > 0 for number in report["refused"].values())
