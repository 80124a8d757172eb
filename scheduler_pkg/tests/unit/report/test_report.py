"""The report: stable keys, the RTT beside each pair, and what is said when a part is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from placer.cli import main
from placer.errors import InvalidInput, NotFound
from placer.report import parts
from placer.report.parts import RoundTrip, Wan
from placer.report.report import build, rtt_ms

TIMES = {"p50": 12.5, "p95": 20.0, "p99": 31.0, "count": 900}

PARTS: dict[str, dict[str, Any]] = {
    "replay": {
        "workload": "built-in",
        "requests": 1200,
        "concurrency": 8,
        "placed": 1150,
        "refused": {"no_valid_host": 50},
        "refused_because": {"no_valid_host, trait_missing": 50},
        "errors": 0,
        "claims_per_second": 61.5,
        "conflicts_per_success": 0.01,
        "local_ms": TIMES,
        "cross_cell": [
            {"from": "nyc1", "to": "ams1", **TIMES},
            {"from": "ams1", "to": "ams2", **TIMES},
        ],
        "seconds": 18.7,
        "warm_up": {"requests": 90, "placed": 90, "refused": 0, "errors": 0, "seconds": 3.0},
        "race": {"cell": "nyc1", "host": "nyc1-h0001", "contenders": 12, "winners": 1},
        "burst": {
            "cell": "nyc1",
            "host": "nyc1-h0002",
            "requests": 64,
            "placed": 64,
            "seconds": 0.5,
            "claims_per_second": 128.0,
            "claim_ms": TIMES,
        },
    },
    "check": {
        "verdict": "passed",
        "double_bookings": 0,
        "revisions_checked": 5000,
        "hosts_checked": 1523,
        "claims": {"acknowledged": 1240, "built": 1240, "pending": 0, "expired": 0, "released": 0},
        "booked": {"nyc": {"VCPU": 0.25}, "ams": {"VCPU": 0.5}},
        "cells": {"nyc1": "nyc", "ams1": "ams", "ams2": "ams"},
    },
    "cluster": {
        "nodes": [
            {
                "name": "nyc1-r1",
                "dc": "nyc1",
                "rack": "r1",
                "address": "10.91.1.11",
                "status": "NORMAL",
            }
        ],
        "nodes_up": 1,
    },
    "wan": {
        "backend": "nfqueue",
        "rtt_ms": [{"from": "ams", "to": "nyc", "configured": 80, "measured": 80.9}],
    },
    "seconds": {"image": 10, "cluster": 60.0, "services": 20.0, "replay": 30.0, "total": 150.0},
}


def write(run_dir: Path, **changes: dict[str, Any] | None) -> Path:
    """The parts below ``run_dir``; None leaves one out."""
    (run_dir / "parts").mkdir()
    for name, content in {**PARTS, **changes}.items():
        if content is not None:
            (run_dir / "parts" / f"{name}.json").write_text(json.dumps(content))
    return run_dir


def invoke(run_dir: Path, *more: str) -> str:
    result = CliRunner().invoke(main.app, ["report", "--run-dir", str(run_dir), *more])
    assert result.exit_code == 0, result.output
    return result.output


#: The keys that others rely on, as docs/reference/report.md lists them.
STABLE = {
    *("placed", "refused", "claims_per_second", "local_ms", "cross_cell", "conflicts_per_success"),
    *("double_bookings", "revisions_checked", "nodes_up", "wan_backend", "seconds", "booked"),
    *("race", "burst", "errors", "verdict"),
}


def test_stable_keys(tmp_path: Path) -> None:
    """report.json has every promised key, and the parts' values under them."""
    invoke(write(tmp_path))
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report.keys() >= STABLE
    assert report["placed"] == 1150
    assert report["refused"] == {"no_valid_host": 50}
    assert report["local_ms"] == TIMES
    assert report["seconds"]["total"] == 150.0
    assert report["double_bookings"] == 0
    assert report["wan_backend"] == "nfqueue"
    assert report["nodes_up"] == 1
    assert report["race"]["winners"] == 1


def test_cross_cell_has_the_measured_rtt_of_the_regions(tmp_path: Path) -> None:
    """Cells are told apart from regions; two cells of one region have no RTT."""
    report = build(parts.read(write(tmp_path)))
    assert [(p.from_cell, p.to_cell, p.rtt_ms) for p in report.cross_cell] == [
        ("nyc1", "ams1", 80.9),
        ("ams1", "ams2", None),
    ]


@pytest.mark.parametrize(
    ("trips", "expected"),
    [
        pytest.param([RoundTrip("a", "b", 80, 81.0)], 81.0, id="as measured"),
        pytest.param([RoundTrip("b", "a", 80, 82.0)], 82.0, id="measured from the other end"),
        pytest.param(
            [RoundTrip("a", "b", 80, None), RoundTrip("b", "a", 80, 82.0)],
            82.0,
            id="one direction without an answer",
        ),
        pytest.param([], None, id="not measured"),
    ],
)
def test_rtt_is_looked_up_in_either_direction(
    trips: list[RoundTrip], expected: float | None
) -> None:
    assert rtt_ms(Wan(backend="netem", rtt_ms=trips), "a", "b") == expected


@pytest.mark.parametrize("name", ["replay", "check", "cluster"])
def test_missing_part_says_what_to_run(tmp_path: Path, name: str) -> None:
    """The message names the file and the step that writes it."""
    with pytest.raises(NotFound, match=f"{name}.json") as caught:
        parts.read(write(tmp_path, **{name: None}))
    assert "./demo" in caught.value.remedy


def test_parts_of_a_real_network_may_be_missing(tmp_path: Path) -> None:
    """Where nothing emulates a WAN there is no such part; the report says so."""
    report = build(parts.read(write(tmp_path, wan=None, seconds=None)))
    assert report.wan_backend == "none"
    assert report.seconds.total is None


def test_broken_part_is_refused(tmp_path: Path) -> None:
    """The message names the file and what is wrong in it."""
    with pytest.raises(InvalidInput, match=r"check\.json.*verdict"):
        parts.read(write(tmp_path, check={**PARTS["check"], "verdict": 1}))


def test_printed_report_is_plain_without_a_terminal(tmp_path: Path) -> None:
    """No escape codes in a file; the figures that matter are there."""
    printed = invoke(write(tmp_path))
    assert "\x1b" not in printed
    for words in ("1,150", "80.9", "12.5", "0 double bookings", "5,000", "1 won", "nfqueue"):
        assert words in printed


def test_violations_are_told(tmp_path: Path) -> None:
    """The shortest story comes first on the screen; all are in the file."""
    check = {
        **PARTS["check"],
        "verdict": "violated",
        "double_bookings": 1,
        "violations": [{"story": "A longer story of it."}, {"story": "It broke."}],
        "violations_total": 2,
    }
    printed = invoke(write(tmp_path, check=check))
    assert "It broke." in printed
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["stories"] == ["A longer story of it.", "It broke."]


def test_json_is_the_file(tmp_path: Path) -> None:
    """--json prints what was written."""
    printed = invoke(write(tmp_path), "--json")
    assert json.loads(printed) == json.loads((tmp_path / "report.json").read_bytes())
